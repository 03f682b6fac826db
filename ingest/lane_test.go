package ingest

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schema"
	"millrace/schema/schemapb"
)

// held is a producer whose acknowledgements the test gives, in any order.
type held struct {
	kinds []schema.Kind
	acks  []func()
}

func (h *held) produce(_ context.Context, r *kgo.Record, done func(*kgo.Record, error)) {
	var tick schema.Tick
	if err := tick.Decode(r.Value); err != nil {
		panic(err)
	}
	h.kinds = append(h.kinds, tick.Kind)
	h.acks = append(h.acks, func() { done(r, nil) })
}

// A mark is not even produced before all that it promises is acknowledged;
// what is delivered meanwhile does not hold it up. Kafka's own order hides
// this but where a record is refused and a later one is not.
func TestAMarkWaitsForAcknowledgements(t *testing.T) {
	var h held
	i := stub(t, h.produce, 500)
	s, err := i.Stream(schemapb.Source_SOURCE_WEBSOCKET, Symbol{Name: "A", From: 1})
	if err != nil {
		t.Fatal(err)
	}
	deliver := func(id int64) {
		t.Helper()
		x := schema.Trade{ID: id, Last: id, Time: 5, Price: schema.Decimal{Mantissa: 1}, Qty: schema.Decimal{Mantissa: 1}}
		if err := s.Trade([]byte("A"), &x, 1); err != nil {
			t.Fatal(err)
		}
	}
	marks := func(want int) {
		t.Helper()
		s.finish()
		got := 0
		for _, k := range h.kinds {
			if k == schema.KindMark {
				got++
			}
		}
		if got != want {
			t.Fatalf("%d marks after %v, want %d", got, h.kinds, want)
		}
	}
	deliver(1)
	s.Progress(5)
	s.begin(time.Millisecond) // watch and trade are on their way
	deliver(2)
	s.sweep() // and a trade that this mark does not speak of
	marks(0)
	h.acks[1]()
	marks(0)
	s.Progress(6)
	s.begin(time.Millisecond) // one mark at a time
	marks(0)
	h.acks[0]()
	marks(1)

	s.begin(time.Millisecond) // the next waits for the second trade and the mark
	marks(1)
	h.acks[3]()
	marks(1)
	h.acks[2]()
	marks(2)
}

// stub is an ingestor without Kafka.
func stub(t testing.TB, produce func(context.Context, *kgo.Record, func(*kgo.Record, error)), batch int) *Ingestor {
	t.Helper()
	cfg := Config{Partitions: 1, BatchMax: batch}
	cfg.EnsureDefaults()
	i, err := newIngestor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	i.produce = produce
	return i
}

// The way of a trade to Kafka's client allocates nothing: trades are packed
// into memory that comes back with the acknowledgement.
func TestATradeAllocatesNothing(t *testing.T) {
	for _, batch := range []int{1, 10, 500} {
		var records, trades int
		i := stub(t, func(_ context.Context, r *kgo.Record, done func(*kgo.Record, error)) { records++; done(r, nil) }, batch)
		symbols := [][]byte{[]byte("BTCUSDT"), []byte("ETHUSDT"), []byte("XRPETH")}
		s, err := i.Stream(schemapb.Source_SOURCE_WEBSOCKET, Symbol{Name: "BTCUSDT"}, Symbol{Name: "ETHUSDT"}, Symbol{Name: "XRPETH"})
		if err != nil {
			t.Fatal(err)
		}
		x := schema.Trade{Time: 1723000000000000, Price: schema.Decimal{Mantissa: 6012345, Scale: 2}, Qty: schema.Decimal{Mantissa: 12345, Scale: 5}}
		const round = 3000
		deliver := func() {
			for n := range round {
				x.ID++
				x.Last, x.Time, x.Price.Mantissa = x.ID, x.Time+1000, x.Price.Mantissa+int64(n%7-3)
				if err := s.Trade(symbols[n%3], &x, x.Time); err != nil {
					t.Fatal(err)
				}
			}
			s.Progress(x.Time)
			trades += round
		}
		deliver() // grows the buffers
		// The pool may be emptied by the collector: some allocations for
		// 3000 trades are no allocation per trade.
		if n := testing.AllocsPerRun(20, deliver); n > round/100 && !race {
			t.Errorf("batches of %d: %v allocations for %d trades", batch, n, round)
		}
		if records < trades/batch {
			t.Errorf("batches of %d: %d records for %d trades", batch, records, trades)
		}
	}
}
