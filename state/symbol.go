package state

import (
	"slices"

	"millrace/schema"
	"millrace/schema/schemapb"
)

// symbol is all that is known of one symbol.
type symbol struct {
	name string
	id   string // its name in the store: see book
	book *book
	era  uint8
	// granted is the highest era that the name was given; of the id series at
	// hand.
	granted uint8
	former  bool    // its id series has ended
	repair  *repair // of a repair
	gone    bool    // dropped; its rows leave the store with this micro-batch
	// Of an id series that is not the first: no trade up to begins is of it, and
	// windows that start up to floor belong to those before. before is how many
	// ids these had applied.
	begins, floor schema.Time
	before        int64
	// sealed: no trade is taken any more whose time lies before it.
	sealed schema.Time

	stopped bool // a new id series was met: nothing is applied until the log says so
	applied intervals
	count   int64 // applied ids
	newest  schema.Time
	// history: windows that start at or before it are not published.
	history schema.Time
	anchors []schema.Anchor // by id

	watches   []watch
	watermark schema.Time // rounded down to the base
	cover     []span      // time in which somebody watched the symbol trade
	breaks    []span      // time in which the exchange made no data
	status    schema.TradingStatus

	opened     int64 // rises with each change of the gaps that count does not tell
	filled     []schema.Gap
	gapChanged int64

	series  []*series       // one a period, in the order of the settings
	dropped []schema.Period // whose windows leave the store with this micro-batch
	delta   delta

	// What this micro-batch has touched.
	dirty, gapsDirty bool
	settled          schema.Time // newest time up to which rulings on finality were made
	reshaped         span        // time in which the intervals changed otherwise than at their end
	// The most decimals seen, to know when sums cannot overflow. Not stored.
	priceScale, qtyScale uint8
}

// watch is one ingestor's watch of a symbol.
type watch struct {
	ingestor *ingestor
	from     schema.Time
	excepted bool // it is filling a hole: held instead of its W
	held     schema.Time
}

// span is the time [from, to).
type span struct{ from, to schema.Time }

const (
	noTime    = schema.MinTime
	maxFilled = 1000 // filled gaps remembered for a symbol
	maxSpans  = 256  // spans of cover and break remembered for a symbol
)

func newSymbol(name string, s *schema.Settings) *symbol {
	y := &symbol{name: name, id: name, book: &book{}, begins: noTime, floor: noTime, sealed: noTime, newest: noTime, history: noTime, watermark: noTime, settled: noTime}
	y.reshaped = span{schema.MaxTime, noTime}
	for _, p := range s.Periods {
		y.series = append(y.series, &series{period: p, since: noTime})
	}
	return y
}

// highest gives the highest applied id, or −1.
func (y *symbol) highest() int64 {
	if n := len(y.applied); n > 0 {
		return y.applied[n-1].last
	}
	return -1
}

// proven reports whether a stretch of time [start, end) without trades cannot
// miss one: all ids from one before it to one at or beyond its end are applied.
// An interval that begins at id 0 or right behind an anchor is proven on its
// left.
func (y *symbol) proven(start, end schema.Time) bool {
	if end > y.newest {
		return false
	}
	for i := len(y.applied) - 1; i >= 0; i-- {
		v := &y.applied[i]
		if v.maxT >= end && (v.minT < start || v.first == 0 || y.anchored(v.first-1, start)) {
			return true
		}
	}
	return false
}

// final is proven for a window with trades: among the ids are also those right
// before its first trade and right behind its last.
func (y *symbol) final(w *window) bool {
	if w.end > y.newest {
		return false
	}
	for i := len(y.applied) - 1; i >= 0; i-- {
		v := &y.applied[i]
		if v.first > w.fig.First {
			continue
		}
		return v.last > w.fig.Last && v.maxT >= w.end &&
			(v.first < w.fig.First && v.minT < w.start || v.first == 0 || y.anchored(v.first-1, w.start))
	}
	return false
}

// anchored reports whether an anchor with this id lies before start.
func (y *symbol) anchored(id int64, start schema.Time) bool {
	for i := range y.anchors {
		if y.anchors[i].ID == id {
			return y.anchors[i].Time < start
		}
	}
	return false
}

// ruling gives the status of a window with trades.
func (y *symbol) ruling(w *window) schema.Status {
	switch {
	case y.final(w):
		return schema.Final
	case y.watermark >= w.end || y.former: // nothing more comes to what has ended
		return schema.Closed
	}
	return schema.Live
}

// covered reports whether somebody watched all of [start, end).
func (y *symbol) covered(start, end schema.Time) bool {
	for i := len(y.cover) - 1; i >= 0; i-- {
		if y.cover[i].from <= start {
			return end <= y.cover[i].to
		}
	}
	return false
}

// broken reports whether the exchange made no data in some of [start, end).
func (y *symbol) broken(start, end schema.Time) bool {
	for _, b := range y.breaks {
		if b.from < end && start < b.to {
			return true
		}
	}
	return false
}

// origin is the anchor that begins the symbol's history, if its price is known.
func (y *symbol) origin() *schema.Anchor {
	if y.history == noTime || len(y.anchors) == 0 {
		return nil
	}
	for i := range y.anchors {
		if a := &y.anchors[i]; a.Time == y.history && a.HasPrice {
			return a
		}
	}
	return nil
}

// addAnchor takes an anchor in. It says from which time on more is published
// or proven than before, and whether anything changed.
func (y *symbol) addAnchor(a schema.Anchor) (from schema.Time, changed bool) {
	i, found := slices.BinarySearchFunc(y.anchors, a.ID, func(x schema.Anchor, id int64) int {
		switch {
		case x.ID < id:
			return -1
		case x.ID > id:
			return 1
		}
		return 0
	})
	if found {
		if y.anchors[i].HasPrice || !a.HasPrice || y.anchors[i].Time != a.Time {
			return 0, false // known; the first word on a time stands
		}
		y.anchors[i] = a
	} else if y.applied.overlap(a.ID, a.ID) > 0 && a.Time >= y.history {
		return 0, false // its place is among applied ids: it proves nothing
	} else {
		y.anchors = slices.Insert(y.anchors, i, a)
	}
	// History begins with its first anchor, and moves back for an earlier one.
	// A symbol that began without an anchor keeps all it has.
	if len(y.applied) == 0 && y.history == noTime || y.history != noTime && a.Time < y.history {
		y.history = a.Time
	}
	return a.Time, true
}

// setStatus notes a change of the trading status from a time on.
func (y *symbol) setStatus(s schema.TradingStatus, from schema.Time) {
	silent := func(s schema.TradingStatus) bool {
		return s == schemapb.TradingStatus_TRADING_STATUS_BREAK || s == schemapb.TradingStatus_TRADING_STATUS_DELISTED
	}
	if s == schemapb.TradingStatus_TRADING_STATUS_UNKNOWN || s == y.status {
		return
	}
	if silent(s) && !silent(y.status) {
		y.breaks = append(y.breaks, span{from, schema.MaxTime})
	}
	if n := len(y.breaks); !silent(s) && n > 0 && y.breaks[n-1].to == schema.MaxTime {
		y.breaks[n-1].to = max(from, y.breaks[n-1].from)
	}
	if len(y.breaks) > maxSpans {
		y.breaks = slices.Delete(y.breaks, 0, 1)
	}
	y.status = s
}

// gaps gives the symbol's gaps: open ones and those filled, by id.
func (y *symbol) gaps() schema.GapSet {
	g := schema.GapSet{Symbol: y.name, Applied: y.before + y.count, Opened: y.opened, Era: y.era, Granted: y.granted, Sealed: max(y.sealed, 0), Changed: y.gapChanged}
	for _, q := range y.book.repairs {
		if q.repair.shown >= 0 {
			g.Repaired = q.era
		}
	}
	g.Gaps = append(g.Gaps, y.filled...)
	for i := 1; i < len(y.applied); i++ {
		l, r := &y.applied[i-1], &y.applied[i]
		if r.open {
			why := schema.GapHole
			if r.minT < y.sealed {
				why = schema.GapSealed
			}
			g.Gaps = append(g.Gaps, schema.Gap{First: l.last + 1, Last: r.first - 1, After: l.maxT, Before: r.minT, Found: r.found, Reason: why})
		}
	}
	slices.SortFunc(g.Gaps, func(a, b schema.Gap) int { return int(min(1, max(-1, a.First-b.First))) })
	return g
}

// fill notes that ids of an open gap have come.
func (y *symbol) fill(first, last int64, t, found, now schema.Time) {
	for i := len(y.filled) - 1; i >= 0; i-- { // a fill comes id by id: one row for a stretch
		f := &y.filled[i]
		if f.Found == found && f.Last+1 == first {
			f.Last, f.Before, f.Filled = last, max(f.Before, t), max(f.Filled, now)
			return
		}
		if f.Found == found && last+1 == f.First {
			f.First, f.After, f.Filled = first, min(f.After, t), max(f.Filled, now)
			return
		}
	}
	y.filled = append(y.filled, schema.Gap{First: first, Last: last, After: t, Before: t, Found: found, Filled: now, Reason: schema.GapHole})
	if len(y.filled) > maxFilled {
		y.filled = slices.Delete(y.filled, 0, 1)
	}
}
