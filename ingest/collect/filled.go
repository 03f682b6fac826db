package collect

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// filledEvery is how often gaps that were filled are looked at.
	filledEvery = time.Second
	// filledAfter is how long a sum of them may wait for more to come.
	filledAfter = 5 * time.Second
)

// filledSum sums up gaps that were filled: a lost connection leaves one for each
// of its symbols, and a line for each would drown all else. The zero one is
// ready.
type filledSum struct {
	mu      sync.Mutex // guards what follows
	gaps    int64
	symbols map[string]bool
	worst   filledGap // that took longest
	last    filledGap
	began   time.Time // when the first of them was filled
	ended   time.Time // and the last
}

// filledGap is a gap that was filled, so long after it was found.
type filledGap struct {
	symbol      string
	first, last int64
	took        time.Duration
}

func (s *filledSum) add(g filledGap, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gaps == 0 {
		s.symbols, s.worst, s.began = map[string]bool{}, g, now
	}
	s.gaps++
	s.symbols[g.symbol] = true
	s.last, s.ended = g, now
	if g.took > s.worst.took {
		s.worst = g
	}
}

// tell logs the sum once no more has come for a while, or some time is over.
func (s *filledSum) tell(log *slog.Logger, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gaps == 0 || now.Sub(s.ended) < filledEvery && now.Sub(s.began) < filledAfter {
		return
	}
	w := &s.worst
	if s.gaps == 1 {
		log.Info("a gap is filled", "symbol", w.symbol, "first", w.first, "last", w.last, "after", w.took.Round(time.Millisecond))
	} else {
		log.Info("gaps are filled", "gaps", s.gaps, "symbols", len(s.symbols), "the last after", s.last.took.Round(time.Millisecond),
			"worst", w.symbol, "first", w.first, "last", w.last, "after", w.took.Round(time.Millisecond))
	}
	s.gaps = 0
}

// tellFilled logs what was filled until ctx ends, and then what is left of it.
func (l *Live) tellFilled(ctx context.Context) error {
	for l.pause(ctx, filledEvery) {
		l.filled.tell(l.Log, time.Now())
	}
	l.filled.tell(l.Log, time.Now().Add(filledAfter))
	return nil
}
