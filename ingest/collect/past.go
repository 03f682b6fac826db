package collect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"millrace/ingest/file"
	"millrace/schema"
	"millrace/schema/schemapb"
)

// This file closes holes by Binance's public dumps of days that are over, one
// dump at a time. They are those of single trades: these fit whatever the log
// has already, where an aggregate that straddles would be refused, and replay
// keeps the same files by default. What they lack stays the hole it is.

const (
	// dumpChunk is how many trades of a dump are handed over at once.
	dumpChunk = 4096
	// dumpPause lies between two chunks, so that live trades don't queue behind
	// them: 200,000 trades a second are more than enough for the past.
	dumpPause = 20 * time.Millisecond
	// parkedFor is when a hole that waits for a dump is looked at all the same.
	parkedFor = time.Minute
	// dumpAnchorWait bounds the look into dumps for an anchor.
	dumpAnchorWait = 10 * time.Minute
)

// dayOf gives the start of the day, in UTC as the dumps have it.
func dayOf(t schema.Time) schema.Time { return schema.Calendar{}.Start(schema.P1d, t) }

// pastDays gives the first and the last day whose dumps may hold ids of a hole.
func (l *Live) pastDays(h *hole) (from, to schema.Time, ok bool) {
	to = dayOf(l.clock()) - schema.Day
	if h.before > 0 {
		to = min(to, dayOf(h.before-1))
	}
	from = dayOf(max(h.after, h.whole.since))
	return from, to, h.after > 0 && from <= to
}

// nextDay gives the first day whose dump should be tried for a hole now.
func (l *Live) nextDay(h *hole, now time.Time) (day schema.Time, ok bool) {
	from, to, _ := l.pastDays(h)
	for day = from; h.after > 0 && day <= to; day += schema.Day {
		if again, tried := h.whole.days[day]; !tried || !again.IsZero() && !now.Before(again) {
			return day, true
		}
	}
	return 0, false
}

// waits reports whether a long hole waits for a dump. A new symbol's history
// does not, nor what is left when each day that is over has been read: that is
// fetched, however long.
func (l *Live) waits(g *group, h *hole) bool {
	if l.Dumps == nil {
		return true
	}
	if h.whole.since != 0 {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	from, to, ok := l.pastDays(h)
	for day := from; ok && day <= to; day += schema.Day {
		if again, tried := h.whole.days[day]; !tried || !again.IsZero() {
			return true
		}
	}
	return h.after <= 0
}

// NoDumps ends the reason of a hole that only a dump could close, where no
// dumps are set.
const NoDumps = "no dumps are set"

// dumpsWord says what comes of a hole that only a dump can close.
func (l *Live) dumpsWord() string {
	if l.Dumps == nil {
		return NoDumps
	}
	return "it waits for a dump"
}

// forsake gives a hole to the dumps, since REST doesn't have it. The caller
// holds mu.
func (g *group) forsake(y *series, x *hole, why string) {
	if g.live.Dumps == nil {
		g.giveUp(y, x, why)
		return
	}
	x.dump, x.why, x.due = true, why, time.Now()
}

// fromDump sees to a hole that dumps should close. It reports whether there is
// nothing to be asked of REST for it now.
func (l *Live) fromDump(ctx context.Context, g *group, y *series, h hole) bool {
	if l.Dumps == nil || h.whole.since == 0 && !h.dump && h.count() <= l.holeMax() {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	x := y.holes.at(h.first)
	if x == nil {
		return true
	}
	now := time.Now()
	day, ok := l.nextDay(x, now)
	switch {
	case ok && g.series[y.name] == y:
		if !y.dumping {
			y.dumping = true
			whole := x.whole
			l.menders.Go(func() { l.bring(ctx, g, y, whole, day) })
		}
		x.parked, x.due = true, now.Add(parkedFor)
		return true
	case x.dump:
		x.dump = false
		g.giveUp(y, x, x.why)
		g.keep(g.settle(y))
		return true
	}
	return false
}

// bring hands over what a day's dump has of a stretch, when its turn has come.
func (l *Live) bring(ctx context.Context, g *group, y *series, whole *stretch, day schema.Time) {
	select {
	case l.reading <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-l.reading }()
	ref := file.Ref{Kind: file.Trades, Symbol: y.name, Day: day}
	began := time.Now()
	l.Log.Info("a dump of the past begins", "file", ref.Name())
	n, err := l.read(ctx, g, y, whole, ref)
	if ctx.Err() != nil {
		return
	}
	var again time.Time
	took := time.Since(began).Round(time.Millisecond)
	switch {
	case err == nil:
		l.Log.Info("a dump of the past is done", "file", ref.Name(), "trades", n, "took", took)
	case errors.Is(err, file.ErrNotPublished):
		again = time.Now().Add(lostRetry)
		l.Log.Info("a dump of the past is not published, or not yet", "file", ref.Name(), "took", took)
	default:
		again = time.Now().Add(lostRetry)
		l.Log.Warn("a dump of the past can't be had now", "file", ref.Name(), "trades", n, "took", took, "why", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if whole.days == nil {
		whole.days = map[schema.Time]time.Time{}
	}
	whole.days[day] = again
	y.dumping = false
	for i := range y.holes {
		if x := &y.holes[i]; x.parked {
			x.parked, x.due = false, time.Now()
		}
	}
	l.mend(g, y)
}

// read fetches a dump and hands over, a chunk at a time, what lies in holes. It
// gives the number of ids handed over.
func (l *Live) read(ctx context.Context, g *group, y *series, whole *stretch, ref file.Ref) (n int64, err error) {
	d, err := l.open(ctx, ref)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	chunk := make([]schema.Trade, 0, dumpChunk)
	give := func() (more bool, err error) {
		if len(chunk) > 0 {
			given, err := g.deliver(y, chunk, hole{whole: whole}, schemapb.Source_SOURCE_DUMP)
			n, chunk = n+given, chunk[:0]
			if err != nil {
				return false, err
			}
		}
		if !l.pause(ctx, dumpPause) {
			return false, context.Cause(ctx)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		return whole.left > 0 && g.series[y.name] == y, nil
	}
	for seen := 1; ; seen++ {
		var t schema.Trade
		err := d.Next(&t)
		if errors.Is(err, io.EOF) || err == nil && t.ID > whole.last {
			_, err := give()
			return n, err
		}
		if err != nil { // what stands before a bad row is good
			_, failed := give()
			return n, errors.Join(err, failed)
		}
		if t.Last >= whole.first {
			chunk = append(chunk, t)
		}
		if len(chunk) == cap(chunk) || seen%(16*dumpChunk) == 0 {
			if more, err := give(); !more || err != nil {
				return n, err
			}
		}
	}
}

// open fetches a dump, unless it lies there, and opens it.
func (l *Live) open(ctx context.Context, ref file.Ref) (*file.Dump, error) {
	path, err := l.Dumps.Fetch(ctx, ref)
	if err != nil {
		return nil, err
	}
	return file.OpenDump(ctx, path, file.Options{Symbol: ref.Symbol, RequireChecksum: true})
}

// dumpAnchor finds a symbol's anchor in the dumps. A whole day proves its own
// left edge: the first day published since the boundary does. Where none is,
// the day before the boundary ends with the anchor.
func (l *Live) dumpAnchor(ctx context.Context, name string, since schema.Time) (*schema.Anchor, error) {
	ctx, cancel := context.WithTimeout(ctx, dumpAnchorWait)
	defer cancel()
	select {
	case l.reading <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-l.reading }()
	for day := since; day < dayOf(l.clock()); day += schema.Day {
		a, err := l.edge(ctx, file.Ref{Kind: file.Trades, Symbol: name, Day: day}, false)
		if !errors.Is(err, file.ErrNotPublished) {
			if err == nil && day != since {
				l.Log.Warn("the symbol's history begins later than was asked for: REST does not reach back, and no dump before it is published", "symbol", name, "at", day)
			}
			return a, err
		}
	}
	return l.edge(ctx, file.Ref{Kind: file.Trades, Symbol: name, Day: since - schema.Day}, true)
}

// edge gives the anchor before a dump's first trade, or its last trade as one.
func (l *Live) edge(ctx context.Context, ref file.Ref, end bool) (_ *schema.Anchor, err error) {
	d, err := l.open(ctx, ref)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	var t schema.Trade
	if err := d.Next(&t); err != nil {
		return nil, fmt.Errorf("look for an anchor: %w", err)
	}
	if !end {
		a, ok := d.Anchor()
		if !ok {
			return nil, fmt.Errorf("look for an anchor: %s proves none", ref.Name())
		}
		return &a, nil
	}
	last := t
	for n := 0; ; n++ {
		switch err := d.Next(&t); {
		case errors.Is(err, io.EOF):
			return &schema.Anchor{Symbol: ref.Symbol, ID: last.Last, Time: last.Time, Price: last.Price, HasPrice: true}, nil
		case err != nil:
			return nil, fmt.Errorf("look for an anchor: %w", err)
		case n%checkEvery == 0 && ctx.Err() != nil:
			return nil, context.Cause(ctx)
		}
		last = t
	}
}
