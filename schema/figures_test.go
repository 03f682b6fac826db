package schema

import (
	"math/big"
	"testing"
)

// naive is the figures of a set of trades, computed the slow and plain way.
type naive struct {
	first, last, trades                    int64
	open, high, low, close                 *big.Rat
	volume, quote, takerVolume, takerQuote *big.Rat
}

func naively(trades []Trade) naive {
	n := naive{volume: new(big.Rat), quote: new(big.Rat), takerVolume: new(big.Rat), takerQuote: new(big.Rat)}
	for i := range trades {
		t := &trades[i]
		price, qty := t.Price.rat(), t.Qty.rat()
		quote := new(big.Rat).Mul(price, qty)
		n.volume.Add(n.volume, qty)
		n.quote.Add(n.quote, quote)
		if !t.BuyerMaker {
			n.takerVolume.Add(n.takerVolume, qty)
			n.takerQuote.Add(n.takerQuote, quote)
		}
		if i == 0 || t.ID < n.first {
			n.first, n.open = t.ID, price
		}
		if i == 0 || t.Last > n.last {
			n.last, n.close = t.Last, price
		}
		if i == 0 || price.Cmp(n.high) > 0 {
			n.high = price
		}
		if i == 0 || price.Cmp(n.low) < 0 {
			n.low = price
		}
		n.trades += t.Last - t.ID + 1
	}
	return n
}

func (n *naive) equals(f *Figures) bool {
	if n.trades == 0 {
		return *f == Figures{}
	}
	return f.First == n.first && f.Last == n.last && f.Trades == n.trades &&
		f.Open.rat().Cmp(n.open) == 0 && f.High.rat().Cmp(n.high) == 0 && f.Low.rat().Cmp(n.low) == 0 && f.Close.rat().Cmp(n.close) == 0 &&
		f.Volume.rat().Cmp(n.volume) == 0 && f.Quote.rat().Cmp(n.quote) == 0 &&
		f.TakerVolume.rat().Cmp(n.takerVolume) == 0 && f.TakerQuote.rat().Cmp(n.takerQuote) == 0
}

func TestFiguresWhateverTheOrder(t *testing.T) {
	r := random(t)
	for range 800 {
		trades := randomTrades(r, r.IntN(40), r.IntN(2) == 0, false)
		for i := range trades { // the same values in forms of other scales
			if d, ok := trades[i].Price.Rescale(uint8(r.IntN(MaxScale + 1))); ok && r.IntN(2) == 0 {
				trades[i].Price = d
			}
			if r.IntN(4) == 0 {
				trades[i].Qty = trades[i].Qty.Canonical()
			}
		}
		want := naively(trades)
		shuffle(r, trades)
		parts := make([]Figures, 1+r.IntN(8))
		for i := range trades {
			if !parts[r.IntN(len(parts))].Add(&trades[i]) {
				t.Fatal("a sum overflows that fits")
			}
		}
		for len(parts) > 1 { // merge any two, either way round, until one is left
			shuffle(r, parts)
			last := parts[len(parts)-1]
			if parts = parts[:len(parts)-1]; !parts[0].Merge(&last) {
				t.Fatal("a sum overflows that fits")
			}
		}
		if !want.equals(&parts[0]) {
			t.Fatalf("%+v, want %+v", parts[0], want)
		}
		if got := parts[0].Missing(); want.trades > 0 && got != want.last-want.first+1-want.trades || want.trades == 0 && got != 0 {
			t.Fatalf("%d missing in %+v", got, parts[0])
		}
	}
}

func TestFiguresAfterEmptyWindow(t *testing.T) {
	f := Empty(Decimal{5, 0})
	if f.First != -1 || f.Last != -1 || f.Trades != 0 || f.Missing() != 0 || f.Low != f.Open || f.Close != (Decimal{5, 0}) {
		t.Fatalf("%+v", f)
	}
	trade := Trade{ID: 7, Last: 9, Time: 1, Price: Decimal{2, 0}, Qty: Decimal{3, 0}}
	want := naively([]Trade{trade})
	g := f
	if !f.Add(&trade) || !want.equals(&f) {
		t.Errorf("Add to an empty window gives %+v", f)
	}
	if !g.Merge(&f) || !want.equals(&g) {
		t.Errorf("Merge into an empty window gives %+v", g)
	}
	before := g
	if e := Empty(Decimal{1, 0}); !g.Merge(&e) || g != before {
		t.Errorf("an empty window changes %+v into %+v", before, g)
	}
}

func TestFiguresOverflowChangesNothing(t *testing.T) {
	limit := Sum{sumLimitHi, sumLimitLo - 1, 0} // 10^36 − 1
	one := Trade{ID: 2, Last: 2, Time: 1, Price: Decimal{1, 0}, Qty: Decimal{1, 0}}
	sell := one
	sell.BuyerMaker = true
	tiny := Trade{ID: 2, Last: 2, Time: 1, Price: Decimal{1, 12}, Qty: Decimal{1, 12}}
	huge := Trade{ID: 2, Last: 2, Time: 1, Price: Decimal{1<<63 - 1, 0}, Qty: Decimal{1<<63 - 1, 0}}
	base := Figures{First: 1, Last: 1, Trades: 1, Open: one.Price, High: one.Price, Low: one.Price, Close: one.Price}
	for _, c := range []struct {
		name  string
		set   func(*Figures)
		trade Trade
		fits  bool
	}{
		{"volume", func(f *Figures) { f.Volume = limit }, sell, false},
		{"quote", func(f *Figures) { f.Quote = limit }, sell, false},
		{"taker volume", func(f *Figures) { f.TakerVolume = limit }, one, false},
		{"taker quote", func(f *Figures) { f.TakerQuote = limit }, one, false},
		{"taker sums of a sale", func(f *Figures) { f.TakerVolume, f.TakerQuote = limit, limit }, sell, true},
		{"decimals", func(f *Figures) { f.Quote = limit }, tiny, false},
		{"product", func(*Figures) {}, huge, false},
		{"none", func(*Figures) {}, one, true},
	} {
		f := base
		c.set(&f)
		before := f
		if ok := f.Add(&c.trade); ok != c.fits || !ok && f != before {
			t.Errorf("%s: Add %v, from %+v to %+v", c.name, ok, before, f)
		}
		var o Figures
		if o.Add(&c.trade) { // alone it fits, but for the product
			f = before
			if ok := f.Merge(&o); ok != c.fits || !ok && f != before {
				t.Errorf("%s: Merge %v, from %+v to %+v", c.name, ok, before, f)
			}
		} else if (o != Figures{}) {
			t.Errorf("%s: refused, and leaves %+v", c.name, o)
		}
	}
}

func TestVWAP(t *testing.T) {
	var c Candle
	if _, ok := c.VWAP(); ok {
		t.Error("a window without trades has a VWAP")
	}
	for i, price := range []int64{10, 11, 11} {
		c.Add(&Trade{ID: int64(i), Last: int64(i), Time: 1, Price: Decimal{price, 0}, Qty: Decimal{1, 0}})
	}
	if got, ok := c.VWAP(); !ok || got.String() != "10.666666666667" {
		t.Errorf("VWAP %v, %v", got, ok)
	}
}

func TestFiguresAllocateNothing(t *testing.T) {
	r := random(t)
	trades := randomTrades(r, 100, true, false)
	var a, b Figures
	for i := range trades[:50] {
		b.Add(&trades[i])
	}
	ok := true
	noAllocs(t, "Add and Merge", func() {
		a = Figures{}
		for i := range trades[50:] {
			ok = a.Add(&trades[50+i]) && ok
		}
		ok = a.Merge(&b) && ok
	})
	if want := naively(trades); !ok || !want.equals(&a) {
		t.Errorf("%+v", a)
	}
}
