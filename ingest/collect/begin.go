package collect

import (
	"context"
	"errors"
	"fmt"
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

// prepare finds where the ids of new symbols go on: at the end of the log or,
// for those that the log does not know, behind their anchors, which are looked
// for beside the collecting (enter). list are those that can begin at once.
func (l *Live) prepare(names []string, tail standing, m *market) (all map[string]*series, list []ingest.Symbol) {
	all = map[string]*series{}
	for _, name := range names {
		y := newSeries(name)
		y.status, y.era = m.status(name), tail.eras[name]
		y.awaits = !l.blind() // a recording's symbols are all in its one connection
		all[name] = y
	}
	for _, name := range names {
		y := all[name]
		last, known := tail.last[name]
		if y.early = !known && !l.blind(); y.early {
			continue
		}
		if known {
			y.next, y.floor, y.lastT = last.ID+1, last.ID+1, last.Time
		}
		list = append(list, ingest.Symbol{Name: name, Status: y.status, Held: true})
	}
	return all, list
}

// standing is where symbols stand in the log.
type standing struct {
	last map[string]ingest.Last
	eras map[string]uint8 // in which the id series began that last is of; 0: the first
}

// tail looks what the log has of symbols.
func (l *Live) tail(ctx context.Context, names []string) (standing, error) {
	if l.blind() {
		return standing{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, tailWait)
	defer cancel()
	eras := l.known() // before the log is read: it has the records of these
	last, err := l.Ingestor.Tail(ctx, names)
	if err == nil {
		l.Log.Info("symbols begin", "known to the log", len(last), "new", len(names)-len(last))
	}
	return standing{last, eras}, err
}

// enter lets those of a group's symbols begin that the log does not know, each
// as soon as its anchor is found: nothing of a symbol may be in the log before
// it. It also asks for the newest id of symbols that have been away for long.
func (l *Live) enter(ctx context.Context, g *group, now schema.Time) error {
	since := l.History.Since(now)
	work, inner := errgroup.WithContext(ctx)
	work.SetLimit(fillers)
	for _, name := range g.names() {
		g.mu.Lock()
		y := g.series[name]
		early, away := y.early, y.next >= 0 && y.lastT < now-longAway
		g.mu.Unlock()
		switch {
		case early:
			work.Go(func() error { return l.begin(inner, g, y, since) })
		case away:
			work.Go(func() error {
				known := l.newest(inner, name)
				g.mu.Lock()
				y.known = known
				g.mu.Unlock()
				return nil
			})
		}
	}
	return work.Wait()
}

// begin lets a symbol begin with its anchor, or without where it can't be found.
func (l *Live) begin(ctx context.Context, g *group, y *series, since schema.Time) error {
	a, err := l.anchor(ctx, y.name, since)
	if ctx.Err() != nil {
		return nil
	}
	known := int64(-1)
	if err != nil {
		l.Log.Warn("the trade before the symbol's history is not known: its first windows will not be final", "symbol", y.name, "why", err)
	} else if a != nil && l.History.days() {
		known = l.newest(ctx, y.name)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.series[y.name] != y || !y.early {
		return nil // gone meanwhile, or begun by another look at the group
	}
	s := ingest.Symbol{Name: y.name, Status: y.status, Held: true, Anchor: a}
	if g.up {
		s.From = g.from
	}
	if err := g.stream.Add(s); err != nil {
		if errors.Is(err, ingest.ErrClosed) || errors.Is(err, ingest.ErrEnded) {
			return nil
		}
		return err
	}
	y.early = false
	if a != nil {
		y.next, y.floor, y.lastT = a.ID+1, a.ID+1, a.Time
		if l.History.days() {
			y.past, y.known = since, known
		}
	}
	for i := range y.waiting {
		if err := g.take(y, &y.waiting[i].trade, y.waiting[i].received); err != nil {
			return err
		}
	}
	y.waiting = nil
	return g.settle(y)
}

// newest asks for the symbol's newest id: the day's figures tell it only if it
// traded within a day. −1 is not known; the next trade tells then.
func (l *Live) newest(ctx context.Context, name string) int64 {
	last := int64(-1)
	err := l.patiently(ctx, func(ctx context.Context) error {
		page, err := l.Source.REST.AggTradesUntil(ctx, name, l.clock(), anchorRows)
		if err != nil {
			return err
		}
		for i := range page.Trades {
			last = max(last, page.Trades[i].Last)
		}
		return nil
	})
	if err != nil {
		l.Log.Warn("the newest id is not known before the next trade", "symbol", name, "why", err)
	}
	return last
}

// patiently asks again and again, for anchorWait at most, while that may help.
func (l *Live) patiently(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(binance.WithPriority(ctx, binance.PriorityFill), anchorWait)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		wait, again := binance.Retryable(err)
		if !again || !l.pause(ctx, max(wait, 200*time.Millisecond)) {
			return err
		}
	}
}

// anchor looks for the last trade before a moment: by REST or, where that can't
// tell, in the dumps. It is nil for a symbol that has never been traded.
func (l *Live) anchor(ctx context.Context, name string, since schema.Time) (*schema.Anchor, error) {
	var a *schema.Anchor
	err := l.patiently(ctx, func(ctx context.Context) (err error) {
		a, err = l.findAnchor(ctx, name, since)
		return err
	})
	if err == nil || l.Dumps == nil || !l.History.days() || ctx.Err() != nil {
		return a, err
	}
	a, dumped := l.dumpAnchor(ctx, name, since)
	if dumped != nil {
		return nil, errors.Join(err, dumped)
	}
	return a, nil
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
		return nil, nil // never traded: id 0 will be its own proof
	case newest.Trades[0].Time < since:
		t := &newest.Trades[0]
		return &schema.Anchor{Symbol: name, ID: t.ID, Time: t.Time, Price: t.Price, HasPrice: true}, nil
	}
	return nil, fmt.Errorf("%w: %s at %v", errNoAnchor, name, since)
}
