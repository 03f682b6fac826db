package state

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/schema"
)

// bench is a partition in steady state, and the values of the records that keep
// it there: 50 symbols of unequal popularity, seven periods.
type bench struct {
	s      *Store
	tick   schema.Tick
	offset int64
	at     schema.Time
	next   []int64
	r      *rand.Rand
}

const benchSymbols = 50

func newBench(tb testing.TB) *bench {
	tb.Helper()
	b := &bench{next: make([]int64, benchSymbols), r: rand.New(rand.NewPCG(1, 2)), at: t0}
	var err error
	if b.s, err = Open(Options{Dir: "state", FS: vfs.NewMem()}, [16]byte{1}, 0); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.s.Close(); err != nil {
			tb.Error(err)
		}
	})
	settings := schema.Settings{}
	settings.EnsureDefaults() // seven periods
	value, err := schema.AppendControl(nil, settings)
	if err != nil {
		tb.Fatal(err)
	}
	b.apply(value)
	return b
}

// record makes the next record, of n trades; a record every 50 µs.
func (b *bench) record(n int) []byte {
	i := min(b.r.IntN(benchSymbols), b.r.IntN(benchSymbols))
	trades := make([]schema.Trade, n)
	for k := range trades {
		b.at += schema.Time(max(1, 50/n))
		id := b.next[i]
		b.next[i]++
		trades[k] = schema.Trade{ID: id, Last: id, Time: b.at,
			Price: schema.Decimal{Mantissa: 6_000_000 + b.r.Int64N(10_000), Scale: 2}, Qty: schema.Decimal{Mantissa: 1 + b.r.Int64N(1_000_000), Scale: 5}, BuyerMaker: b.r.IntN(2) == 0}
	}
	value, _ := schema.AppendTrades(nil, fmt.Sprintf("SYM%02dUSDT", i), trades, b.at, 1)
	return value
}

// apply is what an owner does with a record: decode, hash, apply.
func (b *bench) apply(value []byte) {
	err := b.tick.Decode(value)
	b.s.Partition().Apply(Record{Offset: b.offset, Hash: xxhash.Sum64(value), Appended: b.at}, &b.tick, err)
	b.offset++
}

func (b *bench) commit(tb testing.TB) {
	if _, err := b.s.Commit(); err != nil {
		tb.Fatal(err)
	}
}

// run applies N ticks in records of n, and commits after 50,000 records as an
// owner that drains a backlog does.
func (b *bench) run(tb *testing.B, n int) {
	const chunk = 20_000
	records := make([][]byte, chunk)
	fill := func() {
		for i := range records {
			records[i] = b.record(n)
		}
	}
	fill()
	for _, v := range records {
		b.apply(v)
	}
	b.commit(tb)
	tb.ReportAllocs()
	tb.ResetTimer()
	for done := 0; done < tb.N; done += chunk * n {
		tb.StopTimer()
		fill()
		tb.StartTimer()
		for _, v := range records[:min(chunk, (tb.N-done+n-1)/n)] {
			b.apply(v)
		}
		if len(b.s.Partition().TakeRefusals()) > 0 {
			tb.Fatal("refused")
		}
		tb.StopTimer()
		b.commit(tb)
		tb.StartTimer()
	}
}

func BenchmarkApplyOne(b *testing.B) { newBench(b).run(b, 1) }
func BenchmarkApply100(b *testing.B) { newBench(b).run(b, 100) }

// TestNoAllocationPerTick: decode, hash and apply take memory only where
// something new begins, as a window does.
func TestNoAllocationPerTick(t *testing.T) {
	b := newBench(t)
	for _, n := range []int{1, 100} {
		const records = 500
		values := make([][]byte, 0, 12*records)
		for range cap(values) {
			values = append(values, b.record(n))
		}
		next := 0
		some := func() {
			for range records {
				b.apply(values[next])
				next++
			}
		}
		some() // grows the buffers
		if got := testing.AllocsPerRun(9, some); got > records/10 {
			t.Errorf("%v allocations in %d records of %d trades", got, records, n)
		}
		if d := b.s.Partition().TakeRefusals(); len(d) > 0 {
			t.Errorf("refused: %+v", d[0])
		}
		b.commit(t)
	}
}
