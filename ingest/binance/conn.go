package binance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"millrace/schema"
)

// fatal marks an error after which another connection would fare no better.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

// conn is one websocket connection of combined streams. Two goroutines share
// it: the reader, which is the one that called run and alone calls Out, and the
// keeper, which subscribes and pings.
type conn struct {
	source  *Source
	cfg     *Config
	out     Out
	http    *http.Client
	url     string
	list    []string
	symbols map[string]struct{} // the same
	clock   *ServerClock        // nil: nobody tells the time

	ws      *websocket.Conn
	dec     Decoder
	ev      Event
	sbe     SBEDecoder
	sbeEv   SBEEvent
	single  [1]schema.Trade
	buf     []byte
	session Session
	newest  schema.Time // newest E
	live    bool
	useful  bool          // a frame was
	refused int           // frames that were not
	text    bool          // the newest frame is
	handing atomic.Bool   // Out has it: a pong that is late now is no sign of death
	stands  chan struct{} // closed once live

	// These belong to the source's lock.
	w    schema.Time // progress promised
	from schema.Time // each trade with T at or after it comes by this connection; 0: not known

	waiting map[string]struct{} // ids of SUBSCRIBE frames not yet answered
	granted chan struct{}       // closed once that is empty
	ping    atomic.Pointer[ping]
}

// ping is one on its way: when its pong is back, all that the server had sent
// at its time s has been read.
type ping struct {
	payload string
	s       schema.Time
}

// run reads until the connection ends, and returns why.
func (c *conn) run(ctx context.Context) error {
	subs, err := subscribe(c.url, c.list, c.suffix(), !c.cfg.Milliseconds && !c.cfg.sbe())
	if err != nil {
		return fatal{err}
	}
	c.waiting = make(map[string]struct{})
	c.granted = make(chan struct{})
	for i := range subs.frames {
		c.waiting[strconv.Itoa(i+1)] = struct{}{}
	}
	if len(c.waiting) == 0 {
		close(c.granted)
	}
	if c.clock != nil {
		c.session.Dialed = c.clock.Now(ctx)
	}
	if err := c.dial(ctx, subs.url); err != nil {
		return err
	}
	defer func() { _ = c.ws.CloseNow() }() // it is of no more use
	// The read itself takes no context: one that can be cancelled would cost an
	// allocation a frame. Closing the connection ends it as well.
	kctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(kctx, func() { _ = c.ws.CloseNow() })
	kept := make(chan error, 1)
	go func() {
		err := c.keep(kctx, subs.frames)
		cancel()
		kept <- err
	}()
	if h := c.cfg.Hooks.Connected; h != nil {
		h(c.session)
	}
	err = c.read()
	cancel()
	stop()
	// Where the keeper gave up and closed the connection, its word counts.
	if kerr := <-kept; kerr != nil && errors.Is(err, net.ErrClosed) {
		err = kerr
	}
	return err
}

func (c *conn) suffix() string {
	if c.cfg.Aggregates {
		return "@aggTrade"
	}
	return "@trade"
}

func (c *conn) dial(ctx context.Context, address string) error {
	dctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	header := http.Header{}
	if c.cfg.sbe() {
		header.Set("X-MBX-APIKEY", c.cfg.APIKey)
	}
	ws, resp, err := websocket.Dial(dctx, address, &websocket.DialOptions{
		HTTPClient:     c.http,
		HTTPHeader:     header,
		OnPongReceived: func(_ context.Context, payload []byte) { c.pong(payload) },
	})
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // the address with all its streams would hide the cause
		}
		err = fmt.Errorf("connect to %s (streams: %d): %w", c.url, len(c.list), err)
		// What the server says of the request itself will not change.
		if resp != nil && (resp.StatusCode == http.StatusBadRequest || resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusUpgradeRequired || resp.StatusCode == http.StatusUnauthorized) {
			return c.final(&RefusedError{err})
		}
		return err
	}
	ws.SetReadLimit(c.cfg.ReadLimit)
	c.ws = ws
	return nil
}

// RefusedError reports a server that refuses what is asked of it.
type RefusedError struct{ Why error }

func (e *RefusedError) Error() string {
	return e.Why.Error() + ": set --binance-ws to a server of these streams, or --streams to what it serves"
}

func (e *RefusedError) Unwrap() error { return e.Why }

// final marks what the server says of the request itself, unless the same kind
// of request has stood before: then it is a gateway's word of the moment, and a
// collector that runs must not end by it.
func (c *conn) final(err error) error {
	if c.source.hasStood() {
		return err
	}
	return fatal{err}
}

// read hands over frame by frame.
func (c *conn) read() error {
	for {
		typ, r, err := c.ws.Reader(context.Background())
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if err := c.fill(r); err != nil {
			return fmt.Errorf("read: %w", err)
		}
		received := schema.FromStd(time.Now())
		c.text = typ == websocket.MessageText
		c.source.counts.frame(len(c.buf), received)
		switch {
		case c.text:
			err = c.frame(received)
		case c.cfg.sbe():
			err = c.binary(received)
		default:
			err = c.refuse(received, fmt.Errorf("%w: a binary message of %d bytes", ErrFrame, len(c.buf)))
		}
		if err != nil {
			return err
		}
	}
}

// fill reads one message into c.buf, which grows to the longest seen.
func (c *conn) fill(r io.Reader) error {
	c.buf = c.buf[:0]
	for {
		if len(c.buf) == cap(c.buf) {
			c.buf = append(c.buf, 0)[:len(c.buf)]
		}
		n, err := r.Read(c.buf[len(c.buf):cap(c.buf)])
		c.buf = c.buf[:len(c.buf)+n]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// frame decodes the message in c.buf and hands it over.
func (c *conn) frame(received schema.Time) error {
	ev := &c.ev
	if err := c.dec.Decode(c.buf, ev); err != nil {
		return c.refuse(received, err)
	}
	switch ev.Kind {
	case Trade, AggTrade:
		if (ev.Kind == AggTrade) != c.cfg.Aggregates || c.cfg.sbe() {
			return c.refuse(received, errNotAsked)
		}
		return c.trades(ev.Symbol, c.one(&ev.Trade), ev.EventTime, received)
	case Shutdown:
		if h := c.cfg.Hooks.Shutdown; h != nil {
			h()
		}
		c.source.Renew("the server closes")
	case Answer:
		c.answered()
	case Refusal:
		err := fmt.Errorf("subscribe: server answers code %d, %.200q", ev.Code, ev.Message)
		if ev.Code == 2 || ev.Code == 4 { // a bad request, too many streams
			return c.final(err)
		}
		return err
	}
	return nil
}

// binary decodes the SBE message in c.buf and hands its trades over.
func (c *conn) binary(received schema.Time) error {
	why := c.sbe.Decode(c.buf, &c.sbeEv)
	if c.sbeEv.Kind == Trade {
		if err := c.trades(c.sbeEv.Symbol, c.sbeEv.Trades, c.sbeEv.EventTime, received); err != nil {
			return err
		}
	}
	if why != nil {
		return c.refuse(received, why)
	}
	return nil
}

var errNotAsked = fmt.Errorf("%w: an event of a stream that was not asked for", ErrFrame)

// one gives a trade as a list, without an allocation.
func (c *conn) one(t *schema.Trade) []schema.Trade {
	c.single[0] = *t
	return c.single[:]
}

// trades hands over what one message brought.
func (c *conn) trades(symbol []byte, list []schema.Trade, e, received schema.Time) error {
	if _, ours := c.symbols[string(symbol)]; !ours {
		return c.refuse(received, errNotAsked)
	}
	c.handing.Store(true)
	for i := range list {
		if err := c.out.Trade(symbol, &list[i], received); err != nil {
			return fatal{fmt.Errorf("hand over: %w", err)}
		}
	}
	c.handing.Store(false)
	c.use()
	c.source.counts.lag(e, received)
	if e > c.newest {
		c.newest = e
		c.promise(c.newest)
	}
	return nil
}

func (c *conn) answered() {
	if _, ok := c.waiting[string(c.ev.ID)]; !ok {
		return
	}
	delete(c.waiting, string(c.ev.ID))
	if len(c.waiting) == 0 {
		close(c.granted)
	}
}

// promise raises the progress to s less the margin, once all streams stand.
func (c *conn) promise(s schema.Time) {
	if c.live {
		c.source.progressed(c, s-schema.Time(c.cfg.Margin.Microseconds()))
	}
}

// pong runs on the reader's goroutine, between two frames: all that the server
// sent before its pong has been handed over. The first one comes after the last
// subscription was granted.
func (c *conn) pong(payload []byte) {
	p := c.ping.Load()
	if p == nil || p.payload != string(payload) {
		return
	}
	if !c.live {
		c.live = true
		c.session.Live = p.s
		c.promise(c.newest)
		c.promise(p.s)
		c.source.stood(c)
		return
	}
	c.promise(p.s)
}

// keep subscribes what the URL did not, then pings. It returns why the
// connection is of no use any more, or nil when ctx ended.
func (c *conn) keep(ctx context.Context, frames [][]byte) error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for i, f := range frames {
		if i > 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
		}
		if err := c.ws.Write(ctx, websocket.MessageText, f); err != nil {
			return alive(ctx, fmt.Errorf("subscribe: %w", err))
		}
	}
	late := time.NewTimer(c.cfg.PongTimeout)
	defer late.Stop()
	select {
	case <-c.granted:
	case <-late.C:
		return fmt.Errorf("subscribe: no answer within %v", c.cfg.PongTimeout)
	case <-ctx.Done():
		return nil
	}
	tick.Reset(c.cfg.PingEvery)
	for n := 1; ; n++ {
		// The library numbers its pings in the payload, from 1.
		c.ping.Store(&ping{payload: strconv.Itoa(n), s: c.moment(ctx, n == 1)})
		pctx, cancel := context.WithTimeout(ctx, c.cfg.PongTimeout)
		err := c.ws.Ping(pctx)
		cancel()
		if err != nil && ctx.Err() == nil && c.handing.Load() && errors.Is(err, context.DeadlineExceeded) {
			continue // the reader is held up by Out, not by the server
		}
		if err != nil {
			return alive(ctx, fmt.Errorf("ping: %w", err))
		}
		// Counted from here: a ping that took long must not have the next one
		// follow at once, since the server counts them.
		tick.Reset(c.cfg.PingEvery)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// moment gives one at or before the server's present, 0 if none is known. The
// first says from when on the connection sees everything, so it must not lie
// before the streams stood.
func (c *conn) moment(ctx context.Context, first bool) schema.Time {
	switch {
	case c.clock == nil:
		return 0
	case first:
		return c.clock.Fresh(ctx)
	}
	return c.clock.Now(ctx)
}

// alive gives err, or nil if ctx has ended: then err is only its echo.
func alive(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
