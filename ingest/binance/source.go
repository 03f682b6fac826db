package binance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"millrace/schema"
)

// Source keeps the streams of its symbols flowing. When its connection ends, it
// makes the next. Where an end can be foreseen (the server's age limit, its
// word that it will close, a wish for other symbols) the next one is made
// before: it takes over once it is live and the old one has brought everything
// from before that moment, so nothing is missed. What a connection that was
// lost has missed the Source does not fetch; the ids tell.
//
//	      ┌── lost ──▶ pause ──▶ next
//	conn ─┤
//	      └── renew ─▶ next beside it ──▶ live ──▶ old one is past that moment ──▶ closed
type Source struct {
	cfg  Config
	out  Out
	urls []string
	http *http.Client

	counts counts
	useful atomic.Bool // a frame was, of any of its connections
	renew  chan string

	mu      sync.Mutex // guards what follows
	symbols []string
	cur     *conn // whose promises count; nil while there is none
	next    *conn // is to take over
	handed  chan struct{}
	dials   int
	proven  bool // a connection has stood
}

// NewSource checks the settings. It connects to nothing.
func NewSource(cfg Config, out Out) (*Source, error) {
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	t, err := newTransport(cfg.CAFile, true)
	if err == nil {
		err = setProxy(t, cfg.Proxy)
	}
	if err != nil {
		return nil, fmt.Errorf("binance websocket: %w", err)
	}
	s := &Source{cfg: cfg, out: out, http: &http.Client{Transport: t}, renew: make(chan string, 1),
		handed: make(chan struct{}, 1), symbols: slices.Clone(cfg.Symbols)}
	s.counts.known.Store(cfg.REST == nil)
	for _, u := range strings.Split(cfg.WS, ",") {
		u, err := baseURL(strings.TrimSpace(u), "wss", "ws")
		if err != nil {
			return nil, fmt.Errorf("binance websocket: %w", err)
		}
		s.urls = append(s.urls, u)
	}
	return s, nil
}

// Renew has a new connection take the place of the present one. It does not
// wait; while one is on its way already it does nothing.
func (s *Source) Renew(reason string) {
	select {
	case s.renew <- reason:
	default:
	}
}

// SetSymbols changes what is collected, by a new connection. Trades of a symbol
// that is no longer wanted may still come until it has taken over.
func (s *Source) SetSymbols(symbols []string) error {
	cfg := s.cfg
	cfg.Symbols = symbols
	if err := cfg.Validate(); err != nil {
		return err
	}
	s.mu.Lock()
	s.symbols = slices.Clone(symbols)
	s.mu.Unlock()
	s.Renew("symbols changed")
	return nil
}

// started is a connection that runs in a goroutine of its own.
type started struct {
	*conn
	done chan error // why it ended
	gone chan struct{}
	end  context.CancelFunc
}

// stop ends it and waits; why it ended is of no more interest.
func (r *started) stop() {
	r.end()
	<-r.gone
}

// start makes a connection once the server's budget of them allows.
func (s *Source) start(ctx context.Context) *started {
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	c := s.newConn(s.symbols, s.urls[s.dials%len(s.urls)])
	s.mu.Unlock()
	r := &started{conn: c, done: make(chan error, 1), gone: make(chan struct{}), end: cancel}
	go func() {
		defer close(r.gone)
		err := s.cfg.Dials.wait(ctx)
		if err == nil {
			err = c.run(ctx)
		}
		r.done <- err
	}()
	return r
}

func (s *Source) newConn(symbols []string, url string) *conn {
	var clock *ServerClock
	if s.cfg.REST != nil {
		clock = s.cfg.REST.Clock()
	}
	set := make(map[string]struct{}, len(symbols))
	for _, x := range symbols {
		set[x] = struct{}{}
	}
	return &conn{source: s, cfg: &s.cfg, out: s.out, http: s.http, url: url, list: symbols, symbols: set, clock: clock, session: Session{Symbols: symbols}, stands: make(chan struct{})}
}

// Run collects until ctx ends, and returns nil then. It returns an error where
// another connection would fare no better: Out failed, or the server refused
// the request itself.
func (s *Source) Run(ctx context.Context) error {
	defer s.http.CloseIdleConnections()
	pause := s.cfg.MinPause
	var cur, next *started
	defer func() {
		for _, c := range []*started{cur, next} {
			if c != nil {
				c.stop()
			}
		}
	}()
	again := time.NewTimer(0) // the next attempt
	defer again.Stop()
	old := time.NewTimer(time.Hour) // the end of the present connection's age
	old.Stop()
	var reason string // why a successor is wanted; "" if none is
	// What was wished for while a successor was on its way already: it may not
	// have heard of it. The server's farewell goes to both, and new symbols are
	// in the next one only.
	var wished string
	for {
		var curDone, nextDone chan error
		var live chan struct{}
		if cur != nil {
			curDone = cur.done
		}
		if next != nil {
			nextDone, live = next.done, next.stands
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
			switch {
			case cur == nil && next == nil:
				next = s.start(ctx)
				s.follow(next.conn)
			case next == nil && reason != "":
				next = s.start(ctx)
				s.follow(next.conn)
			}
		case why := <-s.renew:
			switch {
			case next != nil || reason != "":
				wished = why
			case cur != nil:
				reason = why
				again.Reset(0)
			}
		case <-old.C:
			s.Renew("age")
		case <-live:
			if cur == nil {
				cur, next = next, nil
				s.adopt(cur.conn)
				reason, wished, pause = wished, "", s.cfg.MinPause
				old.Reset(s.age())
				again.Reset(0)
				continue
			}
			// It stands; the old one still has to bring what came before that.
			if err, ended := s.overlap(ctx, cur); ended {
				if fatally(err) {
					return unwrapFatal(err)
				}
				cur = nil
				s.lost(err, 0)
				continue
			}
			if ctx.Err() != nil {
				return nil
			}
			cur.stop()
			cur, next = next, nil
			if h := s.cfg.Hooks.Renewed; h != nil {
				h(cur.session, reason)
			}
			reason, wished, pause = wished, "", s.cfg.MinPause
			old.Reset(s.age())
			again.Reset(0)
		case err := <-curDone:
			cur.end()
			cur = nil
			old.Stop()
			if fatally(err) {
				return unwrapFatal(err)
			}
			wait := time.Duration(0)
			if next == nil { // else a successor is on its way already
				wait = s.pause(&pause)
				again.Reset(wait)
			}
			s.lost(err, wait)
		case err := <-nextDone:
			next.end()
			next = nil
			s.follow(nil)
			if fatally(err) && cur == nil {
				return unwrapFatal(err)
			}
			s.mu.Lock()
			s.dials++ // the next address, if there is one
			s.mu.Unlock()
			wait := s.pause(&pause)
			again.Reset(wait)
			if fatally(err) {
				reason = "" // it would fare no better; the present one goes on
			}
			if h := s.cfg.Hooks.Failed; h != nil {
				h(err, wait)
			}
		}
	}
}

// pause gives the wait before the next attempt, and doubles the one after it.
// Half of it is chance, so that many who lost the same server don't come back
// as one.
func (s *Source) pause(p *time.Duration) time.Duration {
	wait := *p/2 + rand.N(*p/2+1)
	*p = min(2**p, s.cfg.MaxPause)
	return wait
}

// age is how long a connection is kept: a tenth of it is chance.
func (s *Source) age() time.Duration {
	return s.cfg.MaxAge - rand.N(s.cfg.MaxAge/10+1)
}

// follow notes the connection that is to take over.
func (s *Source) follow(c *conn) {
	s.mu.Lock()
	s.next = c
	s.mu.Unlock()
}

// adopt lets c's promises count: it stands, and there is none beside it.
func (s *Source) adopt(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cur, s.next = c, nil
	if h := s.cfg.Hooks.Live; h != nil {
		h(c.session)
	}
	if c.w > 0 {
		s.out.Progress(c.w)
	}
}

// lost says that the connection is gone with nothing to take its place.
func (s *Source) lost(err error, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cur = nil
	if h := s.cfg.Hooks.Disconnected; h != nil {
		h(err, wait)
	}
}

// overlap waits until the old connection has brought everything from before the
// new one stood. ended is true if it ended before that.
func (s *Source) overlap(ctx context.Context, cur *started) (err error, ended bool) {
	late := time.NewTimer(s.cfg.OverlapMax)
	defer late.Stop()
	for {
		s.mu.Lock()
		done := s.cur != cur.conn
		s.mu.Unlock()
		if done {
			return nil, false
		}
		select {
		case <-s.handed:
		case err := <-cur.done:
			cur.end()
			return err, true
		case <-late.C:
			cur.stop()
			return fmt.Errorf("the old connection did not come as far as the new one within %v", s.cfg.OverlapMax), true
		case <-ctx.Done():
			return nil, false
		}
	}
}

// stood notes that c is live: what it sees everything of begins at the server's
// time of that moment or, where that is not known, behind the newest event.
func (s *Source) stood(c *conn) {
	s.mu.Lock()
	s.proven = true
	if c.from = c.session.Live; c.from == 0 && c.newest > 0 {
		c.from = c.newest + schema.Time(s.cfg.Margin.Microseconds())
	}
	s.mu.Unlock()
	close(c.stands)
}

func (s *Source) hasStood() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proven
}

// progressed carries a connection's promise on, if it is the one whose promises
// count. The one that is to take over does so once the old one's promise has
// come as far as the moment from which the new one sees everything.
func (s *Source) progressed(c *conn, w schema.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w <= c.w {
		return
	}
	c.w = w
	if s.cur == c {
		s.out.Progress(c.w)
	}
	n := s.next
	if n == nil || s.cur == nil || n.from == 0 || s.cur.w < n.from {
		return
	}
	s.cur, s.next = n, nil
	if n.w > 0 {
		s.out.Progress(n.w)
	}
	select {
	case s.handed <- struct{}{}:
	default:
	}
}

func fatally(err error) bool {
	var f fatal
	return errors.As(err, &f)
}

func unwrapFatal(err error) error {
	var f fatal
	errors.As(err, &f)
	return fmt.Errorf("binance websocket: %w", f.error)
}
