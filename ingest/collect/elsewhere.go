package collect

import (
	"context"
	"errors"
	"slices"
	"time"

	"millrace/schema"
)

// This file closes holes by what other ingestors have brought: it stands in the
// log, from where it costs none of the exchange's weight. A promise is about the
// log, so what is in it need not be brought again, and what was read from it
// stands before any mark that is written afterwards.

const (
	// elsewhereEvery is how often the log is read while something is missing:
	// who lacks the same may be fetching it.
	elsewhereEvery = 250 * time.Millisecond
	// elsewhereWait bounds one look, and elsewherePause follows one that failed.
	elsewhereWait  = 10 * time.Second
	elsewherePause = time.Second
	// elsewhereBack is how far back it may reach, and elsewhereSlack by how much
	// the clocks of those who write may differ.
	elsewhereBack  = 15 * time.Minute
	elsewhereSlack = 2 * time.Second
)

// elsewhere reads the log while something is missing.
func (l *Live) elsewhere(ctx context.Context) error {
	reader := l.Ingestor.Reader()
	defer reader.Close()
	again := time.NewTicker(elsewhereEvery)
	defer again.Stop()
	for {
		select {
		case <-l.lacks: // what is on its way in another order, or to the log, comes first
			l.pause(ctx, grace)
		case <-again.C:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return nil
		}
		now := time.Now()
		since, of := map[string]time.Time{}, map[string]*group{}
		for _, g := range l.all() {
			g.lacking(now, since, of)
		}
		if len(since) == 0 {
			continue
		}
		bound, cancel := context.WithTimeout(ctx, elsewhereWait)
		err := reader.Read(bound, since, func(b *schema.Batch) { of[string(b.Symbol)].found(b) })
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				l.Log.Debug("look into the log for what is missing", "err", err)
			}
			l.pause(ctx, elsewherePause)
			if !errors.Is(err, context.DeadlineExceeded) {
				continue
			}
			// There is much to read: calls need not wait, and the next look goes on
			// where this one stopped.
		}
		for name := range since {
			of[name].looked(name, now)
		}
	}
}

// lacking adds the group's symbols of which something is missing that others
// may have brought, and from when on the log has to be read for it.
func (g *group) lacking(now time.Time, since map[string]time.Time, of map[string]*group) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, y := range g.series {
		for i := range y.holes {
			h := &y.holes[i]
			if h.foreign || h.waived || h.whole.routine || h.whole.since != 0 || h.whole.history && h.whole.left >= longHistory {
				continue
			}
			from := h.since
			if !from.IsZero() {
				from = from.Add(-elsewhereSlack)
				if least := now.Add(-elsewhereBack); from.Before(least) {
					from = least
				}
			}
			if was, ok := since[name]; !ok || was.IsZero() || !from.IsZero() && from.Before(was) {
				since[name] = from
			}
			of[name] = g
		}
	}
}

// found takes what the log has out of the symbol's holes.
func (g *group) found(b *schema.Batch) {
	g.mu.Lock()
	defer g.mu.Unlock()
	y := g.series[string(b.Symbol)]
	if y == nil || len(y.holes) == 0 || slices.ContainsFunc(b.Trades, func(t schema.Trade) bool { return t.Validate() != nil }) {
		return // of a batch with a trade that contradicts itself nothing is relied upon
	}
	if y.era > 0 && b.Received < y.made {
		return // the processor may have refused it: it did not know of the series yet
	}
	fits := y.fitting(b.Trades)
	if len(fits) == 0 {
		return
	}
	y.elsewhere += g.came(y, fits, time.Now())
	for _, t := range fits {
		if x := y.holes.at(t.Last + 1); x != nil {
			x.after = t.Time
		}
	}
	if y.quit != nil && y.holes.at(y.asking) == nil {
		y.quit()
	}
	g.keep(g.settle(y))
}

// looked says that the log was read for the symbol's holes up to a moment; what
// is still missing has to be fetched.
func (g *group) looked(name string, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	y := g.series[name]
	if y == nil {
		return
	}
	for i := range y.holes {
		if h := &y.holes[i]; !h.since.IsZero() && at.Sub(h.whole.found) >= grace {
			h.since, h.due = time.Time{}, at
		}
	}
	select {
	case y.wake <- struct{}{}:
	default:
	}
}

// calling notes the call that is made for a hole and how it is broken off, nil
// once it is over. It is false if the hole is gone.
func (g *group) calling(y *series, first int64, quit func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	y.asking, y.quit = first, quit
	return y.holes.at(first) != nil
}
