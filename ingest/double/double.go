package double

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"millrace/schema"
)

// market is what makes events.
type market interface {
	// symbols gives the symbols, upper case, in a fixed order.
	symbols() []string
	// now is the exchange's time: no event with an earlier E is still to come.
	now() schema.Time
	// hours gives a symbol's statuses; nil if it is always TRADING.
	hours(symbol string) *hours
	// tape gives a symbol's trades, or its aggregates; nil for no symbol.
	tape(symbol string, aggregates bool) tape
	// run makes events, from the one goroutine that calls it, until the market
	// is at its end (nil) or ctx is.
	run(ctx context.Context, emit func(*event)) error
}

// tape is a symbol's trades, or aggregates, up to the market's now, in the
// order of their own ids: those of trades, or those of aggregates.
type tape interface {
	// span gives the first id and the one behind the last.
	span() (first, next int64)
	// read gives up to n rows from an id on.
	read(from int64, n int) []schema.Trade
	// find gives the first id with T ≥ t, or the one behind the last.
	find(t schema.Time) int64
}

// Double is the server.
type Double struct {
	cfg      Config
	market   market
	hub      *hub
	meter    *meter
	tally    *tally
	faults   *faults       // nil where there are none
	wait     []string      // symbols that must have a subscriber before it begins
	attempts atomic.Uint64 // to connect, while there are faults
	done     chan struct{}

	mu       sync.Mutex // guards what is below
	listener net.Listener
	sent     map[string]Sent
	clients  map[*client]struct{}
	serial   uint64            // of the last client
	sums     map[string][]byte // of dumps, by their names
	closing  bool
	active   sync.WaitGroup // requests and websockets being served; Add under mu
}

// Sent is what a double sent of one symbol: each trade counts once, however
// many clients had it.
type Sent struct {
	Trades int64
	// Unheard of them had no subscriber, to the trades or to the aggregates.
	Unheard int64
	// FirstTime and LastTime are the least and the greatest T.
	FirstTime, LastTime schema.Time
}

// ConfigError reports settings that no double can be made of.
type ConfigError struct{ err error }

func (e *ConfigError) Error() string { return e.err.Error() }
func (e *ConfigError) Unwrap() error { return e.err }

// New makes a double. It reads recordings, but listens to nothing.
func New(cfg Config) (*Double, error) {
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, &ConfigError{err}
	}
	d := &Double{cfg: cfg, meter: newMeter(cfg.Limits), tally: newTally(), done: make(chan struct{}), sent: make(map[string]Sent), sums: make(map[string][]byte), clients: make(map[*client]struct{})}
	if len(cfg.Files) > 0 {
		m, err := loadRecorded(cfg.Files)
		if err != nil {
			return nil, fmt.Errorf("double: %w", err)
		}
		d.market = m
		d.hub = newHub(m.symbols())
		if d.wait, err = m.pace(&cfg); err != nil {
			return nil, &ConfigError{fmt.Errorf("double: %w", err)}
		}
	} else {
		m := newSynthetic(cfg.Synthetic, cfg.Now)
		d.market = m
		d.hub = newHub(m.symbols())
		for _, s := range cfg.WaitFor {
			if m.coins[s] == nil {
				return nil, &ConfigError{fmt.Errorf("double: symbol %s is not in the market, which has %s", s, firstOf(m.symbols()))}
			}
		}
		d.wait = cfg.WaitFor
	}
	for _, f := range cfg.Faults.Faults {
		if f.Kind == faultVoids {
			d.cfg.VoidAggs = f.Behind
		}
	}
	if err := d.cfg.Faults.arrange(d.market, d.market.now()); err != nil {
		return nil, &ConfigError{fmt.Errorf("double: %w", err)}
	}
	d.faults = newFaults(d, &d.cfg.Faults)
	d.hub.patient = len(cfg.Files) > 0 && cfg.Speed == 0
	return d, nil
}

// firstOf lists some of the names.
func firstOf(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// Listen opens the port. Run does so itself where it was not called.
func (d *Double) Listen() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener != nil {
		return nil
	}
	l, err := net.Listen("tcp", d.cfg.Addr)
	if err != nil {
		return fmt.Errorf("double: listen: %w", err)
	}
	d.listener = l
	return nil
}

// Addr gives the address listened on, or "" before Listen.
func (d *Double) Addr() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener == nil {
		return ""
	}
	return d.listener.Addr().String()
}

// URLs gives the base addresses for websockets and for REST, after Listen.
func (d *Double) URLs() (ws, rest string) {
	addr := d.Addr()
	return "ws://" + addr, "http://" + addr
}

// SBE gives the base address for SBE streams, after Listen.
func (d *Double) SBE() string { return "ws://" + d.Addr() + "/sbe" }

// Symbols gives the market's symbols.
func (d *Double) Symbols() []string { return d.market.symbols() }

// Done is closed once a replay, or a synthetic market with an end, has come to
// it and every frame has been written to every subscriber that is still there.
// The double goes on serving until Run's context ends.
func (d *Double) Done() <-chan struct{} { return d.done }

// Sent tells what has been sent, by symbol.
func (d *Double) Sent() map[string]Sent {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make(map[string]Sent, len(d.sent))
	for s, v := range d.sent {
		all[s] = v
	}
	return all
}

// Truth gives every trade that a symbol has had with from ≤ T < to: of a
// recording all that are in it, of a synthetic market whatever time is asked
// for, past or future. It is nil for an unknown symbol.
func (d *Double) Truth(symbol string, from, to schema.Time) []schema.Trade {
	if m, ok := d.market.(interface {
		truth(symbol string, from, to schema.Time) []schema.Trade
	}); ok {
		return m.truth(symbol, from, to)
	}
	return nil
}

// Cut drops every websocket connection, as a failing network would: without a
// word.
func (d *Double) Cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.clients {
		c.drop(byTheDouble)
	}
}

// Run serves until ctx ends, and returns nil then.
func (d *Double) Run(ctx context.Context) error {
	if err := d.Listen(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	srv := &http.Server{
		Handler:           d.handler(ctx),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(d.listener) }()
	made := make(chan error, 1)
	go func() {
		err := d.make(ctx)
		if err == nil && ctx.Err() == nil {
			d.drain(ctx)
			if ctx.Err() == nil {
				close(d.done)
			}
		}
		made <- err
	}()
	var err error
	ended := false
	for err == nil && ctx.Err() == nil {
		select {
		case err = <-served:
			ended = true
		case err = <-made:
			made = nil // a replay's end is no reason to stop
		case <-ctx.Done():
		}
	}
	cancel()
	d.hub.close()
	d.Cut()
	_ = srv.Close() // the listener's own error comes from Serve
	if !ended {
		if serr := <-served; err == nil && !errors.Is(serr, http.ErrServerClosed) {
			err = serr
		}
	}
	if made != nil {
		if merr := <-made; err == nil && !errors.Is(merr, context.Canceled) {
			err = merr
		}
	}
	d.mu.Lock()
	d.closing = true
	d.mu.Unlock()
	d.active.Wait()
	if err != nil {
		return fmt.Errorf("double: %w", err)
	}
	return nil
}

// make lets the market, and its faults, begin when it is waited for no more.
func (d *Double) make(ctx context.Context) error {
	if err := d.hub.await(ctx, d.wait); err != nil {
		return err
	}
	if d.faults == nil {
		return d.market.run(ctx, d.emit)
	}
	d.faults.begin(time.Now(), d.market.now())
	fctx, cancel := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() { d.faults.run(fctx); close(stopped) }()
	err := d.market.run(ctx, d.emit)
	cancel()
	<-stopped
	d.faults.stop()
	return err
}

// time is the exchange's time as it is told.
func (d *Double) time() schema.Time {
	t := d.market.now()
	if d.faults != nil {
		t += d.faults.skew()
	}
	return t
}

// emit counts an event and gives it to its subscribers.
func (d *Double) emit(e *event) {
	if e.aggregate {
		e.aggID = aggIDOf(e.aggID, d.cfg.VoidAggs)
	}
	heard := false
	if d.faults != nil {
		heard = d.faults.emit(e)
	} else {
		heard = d.hub.emit(e)
	}
	if e.aggregate {
		return
	}
	d.mu.Lock()
	s := d.sent[e.symbol]
	if s.Trades == 0 || e.trade.Time < s.FirstTime {
		s.FirstTime = e.trade.Time
	}
	s.Trades++
	s.LastTime = max(s.LastTime, e.trade.Time)
	if !heard {
		s.Unheard++
	}
	d.sent[e.symbol] = s
	d.mu.Unlock()
}

// snapshot gives the clients of the moment.
func (d *Double) snapshot() []*client {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]*client, 0, len(d.clients))
	for c := range d.clients {
		all = append(all, c)
	}
	return all
}

// drain waits until every client has been written what is queued for it.
func (d *Double) drain(ctx context.Context) {
	for _, c := range d.snapshot() {
		c.queue.flushed(ctx)
	}
}

// enter counts a request in; false while the double closes.
func (d *Double) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closing {
		d.active.Add(1)
	}
	return !d.closing
}
