package collect

import (
	"context"
	"errors"
	"maps"

	"millrace/ingest"
	"millrace/schema"
)

// This file begins a symbol anew whose ids the exchange has begun anew. What
// comes meanwhile is handed over as it is: the processor refuses it, and says
// so. Once a new series stands in the log, the processor's word on the symbol's
// gaps has its era; then the symbol is begun as if it were new, from the newest
// trade of the old series on, and what was refused is fetched again.

// learn asks for the eras that the log knows.
func (l *Live) learn(ctx context.Context) error {
	if l.blind() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, tailWait)
	defer cancel()
	eras, err := l.Ingestor.Eras(ctx)
	l.mu.Lock()
	l.eras = eras
	l.mu.Unlock()
	return err
}

// known gives the eras of id series as far as they are known.
func (l *Live) known() map[string]uint8 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.eras)
}

// follows begins a symbol anew if the processor tells of a newer id series than
// the one that is collected.
func (l *Live) follows(ctx context.Context, g *group, set *schema.GapSet) error {
	l.mu.Lock()
	if l.eras == nil { // a write before it was learned
		l.eras = map[string]uint8{}
	}
	l.eras[set.Symbol] = max(l.eras[set.Symbol], set.Era)
	l.mu.Unlock()
	y, since, err := g.anew(set.Symbol, set.Era, l.History.Since(l.clock()))
	if y == nil || err != nil {
		return err
	}
	l.Log.Warn("a new series of the symbol's ids has begun: it is collected from there on", "symbol", y.name, "era", y.era, "since", since)
	l.work.Go(func() error { return l.begin(ctx, g, y, since) })
	return nil
}

// anew puts a fresh series in the place of one of an older era, and gives it and
// the time from which on it has to be fetched; nil if there is nothing to do.
func (g *group) anew(name string, era uint8, since schema.Time) (*series, schema.Time, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.series[name]
	if old == nil || era <= old.era {
		return nil, 0, nil
	}
	if old.early { // it has not begun
		old.era = era
		return nil, 0, nil
	}
	if err := g.stream.Remove(name); err != nil {
		if errors.Is(err, ingest.ErrClosed) || errors.Is(err, ingest.ErrEnded) {
			return nil, 0, nil
		}
		return nil, 0, err
	}
	old.holes = nil // the ids are another series' now
	y := newSeries(name)
	y.era, y.early, y.status, y.awaits = era, true, old.status, old.awaits
	if old.lastT != 0 {
		since = min(since, old.lastT+1)
	}
	g.series[name], g.last = y, nil
	return y, since, nil
}
