package collect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"millrace/ingest/binance"
	"millrace/schema"
	"millrace/schema/schemapb"
)

// mend sees to it that somebody works on the symbol's holes. The caller holds
// the group's lock.
func (l *Live) mend(g *group, y *series) {
	if l.blind() {
		for i := range y.holes {
			y.holes[i].waived = true
		}
		return
	}
	select {
	case l.lacks <- struct{}{}:
	default:
	}
	if y.mending || l.ctx == nil {
		select {
		case y.wake <- struct{}{}:
		default:
		}
		return
	}
	y.mending = true
	l.menders.Go(func() { l.mender(l.ctx, g, y) })
}

// mender works on one symbol's holes until there are none.
func (l *Live) mender(ctx context.Context, g *group, y *series) {
	for {
		g.mu.Lock()
		now := time.Now()
		h, wait, ok := y.holes.next(now)
		if !ok || ctx.Err() != nil {
			y.mending = false
			g.mu.Unlock()
			return
		}
		if b := y.holes.at(h.first); !b.waived && now.Sub(b.whole.found) > holdMax {
			b.waived = true
			g.keep(g.settle(y))
		}
		g.mu.Unlock()
		if wait = max(wait, y.calls.Sub(now)); wait > 0 {
			y.rest(ctx, wait)
			continue
		}
		if l.fromDump(ctx, g, y, h) {
			continue
		}
		if h.count() > l.holeMax() && l.waits(g, &h) {
			g.lose(y, h.first, fmt.Sprintf("longer than %d ids: %s", l.holeMax(), l.dumpsWord()))
			continue
		}
		if !l.turns.take(ctx) {
			continue
		}
		// Asked with the slot in hand: others may have failed while it was waited for.
		if wait := l.trouble.enter(time.Now()); wait > 0 {
			l.turns.give()
			y.rest(ctx, wait)
			continue
		}
		y.calls = time.Now().Add(l.spacing())
		l.fill(ctx, g, y, h)
		l.turns.give()
	}
}

// rest has the mender wait, until something new is there at most.
func (y *series) rest(ctx context.Context, wait time.Duration) {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-y.wake:
	case <-ctx.Done():
	}
}

// spacingMost is the time between two calls for one symbol when the weight
// budget is spent.
const spacingMost = 2 * time.Second

// spacing gives the time between two calls for one symbol. One page brings what
// many holes lack, so where weight runs short they are let gather.
func (l *Live) spacing() time.Duration {
	s := l.Source.REST.Budget().Stats()
	return spacingMost * time.Duration(s.Used) / time.Duration(max(s.Cap, 1))
}

// longHistory is how many ids make a hole one of history: calls for it leave
// room for shorter ones.
const longHistory = 20_000

// fill makes one call for a hole, and hands over what it brings.
func (l *Live) fill(ctx context.Context, g *group, y *series, h hole) {
	p := binance.PriorityFill
	if h.whole.history || h.whole.last-h.whole.first >= longHistory {
		p = binance.PriorityHistory
	}
	ctx, cancel := context.WithTimeout(binance.WithPriority(ctx, p), 2*time.Minute)
	defer cancel()
	if !g.calling(y, h.first, cancel) {
		return // it has come meanwhile
	}
	defer g.calling(y, h.first, nil)
	var err error
	if h.singles || h.after == 0 && h.cursor < 0 {
		err = l.fillSingles(ctx, g, y, h)
	} else {
		err = l.fillAggregates(ctx, g, y, h)
	}
	if err == nil || l.ctx.Err() != nil {
		l.trouble.over()
		g.eased(y, h.whole)
		return
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return // another ingestor was quicker
	}
	wait, again := binance.Retryable(err)
	if again || ctx.Err() != nil {
		l.trouble.failed(time.Now(), wait)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	x := y.holes.at(h.first)
	if x == nil {
		return
	}
	if !again && ctx.Err() == nil {
		g.giveUp(y, x, err.Error())
		g.keep(g.settle(y))
		return
	}
	x.trouble = err.Error()
	l.Log.Debug("fill a gap: trying again", "symbol", y.name, "first", h.first, "last", h.last, "err", err)
}

// eased forgets the trouble that calls for a stretch had: one was answered.
func (g *group) eased(y *series, whole *stretch) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range y.holes {
		if x := &y.holes[i]; x.whole == whole {
			x.trouble = ""
		}
	}
}

// fillAggregates fetches a page of aggregates: six times cheaper than single
// trades. Those that reach beyond the hole can't be used; what they would have
// brought is fetched as single trades after.
func (l *Live) fillAggregates(ctx context.Context, g *group, y *series, h hole) error {
	var page *binance.Page
	var err error
	if h.cursor >= 0 {
		page, err = l.Source.REST.AggTrades(ctx, y.name, h.cursor, binance.MaxPage)
	} else {
		page, err = l.Source.REST.AggTradesSince(ctx, y.name, h.after, binance.MaxPage)
	}
	if err != nil {
		return err
	}
	if h.cursor >= 0 && page.FirstRow != h.cursor && page.FirstRow >= 0 {
		// It skipped forward: what lies between has to be asked for by trade id.
		g.change(y, h.first, func(x *hole) { x.singles = true })
		return nil
	}
	reached := int64(-1)
	for i := range page.Trades {
		reached = max(reached, page.Trades[i].Last)
	}
	if _, err := g.deliver(y, page.Trades, h, schemapb.Source_SOURCE_REST); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if reached < h.first && page.LastRow >= 0 && len(page.Trades) > 0 && page.LastRow-page.FirstRow+1 >= binance.MaxPage {
		if x := y.holes.at(h.first); x != nil { // all of it lay before the hole
			x.cursor = page.LastRow + 1
		}
		return nil
	}
	if reached < h.first { // the exchange's REST side has not come so far yet
		if x := y.holes.at(h.first); x != nil {
			if x.backoff(time.Now()); x.tries > 3 {
				x.singles = true
			}
		}
		return nil
	}
	y.holes.cut(reached + 1)
	for i := range y.holes {
		switch x := &y.holes[i]; {
		case x.whole != h.whole:
		case x.last <= reached: // what did not fit
			x.singles, x.due = true, time.Now()
		case x.first <= h.last || x.first == reached+1:
			x.cursor, x.tries = page.LastRow+1, 0
		}
	}
	return nil
}

// fillSingles fetches a page of single trades.
func (l *Live) fillSingles(ctx context.Context, g *group, y *series, h hole) error {
	// A page costs the same however long it is; other holes may lie in it.
	page, err := l.Source.REST.HistoricalTrades(ctx, y.name, h.first, int(min(g.reach(y, h), binance.MaxPage)))
	if err != nil {
		return err
	}
	skipped := page.FirstRow > h.first
	if skipped { // the first id must be the one asked for
		upTo := min(page.FirstRow-1, h.last)
		g.split(y, h.first, upTo)
		why := fmt.Sprintf("the exchange's REST side gives ids from %d on: %s", page.FirstRow, l.dumpsWord())
		g.change(y, h.first, func(x *hole) {
			if len(page.Trades) > 0 {
				x.before = page.Trades[0].Time
			}
			g.forsake(y, x, why)
		})
		g.change(y, upTo+1, func(x *hole) { // behind it REST has all: aggregates are cheaper
			if x.whole == h.whole {
				x.singles, x.cursor, x.tries = x.foreign, -1, 0
			}
		})
	}
	for _, bad := range page.Refused {
		if bad.ID >= h.first && bad.ID <= h.last {
			g.split(y, bad.ID, bad.ID)
			g.lose(y, bad.ID, bad.Error())
		}
	}
	if _, err := g.deliver(y, page.Trades, h, schemapb.Source_SOURCE_REST); err != nil || skipped {
		return err
	}
	g.change(y, h.first, func(x *hole) { // nothing of it came: not there yet, or never
		x.singles = true
		if x.backoff(time.Now()); x.tries > lostAfter && !x.foreign || x.tries > 3*lostAfter {
			g.forsake(y, x, "the exchange's REST side does not have it")
		}
	})
	return nil
}

// reach gives how many ids from a hole's first one there are to the last one of
// all holes.
func (g *group) reach(y *series, h hole) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := len(y.holes); n > 0 {
		return max(y.holes[n-1].last, h.last) - h.first + 1
	}
	return h.count()
}

// change does something to a hole, if it is still there.
func (g *group) change(y *series, first int64, do func(*hole)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if x := y.holes.at(first); x != nil {
		do(x)
		g.keep(g.settle(y))
	}
}

func (g *group) lose(y *series, first int64, why string) {
	g.change(y, first, func(x *hole) { g.giveUp(y, x, why) })
}

// giveUp leaves a hole for now. The caller holds mu.
func (g *group) giveUp(y *series, x *hole, why string) {
	x.lose(why, time.Now())
	g.live.Log.Warn("a gap can't be filled now", "symbol", y.name, "first", x.first, "last", x.last, "why", why)
}

// split makes the ids first to last, which lie within one hole, a hole of their
// own.
func (g *group) split(y *series, first, last int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	y.holes.cut(first)
	y.holes.cut(last + 1)
}

// deliver hands over those of the trades that lie in the symbol's holes, and
// gives the number of their ids.
func (g *group) deliver(y *series, trades []schema.Trade, h hole, source schema.Source) (n int64, err error) {
	g.live.Ingestor.Room()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.series[y.name] != y {
		return 0, nil // no longer wanted
	}
	now := time.Now()
	if g.live.Poll {
		y.grow(trades, now)
	}
	fits := y.fitting(trades)
	if len(fits) == 0 {
		return 0, nil
	}
	if err := g.stream.Fill(y.name, fits, schema.FromStd(now), source); err != nil {
		if unusable(err) {
			return 0, err
		}
		g.err = err
		return 0, err
	}
	if g.live.Poll {
		y.hear(now)
	}
	n = g.came(y, fits, now)
	if g.live.Poll {
		y.trades += n
		g.live.trades.Add(n)
	}
	if x := y.holes.at(fits[len(fits)-1].Last + 1); x != nil && x.whole == h.whole {
		x.after = fits[len(fits)-1].Time
		if source == schemapb.Source_SOURCE_DUMP { // where REST stood doesn't matter any more
			x.cursor, x.tries, x.singles, x.dump, x.why = -1, 0, x.foreign, false, ""
		}
	}
	y.filled += n
	return n, g.settle(y)
}

// came takes trades out of the holes in which they lie, and gives the number of
// their ids. The caller holds mu.
func (g *group) came(y *series, fits []schema.Trade, now time.Time) (n int64) {
	for i := 0; i < len(fits); {
		first, last := fits[i].ID, fits[i].Last
		for i++; i < len(fits) && fits[i].ID == last+1; i++ {
			last = fits[i].Last
		}
		n += last - first + 1
		if t := &fits[i-1]; t.Last == y.next-1 {
			y.lastT = max(y.lastT, t.Time)
		}
		for _, whole := range y.close(first, last) {
			if whole.routine {
				continue
			}
			g.live.stats.Fill.Observe(now.Sub(whole.found))
			g.live.stats.filled.Add(1)
			g.live.filled.add(filledGap{y.name, whole.first, whole.last, now.Sub(whole.found)}, now)
			g.live.Log.Debug("a gap is filled", "symbol", y.name, "first", whole.first, "last", whole.last, "after", now.Sub(whole.found).Round(time.Millisecond))
		}
	}
	return n
}
