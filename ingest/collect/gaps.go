package collect

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"millrace/schema"
)

// gapSets are what the processor tells of gaps: the newest set of each symbol.
type gapSets struct {
	mu  sync.Mutex // guards what follows
	set map[string]schema.GapSet
}

// foreignEvery is how often what the processor misses is looked at, and
// foreignRetry the least time before a filled stretch that is still told as
// open is fetched again: it takes as long until it is in the log and in state.
const (
	foreignEvery = time.Second
	foreignRetry = 15 * time.Second
)

// gaps fetches what the processor misses or has refused: a record lost by the
// broker, an aggregate that straddled, what nobody collected. As single trades,
// since these always fit.
func (l *Live) gaps(ctx context.Context) error {
	known := &gapSets{set: map[string]schema.GapSet{}}
	done := make(chan error, 1)
	go func() {
		done <- l.Ingestor.Gaps(ctx, func(s schema.GapSet) {
			known.mu.Lock()
			known.set[s.Symbol] = s
			known.mu.Unlock()
		})
	}()
	tick := time.NewTicker(foreignEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case err := <-done:
			return err
		}
		open := 0
		for _, g := range l.all() {
			for _, name := range g.names() {
				known.mu.Lock()
				set, ok := known.set[name]
				known.mu.Unlock()
				if ok {
					if err := l.follows(ctx, g, &set); err != nil {
						return err
					}
					open += g.foreign(set)
				}
			}
		}
		known.mu.Lock()
		for _, name := range l.left() { // nobody fills them any more, and they are open all the same
			if set, ok := known.set[name]; ok {
				for _, x := range set.Gaps {
					if x.Filled == 0 && x.Reason != schema.GapSealed {
						open++
					}
				}
			}
		}
		known.mu.Unlock()
		l.stats.open.Store(int64(open))
	}
}

// left gives the symbols that were collected and are gone.
func (l *Live) left() (names []string) {
	l.mu.Lock()
	gone := slices.Clone(l.gone)
	l.mu.Unlock()
	here := map[string]bool{}
	for _, g := range l.all() {
		for _, name := range g.names() {
			here[name] = true
		}
	}
	for _, name := range gone {
		if !here[name] && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// foreign takes the open gaps of a set as holes, and gives their number.
func (g *group) foreign(set schema.GapSet) (open int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	y := g.series[set.Symbol]
	if y == nil || !g.up || set.Era < y.era {
		return 0
	}
	now := time.Now()
	told := map[int64]bool{}
	for _, x := range set.Gaps {
		if x.Filled != 0 || x.Reason == schema.GapSealed {
			continue
		}
		open++
		if x.Last >= y.next {
			continue // not seen by this process yet: a hole of its own, if any
		}
		told[x.First] = true
		was := y.sent[x.First]
		if y.holes.missing(x.First, x.Last) > 0 || now.Sub(was.at) < foreignRetry<<min(was.tries, 8) && was.tries > 0 {
			continue
		}
		if was.tries == 0 && was.at.IsZero() {
			// Of several ingestors that read this one may be quick enough.
			y.sent[x.First] = sent{at: now.Add(time.Duration(rand.Int64N(int64(foreignEvery))))}
			continue
		}
		if was.at.After(now) {
			continue
		}
		y.sent[x.First] = sent{now, was.tries + 1}
		y.found++
		y.holes.add(hole{first: x.First, last: x.Last, after: x.After, before: x.Before, cursor: -1, singles: true, foreign: true, due: now,
			whole: &stretch{first: x.First, last: x.Last, left: x.Last - x.First + 1, found: now}})
		g.live.mend(g, y)
	}
	for first := range y.sent {
		if !told[first] {
			delete(y.sent, first)
		}
	}
	return open
}
