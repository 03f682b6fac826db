package state

import (
	"slices"
	"testing"

	"millrace/schema"
)

// naive is what a reader of the design would compute from the log with a map of
// trades: no intervals, no deltas, no order of work.
type naive struct {
	trades  map[int64]schema.Trade // by first id, as applied
	ids     map[int64]schema.Time
	late    map[int64]bool // refused because their window was final
	anchors map[int64]schema.Anchor
}

// oracle holds the published candles against the applied trades and, where a
// window is final, against the market itself.
func oracle(t testing.TB, name string, h *harness, log []entry, markets []market) {
	t.Helper()
	refused := map[int64]map[int]bool{}
	for _, d := range h.dead {
		if refused[d.Offset] == nil {
			refused[d.Offset] = map[int]bool{}
		}
		refused[d.Offset][d.Index] = true
	}
	by := map[owned]*naive{}
	at := func(s string, era uint8) *naive {
		o := owned{s, era}
		if by[o] == nil {
			by[o] = &naive{map[int64]schema.Trade{}, map[int64]schema.Time{}, map[int64]bool{}, map[int64]schema.Anchor{}}
		}
		return by[o]
	}
	series := map[string]uint8{} // the era of each symbol's id series at hand
	eraOf := map[int64]uint8{}   // the same, by record
	for off, e := range log {
		switch b := e.body.(type) {
		case schema.NewSeries:
			if !refused[int64(off)][0] {
				series[b.Symbol] = b.Era
			}
		case schema.Anchor:
			n := at(b.Symbol, series[b.Symbol])
			if _, known := n.anchors[b.ID]; !known && !refused[int64(off)][0] { // the first word on a time stands
				n.anchors[b.ID] = b
			}
		case batch:
			era := series[b.symbol]
			eraOf[int64(off)] = era
			if b.repair != 0 {
				if refused[int64(off)][0] { // there is no such repair
					continue
				}
				era = b.repair
			}
			n := at(b.symbol, era)
			for i, tr := range b.trades {
				if refused[int64(off)][i] {
					continue
				}
				if _, ok := n.ids[tr.ID]; ok {
					continue
				}
				n.trades[tr.ID] = tr
				for id := tr.ID; id <= tr.Last; id++ {
					n.ids[id] = tr.Time
				}
			}
		}
	}
	for _, d := range h.dead {
		if d.Reason == TooLate {
			at(d.Symbol, eraOf[d.Offset]).late[d.Trade.ID] = true
		}
	}
	cal := schema.Calendar{}
	all := h.view(0)
	for k, c := range all {
		n := at(c.Symbol, c.Version.Era())
		end := cal.End(c.Period, c.Start)
		want := n.figures(c.Start, end)
		if c.Trades > 0 {
			if want.Volume.Cmp(c.Volume) != 0 || want.Quote.Cmp(c.Quote) != 0 || want.TakerVolume.Cmp(c.TakerVolume) != 0 || want.TakerQuote.Cmp(c.TakerQuote) != 0 ||
				want.Trades != c.Trades || want.First != c.First || want.Last != c.Last || want.Open.Cmp(c.Open) != 0 || want.High.Cmp(c.High) != 0 || want.Low.Cmp(c.Low) != 0 || want.Close.Cmp(c.Close) != 0 {
				t.Fatalf("%s: %s is\n %+v, the applied trades say\n %+v", name, k, c.Figures, want)
			}
		} else if want.Trades != 0 {
			t.Fatalf("%s: %s is published as empty, %d trades were applied", name, k, want.Trades)
		} else if id, price, ok := n.basis(cal, &c); ok && (h.since(&c) == noTime || c.Version.N() < id) && (id != c.Version.N() || price.Cmp(c.Close) != 0) {
			t.Fatalf("%s: %s stands on trade %d at %v, the last before it is %d at %v", name, k, c.Version.N(), c.Close, id, price)
		}
		if final := n.final(c.Start, end); final != (c.Status == schema.Final) {
			t.Fatalf("%s: %s has status %v, by the definition final is %v: %+v", name, k, c.Status, final, c)
		}
		if c.Status == schema.Final {
			var truth int64
			for _, m := range markets {
				own := m.era == c.Version.Era()
				if m.symbol != c.Symbol || !own && (m.repair || h.ofEra(c.Symbol, c.Version.Era()).repair != nil) {
					continue
				}
				for _, tr := range m.trades { // what came before its series began is of the one before
					if _, applied := n.ids[tr.ID]; tr.Time >= c.Start && tr.Time < end && (applied || own && !n.late[tr.ID]) {
						truth++
					}
				}
			}
			if truth != c.Trades {
				t.Fatalf("%s: %s of the era %d is final with %d trades, the market had %d", name, k, c.Version.Era(), c.Trades, truth)
			}
		}
	}
	for _, m := range markets { // every window with applied trades is published
		n := at(m.symbol, m.era)
		y := h.ofEra(m.symbol, m.era)
		if y == nil {
			continue // a repair that was given up
		}
		for _, r := range y.series {
			for _, tr := range n.trades {
				start := cal.Start(r.period, tr.Time)
				probe := schema.Candle{Symbol: m.symbol, Period: r.period, Start: start}
				if _, ok := all[key(&probe)]; !ok && y.published(cal, r, start) {
					t.Fatalf("%s: no candle %s", name, key(&probe))
				}
			}
		}
		if y == h.s.p.symbols[m.symbol] {
			n.gaps(t, name, h, y)
		}
	}
}

// owned is whose a trade is: of an id series, or of a repair.
type owned struct {
	symbol string
	era    uint8
}

// ofEra finds the symbol of an era; nil if there is none.
func (h *harness) ofEra(name string, era uint8) *symbol {
	now := h.s.p.symbols[name]
	for _, y := range slices.Concat(now.book.former, now.book.repairs, []*symbol{now}) {
		if y.era == era {
			return y
		}
	}
	return nil
}

// since gives from when on the candle's period is switched on.
func (h *harness) since(c *schema.Candle) schema.Time {
	for _, r := range h.ofEra(c.Symbol, c.Version.Era()).series {
		if r.period == c.Period {
			return r.since
		}
	}
	return noTime
}

// basis is the last trade before an empty window, the one with the highest id.
// Without one it is the anchor.
func (n *naive) basis(cal schema.Calendar, c *schema.Candle) (id int64, price schema.Decimal, ok bool) {
	id = -1
	for _, tr := range n.trades {
		if tr.Time < c.Start && tr.Last > id {
			id, price, ok = tr.Last, tr.Price, true
		}
	}
	return id, price, ok
}

func (n *naive) figures(start, end schema.Time) (f schema.Figures) {
	for _, tr := range n.trades {
		if tr.Time >= start && tr.Time < end {
			f.Add(&tr)
		}
	}
	return f
}

// final is promise 4, word for word: every id from the trade before its first
// to the trade after its last applied, and that last one at or beyond its end.
func (n *naive) final(start, end schema.Time) bool {
	first, last := int64(-1), int64(-1)
	for id, at := range n.ids {
		if at >= start && at < end {
			if first < 0 || id < first {
				first = id
			}
			last = max(last, id)
		}
	}
	if first < 0 { // empty: it lies between two trades next to each other
		for id, at := range n.ids {
			if at < end {
				continue
			}
			if before, ok := n.ids[id-1]; ok && before < start {
				return true
			}
			if a, ok := n.anchors[id-1]; ok && a.Time < start {
				return true
			}
		}
		return false
	}
	for id := first; id <= last+1; id++ {
		if _, ok := n.ids[id]; !ok {
			return false
		}
	}
	left, right := first == 0, false // times fall a little as ids rise: some trade beside it is meant
	for id := first - 1; !left; id-- {
		at, ok := n.ids[id]
		if a, anchored := n.anchors[id]; !ok && anchored {
			at = a.Time
		} else if !ok {
			break
		}
		left = at < start || id == 0
		if !ok {
			break
		}
	}
	for id := last + 1; !right; id++ {
		at, ok := n.ids[id]
		if !ok {
			break
		}
		right = at >= end
	}
	return left && right
}

// gaps holds the symbol's open gaps against the ids that are missing.
func (n *naive) gaps(t testing.TB, name string, h *harness, y *symbol) {
	t.Helper()
	missing := map[int64]bool{}
	lo, hi := int64(1<<62), int64(-1)
	for id := range n.ids {
		lo, hi = min(lo, id), max(hi, id)
	}
	for id := lo; id <= hi; id++ {
		if _, ok := n.ids[id]; !ok {
			missing[id] = true
		}
	}
	young := map[int64]bool{}
	for i := 1; i < len(y.applied); i++ {
		if v := &y.applied[i]; !v.open {
			for id := y.applied[i-1].last + 1; id < v.first; id++ {
				young[id] = true
			}
			if h.s.p.logTime-v.found >= h.s.p.settings.GapAfter {
				t.Fatalf("%s: hole before %d is %d µs old and no gap", name, v.first, h.s.p.logTime-v.found)
			}
		}
	}
	for _, g := range h.gaps[y.name].Gaps {
		for id := g.First; id <= g.Last; id++ {
			if g.Filled == 0 != missing[id] {
				t.Fatalf("%s: gap %+v, id %d missing: %v", name, g, id, missing[id])
			}
			delete(missing, id)
		}
	}
	for id := range missing {
		if !young[id] {
			t.Fatalf("%s: id %d of %s is missing and stands in no gap", name, id, y.name)
		}
	}
}
