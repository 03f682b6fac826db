package state

import (
	"math/bits"

	"millrace/schema"
)

// delta gathers the trades of one base window (1s, or 1m if no period is
// smaller) until they are merged into the windows of all periods: a trade costs
// one addition, whatever the number of periods. When it is merged makes no
// difference to what comes out.
type delta struct {
	start, end schema.Time
	fig        schema.Figures
	firstOff   int64 // record of its first trade
	lastOff    int64 // record of its last trade
	closeOff   int64 // record of the trade with the highest id
	received   schema.Time
	// roomy: neither the delta nor any window it goes into can overflow while
	// the trades' scales stay within the symbol's.
	roomy bool
}

// Sums below 2^118 at the symbol's scale: two of them add up to less than
// 10^36, where a Sum ends.
const roomyBits = 118

// decimalBits is log2(10), rounded up, in 1/1024.
const decimalBits = 3402

func roomy(s schema.Sum, scale uint8) bool {
	n := 64 - bits.LeadingZeros64(s.Lo)
	if s.Hi != 0 {
		n = 128 - bits.LeadingZeros64(s.Hi)
	}
	return n+(int(scale)-int(s.Scale))*decimalBits>>10 < roomyBits
}

// roomyFor reports whether the windows that hold t have room for any delta.
func (p *Partition) roomyFor(y *symbol, t schema.Time) bool {
	for _, r := range y.series {
		start := p.cal.Start(r.period, t)
		if i := r.find(start); i < len(r.win) && r.win[i].start == start {
			f := &r.win[i].fig
			if !roomy(f.Volume, y.qtyScale) || !roomy(f.Quote, y.priceScale+y.qtyScale) {
				return false
			}
		}
	}
	return true
}

// openDelta begins a delta for the base window that holds t.
func (p *Partition) openDelta(y *symbol, t *schema.Trade, received schema.Time) {
	p.flushDelta(y)
	y.priceScale, y.qtyScale = max(y.priceScale, t.Price.Scale), max(y.qtyScale, t.Qty.Scale)
	d := &y.delta
	*d = delta{firstOff: p.offset, lastOff: p.offset, closeOff: p.offset, received: received}
	d.start = p.cal.Start(p.base, t.Time)
	d.end = p.cal.End(p.base, d.start)
	d.fig.Volume.Scale, d.fig.TakerVolume.Scale = y.qtyScale, y.qtyScale
	d.fig.Quote.Scale, d.fig.TakerQuote.Scale = y.priceScale+y.qtyScale, y.priceScale+y.qtyScale
	d.roomy = p.roomyFor(y, t.Time)
}

// huge reports whether the trade's volume or quote volume may have more than
// 111 bits at the symbol's scales. A delta that is not cramped stays below 2^113
// without such a trade, and so has room in every roomy window.
func (y *symbol) huge(t *schema.Trade) bool {
	digits := int(y.priceScale+y.qtyScale) - int(t.Price.Scale+t.Qty.Scale)
	return bits.Len64(uint64(t.Price.Mantissa))+bits.Len64(uint64(t.Qty.Mantissa))+digits*decimalBits>>10 > 110
}

// count adds a trade, which no ruling refuses, to the figures. It reports false
// where a sum of any period would overflow; nothing is changed then.
func (p *Partition) count(y *symbol, t *schema.Trade, received schema.Time) bool {
	d := &y.delta
	if d.fig.Trades == 0 || t.Time < d.start || t.Time >= d.end || t.Price.Scale > y.priceScale || t.Qty.Scale > y.qtyScale {
		p.openDelta(y, t, received)
	}
	if !d.roomy || (d.fig.Quote.Hi|d.fig.Volume.Hi)>>48 != 0 || y.huge(t) || !d.fig.Add(t) {
		return p.countCramped(y, t, received)
	}
	d.lastOff = p.offset
	if t.Last == d.fig.Last {
		d.closeOff = p.offset
	}
	d.received = received
	return true
}

// countCramped is count where a sum is near its end: the trade is tried on
// every window first.
func (p *Partition) countCramped(y *symbol, t *schema.Trade, received schema.Time) bool {
	p.openDelta(y, t, received)
	for _, r := range y.series {
		var f schema.Figures
		start := p.cal.Start(r.period, t.Time)
		if i := r.find(start); i < len(r.win) && r.win[i].start == start {
			f = r.win[i].fig
		}
		if !f.Add(t) {
			return false
		}
	}
	d := &y.delta
	d.roomy = false
	return d.fig.Add(t)
}

// flushDelta merges what was gathered into the windows of all periods.
func (p *Partition) flushDelta(y *symbol) {
	d := &y.delta
	if d.fig.Trades == 0 {
		return
	}
	for _, r := range y.series {
		start := p.cal.Start(r.period, d.start)
		if start <= r.since {
			p.mergeFirst(y, r)
			continue
		}
		p.mergeDelta(y, r, start)
	}
	d.fig = schema.Figures{}
	p.touch(y)
}

// mergeFirst notes the last trade before the windows that a series keeps.
func (p *Partition) mergeFirst(y *symbol, r *series) {
	d := &y.delta
	if d.fig.Last <= r.first.id {
		return
	}
	r.first = basis{d.fig.Last, d.fig.Close}
	p.raise(y, r, 0, r.first, d.closeOff)
	if _, from, _ := y.left(p.cal, r); len(r.win) == 0 {
		if y.watermark > from {
			r.tail = max(r.tail, d.closeOff)
			r.touch(from, y.watermark)
		}
	} else if w := r.win[0]; from < w.start && !w.cut {
		w.quiet = max(w.quiet, d.closeOff)
		w.proven = p.runProven(y, r, from, w.start)
		r.touch(from, w.start)
	}
}

func (p *Partition) mergeDelta(y *symbol, r *series, start schema.Time) {
	d := &y.delta
	i := r.find(start)
	var w *window
	fresh := i == len(r.win) || r.win[i].start != start
	if !fresh {
		w = r.win[i]
	} else {
		// A new window cuts the run of empty windows that it lies in.
		w = r.insert(i, start, p.cal.End(r.period, start))
		w.quiet = d.firstOff
		r.kept++
		if i > 0 {
			w.top = r.win[i-1].foot()
		} else if r.since != noTime {
			w.top = r.first
		}
		if before := y.runStart(p, r, i); before < start {
			w.proven = p.runProven(y, r, before, start)
			r.touch(before, start)
		}
		p.quietAfter(y, r, i, d.firstOff)
	}
	rises := d.fig.Last > w.fig.Last || w.fig.Trades == 0
	if !w.fig.Merge(&d.fig) {
		// roomy and countCramped exclude it; going on would be a lie.
		panic("state: sum overflow of " + y.name + " after it was ruled out")
	}
	if rises {
		p.quietAfter(y, r, i, d.closeOff) // their basis is the last trade before them
		p.raise(y, r, i+1, w.foot(), d.closeOff)
	}
	if fresh {
		w.status = y.ruling(w)
	}
	w.changed = max(w.changed, d.lastOff)
	w.received = max(w.received, d.received)
	w.dirty = true
}

// raise lets the windows from i on know of a trade before them. Most have a
// higher id themselves: then so have all behind.
func (p *Partition) raise(y *symbol, r *series, i int, b basis, off int64) {
	for ; i < len(r.win) && !r.win[i].cut && r.win[i].foot().id < b.id; i++ {
		r.win[i].top, r.win[i].unsaved = b, true
		p.quietAfter(y, r, i, off)
	}
}

// quietAfter notes that the run of empty windows behind window i has changed.
func (p *Partition) quietAfter(y *symbol, r *series, i int, off int64) {
	w := r.win[i]
	if i+1 < len(r.win) {
		n := r.win[i+1]
		if w.end < n.start && !n.cut {
			n.quiet = max(n.quiet, off)
			n.proven = p.runProven(y, r, w.end, n.start)
			r.touch(w.end, n.start)
		}
		return
	}
	if y.watermark > w.end {
		r.tail = max(r.tail, off)
		r.touch(w.end, y.watermark)
	}
}

// runStart gives the start of the run of empty windows before window i, or that
// window's own start where nothing is known before it.
func (y *symbol) runStart(p *Partition, r *series, i int) schema.Time {
	if i < len(r.win) && r.win[i].cut {
		return r.win[i].start
	}
	if i > 0 {
		return r.win[i-1].end
	}
	if _, from, ok := y.left(p.cal, r); ok {
		return from
	}
	if i < len(r.win) {
		return r.win[i].start
	}
	return schema.MaxTime
}

// runProven reports whether no trade can be missing in the run [from, to).
func (p *Partition) runProven(y *symbol, r *series, from, to schema.Time) bool {
	return y.proven(from, p.cal.End(r.period, from)) && y.proven(p.cal.Start(r.period, to-1), to)
}
