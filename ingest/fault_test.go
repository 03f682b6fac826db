package ingest_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/ingest"
	"millrace/internal/testenv"
	"millrace/schema"
	"millrace/schema/schemapb"
)

// A broker that is killed and comes back: everything arrives, in order, and
// Run goes on.
func TestABrokerAwayForAWhile(t *testing.T) {
	k := testenv.StartKafka(t)
	b := newBench(t, k.Brokers, 2)
	i, end := b.open(ingest.Config{MarkEvery: 5 * time.Millisecond, BatchMax: 20})
	s, err := i.Stream(schemapb.Source_SOURCE_WEBSOCKET, ingest.Symbol{Name: "A", From: t0}, ingest.Symbol{Name: "B", From: t0})
	if err != nil {
		t.Fatal(err)
	}
	sent := make(map[string][]schema.Trade)
	n := int64(0)
	deliver := func(count int) {
		t.Helper()
		for range count {
			for _, name := range []string{"A", "B"} {
				x := trade(n, t0+schema.Time(n))
				sent[name] = append(sent[name], x)
				if err := s.Trade([]byte(name), &x, t0); err != nil {
					t.Fatal(err)
				}
			}
			s.Progress(t0 + schema.Time(n))
			n++
		}
	}
	deliver(500)
	eventually(t, "acknowledgements", func() bool { return i.Stats().Trades > 100 })
	if err := k.Kill(); err != nil {
		t.Fatal(err)
	}
	deliver(500)
	if err := k.Start(); err != nil {
		t.Fatal(err)
	}
	deliver(500)
	if err := errors.Join(s.Close(t.Context(), t0+schema.Time(n)), end()); err != nil {
		t.Fatal(err)
	}
	log := b.log()
	checkMarks(t, log, func(schema.Trade) string { return s.ID() })
	for name := range sent {
		sameTrades(t, name, b.trades(log, name), sent[name])
	}
}

// While nothing is acknowledged no mark is written, Trade blocks once the
// buffer is full, and nothing is lost when it goes on.
func TestAFullBufferBlocks(t *testing.T) {
	fake := testenv.StartFake(t)
	b := newBench(t, fake.Brokers, 1)
	i, end := b.open(ingest.Config{MarkEvery: 2 * time.Millisecond, BufferBytes: 1 << 20})
	s, err := i.Stream(schemapb.Source_SOURCE_DUMP, ingest.Symbol{Name: "A", From: t0})
	if err != nil {
		t.Fatal(err)
	}
	s.Progress(t0 - 5)
	eventually(t, "the first mark", func() bool { return strings.HasSuffix(story(b.log()[0], s.ID()), "mark(1722999999999995)") })
	fault := fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
	const count = 200_000 // some 20 bytes each: four times the buffer
	var sent []schema.Trade
	for n := range int64(count) {
		sent = append(sent, trade(n, t0+schema.Time(n)))
	}
	done := make(chan error, 1)
	go func() {
		var err error
		for n := 0; n < count && err == nil; n++ {
			err = s.Trade([]byte("A"), &sent[n], t0)
			s.Progress(sent[n].Time - 1)
		}
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("it did not block: %v", err)
	case <-time.After(time.Second):
	}
	if got := i.Stats().Trades; got != 0 {
		t.Errorf("%d trades acknowledged", got)
	}
	fault.Remove()
	if err := errors.Join(<-done, s.Close(t.Context(), t0+count), end()); err != nil {
		t.Fatal(err)
	}
	log := b.log()
	checkMarks(t, log, func(schema.Trade) string { return s.ID() })
	sameTrades(t, "A", b.trades(log, "A"), sent)
}

// A record that Kafka will never take ends Run with what was refused, and no
// mark is written behind it.
func TestARefusedRecordEndsRun(t *testing.T) {
	fake := testenv.StartFake(t)
	b := newBench(t, fake.Brokers, 1)
	i, end := b.open(ingest.Config{MarkEvery: 2 * time.Millisecond})
	s, err := i.Stream(schemapb.Source_SOURCE_WEBSOCKET, ingest.Symbol{Name: "A", From: t0})
	if err != nil {
		t.Fatal(err)
	}
	s.Progress(10)
	eventually(t, "the first mark", func() bool { return strings.HasSuffix(story(b.log()[0], s.ID()), "mark(10)") })
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed})
	x := trade(1, 15)
	if err := s.Trade([]byte("A"), &x, t0); err != nil {
		t.Fatal(err)
	}
	s.Progress(20)
	eventually(t, "Trade fails", func() bool {
		x := trade(2, 25)
		return errors.Is(s.Trade([]byte("A"), &x, t0), kerr.TopicAuthorizationFailed)
	})
	if err := s.Close(t.Context(), 30); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("Close: %v", err)
	}
	if err := end(); !errors.Is(err, kerr.TopicAuthorizationFailed) || !strings.Contains(err.Error(), "write to "+b.ticks+"/0") {
		t.Errorf("Run: %v", err)
	}
	if got := story(b.log()[0], s.ID()); strings.Contains(got, "mark(20)") || strings.Contains(got, "mark(30)") || strings.Contains(got, "off") {
		t.Errorf("the log tells %s", got)
	}
}

// An end with the broker away is bounded, and says that something may be lost.
func TestTheEndIsBounded(t *testing.T) {
	fake := testenv.StartFake(t)
	b := newBench(t, fake.Brokers, 1)
	i, end := b.open(ingest.Config{CloseWait: 200 * time.Millisecond, BufferBytes: 1 << 20})
	s, err := i.Stream(schemapb.Source_SOURCE_WEBSOCKET, ingest.Symbol{Name: "A", From: t0})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the watch", func() bool { return i.Stats().Records == 1 })
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
	done := make(chan error, 1)
	go func() { // a source that stays blocked
		var err error
		for n := int64(0); err == nil; n++ {
			x := trade(n, t0)
			err = s.Trade([]byte("A"), &x, t0)
		}
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatal(err)
	case <-time.After(300 * time.Millisecond):
	}
	before := time.Now()
	if err := end(); err == nil || !strings.Contains(err.Error(), " trades were not acknowledged by Kafka at "+fake.Brokers+" within 200ms of the end") {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(before); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
	if err := <-done; err == nil {
		t.Error("Trade took more")
	}
}

func TestAfterTheEnd(t *testing.T) {
	b := newBench(t, testenv.StartFake(t).Brokers, 1)
	i, end := b.open(ingest.Config{})
	s, err := i.Stream(schemapb.Source_SOURCE_WEBSOCKET, ingest.Symbol{Name: "A", From: t0})
	if err != nil {
		t.Fatal(err)
	}
	x := trade(1, 15)
	if err := s.Trade([]byte("A"), &x, t0); err != nil {
		t.Fatal(err)
	}
	if err := end(); err != nil { // what was taken before is flushed
		t.Fatal(err)
	}
	if got := b.trades(b.log(), "A"); len(got) != 1 {
		t.Errorf("%d trades", len(got))
	}
	if err := s.Trade([]byte("A"), &x, t0); !errors.Is(err, ingest.ErrEnded) {
		t.Errorf("Trade: %v", err)
	}
	if _, err := i.Stream(schemapb.Source_SOURCE_DUMP); !errors.Is(err, ingest.ErrEnded) {
		t.Errorf("Stream: %v", err)
	}
}
