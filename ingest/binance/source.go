package binance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// Source keeps one connection's streams flowing: when a connection ends, it
// makes the next. What was missed in between it does not fetch; the ids tell.
type Source struct {
	cfg     Config
	out     Out
	http    *http.Client
	symbols map[string]struct{}
}

// NewSource checks the settings. It connects to nothing.
func NewSource(cfg Config, out Out) (*Source, error) {
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	ws, err := baseURL(cfg.WS, "wss", "ws")
	if err != nil {
		return nil, fmt.Errorf("binance websocket: %w", err)
	}
	cfg.WS = ws
	t, err := newTransport(cfg.CAFile, true)
	if err != nil {
		return nil, fmt.Errorf("binance websocket: %w", err)
	}
	s := &Source{cfg: cfg, out: out, http: &http.Client{Transport: t}, symbols: make(map[string]struct{})}
	for _, symbol := range cfg.Symbols {
		s.symbols[symbol] = struct{}{}
	}
	return s, nil
}

// Run collects until ctx ends, and returns nil then. It returns an error where
// another connection would fare no better: Out failed, or the server refused
// the request itself.
func (s *Source) Run(ctx context.Context) error {
	defer s.http.CloseIdleConnections()
	pause := s.cfg.MinPause
	for {
		c := s.newConn()
		err := c.run(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var f fatal
		if errors.As(err, &f) {
			return fmt.Errorf("binance websocket: %w", f.error)
		}
		if c.live { // it had been good for a while
			pause = s.cfg.MinPause
		}
		// Half of the pause is chance, so that many who lost the same server
		// don't come back as one.
		wait := pause/2 + rand.N(pause/2+1)
		if h := s.cfg.Hooks.Disconnected; h != nil {
			h(err, wait)
		}
		pause = min(2*pause, s.cfg.MaxPause)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

func (s *Source) newConn() *conn {
	clock := &serverClock{steady: s.cfg.Margin}
	if s.cfg.REST != nil {
		clock.ask = s.cfg.REST.ServerTime
	}
	return &conn{cfg: &s.cfg, out: s.out, http: s.http, symbols: s.symbols, clock: clock}
}
