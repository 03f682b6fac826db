package state

import (
	"github.com/cockroachdb/pebble/v2"

	"millrace/schema"
)

// Detail is what a state knows of one symbol beside the numbers of its summary.
type Detail struct {
	SymbolSummary
	// Frontier is the id up to which nothing is missing from the lowest on, Highest
	// the highest applied; both −1 before the first.
	Frontier, Highest int64
	History           schema.Time // windows that start at or before it are not published; schema.MinTime if all are
	Status            schema.TradingStatus
	Watching          []string // the ingestors that watch it
}

// Details gives what the view knows of its symbols, by name. It reads no window.
func (v *View) Details() []Detail {
	s := v.Summary()
	out := make([]Detail, len(s.Symbols))
	for i, id := range v.p.ids() { // the summary's order
		y := v.p.byID(id)
		d := Detail{SymbolSummary: s.Symbols[i], Frontier: -1, Highest: y.highest(), History: y.history, Status: y.status}
		if len(y.applied) > 0 {
			d.Frontier = y.applied[0].last
		}
		for j := range y.watches {
			d.Watching = append(d.Watching, y.watches[j].ingestor.id)
		}
		out[i] = d
	}
	return out
}

// Has reports whether the view knows a symbol, and makes a period of it.
func (v *View) Has(name string, period schema.Period) (symbol, made bool) {
	y := v.p.symbols[name]
	if y == nil {
		return false, false
	}
	for _, r := range y.series {
		made = made || r.period == period
	}
	return true, made
}

// Candles gives what the partition publishes for the windows of a period that
// start in [from, to), the oldest first, until yield says false. It looks at most of
// them and says where to go on: to, if it came to the end.
func (v *View) Candles(name string, period schema.Period, from, to schema.Time, most int, yield func(*schema.Candle) bool) (next schema.Time, err error) {
	now := v.p.symbols[name]
	if now == nil {
		return to, nil
	}
	first, end := schema.Time(noTime), schema.Time(noTime)
	for _, y := range now.book.of(now) {
		at, err := v.firstWindow(y, period)
		if err != nil {
			return from, err
		}
		if first == noTime || at != noTime && at < first {
			first = at
		}
		end = max(end, y.newest, y.watermark)
	}
	if end == noTime || first == noTime {
		return to, nil
	}
	at := v.p.cal.Start(period, max(from, first))
	if at < from {
		at = v.p.cal.End(period, at)
	}
	for ; at < to && at <= end; at = v.p.cal.End(period, at) {
		if most--; most < 0 {
			return at, nil
		}
		c, ok, err := v.Candle(name, period, at)
		if err != nil {
			return at, err
		}
		if ok && !yield(&c) {
			return v.p.cal.End(period, at), nil
		}
	}
	return to, nil
}

// firstWindow gives the time from which on a symbol can have windows of a
// period: where the run before the first row begins, or that row; noTime if there
// are none.
func (v *View) firstWindow(y *symbol, period schema.Period) (first schema.Time, err error) {
	first = noTime
	for _, r := range y.series {
		if r.period == period {
			if _, from, known := y.left(v.p.cal, r); known {
				first = from
			}
		}
	}
	it, err := v.snap.NewIter(&pebble.IterOptions{LowerBound: appendSeriesKey(nil, y.id, period), UpperBound: appendSeriesKey(nil, y.id, period+1)})
	if err != nil {
		return first, v.explain(err)
	}
	defer func() { err = v.explain(closeIter(it, err)) }()
	if it.First() {
		if at := windowStart(it.Key()); first == noTime || at < first {
			first = at
		}
	}
	return first, nil
}
