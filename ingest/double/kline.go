package double

import (
	"strconv"

	"millrace/schema"
)

// maxKlineTrades bounds the trades that one answer of klines is made of.
const maxKlineTrades = 2_000_000

// serveKlines makes candles of the trades themselves, one after the other.
// Windows before the first trade are absent, and so are those in a BREAK or
// CANCEL_ONLY; others without trades repeat the close before them, and the last
// one is still open.
func (d *Double) serveKlines(c *call) {
	t := d.tape(c, false)
	name := c.needs("interval")
	n, from, end := c.limit(), c.moment("startTime"), c.moment("endTime")
	if c.failed {
		return
	}
	p, err := schema.ParsePeriod(name)
	if err != nil {
		c.fail(-1120, "Invalid interval.")
		return
	}
	c.text("[")
	first, _ := t.span()
	rows := t.read(first, 1)
	if len(rows) > 0 {
		absent := func(schema.Time, schema.Time) bool { return false }
		if h := d.market.hours(c.query.Get("symbol")); h != nil {
			absent = func(from, to schema.Time) bool { return h.within(from, to, broken, cancelOnly) }
		}
		windows := klineWindows(p, rows[0].Time, d.market.now(), from, end, n, absent)
		if !c.klines(t, p, windows) {
			c.fail(-1127, "Lookup interval is too big.")
			return
		}
	}
	c.text("]")
}

// klineWindows gives the starts of the wanted windows: with a start the oldest
// from there, else the newest up to the end. A start is rounded up to a window,
// an end down. Absent ones are passed over.
func klineWindows(p schema.Period, first, now, from, end schema.Time, n int, absent func(from, to schema.Time) bool) []schema.Time {
	var cal schema.Calendar
	oldest, newest := cal.Start(p, first), cal.Start(p, now)
	if end >= 0 && end < now {
		newest = cal.Start(p, end)
	}
	var starts []schema.Time
	if from >= 0 {
		at := cal.Start(p, max(from, oldest))
		if at < from {
			at = cal.End(p, at)
		}
		for ; at <= newest && len(starts) < n; at = cal.End(p, at) {
			if !absent(at, cal.End(p, at)) {
				starts = append(starts, at)
			}
		}
		return starts
	}
	for at := newest; at >= oldest && len(starts) < n; at = cal.Start(p, at-1) {
		if !absent(at, cal.End(p, at)) {
			starts = append(starts, at)
		}
	}
	for i, j := 0, len(starts)-1; i < j; i, j = i+1, j-1 {
		starts[i], starts[j] = starts[j], starts[i]
	}
	return starts
}

// klines writes one row per window; false where that takes too many trades.
func (c *call) klines(t tape, p schema.Period, starts []schema.Time) bool {
	if len(starts) == 0 {
		return true
	}
	var cal schema.Calendar
	id := t.find(starts[0])
	if last := t.find(cal.End(p, starts[len(starts)-1])); last-id > maxKlineTrades {
		return false
	}
	var before schema.Decimal
	if b := t.read(id-1, 1); len(b) == 1 && b[0].ID < id {
		before = b[0].Price
	}
	var page []schema.Trade
	for i, start := range starts {
		end := cal.End(p, start)
		f := schema.Empty(before)
		for {
			if len(page) == 0 {
				if page = t.read(id, 1000); len(page) == 0 {
					break
				}
			}
			if page[0].Time >= end {
				break
			}
			if page[0].Time >= start {
				f.Add(&page[0])
			} else { // of a window that is absent
				f = schema.Empty(page[0].Price)
			}
			id = page[0].ID + 1
			page = page[1:]
		}
		before = f.Close
		if i > 0 {
			c.text(",")
		}
		c.kline(start, end, &f)
	}
	return true
}

func (c *call) kline(start, end schema.Time, f *schema.Figures) {
	unit := schema.Millisecond
	if c.micros {
		unit = 1
	}
	c.text("[")
	c.appendTime(start)
	for _, p := range [...]schema.Decimal{f.Open, f.High, f.Low, f.Close} {
		c.text(`,"`)
		c.body = append(appendDecimal(c.body, p), '"')
	}
	c.text(`,"`)
	c.body = append(appendSum(c.body, f.Volume), `",`...)
	c.appendTime(end - unit)
	c.text(`,"`)
	c.body = append(appendSum(c.body, f.Quote), `",`...)
	c.body = strconv.AppendInt(c.body, f.Trades, 10)
	for _, s := range [...]schema.Sum{f.TakerVolume, f.TakerQuote} {
		c.text(`,"`)
		c.body = append(appendSum(c.body, s), '"')
	}
	c.text(`,"0"]`)
}

// appendSum pads to 8 decimals, and keeps more where there are more.
func appendSum(dst []byte, s schema.Sum) []byte {
	s = s.Canonical()
	dst = s.Append(dst)
	if s.Scale == 0 {
		dst = append(dst, '.')
	}
	for n := s.Scale; n < 8; n++ {
		dst = append(dst, '0')
	}
	return dst
}
