package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/internal/testenv"
	sqlsink "millrace/processor/sink/sql"
)

// patience bounds every wait for something that must come.
const patience = time.Minute

// every asks again and again until ask is content, and fails the test with its
// last answer if it never is.
func every(t *testing.T, ask func(context.Context) error) {
	t.Helper()
	everyFor(t, patience, ask)
}

// everyFor is every with a bound of its own.
func everyFor(t *testing.T, patience time.Duration, ask func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(max(100*time.Millisecond, patience/600))
	defer tick.Stop()
	said := error(nil)
	for {
		// One question that hangs is not the end of asking.
		bound, done := context.WithTimeout(ctx, max(patience/6, 5*time.Second))
		err := ask(bound)
		done()
		if err == nil {
			return
		}
		if said == nil || !errors.Is(err, context.DeadlineExceeded) {
			said = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited %v: %v; lastly %v", patience, said, err)
		}
	}
}

// parts are a log of its own on a real Kafka, a database and a NATS server.
type parts struct {
	t              *testing.T
	brokers        string
	ticks, candles string
	sql            string // mysql://…
	nats           *testenv.NATSProcess
	client         *kgo.Client
}

// partitions of each log.
const partitions = 4

func newParts(t *testing.T, maria *testenv.MariaDB) *parts {
	t.Helper()
	p := partsOn(t, testenv.SharedKafka(t).Brokers, maria)
	p.nats = testenv.StartNATSProcess(t)
	return p
}

// partsOn are parts on any Kafka, without NATS.
func partsOn(t *testing.T, brokers string, maria *testenv.MariaDB) *parts {
	t.Helper()
	p := &parts{t: t, brokers: brokers, sql: maria.NewDatabase(t)}
	p.ticks = "ticks-" + filepath.Base(p.sql)
	p.candles = "candles-" + filepath.Base(p.sql)
	client, err := kafka.Connect(t.Context(), defaulted(p.brokers))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	p.client = client
	return p
}

// log are the settings that all roles share.
func (p *parts) log() []string {
	return []string{"--kafka", p.brokers, "--candles-topic", p.candles}
}

// replay brings files into the log.
func (p *parts) replay(files ...string) {
	p.t.Helper()
	args := append([]string{"replay", "--ticks-topic", p.ticks, "--symbols", "XRPETH"}, p.log()...)
	for _, f := range files {
		args = append(args, absolute(p.t, f))
	}
	spawn(p.t, args...).succeed()
}

// process starts a processor; it is one over the death of those that had the
// folder before.
func (p *parts) process(data string) *child {
	p.t.Helper()
	return spawn(p.t, append([]string{"process", "--ticks-topic", p.ticks, "--sql", p.sql, "--data", data}, p.log()...)...)
}

func (p *parts) bridge() *child {
	p.t.Helper()
	return spawn(p.t, append([]string{"bridge", "--nats", p.nats.URL}, p.log()...)...)
}

// double plays the recording when somebody listens; ingest listens to it.
func (p *parts) double(file string, speed float64) *child {
	p.t.Helper()
	return spawn(p.t, "double", "--from", file, "--speed", fmt.Sprint(speed), "--listen", "127.0.0.1:0")
}

func (p *parts) ingest(double *child) *child {
	p.t.Helper()
	args := []string{"ingest", "--ticks-topic", p.ticks, "--symbols", "BTCUSDT,ETHUSDT",
		"--binance-ws", double.await(`binance-ws=(\S+)`), "--binance-rest", double.await(`binance-rest=(\S+)`)}
	return spawn(p.t, append(args, p.log()...)...)
}

// settled waits until the database has all that is in the log.
func (p *parts) settled() {
	p.t.Helper()
	every(p.t, p.lacks)
}

// lacks tells what of the log the database does not have.
func (p *parts) lacks(ctx context.Context) error {
	adm := kadm.NewClient(p.client)
	topics, err := adm.ListTopics(ctx, p.ticks)
	if err == nil {
		err = topics.Error()
	}
	if err != nil {
		return err
	}
	ends, err := adm.ListEndOffsets(ctx, p.ticks)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return err
	}
	db, err := sqlsink.Open(ctx, sqlsink.Config{DSN: p.sql, ReadOnly: true})
	if err != nil {
		return err
	}
	defer db.Close()
	for partition := range int32(partitions) {
		end, _ := ends.Lookup(p.ticks, partition)
		at, _, err := db.Load(ctx, topics[p.ticks].ID, partition)
		if err != nil {
			return err
		}
		if at.Offset < end.Offset {
			return fmt.Errorf("partition %d: the database has everything up to %d of %d", partition, at.Offset, end.Offset)
		}
	}
	return nil
}

// ends are where the partitions of a topic end.
func (p *parts) ends(topic string) map[int32]int64 {
	p.t.Helper()
	listed, err := kadm.NewClient(p.client).ListEndOffsets(p.t.Context(), topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	all := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { all[o.Partition] = o.Offset })
	return all
}

// dumped is the dump of a database's candles.
func dumped(t *testing.T, dsn string) string {
	t.Helper()
	text, err := dump(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func dump(ctx context.Context, dsn string) (string, error) {
	db, err := sqlsink.Open(ctx, sqlsink.Config{DSN: dsn, ReadOnly: true})
	if err != nil {
		return "", err
	}
	defer db.Close()
	var b strings.Builder
	err = db.Dump(ctx, &b)
	return b.String(), err
}

// figures is a table without what depends on how far time was promised: the
// columns behind the last trade's id, and windows without a trade.
func figures(table string) string {
	var b strings.Builder
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if n := len(f) - 3; f[n-1] != "-1" {
			b.WriteString(strings.Join(f[:n], " "))
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// arrived waits until the database has the figures of a table.
func (p *parts) arrived(want string) {
	p.t.Helper()
	want = figures(want)
	every(p.t, func(ctx context.Context) error {
		got, err := dump(ctx, p.sql)
		if err == nil {
			err = differ(figures(got), want)
		}
		return err
	})
}

// same fails the test unless two tables are equal, byte for byte.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	if err := differ(got, want); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// differ tells the first lines in which two tables differ.
func differ(got, want string) error {
	if got == want {
		return nil
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	var b strings.Builder
	fmt.Fprintf(&b, "%d rows, want %d", len(g)-1, len(w)-1)
	shown := 0
	for i := 0; i < max(len(g), len(w)) && shown < 5; i++ {
		var x, y string
		if i < len(g) {
			x = g[i]
		}
		if i < len(w) {
			y = w[i]
		}
		if x != y {
			fmt.Fprintf(&b, "\n  got  %s\n  want %s", x, y)
			shown++
		}
	}
	return fmt.Errorf("%s", b.String())
}
