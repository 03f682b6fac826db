package ingest_test

import (
	"errors"
	"slices"
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

// While Kafka acknowledges nothing it is told how much waits and for how long;
// the buffer is bounded by records too, whoever asks for room waits for it, and
// afterwards nothing waits.
func TestWhatWaitsIsTold(t *testing.T) {
	fake := testenv.StartFake(t)
	b := newBench(t, fake.Brokers, 2)
	i, _ := b.open(ingest.Config{BatchMax: 1, BufferBytes: 1 << 20})
	s, err := i.Stream(schemapb.Source_SOURCE_WEBSOCKET, ingest.Symbol{Name: "A", From: t0}, ingest.Symbol{Name: "B", From: t0})
	if err != nil {
		t.Fatal(err)
	}
	idle := func() bool {
		s := i.Stats()
		return s.Records >= 2 && s.Waiting == ingest.Waiting{}
	}
	eventually(t, "the watches", idle)
	fault := fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
	const count = 1536 // of 512 bytes, with what a record needs beside its own: three quarters of the buffer
	for n := range int64(count) {
		i.Room()
		if w := i.Stats().Waiting; w.Full || w.Records != n || w.Trades != n {
			t.Fatalf("after %d trades: %+v", n, w)
		}
		x := trade(n, t0)
		if err := s.Trade([]byte{'A' + byte(n%2)}, &x, t0); err != nil {
			t.Fatal(err)
		}
	}
	w := i.Stats().Waiting
	if !w.Full || w.Bytes < count*10 || w.Bytes > 1<<20 {
		t.Errorf("the full buffer: %+v", w)
	}
	eventually(t, "a second", func() bool { w := i.Stats().Waiting; return w.Oldest > time.Second && w.Silence > time.Second })
	had := make(chan struct{})
	go func() { i.Room(); close(had) }()
	select {
	case <-had:
		t.Error("there was room in a full buffer")
	case <-time.After(100 * time.Millisecond):
	}
	fault.Remove()
	<-had
	eventually(t, "all is acknowledged", idle)
}

// One partition that is stuck is not hidden by the others.
func TestOnePartitionThatWaits(t *testing.T) {
	fake := testenv.StartFake(t)
	b := newBench(t, fake.Brokers, 8)
	i, _ := b.open(ingest.Config{CloseWait: 100 * time.Millisecond}) // it ends with the fault still there
	stuck, other := "A", "B"
	if schema.Partition(stuck, 8) == schema.Partition(other, 8) {
		t.Fatal("both are in one partition")
	}
	s, err := i.Stream(schemapb.Source_SOURCE_WEBSOCKET, ingest.Symbol{Name: stuck, From: t0}, ingest.Symbol{Name: other, From: t0})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the watches", func() bool { return i.Stats().Records == 2 })
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: b.ticks, Partitions: []int32{schema.Partition(stuck, 8)}, Err: kerr.NotEnoughReplicas, Count: -1})
	n := int64(0)
	deliver := func(name string) {
		n++
		x := trade(n, t0)
		if err := s.Trade([]byte(name), &x, t0); err != nil {
			t.Fatal(err)
		}
	}
	deliver(stuck)
	eventually(t, "the other goes on", func() bool {
		deliver(other)
		w := i.Stats().Waiting
		return w.Oldest > time.Second && w.Silence < time.Second/2
	})
}

// With the broker gone the connections' error is told, the end is bounded from
// the moment it began although streams are still to be closed, and it names what
// was not acknowledged.
func TestTheEndNamesWhatWasNotAcknowledged(t *testing.T) {
	fake := testenv.StartFake(t)
	b := newBench(t, fake.Brokers, 1)
	i, end := b.open(ingest.Config{CloseWait: 300 * time.Millisecond, BufferBytes: 1 << 20})
	s, err := i.Stream(schemapb.Source_SOURCE_WEBSOCKET, ingest.Symbol{Name: "A", From: t0})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the watch", func() bool { return i.Stats().Records == 1 })
	fake.Close()
	for n := range int64(3) {
		x := trade(n, t0)
		if err := s.Trade([]byte("A"), &x, t0); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the error", func() bool { return i.Stats().Waiting.Why != nil })
	before := time.Now()
	i.Ending()
	var away *ingest.UnacknowledgedError
	if err := s.Close(t.Context(), t0); !errors.As(err, &away) || away.Trades != 3 || !slices.Equal(away.Brokers, []string{fake.Brokers}) || away.Why == nil {
		t.Errorf("Close: %v", err)
	}
	if err := end(); !errors.As(err, &away) || !strings.HasPrefix(err.Error(), "ingest: 3 trades were not acknowledged by Kafka at "+fake.Brokers+" within 300ms of the end and may be missing in the log: ") {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(before); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
}

// Nobody waits for room once the end has begun.
func TestTheEndNeedsNoRoom(t *testing.T) {
	fake := testenv.StartFake(t)
	b := newBench(t, fake.Brokers, 1)
	i, end := b.open(ingest.Config{CloseWait: 200 * time.Millisecond, BatchMax: 1, BufferBytes: 1 << 20})
	s, err := i.Stream(schemapb.Source_SOURCE_WEBSOCKET, ingest.Symbol{Name: "A", From: t0})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the watch", func() bool { return i.Stats().Records == 1 })
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
	for n := int64(0); !i.Stats().Waiting.Full; n++ {
		x := trade(n, t0)
		if err := s.Trade([]byte("A"), &x, t0); err != nil {
			t.Fatal(err)
		}
	}
	had := make(chan struct{})
	go func() { i.Room(); close(had) }()
	i.Ending()
	<-had
	if err := end(); err == nil {
		t.Error("all is acknowledged")
	}
}

// Reasons of what was refused are counted, and their number is bounded.
func TestReasonsAreCounted(t *testing.T) {
	i := ingest.Stub(t)
	s, err := i.Stream(schemapb.Source_SOURCE_WEBSOCKET)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 100 {
		for _, reason := range []string{"overflow", strings.Repeat("x", 1+n)} {
			if err := s.Refuse("A", reason, []byte("raw"), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := i.Stats()
	sum := int64(0)
	for _, n := range got.Reasons {
		sum += n
	}
	if got.Refused != 200 || sum != 200 || got.Reasons["overflow"] != 100 || len(got.Reasons) > 21 {
		t.Errorf("%d refused: %v", got.Refused, got.Reasons)
	}
}
