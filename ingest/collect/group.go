package collect

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"millrace/ingest"
	"millrace/ingest/binance"
	"millrace/schema"
	"millrace/schema/schemapb"
)

// group is the symbols that share a connection, one after the other, and the
// Stream that goes with them.
type group struct {
	live   *Live
	source *binance.Source // nil where REST is polled

	refusals refusals

	mu      sync.Mutex // guards what follows, and the series' own
	stream  *ingest.Stream
	series  map[string]*series
	last    *series // of the newest trade: often of the next one too
	up      bool    // a connection stands and has promised
	from    schema.Time
	stood   time.Time // when it did
	renewed time.Time // when silence last asked for another connection
	losses  int64
	renews  int64
	lost    time.Time // when the last connection was lost; zero: none has been
	why     string    // of the last loss or renewal
	whyAt   time.Time
	replied time.Time // when polling was last answered
	err     error
}

// Trade is the way of a trade from a connection into the log.
func (g *group) Trade(symbol []byte, t *schema.Trade, received schema.Time) error {
	if err := t.Validate(); err != nil {
		return g.invalid(symbol, t, err)
	}
	g.live.Ingestor.Room() // who asks for the status must not wait too
	g.mu.Lock()
	defer g.mu.Unlock()
	y := g.last
	if y == nil || y.name != string(symbol) {
		if y = g.series[string(symbol)]; y == nil {
			return nil // no longer wanted
		}
		g.last = y
	}
	g.live.trades.Add(t.Count())
	y.trades += t.Count()
	if y.early {
		y.wait(t, received)
		return nil
	}
	return g.take(y, t, received)
}

// take finds a trade's place, and hands it over if it adds something. The caller
// holds mu.
func (g *group) take(y *series, t *schema.Trade, received schema.Time) error {
	now := received.Std()
	found := y.found
	hand := y.place(t, now)
	y.hear(now)
	if y.anew && !y.told {
		y.told = true
		g.live.Log.Error("the symbol's ids have begun anew: the processor refuses its trades until a new series is begun with millrace series",
			"symbol", y.name, "id", t.ID, "at", t.Time, "newest id", y.next-1, "newest time", y.lastT)
	}
	if !hand {
		return nil
	}
	if y.found != found {
		if err := g.hold(y); err != nil {
			return err
		}
		g.live.mend(g, y)
	}
	if err := g.stream.Trade(y.key, t, received); err != nil {
		return err
	}
	if y.unproven || y.held {
		y.unproven = false
		return g.settle(y)
	}
	return nil
}

// invalid puts a trade that contradicts itself into the dead letters. Its id is
// missing from then on, and told as such.
func (g *group) invalid(symbol []byte, t *schema.Trade, why error) error {
	g.live.trades.Add(1)
	if n, tell := g.refusals.due(time.Now()); tell {
		g.live.Log.Warn("refused a trade; it stands in the dead letters", "symbol", string(symbol), "why", why, "refused since the last line", n)
	}
	g.live.Ingestor.Room()
	return g.stream.Refuse(string(symbol), "invalid", fmt.Appendf(nil, "%+v", *t), why)
}

// Refused puts a frame that cannot be used into the dead letters.
func (g *group) Refused(frame []byte, _ schema.Time, why error) error {
	symbol := ""
	var bad *binance.TradeError
	if errors.As(why, &bad) {
		symbol = bad.Symbol
		g.live.trades.Add(1)
	}
	if n, tell := g.refusals.due(time.Now()); tell {
		g.live.Log.Warn("refused a frame; it stands in the dead letters", "reason", reason(why), "why", why, "refused since the last line", n)
	}
	g.live.Ingestor.Room()
	return g.stream.Refuse(symbol, reason(why), frame, why)
}

// keep keeps an error that ends the group. The caller holds mu.
func (g *group) keep(err error) {
	if err != nil {
		g.err = err
	}
}

// hold has marks name the symbol. The caller holds mu.
func (g *group) hold(y *series) error {
	if y.held {
		return nil
	}
	y.held, y.since = true, time.Now()
	return g.stream.Hold(y.name)
}

// settle lets marks speak for the symbol again, if nothing is missing of it.
// The caller holds mu.
func (g *group) settle(y *series) error {
	select {
	case g.live.moved <- struct{}{}:
	default:
	}
	if !y.held || !g.up || y.early || y.awaits || y.unproven || y.holes.wait() {
		return nil
	}
	y.held = false
	return g.stream.Release(y.name)
}

// Progress carries the connection's promise on. The first one says that the
// connection stands: only from there on does it see every trade.
func (g *group) Progress(w schema.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return
	}
	if !g.up {
		from := g.from
		if from == 0 {
			from = w
		}
		if g.err = g.lift(from); g.err != nil {
			return
		}
	}
	g.stream.Progress(w)
}

// lift says that a connection stands again and sees everything from a time on.
// The caller holds mu.
func (g *group) lift(from schema.Time) error {
	if err := g.stream.Up(from); err != nil {
		return err
	}
	g.up, g.stood = true, time.Now()
	for _, y := range g.series {
		if g.live.blind() { // nobody can be asked: the ids of the next trades will tell
			y.unproven = false
		}
		if err := g.settle(y); err != nil {
			return err
		}
	}
	return nil
}

// brought says that the connection whose promises count brings these symbols.
// The caller holds mu.
func (g *group) brought(names []string) {
	for _, name := range names {
		y := g.series[name]
		if y == nil || !y.awaits {
			continue
		}
		y.awaits = false
		g.keep(g.settle(y))
	}
}

// note keeps why the connection was lost, renewed or could not be made. The
// caller holds mu.
func (g *group) note(why string) { g.why, g.whyAt = why, time.Now() }

// unprove says that trades may have been missed. The caller holds mu.
func (g *group) unprove() {
	if g.up {
		g.lost = time.Now()
	}
	g.up = false
	heard := time.Now()
	if g.source != nil {
		if last := g.source.Counts().Last; last > 0 {
			heard = last.Std()
		}
	}
	for _, y := range g.series {
		if !y.unproven {
			y.lost = heard
		}
		if !y.held {
			y.held, y.since = true, time.Now()
		}
		y.unproven = true
	}
}

func (g *group) hooks() binance.Hooks {
	log := g.live.Log
	return binance.Hooks{
		Connected: func(binance.Session) { log.Info("connected", "server", g.live.Source.WS, "symbols", g.size()) },
		Live: func(s binance.Session) {
			g.mu.Lock()
			defer g.mu.Unlock()
			// What a replay sends flat out is all sent before it is live.
			if g.from = s.Live; g.live.Finite != nil {
				g.from = s.Dialed
			}
			g.brought(s.Symbols)
		},
		Shutdown: func() { log.Info("the server says that it will close soon") },
		Renewed: func(s binance.Session, why string) {
			g.mu.Lock()
			g.renews++
			g.note(why)
			g.brought(s.Symbols)
			g.mu.Unlock()
			log.Info("another connection has taken over", "why", why, "symbols", g.size())
		},
		Disconnected: func(err error, pause time.Duration) {
			g.mu.Lock()
			g.losses++
			g.note(err.Error())
			g.unprove()
			g.stream.Down()
			g.mu.Unlock()
			log.Warn("connection lost", "err", err, "again in", pause)
		},
		Failed: func(err error, pause time.Duration) {
			g.mu.Lock()
			g.note(err.Error())
			if !g.up { // what came by it proves nothing of what comes by the next
				g.unprove()
			}
			g.mu.Unlock()
			log.Warn("could not connect", "err", err, "again in", pause)
		},
	}
}

func (g *group) size() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.series)
}

// names lists the symbols in an order that does not change.
func (g *group) names() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return sortedKeys(g.series)
}

// run collects until ctx ends.
func (g *group) run(ctx context.Context) error {
	var err error
	if g.source != nil {
		err = g.source.Run(ctx)
	} else {
		<-ctx.Done()
	}
	g.mu.Lock()
	err = errors.Join(err, g.err)
	up := g.up
	g.mu.Unlock()
	// A finite source ends with the time of its last trade, one that is merely
	// stopped promises nothing more.
	w := schema.MinTime
	if g.live.Finite != nil && err == nil {
		select {
		case <-g.live.Finite:
			_, w = g.live.End()
			if !up {
				g.mu.Lock()
				err = g.lift(w)
				g.mu.Unlock()
			}
		default:
		}
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	return errors.Join(err, g.stream.Close(bound, w))
}

// closeWait bounds how long the end of a stream waits for acknowledgements.
const closeWait = 30 * time.Second

// begin makes the stream of the group's first symbols.
func (g *group) begin(symbols []ingest.Symbol) (err error) {
	from := schemapb.Source_SOURCE_WEBSOCKET
	if g.live.Poll {
		from = schemapb.Source_SOURCE_REST
	}
	g.stream, err = g.live.Ingestor.Stream(from, symbols...)
	if err == nil {
		g.stream.Down()
	}
	return err
}

// wish changes what the connection brings. Polling asks for what there is.
func (g *group) wish(names []string) error {
	if g.source == nil {
		return nil
	}
	return g.source.SetSymbols(names)
}
