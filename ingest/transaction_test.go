package ingest_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/ingest"
	"millrace/schema"
)

// TestTheTailEndsInAMark: a log whose last record is a transaction's mark, or
// undecided, is read up to what is committed.
func TestTheTailEndsInAMark(t *testing.T) {
	servers(t, func(t *testing.T, brokers string) {
		b := newBench(t, brokers, 1)
		i, _ := b.open(ingest.Config{})
		client := b.client(kgo.TransactionalID(b.ticks))
		defer client.Close()
		write := func(id int64) {
			t.Helper()
			x := trade(id, t0)
			value, _ := schema.AppendTrades(nil, "BTCUSDT", []schema.Trade{x}, schema.FromStd(time.Now()), 0)
			rec := &kgo.Record{Topic: b.ticks, Key: []byte("BTCUSDT"), Value: value}
			if err := client.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			if err := client.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		end := func(how kgo.TransactionEndTry) {
			t.Helper()
			if err := client.EndTransaction(t.Context(), how); err != nil {
				t.Fatal(err)
			}
		}
		// A broker answers a commit before its mark is in the log.
		tail := func(want int64) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			for got := int64(-1); got != want; {
				last, err := i.Tail(ctx, []string{"BTCUSDT"})
				if err != nil {
					t.Fatalf("the log's last id is %d, wanted %d: %v", got, want, err)
				}
				if got = last["BTCUSDT"].ID; got > want {
					t.Fatalf("the log's last id is %d, which is not committed; wanted %d", got, want)
				}
			}
		}
		write(7)
		end(kgo.TryCommit)
		tail(7)
		write(8)
		end(kgo.TryAbort)
		tail(7)
		write(9)
		tail(7)
		end(kgo.TryCommit)
		tail(9)
	})
}
