package state

import (
	"fmt"
	"slices"

	"millrace/schema"
)

// ingestor is one process of `millrace ingest`, as far as the log speaks of it.
// It is known while it watches a symbol of the partition.
type ingestor struct {
	id       string
	w        schema.Time // its newest promise; only rises
	watching int         // how many symbols
	excepted []*symbol   // named by its last mark
}

// forgottenAfter is how far an ingestor may be behind another one that watches
// the same symbol before its watch is dropped: it was killed and said no word.
// It is not below any alive bound that Settings allow.
const forgottenAfter = schema.Hour

func (p *Partition) applyWatch(w *schema.Watch) {
	if w.On && w.From > p.logTime+p.settings.FutureBound {
		p.refuse(0, w.Symbol, Future, fmt.Sprintf("watch from %v", w.From), nil)
		return
	}
	y := p.lookup([]byte(w.Symbol))
	p.touch(y)
	// Rulings that were made stand: neither a break nor its end begins before
	// what was promised or traded. (From is the watch's, not the status'.)
	y.setStatus(w.Status, max(w.From, y.watermark, y.newest))
	i := slices.IndexFunc(y.watches, func(x watch) bool { return x.ingestor.id == w.Ingestor })
	switch {
	case w.On && i < 0:
		g := p.ingestors[w.Ingestor]
		if g == nil {
			g = &ingestor{id: w.Ingestor, w: noTime}
			p.ingestors[g.id] = g
		}
		g.watching++
		y.watches = append(y.watches, watch{ingestor: g, from: max(w.From, 0)})
	case w.On: // it was away: what it saw before is in the cover already
		y.watches[i].from = max(w.From, 0)
	case !w.On && i >= 0:
		p.unwatch(y, i)
	}
}

// unwatch takes the symbol's watch i off.
func (p *Partition) unwatch(y *symbol, i int) {
	g := y.watches[i].ingestor
	y.watches = slices.Delete(y.watches, i, i+1)
	if g.watching--; g.watching == 0 {
		delete(p.ingestors, g.id)
	}
	g.excepted = slices.DeleteFunc(g.excepted, func(x *symbol) bool { return x == y })
}

// applyMark takes an ingestor's promise in. A symbol's watermark is the lowest
// promise of the living ingestors that watch it.
func (p *Partition) applyMark(m *schema.Mark) {
	if m.W > p.logTime+p.settings.FutureBound {
		p.refuse(0, "", Future, fmt.Sprintf("mark of ingestor %s promises %v, more than %d s after it was appended to the log: its clock is wrong",
			m.Ingestor, m.W, p.settings.FutureBound/schema.Second), nil)
		return
	}
	g := p.ingestors[m.Ingestor]
	if g == nil {
		return // it watches nothing here
	}
	before := g.w
	moved := p.except(g, m.Excepted)
	if m.W > before {
		g.w = m.W
	}
	if !moved && p.cal.Start(p.base, g.w) == p.cal.Start(p.base, before) {
		return
	}
	for _, y := range p.symbols {
		if y.watchOf(g) != nil {
			p.advance(y)
		}
	}
}

// except holds the watches that a mark names at the promise before it, and
// lets go of those that it no longer names. It reports whether any was let go.
func (p *Partition) except(g *ingestor, names []string) (released bool) {
	if len(names) == 0 && len(g.excepted) == 0 {
		return false
	}
	now := make([]*symbol, 0, len(names))
	for _, name := range names {
		if y := p.symbols[name]; y != nil && y.watchOf(g) != nil && !slices.Contains(now, y) {
			now = append(now, y)
		}
	}
	for _, y := range now {
		if w := y.watchOf(g); !w.excepted {
			w.excepted, w.held = true, g.w
			p.touch(y)
		}
	}
	for _, y := range g.excepted {
		if !slices.Contains(now, y) {
			if w := y.watchOf(g); w != nil {
				w.excepted = false
				p.touch(y)
				released = true
			}
		}
	}
	g.excepted = now
	return released
}

func (y *symbol) watchOf(g *ingestor) *watch {
	for i := range y.watches {
		if y.watches[i].ingestor == g {
			return &y.watches[i]
		}
	}
	return nil
}

// advance brings the symbol's watermark up to what its watchers promise now.
// Who lives is judged among them alone: a file of years ago that is read beside
// a live connection is neither dead nor in the way.
func (p *Partition) advance(y *symbol) {
	if y.stopped { // what came since was refused: nothing can be said of it
		return
	}
	highest := noTime
	for i := range y.watches {
		highest = max(highest, y.watches[i].ingestor.w)
	}
	low, from := schema.MaxTime, schema.MaxTime
	for i := 0; i < len(y.watches); i++ {
		w := &y.watches[i]
		promise := w.ingestor.w
		if promise < highest-forgottenAfter && promise != noTime {
			p.touch(y)
			p.unwatch(y, i)
			i--
			continue
		}
		if promise < highest-p.settings.AliveBound {
			continue
		}
		if w.excepted {
			promise = w.held
		}
		low, from = min(low, promise), min(from, w.from)
	}
	if low == schema.MaxTime || low <= y.watermark {
		return
	}
	mark := p.cal.Start(p.base, low)
	if mark <= y.watermark {
		return
	}
	p.touch(y)
	p.flushDelta(y)
	old := y.watermark
	y.watermark = mark
	if n := len(y.cover); n > 0 && from <= y.cover[n-1].to {
		y.cover[n-1].to = mark
	} else if from < mark {
		y.cover = append(y.cover, span{from, mark})
		if len(y.cover) > maxSpans {
			y.cover = slices.Delete(y.cover, 0, 1)
		}
	}
	p.close(y, old)
}
