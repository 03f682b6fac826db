package collect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/ingest"
	"millrace/ingest/binance"
	"millrace/schema"
	"millrace/schema/schemapb"
)

// symbolsPerConn is how many symbols share a connection. Binance allows 1,024
// streams; fewer keep one busy connection from delaying all of them.
const symbolsPerConn = 200

// Live collects symbols from a server that speaks Binance's protocol.
type Live struct {
	Ingestor *ingest.Ingestor
	// Source is the settings of each connection; its Symbols are all symbols.
	Source binance.Config
	Log    *slog.Logger
	// Finite, if set, is closed when the server has sent all it will ever send;
	// End then tells how many trades that were and the time of the last one.
	Finite <-chan struct{}
	End    func() (trades int64, last schema.Time)

	trades atomic.Int64
}

// Trades gives the number of trades received.
func (l *Live) Trades() int64 { return l.trades.Load() }

// Run collects until ctx ends or, from a finite server, until everything it
// sent is in the log.
func (l *Live) Run(ctx context.Context) error {
	statuses, err := l.statuses(ctx)
	if err != nil {
		return err
	}
	group, inner := errgroup.WithContext(ctx)
	inner, done := context.WithCancel(inner)
	defer done()
	all := l.Source.Symbols
	for from := 0; from < len(all); from += symbolsPerConn {
		c := &conn{live: l, symbols: all[from:min(from+symbolsPerConn, len(all))], statuses: statuses}
		cfg := l.Source
		cfg.Symbols, cfg.Hooks = c.symbols, c.hooks()
		if c.source, err = binance.NewSource(cfg, c); err != nil {
			return err
		}
		group.Go(func() error { return c.run(inner) })
	}
	if l.Finite != nil {
		group.Go(func() error { return l.await(inner, done) })
	}
	return group.Wait()
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

// statuses asks for the symbols' trading statuses; it is also the check that
// they exist, since the streams of an unknown symbol are just silent.
func (l *Live) statuses(ctx context.Context) (map[string]schema.TradingStatus, error) {
	out := map[string]schema.TradingStatus{}
	if l.Source.REST == nil {
		return out, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	info, err := l.Source.REST.Exchange(ctx, l.Source.Symbols...)
	var bad *binance.APIError
	if errors.As(err, &bad) && bad.Code == unknownSymbol {
		return nil, fmt.Errorf("one of the symbols is unknown to the exchange (%s): %v", bad.Message, l.Source.Symbols)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the exchange for its symbols: %w", err)
	}
	for _, s := range info.Symbols {
		out[s.Symbol] = schemapb.TradingStatus(schemapb.TradingStatus_value["TRADING_STATUS_"+s.Status])
	}
	for _, name := range l.Source.Symbols {
		if _, ok := out[name]; !ok {
			return nil, fmt.Errorf("the exchange has no symbol %q", name)
		}
	}
	return out, nil
}

// unknownSymbol is Binance's error code for an unknown symbol.
const unknownSymbol = -1121

// conn is a connection after the other, with one Stream.
type conn struct {
	live     *Live
	symbols  []string
	statuses map[string]schema.TradingStatus
	source   *binance.Source
	stream   *ingest.Stream
	from     schema.Time // from which the connection sees every trade; 0: not known
	up       bool
	err      error
}

func (c *conn) run(ctx context.Context) error {
	list := make([]ingest.Symbol, len(c.symbols))
	for i, name := range c.symbols {
		list[i] = ingest.Symbol{Name: name, Status: c.statuses[name]}
	}
	var err error
	if c.stream, err = c.live.Ingestor.Stream(schemapb.Source_SOURCE_WEBSOCKET, list...); err != nil {
		return err
	}
	c.stream.Down()
	err = errors.Join(c.source.Run(ctx), c.err)
	// A finite source ends with the time of its last trade, one that is merely
	// stopped promises nothing more.
	w := schema.MinTime
	if c.live.Finite != nil && err == nil {
		select {
		case <-c.live.Finite:
			_, w = c.live.End()
			if !c.up {
				err = c.lift(w)
			}
		default:
		}
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	return errors.Join(err, c.stream.Close(bound, w))
}

// closeWait bounds how long the end of a stream waits for acknowledgements.
const closeWait = 30 * time.Second

func (c *conn) hooks() binance.Hooks {
	log := c.live.Log
	return binance.Hooks{
		Connected: func(s binance.Session) { log.Info("connected", "server", c.live.Source.WS, "symbols", len(c.symbols)) },
		Live: func(s binance.Session) {
			// What a replay sends flat out is all sent before it is live.
			if c.from = s.Live; c.live.Finite != nil {
				c.from = s.Dialed
			}
		},
		Shutdown: func() { log.Warn("the server says that it will close soon") },
		Disconnected: func(err error, pause time.Duration) {
			c.up = false
			c.stream.Down()
			log.Warn("connection lost", "err", err, "again in", pause)
		},
	}
}

// Trade is the way of a trade from a connection into the log.
func (c *conn) Trade(symbol []byte, t *schema.Trade, received schema.Time) error {
	err := c.stream.Trade(symbol, t, received)
	if unusable(err) {
		c.live.Log.Warn("refused a trade; it stands in the dead letters", "symbol", string(symbol), "why", err)
		err = c.stream.Refuse(string(symbol), "invalid", fmt.Appendf(nil, "%+v", *t), err)
	}
	if err == nil {
		c.live.trades.Add(t.Count())
	}
	return err
}

// unusable reports whether an error of Stream.Trade concerns that trade alone.
func unusable(err error) bool {
	return errors.Is(err, schema.ErrTrade) || errors.Is(err, ingest.ErrSymbol)
}

// Refused puts a frame that cannot be used into the dead letters.
func (c *conn) Refused(frame []byte, _ schema.Time, why error) error {
	symbol := ""
	var bad *binance.TradeError
	if errors.As(why, &bad) {
		symbol = bad.Symbol
		c.live.trades.Add(1)
	}
	c.live.Log.Warn("refused a frame; it stands in the dead letters", "reason", reason(why), "why", why)
	return c.stream.Refuse(symbol, reason(why), frame, why)
}

// Progress carries the connection's promise on. The first one says that the
// connection stands: only from there on does it see every trade.
func (c *conn) Progress(w schema.Time) {
	if !c.up {
		from := c.from
		if from == 0 {
			from = w
		}
		if err := c.lift(from); err != nil {
			c.err = err
			return
		}
	}
	c.stream.Progress(w)
}

func (c *conn) lift(from schema.Time) error {
	if err := c.stream.Up(from); err != nil {
		return err
	}
	for _, name := range c.symbols {
		if err := c.stream.Release(name); err != nil {
			return err
		}
	}
	c.up = true
	return nil
}
