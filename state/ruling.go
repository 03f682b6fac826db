package state

import "millrace/schema"

// settle makes the rulings that follow from a record's trades of one symbol.
// It runs after each record, so that the offset at which a window changed does
// not depend on how records were cut into micro-batches.
func (p *Partition) settle(y *symbol) {
	if y.reshaped.from <= y.reshaped.to {
		p.flushDelta(y)
		from, to := y.reshaped.from, y.reshaped.to
		y.reshaped = span{schema.MaxTime, noTime}
		p.transition(y, from, to)
	}
	if now := p.cal.Start(p.base, y.newest); now > y.settled && y.newest != noTime {
		from := y.settled
		y.settled = now
		p.transition(y, from, y.newest)
	}
}

// transition looks again at windows that touch [from, to]: the applied ids
// have changed there.
func (p *Partition) transition(y *symbol, from, to schema.Time) {
	for _, r := range y.series {
		for i := len(r.win) - 1; i >= 0; i-- {
			w := r.win[i]
			if w.start <= to {
				p.rule(y, w)
			}
			if before := y.runStart(p, r, i); before < w.start && before <= to && w.start > from && !w.proven {
				w.proven = p.runProven(y, r, before, w.start)
				w.quiet = p.offset
				r.touch(before, w.start)
			}
			if w.end <= from {
				break
			}
		}
		if start := y.runStart(p, r, len(r.win)); start < to && len(r.win) == 0 {
			r.tail = p.offset
			r.touch(start, to)
		}
	}
}

// rule gives the window the status that it has now.
func (p *Partition) rule(y *symbol, w *window) {
	if s := y.ruling(w); s != w.status {
		w.status = s
		w.changed = p.offset
		w.dirty = true
		p.touch(y)
	}
}

// close makes the rulings that follow from the watermark having risen from old:
// windows whose end it passed are closed, and empty windows are published.
func (p *Partition) close(y *symbol, old schema.Time) {
	now := y.watermark
	for _, r := range y.series {
		for i := len(r.win) - 1; i >= 0; i-- {
			w := r.win[i]
			if w.end <= old {
				break
			}
			if w.end <= now {
				p.rule(y, w)
			}
			if before := y.runStart(p, r, i); before < w.start && before < now && w.start > old && !w.proven {
				w.quiet = p.offset
				r.touch(before, w.start)
			}
		}
		tail := y.runStart(p, r, len(r.win))
		from := tail
		if old != noTime {
			from = max(tail, p.cal.Start(r.period, old))
		}
		if to := p.cal.Start(r.period, now); from < to {
			r.tail = p.offset
			r.touch(from, to)
		}
	}
}
