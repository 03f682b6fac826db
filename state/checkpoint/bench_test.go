package checkpoint

import (
	"flag"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/schema"
)

var (
	benchMB      = flag.Int64("checkpoint-mb", 16, "how many megabytes of state the benchmarks of checkpoints have")
	benchSymbols = flag.Int("checkpoint-symbols", 30, "and how many symbols")
	benchRate    = flag.Int64("checkpoint-rate", 30, "and how many trades a second of the log's time, of all symbols")
)

// grown is a state on a real disk of as many bytes as the flags say.
func grown(b *testing.B) (*world, *Manifest) {
	b.Helper()
	s, err := Open(b.Context(), b.TempDir(), Options{Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	w := newWorld(b, s, vfs.Default, *benchSymbols)
	w.record(schema.Settings{Revision: 2, Periods: []schema.Period{schema.P1s, schema.P1m, schema.P5m, schema.P15m, schema.P1h, schema.P4h, schema.P1d}})
	w.step = 2 * schema.Second / schema.Time(*benchRate)
	var m *Manifest
	for n := 20_000; m == nil || m.Size < *benchMB<<20; n = max(20_000, int(float64(w.offset)*(float64(*benchMB<<20)/float64(m.Size)-1)*0.9)) {
		for range n / 100 {
			w.trade(100)
		}
		m, _ = w.take(false)
	}
	return w, m
}

// BenchmarkTakeBeside commits micro-batches while a checkpoint is taken and
// while none is: what it costs those who don't wait for it.
func BenchmarkTakeBeside(b *testing.B) {
	w, m := grown(b)
	b.ReportMetric(float64(m.Size)/1e6, "MB")
	commits := func(until func(int) bool) (took []time.Duration) {
		for i := 0; !until(i); i++ {
			w.fill(1)
			began := time.Now()
			w.commit()
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		return took
	}
	at := func(took []time.Duration, q float64) float64 {
		return float64(took[min(len(took)-1, int(q*float64(len(took))))].Microseconds())
	}
	alone := commits(func(i int) bool { return i == 5000 })
	var beside []time.Duration
	var copied time.Duration
	b.ResetTimer()
	for range b.N {
		done := make(chan Cost, 1)
		go func() {
			_, c, err := w.taker.Take(b.Context(), true)
			if err != nil {
				b.Error(err)
			}
			done <- c
		}()
		var c Cost
		beside = append(beside, commits(func(int) bool {
			select {
			case c = <-done:
				return true
			default:
				return false
			}
		})...)
		copied = max(copied, c.Copied)
	}
	slices.Sort(beside)
	b.ReportMetric(at(alone, 0.99), "µs-p99-alone")
	b.ReportMetric(at(alone, 1), "µs-max-alone")
	b.ReportMetric(at(beside, 0.99), "µs-p99-beside")
	b.ReportMetric(at(beside, 1), "µs-max-beside")
	b.ReportMetric(float64(copied.Milliseconds()), "ms-copy")
}

// BenchmarkTakeAfterChange takes a checkpoint after a hundredth more trades, in
// micro-batches as they are when the market is live.
func BenchmarkTakeAfterChange(b *testing.B) {
	w, m := grown(b)
	all := 0.0
	for range b.N {
		for range max(1, int(w.offset)/2_000) {
			w.trade(20)
		}
		var c Cost
		m, c = w.take(false)
		all += float64(c.Bytes) / float64(m.Size)
	}
	b.ReportMetric(float64(m.Size)/1e6, "MB")
	b.ReportMetric(100*all/float64(b.N), "%uploaded")
}

// BenchmarkRestore downloads, verifies and checks a checkpoint.
func BenchmarkRestore(b *testing.B) {
	w, m := grown(b)
	b.SetBytes(m.Size)
	b.ResetTimer()
	for range b.N {
		if err := os.RemoveAll(w.want().Scratch); err != nil {
			b.Fatal(err)
		}
		if at, _ := w.restore(); at != m.Offset {
			b.Fatalf("restored %d, wanted %d", at, m.Offset)
		}
	}
	b.ReportMetric(float64(m.Size)/1e6, "MB")
}
