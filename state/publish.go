package state

import "millrace/schema"

// Run is a run of empty windows that are published alike: those of one series
// that start in [From, To). Sinks expand it, in pieces if it is long.
type Run struct {
	Symbol   string
	Period   schema.Period
	From, To schema.Time
	Price    schema.Decimal // the last close before it
	Version  schema.Version
}

// Expand calls yield with the run's candles, in order.
func (r *Run) Expand(cal schema.Calendar, yield func(*schema.Candle) bool) {
	c := schema.Candle{Symbol: r.Symbol, Period: r.Period, Figures: schema.Empty(r.Price), Status: r.Version.Status(), Version: r.Version}
	for c.Start = r.From; c.Start < r.To; c.Start = cal.End(r.Period, c.Start) {
		if !yield(&c) {
			return
		}
	}
}

// Changes are what a micro-batch changed of what the partition publishes, with
// the latest values.
type Changes struct {
	Position Position
	LogTime  schema.Time
	Newest   schema.Time // newest applied trade time of the partition
	Calendar schema.Calendar
	Candles  []schema.Candle
	Runs     []Run
	Gaps     []schema.GapSet
	// Reread: a repair is complete, and all of it has changed: what sinks lack
	// must be read from a View.
	Reread bool
}

// Empty reports whether nothing published has changed.
func (c *Changes) Empty() bool { return !c.Reread && len(c.Candles)+len(c.Runs)+len(c.Gaps) == 0 }

// candle gives what a window publishes.
func (y *symbol) candle(r *series, w *window) schema.Candle {
	c := schema.Candle{
		Symbol: y.name, Period: r.period, Start: w.start, Figures: w.fig,
		Status: w.status, Missing: w.fig.Missing(), Received: w.received,
		Version: schema.TradesVersion(y.era, w.fig.Trades, w.status),
	}
	c.Volume, c.Quote = c.Volume.Canonical(), c.Quote.Canonical()
	c.TakerVolume, c.TakerQuote = c.TakerVolume.Canonical(), c.TakerQuote.Canonical()
	c.Open, c.High, c.Low, c.Close = c.Open.Canonical(), c.High.Canonical(), c.Low.Canonical(), c.Close.Canonical()
	return c
}

// basis is what empty windows stand on: the last trade before them.
type basis struct {
	id    int64
	price schema.Decimal
}

// left gives what a series' first window in the store follows, and from when
// on: the trade before those that it keeps, or the anchor.
func (y *symbol) left(cal schema.Calendar, r *series) (b basis, from schema.Time, ok bool) {
	b, at := r.first, r.since
	if at == noTime {
		o := y.origin()
		if o == nil {
			return basis{}, 0, false
		}
		b, at = basis{o.ID, o.Price}, o.Time
	}
	return b, cal.End(r.period, cal.Start(r.period, at)), true
}

// runs appends the published runs of empty windows of r that start in [from,
// to), within the windows that stand in memory.
func (y *symbol) runs(dst []Run, p *Partition, r *series, from, to schema.Time) []Run {
	if r.period == schema.P1s && !p.settings.EmptySeconds {
		return dst
	}
	for i := 0; i <= len(r.win); i++ {
		if i < len(r.win) && r.win[i].cut {
			continue
		}
		end := max(y.watermark, from)
		if i < len(r.win) {
			end = r.win[i].start
		}
		if end <= from {
			continue
		}
		var b basis
		var start schema.Time
		if i > 0 {
			w := r.win[i-1]
			b, start = w.foot(), w.end
		} else if first, from, ok := y.left(p.cal, r); ok {
			b, start = first, from
		} else {
			continue
		}
		if start >= to {
			break
		}
		dst = y.pieces(dst, p.cal, r, b, max(start, from), min(end, to))
	}
	return dst
}

// pieces appends the published runs of the empty windows that start in [from,
// to), all on one basis.
func (y *symbol) pieces(dst []Run, cal schema.Calendar, r *series, b basis, from, to schema.Time) []Run {
	n := len(dst)
	for s := from; s < to; {
		e := cal.End(r.period, s)
		status, ok := y.emptyRuling(s, e, b.id)
		if ok && y.published(cal, r, s) {
			v := schema.EmptyVersion(y.era, b.id, status)
			if k := len(dst); k > n && dst[k-1].To == s && dst[k-1].Version == v {
				dst[k-1].To = e
			} else {
				dst = append(dst, Run{y.name, r.period, s, e, b.price.Canonical(), v})
			}
		}
		s = e
	}
	return dst
}

// emptyRuling gives the status of the empty window [start, end); ok is false
// if it isn't published.
func (y *symbol) emptyRuling(start, end schema.Time, basis int64) (_ schema.Status, ok bool) {
	switch {
	case y.repair == nil && y.broken(start, end):
		return 0, false
	case y.proven(start, end):
		return schema.Final, true
	case y.watermark < end || !y.covered(start, end):
		return 0, false
	case y.highest() > basis:
		return schema.Holed, true
	}
	return schema.Closed, true
}

// collect gathers what a symbol's micro-batch changed, and forgets that it did.
func (p *Partition) collect(y *symbol, c *Changes) {
	for _, r := range y.series {
		if y.repair != nil { // sinks read it from a View, once it is whole
			r.from, r.to = 0, 0
			continue
		}
		for i := len(r.win) - 1; i >= 0; i-- {
			if w := r.win[i]; w.dirty && y.published(p.cal, r, w.start) {
				c.Candles = append(c.Candles, y.candle(r, w))
			}
		}
		if r.from < r.to {
			c.Runs = y.runs(c.Runs, p, r, r.from, r.to)
			r.from, r.to = 0, 0
		}
	}
	if y.gapsDirty {
		c.Gaps = append(c.Gaps, y.gaps())
		y.gapsDirty = false
	}
}

// freeze drops all windows from memory: nothing changes them any more.
func (y *symbol) freeze() {
	for _, r := range y.series {
		r.win, r.free = nil, nil
	}
}

// cool drops from memory the windows that nothing can change any more: what
// lies from the window before them to the one behind them is proven. The store
// keeps them.
func (y *symbol) cool() {
	for _, r := range y.series {
		n := len(r.win)
		if n < 3 && (n == 0 || !r.win[0].cut) {
			continue
		}
		before := false // the stretch up to window i is proven
		r.drop(func(i int) bool {
			w := r.win[i]
			left := w.cut || i > 0 && before
			before = i+1 < n && w.start > y.history && y.final(w) && (w.end == r.win[i+1].start || y.proven(w.end, r.win[i+1].start))
			return left && before
		})
	}
}
