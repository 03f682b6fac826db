package collect

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/ingest"
	"millrace/ingest/binance"
	"millrace/ingest/file"
	"millrace/schema"
)

// Live collects symbols from a server that speaks Binance's protocol.
type Live struct {
	Ingestor *ingest.Ingestor
	// Source is the settings of each connection. Its Symbols are not used; its
	// REST client is what holes are filled from. Without one they are only told.
	Source binance.Config
	// Poll asks REST again and again instead of subscribing to streams.
	Poll bool
	// Select says which symbols.
	Select binance.Selection
	// History is how far back a symbol that is new to the log is fetched; the
	// start of the hour by default.
	History History
	// HoleMax is the longest hole that is fetched by REST, in ids. Default a
	// million; longer ones wait for a dump.
	HoleMax int64
	// Dumps, if set, are where days that are over come from: a new symbol's
	// history of a day or longer, long holes, and what REST doesn't have. They
	// must be of the same market.
	Dumps *file.Store
	// RefreshEvery is how often the exchange is asked for its symbols. Default
	// a minute.
	RefreshEvery time.Duration
	Log          *slog.Logger
	// Finite, if set, is closed when the server has sent all it will ever send;
	// End then tells how many trades that were and the time of the last one. A
	// recording is all there is of its trades: nothing is fetched beside it.
	Finite <-chan struct{}
	End    func() (trades int64, last schema.Time)

	trades atomic.Int64
	begun  atomic.Bool // every group of symbols has been made
	stats  stats
	filled filledSum
	// awaited is why the exchange's symbols are still waited for; nil if not.
	awaited atomic.Pointer[string]

	trouble trouble
	ctx     context.Context // ends with Run; menders live in it
	menders sync.WaitGroup
	turns   turns
	moved   chan struct{} // something has become of a hole
	lacks   chan struct{} // there is a new hole
	reading chan struct{} // one dump at a time
	clock   func() schema.Time
	work    *errgroup.Group
	whole   bool // a symbol named is gone: the exchange is asked for all of them

	mu     sync.Mutex // guards what follows
	groups []*group
	gone   []string         // symbols that the exchange has no more
	eras   map[string]uint8 // of id series that are not their symbol's first
}

// fillers is how many holes are worked on at once; the weight budget bounds the
// rest.
const fillers = 16

// Trades gives the number of trades received.
func (l *Live) Trades() int64 { return l.trades.Load() }

// blind reports whether nobody can be asked for what was missed.
func (l *Live) blind() bool { return l.Finite != nil || l.Source.REST == nil }

func (l *Live) holeMax() int64 {
	if l.HoleMax > 0 {
		return l.HoleMax
	}
	return holeMax
}

// all gives the groups of the moment.
func (l *Live) all() []*group {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*group(nil), l.groups...)
}

// Run collects until ctx ends or, from a finite server, until everything it
// sent is in the log.
func (l *Live) Run(ctx context.Context) error {
	if l.Poll && l.blind() {
		return errors.New("collect: there is nothing to poll without the exchange's REST address")
	}
	market, err := l.market(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if l.Source.Dials == nil {
		l.Source.Dials = &binance.Dials{}
	}
	group, inner := errgroup.WithContext(ctx)
	inner, done := context.WithCancel(inner)
	defer done()
	l.ctx, l.work, l.turns = inner, group, turns{free: fillers}
	l.moved, l.lacks = make(chan struct{}, 1), make(chan struct{}, 1)
	l.reading, l.clock = make(chan struct{}, 1), market.now
	group.Go(func() error {
		err := l.learn(inner)
		var tail standing
		if err == nil {
			tail, err = l.tail(inner, market.names)
		}
		for _, names := range market.shares() {
			if err == nil {
				err = l.start(inner, names, tail, market)
			}
		}
		if inner.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		l.begun.Store(true)
		return nil
	})
	if l.Finite != nil {
		group.Go(func() error { return l.await(inner, done) })
	}
	if l.Poll {
		group.Go(func() error { return l.poll(inner) })
	} else if !l.blind() {
		group.Go(func() error { return l.check(inner) })
		group.Go(func() error { return l.elsewhere(inner) })
		group.Go(func() error { return l.tellOutages(inner) })
	}
	if !l.blind() {
		group.Go(func() error { return l.gaps(inner) })
		group.Go(func() error { return l.tellFilled(inner) })
		group.Go(func() error { return l.refresh(inner, market) })
	}
	err = group.Wait()
	done()
	l.menders.Wait()
	return err
}

// start makes a group of symbols and sets it going.
func (l *Live) start(ctx context.Context, names []string, tail standing, m *market) (err error) {
	g := &group{live: l}
	var list []ingest.Symbol
	g.series, list = l.prepare(names, tail, m)
	cfg := l.Source
	cfg.Symbols, cfg.Hooks = names, g.hooks()
	if !l.Poll {
		if g.source, err = binance.NewSource(cfg, g); err != nil {
			return err
		}
	}
	if err := g.begin(list); err != nil {
		return err
	}
	l.mu.Lock()
	l.groups = append(l.groups, g)
	l.mu.Unlock()
	l.work.Go(func() error { return g.run(ctx) })
	l.letIn(ctx, g)
	return nil
}

// letIn has the group's new symbols begin, beside the collecting.
func (l *Live) letIn(ctx context.Context, g *group) {
	if !l.blind() {
		l.work.Go(func() error { return l.enter(ctx, g, l.clock()) })
	}
}

// await ends the connections once all that a finite server sent has come.
func (l *Live) await(ctx context.Context, done func()) error {
	select {
	case <-l.Finite:
	case <-ctx.Done():
		return nil
	}
	want, _ := l.End()
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	for l.trades.Load() < want {
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
	done()
	return nil
}

// pause waits, or returns false when ctx ends first.
func (l *Live) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// unusable reports whether an error of Stream.Trade concerns that trade alone.
func unusable(err error) bool {
	return errors.Is(err, schema.ErrTrade) || errors.Is(err, ingest.ErrSymbol)
}
