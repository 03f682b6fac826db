package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"millrace/ingest/binance"
	"millrace/internal/testenv"
	"millrace/schema"
)

// chaos is the whole of Millrace, each role a process, behind proxies: Kafka,
// MariaDB and NATS are real, and their connections are ours to spoil.
type chaos struct {
	*parts // as the test sees them, without proxies
	kafka  *testenv.Kafka
	maria  *testenv.MariaDB
	toSQL  *testenv.Proxy
	toNATS *testenv.Proxy

	dir    string
	clock  *binance.Client // asks the double for the market's time
	last   time.Time       // of the market
	double *child
	ingest *child
	// processor and bridge are ended by no fault unless it says so.
	processor, bridge *child
	heard             *subscriber
}

// chaosSpeed plays the six minutes of the market in two.
const chaosSpeed = 3

// recovery bounds how long it takes until everything flows again. Half-open
// connections are noticed after 10 s to NATS, 30 s to MariaDB, 40 s to Kafka.
const recovery = 2 * time.Minute

// A fault does something to the parts and undoes it.
type fault struct {
	name string
	long bool // only where there is time
	do   func(*chaos)
}

// newChaos starts everything and waits until candles flow.
func newChaos(t *testing.T, m *market) *chaos {
	t.Helper()
	c := &chaos{kafka: testenv.StartKafkaWith(t, testenv.KafkaConfig{Proxied: true}), maria: testenv.StartMariaDB(t), dir: t.TempDir()}
	c.parts = partsOn(t, c.kafka.Brokers, c.maria)
	c.nats = testenv.StartNATSProcess(t)
	c.toSQL = testenv.StartProxy(t, c.maria.Addr)
	at, err := url.Parse(c.nats.URL)
	if err != nil {
		t.Fatal(err)
	}
	c.toNATS = testenv.StartProxy(t, at.Host)
	c.heard = subscribe(t, c.nats.URL)
	_, c.last = m.times()

	c.startProcessor()
	c.startBridge()
	c.double = c.parts.double(m.file, chaosSpeed)
	c.ingest = spawn(t, append([]string{"ingest", "--ticks-topic", c.ticks, "--symbols", "BTCUSDT,ETHUSDT",
		"--binance-ws", c.double.await(`binance-ws=(\S+)`), "--binance-rest", c.double.await(`binance-rest=(\S+)`)}, c.log()...)...)
	if c.clock, err = binance.NewClient(c.double.await(`binance-rest=(\S+)`), ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.clock.Close)
	first, _ := m.times()
	c.heard.reached(first.Add(3 * time.Second))
	return c
}

// log are the settings that all roles share; their way is through the proxy.
func (c *chaos) log() []string {
	return []string{"--kafka", c.kafka.Proxy.Addr, "--candles-topic", c.candles}
}

func (c *chaos) startProcessor() {
	c.t.Helper()
	dsn, err := url.Parse(c.sql)
	if err != nil {
		c.t.Fatal(err)
	}
	dsn.Host = c.toSQL.Addr
	c.processor = spawn(c.t, append([]string{"process", "--ticks-topic", c.ticks, "--sql", dsn.String(), "--data", filepath.Join(c.dir, "data"),
		"--checkpoints", filepath.Join(c.dir, "checkpoints")}, c.log()...)...)
	c.processor.await(allAssigned)
}

func (c *chaos) startBridge() {
	c.t.Helper()
	c.bridge = spawn(c.t, append([]string{"bridge", "--nats", "nats://" + c.toNATS.Addr}, c.log()...)...)
}

// now is the market's time.
func (c *chaos) now() time.Time {
	c.t.Helper()
	at, err := c.clock.ServerTime(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return at.Std()
}

// lasts waits while the market goes on for so long of the wall's time.
func (c *chaos) lasts(d time.Duration) {
	c.t.Helper()
	until := c.now().Add(d * chaosSpeed)
	if until.After(c.last) {
		until = c.last
	}
	c.double.reached(until)
}

// flows waits until what happens from now on has come through to MariaDB and
// NATS, and looks that nobody has ended.
func (c *chaos) flows(after string) {
	c.t.Helper()
	began := time.Now()
	at := c.now().Truncate(time.Second)
	if end := c.last.Add(-2 * time.Second).Truncate(time.Second); at.After(end) {
		at = end
	}
	written := c.written()
	everyFor(c.t, recovery, func(ctx context.Context) error { return c.newest(ctx, at) })
	everyFor(c.t, recovery, func(context.Context) error { // marks at least, when the market is over
		if c.written() == written {
			return errors.New("the ingestor writes nothing into the log")
		}
		return nil
	})
	everyFor(c.t, recovery, c.lacks)
	for _, p := range []*child{c.ingest, c.processor, c.bridge} {
		if !p.running() {
			c.t.Fatalf("%s: %s has ended:\n%s", after, p.name, tail(p.log.String()))
		}
	}
	c.t.Logf("%s: everything flows again after %v, the market is at %v", after, time.Since(began).Round(100*time.Millisecond), at.UTC().Format(time.TimeOnly))
}

// written counts the records of the log.
func (c *chaos) written() (n int64) {
	c.t.Helper()
	for _, end := range c.ends(c.ticks) {
		n += end
	}
	return n
}

// newest tells whether the bucket's newest second is at or behind a time.
func (c *chaos) newest(ctx context.Context, at time.Time) error {
	js, err := jetstream.New(c.heard.conn)
	if err != nil {
		return err
	}
	bucket, err := js.KeyValue(ctx, schema.CandlesBucket)
	if err != nil {
		return err
	}
	e, err := bucket.Get(ctx, schema.SeriesKey(schema.P1s, "BTCUSDT"))
	if err != nil {
		return err
	}
	var m message
	if err := json.Unmarshal(e.Value(), &m); err != nil {
		return err
	}
	if m.Start.Before(at) {
		return fmt.Errorf("nats is at %v, not at %v", m.Start, at)
	}
	return nil
}

// compare waits for the end of the market and compares everything with what an
// undisturbed run makes. core is false where subscribers lost connections of
// their own: what core NATS sent meanwhile they can't have.
func (c *chaos) compare(m *market, core bool) {
	c.t.Helper()
	c.double.reached(c.last)
	c.arrived(m.table)
	c.ingest.stop()
	c.replay(m.end())
	c.settled()
	same(c.t, "table", dumped(c.t, c.sql), m.table)
	same(c.t, "last records of candles", c.lastRecords(), m.table)
	if core {
		c.heard.agrees(m.table)
	}
	c.heard.newestKept(m.table) // after which the stream has all before it
	c.heard.onceFinal(m.table)
	c.processor.stop()
	c.bridge.stop()
}

// network are the faults of a network before a server.
func network(name string, proxy func(*chaos) *testenv.Proxy) []fault {
	return []fault{
		{name + " cut", false, func(c *chaos) {
			proxy(c).Cut()
			c.lasts(2 * time.Second)
			proxy(c).Mend()
		}},
		{name + " delayed", false, func(c *chaos) {
			proxy(c).Delay(150*time.Millisecond, 100*time.Millisecond)
			c.lasts(2 * time.Second)
			proxy(c).Clear()
		}},
	}
}

// halfOpen are connections of which each side believes that they stand. To
// notice it is up to the clients' own bounds.
func halfOpen(name string, proxy func(*chaos) *testenv.Proxy) []fault {
	return []fault{
		{name + " half open: nothing is heard of it", true, func(c *chaos) { proxy(c).Deafen(testenv.ToClient) }},
		{name + " half open: it hears nothing", false, func(c *chaos) { proxy(c).Deafen(testenv.ToServer) }},
	}
}

// served are the faults of a server itself; its connections close slowly where
// it is restarted.
func served(name string, proxy func(*chaos) *testenv.Proxy, of func(*chaos) restartable) []fault {
	again := func(c *chaos, end func() error) {
		c.t.Helper()
		if err := errors.Join(end(), of(c).Start()); err != nil {
			c.t.Fatal(err)
		}
	}
	return []fault{
		{name + " restarted, slow to close", false, func(c *chaos) {
			proxy(c).SlowClose(3 * time.Second)
			again(c, of(c).Stop)
			proxy(c).Clear()
		}},
		{name + " killed", false, func(c *chaos) { again(c, of(c).Kill) }},
	}
}

// restartable is any of the servers.
type restartable interface {
	Start() error
	Stop() error
	Kill() error
}

func kafkaFaults() []fault {
	proxy := func(c *chaos) *testenv.Proxy { return c.kafka.Proxy }
	return slices.Concat(network("Kafka", proxy), served("Kafka", proxy, func(c *chaos) restartable { return c.kafka }), halfOpen("Kafka", proxy))
}

func mariaDBFaults() []fault {
	proxy := func(c *chaos) *testenv.Proxy { return c.toSQL }
	backup := ""
	return slices.Concat(
		[]fault{{"MariaDB backed up", false, func(c *chaos) { backup = c.backUp() }}},
		network("MariaDB", proxy), served("MariaDB", proxy, func(c *chaos) restartable { return c.maria }),
		[]fault{
			// A sink that connects but hangs: nobody waits for it.
			{"MariaDB takes connections and hangs", false, func(c *chaos) {
				c.toSQL.Hang()
				at := c.now()
				if then := at.Add(5 * time.Second * chaosSpeed).Truncate(time.Second); then.Before(c.last) {
					c.heard.reached(then)
				}
				c.toSQL.Clear()
			}},
			{"MariaDB restored from the backup", false, func(c *chaos) { c.restore(backup) }},
		},
		halfOpen("MariaDB", proxy))
}

func natsFaults() []fault {
	proxy := func(c *chaos) *testenv.Proxy { return c.toNATS }
	emptied := func(c *chaos) {
		c.t.Helper()
		if err := errors.Join(c.nats.Stop(), os.RemoveAll(c.nats.Dir), c.nats.Start()); err != nil {
			c.t.Fatal(err)
		}
	}
	return slices.Concat(network("NATS", proxy), served("NATS", proxy, func(c *chaos) restartable { return c.nats }),
		[]fault{
			{"NATS emptied", false, func(c *chaos) {
				emptied(c)
				c.bridge.await("nats is not what it was: a stream was emptied, restored or made anew")
				c.bridge.await("nats has nothing of it: sending all that the topic has")
			}},
			{"NATS emptied while the bridge was away", false, func(c *chaos) {
				c.bridge.stop()
				emptied(c)
				c.startBridge()
				c.bridge.await("nats has nothing of it: sending all that the topic has")
			}},
		}, halfOpen("NATS", proxy))
}

// brief leaves out what needs a time of its own.
func inShort(faults []fault) []fault {
	return slices.DeleteFunc(faults, func(f fault) bool { return f.long && !*chaotic })
}

// together has the faults of two parts at once, pair by pair.
func together(a, b []fault) []fault {
	for i, f := range b {
		if i == len(a) {
			return append(a, b[i:]...)
		}
		one := a[i].do
		a[i] = fault{a[i].name + ", " + f.name, false, func(c *chaos) { one(c); f.do(c) }}
	}
	return a
}

// tables are those that a backup has.
var tables = []string{schema.TableProgress, schema.TableCandles, schema.TableGaps, schema.TableGapSets}

// backUp copies the database and gives the copy's name. The progress is the
// oldest in it.
func (c *chaos) backUp() string {
	c.t.Helper()
	name := "backup_" + c.database()
	statements := []string{"CREATE DATABASE " + name}
	for _, table := range tables {
		statements = append(statements, fmt.Sprintf("CREATE TABLE %s.%s LIKE %s.%s", name, table, c.database(), table),
			fmt.Sprintf("INSERT INTO %s.%s SELECT * FROM %s.%s", name, table, c.database(), table))
	}
	for _, statement := range statements {
		if err := c.maria.Exec(c.t.Context(), statement); err != nil {
			c.t.Fatal(err)
		}
	}
	return name
}

// restore puts a backup in the place of what is there, at once, while everybody
// works. The processor says what it did about it, and needs no restart.
func (c *chaos) restore(backup string) {
	c.t.Helper()
	var renames []string
	for _, table := range tables {
		renames = append(renames, fmt.Sprintf("%[1]s.%[2]s TO %[3]s.old_%[2]s, %[3]s.%[2]s TO %[1]s.%[2]s", c.database(), table, backup))
	}
	if err := c.maria.Exec(c.t.Context(), "RENAME TABLE "+strings.Join(renames, ", ")); err != nil {
		c.t.Fatal(err)
	}
	c.processor.await("the database is not where this processor left it; bringing it up to date from state")
	c.processor.await(`(?s)is not where this processor left it.*sql sink: caught up from state.* rows=\d+ from=\d+ to=\d+`)
}

func (c *chaos) database() string { return filepath.Base(c.sql) }

// TestChaos plays the market while one part after another fails in every way
// that it knows. Nobody gives up, and in the end everything is as if nothing had
// been.
func TestChaos(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	m.table = dumped(t, develop(t, "", m.file).sql)
	run := func(t *testing.T, core bool, faults ...fault) {
		mine := *m
		mine.t = t
		c := newChaos(t, &mine)
		for _, f := range faults {
			f.do(c)
			c.flows(f.name)
		}
		c.compare(&mine, core)
	}
	t.Run("Kafka", func(t *testing.T) {
		t.Parallel()
		run(t, true, inShort(kafkaFaults())...)
	})
	t.Run("MariaDB and NATS", func(t *testing.T) {
		t.Parallel()
		run(t, false, together(inShort(mariaDBFaults()), inShort(natsFaults()))...)
	})
	if !*chaotic {
		return
	}
	for _, part := range [][]fault{kafkaFaults(), mariaDBFaults(), natsFaults()} {
		for _, f := range part {
			if !strings.Contains(f.name, "backup") {
				t.Run(f.name, func(t *testing.T) { run(t, !strings.HasPrefix(f.name, "NATS"), f) })
			}
		}
	}
}
