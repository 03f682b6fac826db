//go:build synctests

package sim

import (
	"fmt"
	"maps"
	"slices"

	"millrace/schema"
)

// windows gives those with trades of a period, by start.
func (o *oracle) windows(l *ledger, p schema.Period) []schema.Candle {
	by := map[schema.Time]*schema.Candle{}
	for _, t := range l.trades {
		start := o.cal.Start(p, t.Time)
		if start <= l.since[p] {
			continue
		}
		if by[start] == nil {
			by[start] = &schema.Candle{Symbol: l.name, Period: p, Start: start}
		}
		by[start].Add(&t)
	}
	var out []schema.Candle
	for _, start := range slices.Sorted(maps.Keys(by)) {
		out = append(out, *by[start])
	}
	return out
}

// rows gives all that is published, by key.
func (o *oracle) rows() map[string]string {
	out := map[string]string{}
	for _, l := range o.symbols {
		for _, p := range o.settings.Periods {
			o.series(l, p, func(c *schema.Candle) { out[key(c)] = line(c) })
		}
	}
	return out
}

func (o *oracle) series(l *ledger, p schema.Period, yield func(*schema.Candle)) {
	published := func(start schema.Time) bool { return start > l.history && start > l.since[p] }
	// highest is the last trade that windows behind it stand on: by its id.
	under, highest, from, known := foot{}, foot{id: -1}, schema.Time(0), false
	if at := l.since[p]; at != schema.MinTime {
		for _, t := range l.trades {
			if o.cal.Start(p, t.Time) <= at && t.Last > highest.id {
				highest = foot{t.Last, t.Price}
			}
		}
		under, from, known = highest, o.cal.End(p, o.cal.Start(p, at)), true
	} else if l.history != schema.MinTime {
		for _, id := range slices.Sorted(maps.Keys(l.anchors)) {
			if a := l.anchors[id]; a.Time == l.history && a.HasPrice {
				under, from, known = foot{a.ID, a.Price}, o.cal.End(p, o.cal.Start(p, a.Time)), true
				break
			}
		}
	}
	empties := func(to schema.Time) {
		if !known || p == schema.P1s && !o.settings.EmptySeconds {
			return
		}
		for s := from; s < to; s = o.cal.End(p, s) {
			if status, ok := o.empty(l, s, o.cal.End(p, s), under.id); ok && published(s) {
				yield(&schema.Candle{Symbol: l.name, Period: p, Start: s, Figures: schema.Empty(under.price), Status: status, Version: schema.EmptyVersion(0, under.id, status)})
			}
		}
	}
	for _, c := range o.windows(l, p) {
		empties(c.Start)
		end := o.cal.End(p, c.Start)
		if l.final(&c, end) {
			c.Status = schema.Final
		} else if l.watermark >= end {
			c.Status = schema.Closed
		}
		c.Missing = c.Last - c.First + 1 - c.Trades
		c.Version = schema.TradesVersion(0, c.Trades, c.Status)
		if published(c.Start) {
			yield(&c)
		}
		if c.Last > highest.id {
			highest = foot{c.Last, c.Close}
		}
		under, from, known = highest, end, true
	}
	empties(l.watermark)
}

func (o *oracle) empty(l *ledger, start, end schema.Time, under int64) (schema.Status, bool) {
	for _, b := range l.breaks {
		if b.from < end && start < b.to {
			return 0, false
		}
	}
	if end <= l.newest && l.emptyProven(start, end) {
		return schema.Final, true
	}
	seen := false
	for _, c := range slices.Backward(l.cover) {
		if c.from <= start {
			seen = end <= c.to
			break
		}
	}
	switch {
	case l.watermark < end || !seen:
		return 0, false
	case l.highest > under:
		return schema.Holed, true
	}
	return schema.Closed, true
}

// gaps tells a symbol's gaps in one line: what is open, what was filled.
func (l *ledger) gaps() string {
	open := map[int64]schema.Time{}
	for id, h := range l.holes {
		if h.open {
			open[id] = h.found
		}
	}
	return gapLine(l.opened, open, l.filled)
}

func gapLine(opened int64, open map[int64]schema.Time, filled map[int64]bool) string {
	return fmt.Sprint(opened, " opened, missing ", open, ", filled ", slices.Sorted(maps.Keys(filled)))
}

func gapSetLine(g *schema.GapSet) string {
	open, filled := map[int64]schema.Time{}, map[int64]bool{}
	for _, x := range g.Gaps {
		for id := x.First; id <= x.Last; id++ {
			if x.Filled == 0 {
				open[id] = x.Found
			} else {
				filled[id] = true
			}
		}
	}
	return gapLine(g.Opened, open, filled)
}

func key(c *schema.Candle) string {
	return string(schema.AppendCandleKey(nil, c.Symbol, c.Period, c.Start))
}

// line is a candle's content.
func line(c *schema.Candle) string {
	return fmt.Sprintf("v%d %v n%d %d..%d o%s h%s l%s c%s v%s q%s tv%s tq%s missing %d", c.Version, c.Status, c.Trades, c.First, c.Last,
		c.Open.Canonical().Append(nil), c.High.Canonical().Append(nil), c.Low.Canonical().Append(nil), c.Close.Canonical().Append(nil),
		c.Volume.Canonical().Append(nil), c.Quote.Canonical().Append(nil), c.TakerVolume.Canonical().Append(nil), c.TakerQuote.Canonical().Append(nil), c.Missing)
}
