package schema

// Figures are what a window knows of its trades. They are a pure function of
// the set of trades: Add and Merge give the same whatever the order. VWAP is
// never kept: it is Quote ÷ Volume where a reader wants it.
type Figures struct {
	First, Last            int64 // lowest and highest trade id
	Trades                 int64
	Open, High, Low, Close Decimal // open and close by lowest and highest id
	Volume                 Sum     // base asset
	Quote                  Sum     // Σ price·qty, quote asset
	TakerVolume            Sum     // base asset, trades whose taker bought (m = false)
	TakerQuote             Sum
}

// Add counts t in. ok is false, and f unchanged, if a sum would overflow.
func (f *Figures) Add(t *Trade) (ok bool) {
	quote, ok := Product(t.Price, t.Qty)
	if !ok {
		return false
	}
	vol, ok1 := f.Volume.Add(SumOf(t.Qty))
	q, ok2 := f.Quote.Add(quote)
	if !ok1 || !ok2 {
		return false
	}
	if !t.BuyerMaker {
		tv, ok1 := f.TakerVolume.Add(SumOf(t.Qty))
		tq, ok2 := f.TakerQuote.Add(quote)
		if !ok1 || !ok2 {
			return false
		}
		f.TakerVolume, f.TakerQuote = tv, tq
	}
	f.Volume, f.Quote = vol, q
	if f.Trades == 0 {
		f.First, f.Last = t.ID, t.Last
		f.Open, f.High, f.Low, f.Close = t.Price, t.Price, t.Price, t.Price
		f.Trades = t.Count()
		return true
	}
	f.Trades += t.Count()
	if t.ID < f.First {
		f.First, f.Open = t.ID, t.Price
	}
	if t.Last > f.Last {
		f.Last, f.Close = t.Last, t.Price
	}
	if t.Price.Cmp(f.High) > 0 {
		f.High = t.Price
	}
	if t.Price.Cmp(f.Low) < 0 {
		f.Low = t.Price
	}
	return true
}

// Merge counts in the trades of o, which must be others than those of f. ok is
// false, and f unchanged, if a sum would overflow.
func (f *Figures) Merge(o *Figures) (ok bool) {
	if o.Trades == 0 {
		return true
	}
	if f.Trades == 0 {
		*f = *o
		return true
	}
	vol, ok1 := f.Volume.Add(o.Volume)
	quote, ok2 := f.Quote.Add(o.Quote)
	tv, ok3 := f.TakerVolume.Add(o.TakerVolume)
	tq, ok4 := f.TakerQuote.Add(o.TakerQuote)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return false
	}
	f.Volume, f.Quote, f.TakerVolume, f.TakerQuote = vol, quote, tv, tq
	f.Trades += o.Trades
	if o.First < f.First {
		f.First, f.Open = o.First, o.Open
	}
	if o.Last > f.Last {
		f.Last, f.Close = o.Last, o.Close
	}
	if o.High.Cmp(f.High) > 0 {
		f.High = o.High
	}
	if o.Low.Cmp(f.Low) < 0 {
		f.Low = o.Low
	}
	return true
}

// Missing gives the number of ids inside the window's range that no trade of
// it has: holes inside. Holes at an edge stand only in the gaps.
func (f *Figures) Missing() int64 {
	if f.Trades == 0 {
		return 0
	}
	return f.Last - f.First + 1 - f.Trades
}
