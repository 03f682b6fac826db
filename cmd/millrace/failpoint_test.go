package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/failpoint"
	"millrace/internal/kafka"
	"millrace/internal/testenv"
	"millrace/schema"
)

// TestEveryFailpoint kills a real process at each step that has a name, twice,
// and compares: the table, what subscribers got, and the stream are those of a
// run in which nothing died.
func TestEveryFailpoint(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	// The dump in two parts: the second, and the market after it, move time on
	// when the sinks have what the first brought, so that windows are forgotten.
	rows := bytes.SplitAfter(contents(t, xrpDump), []byte("\n"))
	dir := t.TempDir()
	var dumps [2]string
	for i, part := range [][][]byte{rows[:len(rows)/2], rows[len(rows)/2:]} {
		dumps[i] = filepath.Join(dir, fmt.Sprint(i), "XRPETH.csv")
		write(t, dumps[i], string(bytes.Join(part, nil)))
	}
	want := dumped(t, develop(t, "", m.file, dumps[0], dumps[1]).sql)
	var names []string
	for _, name := range failpoint.Names() {
		if !aroundCheckpoints(name) && name != "standby.dropped" { // those have a test of their own; a day passes before this one
			names = append(names, name)
		}
		if strings.HasPrefix(name, "candles.") { // in mid-transaction, too
			names = append(names, "transaction/"+name)
		}
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newParts(t, testenv.SharedMariaDB(t))
			s := subscribe(t, p.nats.URL)
			replay := func(files ...string) []string {
				return append(append([]string{"replay", "--ticks-topic", p.ticks, "--symbols", "XRPETH"}, files...), p.log()...)
			}
			process := append([]string{"process", "--ticks-topic", p.ticks, "--sql", p.sql, "--data", filepath.Join(t.TempDir(), "data")}, p.log()...)
			bridge := append([]string{"bridge", "--nats", p.nats.URL}, p.log()...)
			role, _, _ := strings.Cut(name, ".")
			name, inside := strings.CutPrefix(name, "transaction/")
			transactions := inside || role == "transaction"
			if transactions {
				process = append(process, "--candles-transactions")
			}
			if role == "ingest" {
				p.dies(name, nil, nil, replay(m.file, dumps[0], dumps[1])...)
			}
			spawn(t, replay(dumps[0])...).succeed()
			p.garbage()
			if role == "settings" { // a change that died is completed by the next
				change := append([]string{"settings", "set", "alive-bound=20s", "--ticks-topic", p.ticks}, p.log()...)
				p.dies(name, nil, nil, change...)
				spawn(t, change...).succeed()
			}
			more := func() {
				spawn(t, replay(dumps[1], m.file)...).succeed()
				p.garbage()
			}
			var owner *child // of the partitions that are stood by for
			switch role {
			case "standby":
				process = append(process, "--standby", "1")
				owner = spawn(t, append(slices.Clone(process), "--data", filepath.Join(t.TempDir(), "data"))...)
				owner.await("partition assigned")
				p.dies(name, nil, more, process...)
			case "state", "processor", "candles", "transaction", "transaction/candles", "sql":
				p.dies(name, nil, more, process...)
			case "ingest", "bridge", "settings":
			default:
				t.Fatalf("no process is known that has the steps of %s", role)
			}
			more()
			processor := spawn(t, process...)
			processor.await("partition assigned")
			if role == "bridge" {
				p.dies(name, nil, p.garbage, bridge...)
			}
			passes := spawn(t, bridge...)
			p.settled()
			same(t, name, dumped(t, p.sql), want)
			s.agrees(want)
			s.newestKept(want) // after which the stream has all before it
			s.onceFinal(want)
			processor.stop()
			passes.stop()
			if owner != nil {
				owner.stop()
			}
			if transactions {
				p.rising()
			}
		})
	}
}

// rising reads candles as one who can't compare versions: committed records, of
// which the last of a key counts.
func (p *parts) rising() {
	p.t.Helper()
	admin := kadm.NewClient(p.client)
	ends, err := admin.ListCommittedOffsets(p.t.Context(), p.candles)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	client, err := kafka.Connect(p.t.Context(), defaulted(p.brokers), kgo.ConsumeTopics(p.candles),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	if err != nil {
		p.t.Fatal(err)
	}
	defer client.Close()
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	last, marks := map[string]schema.Version{}, 0
	for len(left) > 0 {
		fetches := client.PollFetches(p.t.Context())
		if err := fetches.Err(); err != nil {
			p.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if r.Attrs.IsControl() {
				marks++
				return
			}
			c, err := schema.DecodeCandle(r.Value)
			if err != nil {
				p.t.Fatal(err)
			}
			if c.Version < last[string(r.Key)] {
				p.t.Errorf("%s at %d goes back from version %d to %d", r.Key, r.Offset, last[string(r.Key)], c.Version)
			}
			last[string(r.Key)] = c.Version
		})
	}
	if marks == 0 {
		p.t.Error("there was no transaction")
	}
}

// dies runs the program, twice, until it reaches a step. more brings more to do.
func (p *parts) dies(name string, env []string, more func(), args ...string) {
	p.t.Helper()
	for range 2 {
		p.diesOnce(name, env, more, args...)
	}
}

func (p *parts) diesOnce(name string, env []string, more func(), args ...string) {
	p.t.Helper()
	c := spawnWith(p.t, childBound, append([]string{failpoint.Variable + "=" + name}, env...), args...)
	tick := time.NewTicker(time.Second)
	for bound := time.After(patience); c.running(); {
		select {
		case <-c.done:
		case <-tick.C:
			if more != nil && p.lacks(p.t.Context()) == nil {
				more()
			}
		case <-bound:
			p.t.Fatalf("%s is not reached\n%s", name, tail(c.log.String()))
		}
	}
	tick.Stop()
	if status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		p.t.Fatalf("%s: not killed but ended: %v\n%s", name, c.cmd.ProcessState, tail(c.log.String()))
	}
}

// garbage puts what is no tick into the log.
func (p *parts) garbage() {
	p.t.Helper()
	for partition := range int32(partitions) {
		r := &kgo.Record{Topic: p.ticks, Partition: partition, Key: []byte("BTCUSDT"), Value: []byte("no tick")}
		if err := p.client.ProduceSync(p.t.Context(), r).FirstErr(); err != nil {
			p.t.Fatal(err)
		}
	}
}
