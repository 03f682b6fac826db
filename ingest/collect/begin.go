package collect

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/ingest"
	"millrace/ingest/binance"
	"millrace/schema"
)

// History is how far back the trades of a symbol are fetched that is new to the
// log: to the start of the hour, day, week or month.
type History schema.Period

// Since gives the boundary before a moment.
func (h History) Since(now schema.Time) schema.Time {
	p := schema.Period(h)
	if p == 0 {
		p = schema.P1h
	}
	var cal schema.Calendar
	return cal.Start(p, now)
}

// days reports whether history may hold days that are over.
func (h History) days() bool { return schema.Period(h) >= schema.P1d }

const (
	// tailWait bounds the look at the end of the log.
	tailWait = 2 * time.Minute
	// anchorWait is how long a first start waits for the exchange to tell a
	// symbol's anchor; without one its first windows are never final.
	anchorWait = 2 * time.Minute
	// longAway is how old the log's end must be for a symbol's newest id to be
	// asked for: near a day, which the day's figures reach back.
	longAway = 20 * schema.Hour
	// anchorRows are asked for in case the last ones stand for no trade, or lie
	// in the boundary's own millisecond. A page weighs the same however long.
	anchorRows = 100
)

// prepare finds for each symbol of a new group where its ids go on: from the
// end of the log or, for one that the log does not know, from its anchor.
func (l *Live) prepare(ctx context.Context, g *group, names []string, m *market) ([]ingest.Symbol, error) {
	list := make([]ingest.Symbol, len(names))
	for i, name := range names {
		list[i] = ingest.Symbol{Name: name, Status: m.status(name), Held: true}
		g.series[name] = newSeries(name)
		g.series[name].status = m.status(name)
	}
	if l.blind() {
		return list, nil
	}
	bound, cancel := context.WithTimeout(ctx, tailWait)
	tail, err := l.Ingestor.Tail(bound, names)
	cancel()
	if err != nil {
		return nil, err
	}
	since := l.History.Since(m.now())
	days := l.History.days()
	work, inner := errgroup.WithContext(ctx)
	work.SetLimit(fillers)
	var mu sync.Mutex
	bare := 0
	for i, name := range names {
		y := g.series[name]
		if last, ok := tail[name]; ok {
			y.next, y.floor, y.lastT = last.ID+1, last.ID+1, last.Time
			if last.Time < m.now()-longAway {
				work.Go(func() error {
					y.known = l.newest(inner, name)
					return nil
				})
			}
			continue
		}
		work.Go(func() error {
			a, err := l.anchor(inner, name, since)
			if err != nil {
				mu.Lock()
				bare++
				mu.Unlock()
				l.Log.Warn("the trade before the symbol's history is not known: its first windows will not be final", "symbol", name, "why", err)
				return nil
			}
			list[i].Anchor = a
			y.next, y.floor, y.lastT = a.ID+1, a.ID+1, a.Time
			if days {
				y.past, y.known = since, l.newest(inner, name)
			}
			return nil
		})
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	l.Log.Info("symbols begin", "known to the log", len(tail), "new", len(names)-len(tail)-bare, "without anchor", bare, "history since", since)
	return list, ctx.Err()
}

// newest asks for the symbol's newest id: the day's figures tell it only if it
// traded within a day. −1 is not known; the next trade tells then.
func (l *Live) newest(ctx context.Context, name string) int64 {
	ctx, cancel := context.WithTimeout(binance.WithPriority(ctx, binance.PriorityFill), anchorWait)
	defer cancel()
	for {
		page, err := l.Source.REST.AggTradesUntil(ctx, name, l.clock(), anchorRows)
		if err == nil {
			last := int64(-1)
			for i := range page.Trades {
				last = max(last, page.Trades[i].Last)
			}
			return last
		}
		wait, again := binance.Retryable(err)
		if !again || !l.pause(ctx, max(wait, 200*time.Millisecond)) {
			l.Log.Warn("the newest id is not known before the next trade", "symbol", name, "why", err)
			return -1
		}
	}
}

// anchor looks for the last trade before a moment: by REST or, where that can't
// tell, in the dumps. A symbol without one begins at id 0.
func (l *Live) anchor(ctx context.Context, name string, since schema.Time) (*schema.Anchor, error) {
	a, err := l.askAnchor(ctx, name, since)
	if err == nil || l.Dumps == nil || !l.History.days() || ctx.Err() != nil {
		return a, err
	}
	a, dumped := l.dumpAnchor(ctx, name, since)
	if dumped != nil {
		return nil, errors.Join(err, dumped)
	}
	return a, nil
}

func (l *Live) askAnchor(ctx context.Context, name string, since schema.Time) (*schema.Anchor, error) {
	ctx, cancel := context.WithTimeout(binance.WithPriority(ctx, binance.PriorityFill), anchorWait)
	defer cancel()
	for {
		a, err := l.findAnchor(ctx, name, since)
		if err == nil {
			return a, nil
		}
		wait, again := binance.Retryable(err)
		if !again || !l.pause(ctx, max(wait, 200*time.Millisecond)) {
			return nil, err
		}
	}
}

var errNoAnchor = errors.New("the exchange tells of no trade before it and does not begin with id 0 either")

func (l *Live) findAnchor(ctx context.Context, name string, since schema.Time) (*schema.Anchor, error) {
	// The exchange is asked by the millisecond: one before the boundary would
	// leave out the last trades within it.
	before, err := l.Source.REST.AggTradesUntil(ctx, name, since, anchorRows)
	if err != nil {
		return nil, err
	}
	var last *schema.Trade
	for i := range before.Trades {
		if t := &before.Trades[i]; t.Time < since && (last == nil || t.Last > last.Last) {
			last = t
		}
	}
	if last != nil {
		return &schema.Anchor{Symbol: name, ID: last.Last, Time: last.Time, Price: last.Price, HasPrice: true}, nil
	}
	after, err := l.Source.REST.AggTradesSince(ctx, name, since, 1)
	if err != nil {
		return nil, err
	}
	if len(after.Trades) > 0 && after.Trades[0].ID == 0 {
		return &schema.Anchor{Symbol: name, ID: -1, Time: since - 1}, nil
	}
	if len(after.Trades) > 0 {
		return nil, fmt.Errorf("%w: %s at %v", errNoAnchor, name, since)
	}
	// No trade since, or none that the aggregates reach back to.
	newest, err := l.Source.REST.RecentTrades(ctx, name, 1)
	switch {
	case err != nil:
		return nil, err
	case len(newest.Trades) == 0:
		return &schema.Anchor{Symbol: name, ID: -1, Time: since - 1}, nil
	case newest.Trades[0].Time < since:
		t := &newest.Trades[0]
		return &schema.Anchor{Symbol: name, ID: t.ID, Time: t.Time, Price: t.Price, HasPrice: true}, nil
	}
	return nil, fmt.Errorf("%w: %s at %v", errNoAnchor, name, since)
}
