package double

import (
	"sort"
	"sync/atomic"

	"millrace/schema"
)

// book is one recorded symbol: its trades by id, each once, and the aggregates
// made of them.
type book struct {
	symbol string
	all    []schema.Trade
	aggs   []schema.Trade
	seen   atomic.Int64 // highest id that has happened, plus one; 0 before
}

// build sorts the trades, drops copies and puts the aggregates together.
func (b *book) build() {
	sort.SliceStable(b.all, func(i, j int) bool { return b.all[i].ID < b.all[j].ID })
	n := 0
	for i, t := range b.all {
		if i == 0 || t.ID != b.all[n-1].ID {
			b.all[n] = t
			n++
		}
	}
	b.all = b.all[:n]
	b.aggs = aggregate(nil, b.all)
}

// aggregate puts neighbours of one time, price and side together, as the fills
// of one taker are.
func aggregate(dst, trades []schema.Trade) []schema.Trade {
	for i := range trades {
		t := &trades[i]
		if n := len(dst); n > 0 && i > 0 {
			a := &dst[n-1]
			sum, ok := add(a.Qty, t.Qty)
			if ok && t.ID == a.Last+1 && t.Time == a.Time && t.Price.Cmp(a.Price) == 0 && t.BuyerMaker == a.BuyerMaker {
				a.Last, a.Qty = t.Last, sum
				continue
			}
		}
		dst = append(dst, *t)
	}
	return dst
}

// add sums two quantities.
func add(a, b schema.Decimal) (schema.Decimal, bool) {
	scale := max(a.Scale, b.Scale)
	x, ok1 := a.Rescale(scale)
	y, ok2 := b.Rescale(scale)
	sum := x.Mantissa + y.Mantissa
	return schema.Decimal{Mantissa: sum, Scale: scale}, ok1 && ok2 && sum > 0
}

// happen lets REST know of a trade.
func (b *book) happen(id int64) {
	if id >= b.seen.Load() {
		b.seen.Store(id + 1)
	}
}

// endsAt gives the index of the aggregate whose last trade is id.
func (b *book) endsAt(id int64) (int, bool) {
	i := sort.Search(len(b.aggs), func(i int) bool { return b.aggs[i].Last >= id })
	return i, i < len(b.aggs) && b.aggs[i].Last == id
}

// fills gives the trades of an aggregate.
func (b *book) fills(agg *schema.Trade) []schema.Trade {
	i := sort.Search(len(b.all), func(i int) bool { return b.all[i].ID >= agg.ID })
	n := i
	for n < len(b.all) && b.all[n].ID <= agg.Last {
		n++
	}
	return b.all[i:n]
}

// tradeTape is a book by trade ids.
type tradeTape struct{ *book }

// known gives the trades that have happened.
func (t tradeTape) known() []schema.Trade {
	seen := t.seen.Load()
	return t.all[:sort.Search(len(t.all), func(i int) bool { return t.all[i].ID >= seen })]
}

func (t tradeTape) span() (first, next int64) { return t.all[0].ID, max(t.seen.Load(), t.all[0].ID) }

func (t tradeTape) read(from int64, n int) []schema.Trade {
	all := t.known()
	i := sort.Search(len(all), func(i int) bool { return all[i].ID >= from })
	return all[i:min(len(all), i+n)]
}

func (t tradeTape) find(at schema.Time) int64 {
	all := t.known()
	for _, tr := range all { // times may stand still or even go back: ids rule
		if tr.Time >= at {
			return tr.ID
		}
	}
	_, next := t.span()
	return next
}

// aggTape is a book by the aggregates' ids, which begin at 0.
type aggTape struct{ *book }

func (t aggTape) known() []schema.Trade {
	seen := t.seen.Load()
	return t.aggs[:sort.Search(len(t.aggs), func(i int) bool { return t.aggs[i].Last >= seen })]
}

func (t aggTape) span() (first, next int64) { return 0, int64(len(t.known())) }

func (t aggTape) read(from int64, n int) []schema.Trade {
	all := t.known()
	i := min(max(from, 0), int64(len(all)))
	return all[i:min(int64(len(all)), i+int64(n))]
}

func (t aggTape) find(at schema.Time) int64 {
	all := t.known()
	for i, tr := range all {
		if tr.Time >= at {
			return int64(i)
		}
	}
	return int64(len(all))
}
