package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"millrace/ingest/binance"
	"millrace/internal/testenv"
)

const (
	// killSpeed plays the six minutes of the market in 17 s.
	killSpeed = 20
	// kills of processors in one run; at the first the bridge dies too.
	kills = 10
	// mariaAway is how long the database is gone. What a longer absence adds is
	// only a larger set of changed windows.
	mariaAway = 5 * time.Second
	awaySpeed = 25
	// lastKill is how long before the market's end the last process dies. Its
	// ingestor's promise is waited for as long as it is at most this much (the
	// log's alive bound, 10 s) behind the others'.
	lastKill = 15 * time.Second
)

// moments gives random times of the market, in order.
func (m *market) moments(r *rand.Rand, n int) []time.Time {
	first, last := m.times()
	all := make([]time.Time, n)
	for i := range all {
		all[i] = first.Add(10*time.Second + time.Duration(r.Int64N(int64(last.Sub(first)-10*time.Second-lastKill))))
	}
	slices.SortFunc(all, time.Time.Compare)
	return all
}

// times are those of the first and the last frame, to about a second.
func (m *market) times() (first, last time.Time) {
	return time.Unix(0, m.lines[0].stamp), time.Unix(0, m.lines[len(m.lines)-1].stamp)
}

// reached waits until a double has played its recording up to a time.
func (c *child) reached(at time.Time) {
	c.t.Helper()
	client, err := binance.NewClient(c.await(`binance-rest=(\S+)`), "")
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.Close()
	every(c.t, func(ctx context.Context) error {
		now, err := client.ServerTime(ctx)
		if err == nil && now.Std().Before(at) {
			err = fmt.Errorf("the market is at %v, not at %v", now, at.UTC())
		}
		return err
	})
}

func killedRolesMakeTheTable(t *testing.T, m *market) {
	r := seeded(t)
	want := m.table
	p := newParts(t, testenv.SharedMariaDB(t))
	s := subscribe(t, p.nats.URL)
	dir := t.TempDir()
	folder := func(i int) string { return filepath.Join(dir, strconv.Itoa(i)) }
	processors := []*child{p.process(folder(0)), p.process(folder(1))}
	for _, c := range processors {
		c.await("partition assigned")
	}
	bridge := p.bridge()
	double := p.double(m.file, killSpeed)
	ingest := p.ingest(double)
	for i, at := range m.moments(r, kills) {
		double.reached(at)
		k := r.IntN(len(processors))
		if !processors[k].running() {
			t.Fatalf("a processor has ended by itself:\n%s", tail(processors[k].log.String()))
		}
		processors[k].kill()
		processors[k] = p.process(folder(k))
		if i == 0 {
			if !bridge.running() {
				t.Fatalf("the bridge has ended by itself:\n%s", tail(bridge.log.String()))
			}
			bridge.kill()
			bridge = p.bridge()
		}
	}
	double.await("the recording is at its end")
	p.arrived(want)
	ingest.stop()
	p.replay(m.end())
	p.settled()
	same(t, "killed", dumped(t, p.sql), want)
	s.agrees(want)
	s.newestKept(want) // after which the stream has all before it
	s.onceFinal(want)
	for _, c := range append(processors, bridge) {
		c.stop()
	}
}

// A database that is away holds up nobody: NATS has each candle meanwhile, and
// the table is made up for afterwards.
func mariaDBAwayMakesTheTable(t *testing.T, m *market) {
	want := m.table
	maria := testenv.StartMariaDB(t)
	p := newParts(t, maria)
	s := subscribe(t, p.nats.URL)
	processor := p.process(t.TempDir())
	processor.await("partition assigned")
	bridge := p.bridge()
	ingest := p.ingest(p.double(m.file, awaySpeed))
	first, _ := m.times()
	s.reached(first.Add(time.Minute))
	if err := maria.Stop(); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	before, began := s.newest, time.Now()
	s.mu.Unlock()
	// The market goes on at its pace, so this is also the wait.
	s.reached(before.Add(mariaAway * awaySpeed))
	if took := time.Since(began); took < mariaAway*3/4 {
		t.Errorf("the market went on for %v in %v", mariaAway*awaySpeed, took)
	}
	processor.await("sql sink: cannot write for now")
	if err := maria.Start(); err != nil {
		t.Fatal(err)
	}
	p.arrived(want)
	processor.await("sql sink: writing again")
	ingest.stop()
	p.replay(m.end())
	p.settled()
	same(t, "MariaDB was away", dumped(t, p.sql), want)
	s.agrees(want)
	processor.stop()
	bridge.stop()
}

// All of dev dies at once: Kafka, NATS, state and the SQL store with it.
func killedDevMakesTheTable(t *testing.T, m *market) {
	r := seeded(t)
	want := m.table
	dir := t.TempDir()
	e := embeddedRun{dir: dir, sql: "sqlite:" + filepath.Join(dir, "x.db")}
	for _, at := range m.moments(r, 3) {
		dev := spawn(t, e.args(t, "60", m.file)...)
		s := subscribe(t, dev.await(`nats=(\S+) sql=`))
		s.reached(at)
		dev.kill()
		s.conn.Close()
	}
	e = develop(t, dir, m.file)
	same(t, "killed", dumped(t, e.sql), want)
	if e.sum.OpenGaps != 0 || e.sum.DeadLetters != 0 {
		t.Errorf("summary: %+v", e.sum)
	}
}
