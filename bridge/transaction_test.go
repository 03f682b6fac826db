package bridge

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestTransactions: what was aborted, or not yet committed, is not in NATS; a log
// that ends in a mark is caught up with, and gone on from.
func TestTransactions(t *testing.T) {
	h := newHarness(t)
	writer, err := kgo.NewClient(kgo.SeedBrokers(h.brokers), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	plain := h.producer
	h.producer = writer
	defer func() { h.producer = plain }()
	begin := func() {
		t.Helper()
		if err := writer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
	}
	end := func(how kgo.TransactionEndTry) {
		t.Helper()
		if err := writer.EndTransaction(t.Context(), how); err != nil {
			t.Fatal(err)
		}
		ends, err := kadm.NewClient(writer).ListEndOffsets(t.Context(), h.topic)
		if err != nil {
			t.Fatal(err)
		}
		ends.Each(func(o kadm.ListedOffset) { h.ends[o.Partition] = o.Offset })
	}
	symbols := []string{"AUSDT", "BUSDT", "CUSDT", "DUSDT"}
	first, aborted, second, third := growing(symbols, 0, 20), growing(symbols, 20, 40), growing(symbols, 40, 60), growing(symbols, 60, 80)
	begin()
	h.produce(first...)
	end(kgo.TryCommit)
	b := h.start(h.config())
	b.settled() // though the last of the log is no candle
	begin()
	h.produce(aborted...)
	end(kgo.TryAbort)
	b.settled()
	begin()
	h.produce(second...)
	open := h.stream()
	end(kgo.TryCommit)
	b.settled()
	b.stop()
	if len(open) != len(first)/2 {
		t.Errorf("the stream had %d candles before the commit, wanted %d", len(open), len(first)/2)
	}
	b = h.start(h.config())
	b.settled()
	begin()
	h.produce(third...)
	end(kgo.TryCommit)
	b.settled()
	b.stop()
	checkStream(t, h, slices.Concat(first, second, third))
	if n := b.Stats().Damaged; n != 0 {
		t.Errorf("%d marks were taken for candles", n)
	}
}
