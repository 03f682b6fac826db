package main

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"millrace/ingest/binance"
	"millrace/internal/testenv"
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

// chaosSpeed plays the six minutes of the market in 45 s.
const chaosSpeed = 8

// A fault does something to the parts and undoes it.
type fault struct {
	name string
	do   func(*chaos)
}

// newChaos starts everything and waits until candles flow.
func newChaos(t *testing.T, m *market, speed float64) *chaos {
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
	c.double = c.parts.double(m.file, speed)
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
	every(c.t, func(context.Context) error {
		if now := c.now(); now.Before(until) && now.Before(c.last) {
			return fmt.Errorf("the market is at %v, not at %v", now, until)
		}
		return nil
	})
}

// flows waits until what happens from now on has come through everywhere, and
// looks that nobody has ended.
func (c *chaos) flows(after string) {
	c.t.Helper()
	began := time.Now()
	at := c.now().Truncate(time.Second)
	if at.After(c.last.Add(-2 * time.Second)) {
		at = c.last.Add(-2 * time.Second).Truncate(time.Second)
	}
	c.heard.reached(at)
	c.settled()
	for _, p := range []*child{c.ingest, c.processor, c.bridge} {
		if !p.running() {
			c.t.Fatalf("%s: %s has ended:\n%s", after, p.name, tail(p.log.String()))
		}
	}
	c.t.Logf("%s: everything flows again after %v, the market is at %v", after, time.Since(began).Round(100*time.Millisecond), at.UTC().Format(time.TimeOnly))
}

// compare waits for the end of the market and compares everything with what an
// undisturbed run makes. core is false where subscribers lost connections of
// their own: what core NATS sent meanwhile they can't have.
func (c *chaos) compare(m *market, core bool) {
	c.t.Helper()
	c.double.reached(c.last)
	c.arrived(m.table)
	c.ingest.stop()
	c.parts.replay(m.end())
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
		{name + " cut", func(c *chaos) {
			proxy(c).Cut()
			c.lasts(2 * time.Second)
			proxy(c).Mend()
		}},
		{name + " delayed", func(c *chaos) {
			proxy(c).Delay(150*time.Millisecond, 100*time.Millisecond)
			c.lasts(2 * time.Second)
			proxy(c).Clear()
		}},
		{name + " half open: it hears nothing", func(c *chaos) { proxy(c).Deafen(testenv.ToServer) }},
		{name + " half open: nothing is heard of it", func(c *chaos) { proxy(c).Deafen(testenv.ToClient) }},
	}
}

// served are the faults of a server itself; its connections close slowly where
// it is restarted.
func served(name string, proxy func(*chaos) *testenv.Proxy, of func(*chaos) restartable) []fault {
	again := func(c *chaos, end func() error) {
		c.t.Helper()
		if err := end(); err != nil {
			c.t.Fatal(err)
		}
		if err := of(c).Start(); err != nil {
			c.t.Fatal(err)
		}
	}
	return []fault{
		{name + " restarted, slow to close", func(c *chaos) {
			proxy(c).SlowClose(3 * time.Second)
			again(c, of(c).Stop)
			proxy(c).Clear()
		}},
		{name + " killed", func(c *chaos) { again(c, of(c).Kill) }},
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
	return append(network("Kafka", proxy), served("Kafka", proxy, func(c *chaos) restartable { return c.kafka })...)
}

func mariaDBFaults() []fault {
	proxy := func(c *chaos) *testenv.Proxy { return c.toSQL }
	return append(network("MariaDB", proxy), served("MariaDB", proxy, func(c *chaos) restartable { return c.maria })...)
}

func natsFaults() []fault {
	proxy := func(c *chaos) *testenv.Proxy { return c.toNATS }
	return append(network("NATS", proxy), served("NATS", proxy, func(c *chaos) restartable { return c.nats })...)
}

// TestChaos plays the market while one part after another fails in every way
// that it knows. Nobody gives up, and in the end everything is as if nothing had
// been.
func TestChaos(t *testing.T) {
	m := newMarket(t)
	m.table = dumped(t, develop(t, "", m.file).sql)
	for _, part := range []struct {
		name   string
		faults []fault
		core   bool
	}{
		{"Kafka", kafkaFaults(), true},
		{"MariaDB", mariaDBFaults(), true},
		{"NATS", natsFaults(), false},
	} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			mine := *m
			mine.t = t
			c := newChaos(t, &mine, chaosSpeed)
			for _, f := range part.faults {
				f.do(c)
				c.flows(f.name)
			}
			c.compare(&mine, part.core)
		})
	}
}
