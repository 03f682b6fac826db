package ingest

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"millrace/schema"
)

// lane is what of a stream goes to one partition. What is not atomic belongs
// to the stream's lock.
//
// Records on their way are counted in two generations. A mark begins by taking
// W and flushing, then turns to the other generation: when the count of the
// one before is 0, everything that W speaks of is acknowledged, whatever was
// delivered meanwhile. The next mark begins only after that, so the generation
// it turns to is empty.
type lane struct {
	partition int32
	packers   []*packer
	onWay     [2]atomic.Int64
	gen       uint8
	marking   atomic.Bool // a mark waits for a count to be 0
	ending    atomic.Bool // the stream's end waits for both
	acks      chan struct{}

	pending *schema.Mark // waits for what was flushed before it
	w       schema.Time  // of the last mark, as the next two
	named   []string
	idle    time.Duration // since the last mark, in whole intervals
}

// excepted lists the lane's held symbols; ok is false if they are too many.
func (l *lane) excepted() (names []string, ok bool) {
	for _, p := range l.packers {
		if p.held {
			names = append(names, p.symbol)
		}
	}
	slices.Sort(names)
	return names, len(names) <= maxExcepted
}

// except has the mark that waits to be written name a symbol too: it was begun
// before the symbol was held, or there, and is written after.
func (l *lane) except(symbol string) {
	if m := l.pending; m != nil && !slices.Contains(m.Excepted, symbol) {
		m.Excepted = slices.Sorted(slices.Values(append(slices.Clone(m.Excepted), symbol)))
	}
}

// marks writes the marks of all streams until ctx ends or something fails.
func (i *Ingestor) marks(ctx context.Context) {
	t := time.NewTicker(i.cfg.MarkEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			for _, s := range i.all() {
				s.begin(i.cfg.MarkEvery)
			}
		case <-i.acks:
		case <-ctx.Done():
			return
		case <-i.failed:
			return
		}
		for _, s := range i.all() {
			s.finish()
		}
	}
}

// begin takes W for each lane whose last mark is out, and flushes what W
// speaks of.
func (s *Stream) begin(elapsed time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.usable() != nil || s.down || s.w == schema.MinTime {
		return
	}
	for _, l := range s.lanes {
		if l.pending != nil || len(l.packers) == 0 {
			continue
		}
		l.idle += elapsed
		names, ok := l.excepted()
		if !ok || s.w == l.w && slices.Equal(names, l.named) && l.idle < repeatMark {
			continue
		}
		l.pending = &schema.Mark{Ingestor: s.id, W: s.w, Excepted: names}
		s.flushLane(l)
		l.gen ^= 1
		l.marking.Store(true)
	}
}

// finish produces the marks whose trades are all acknowledged.
func (s *Stream) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.usable() != nil {
		return
	}
	for _, l := range s.lanes {
		m := l.pending
		if m == nil || l.onWay[l.gen^1].Load() != 0 {
			continue
		}
		l.pending = nil
		l.marking.Store(false)
		if err := s.write(l, nil, *m); err != nil {
			s.in.fail(err)
			return
		}
		l.w, l.named, l.idle = m.W, m.Excepted, 0
	}
}
