package binance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// server counts its calls and answers as told at the moment.
type server struct {
	*httptest.Server
	calls  atomic.Int64
	answer atomic.Pointer[func(http.ResponseWriter)]
}

func newServer(t *testing.T, answer func(http.ResponseWriter)) *server {
	t.Helper()
	s := &server{}
	s.answer.Store(&answer)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.calls.Add(1)
		(*s.answer.Load())(w)
	}))
	t.Cleanup(s.Close)
	return s
}

func good(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"serverTime":1499827319559}`)) }

func status(code int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { w.WriteHeader(code) }
}

func clientOf(t *testing.T, cfg ClientConfig) *Client {
	t.Helper()
	c, err := NewClientFrom(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestCallsGoOnToTheNextServer(t *testing.T) {
	ctx := context.Background()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	bad, fine := newServer(t, status(503)), newServer(t, good)
	c, err := NewClient(gone.URL+", "+bad.URL+"/,"+fine.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		if _, err := c.ServerTime(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if bad.calls.Load() != 1 || fine.calls.Load() != 3 {
		t.Errorf("%d and %d calls: it should stay where it was answered", bad.calls.Load(), fine.calls.Load())
	}
	if s := c.Budget().Stats(); s.Used != 5 {
		t.Errorf("%d counted: every try weighs", s.Used)
	}
	// None answers: each is asked once, and the error is the last one's.
	h := status(500)
	fine.answer.Store(&h)
	if _, err := c.ServerTime(ctx); err == nil || fine.calls.Load() != 4 || bad.calls.Load() != 2 {
		t.Errorf("%v, %d and %d calls", err, bad.calls.Load(), fine.calls.Load())
	}
	// What another server would say too is not asked there.
	for _, code := range []int{400, 403, 404, 429, 418} {
		first, second := newServer(t, status(code)), newServer(t, good)
		c := clientOf(t, ClientConfig{Bases: []string{first.URL, second.URL}})
		if _, err := c.ServerTime(ctx); err == nil || second.calls.Load() != 0 {
			t.Errorf("http %d: %v, %d calls to the second", code, err, second.calls.Load())
		}
	}
	// A server that says nothing until the caller gives up is left as well.
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	c = clientOf(t, ClientConfig{Bases: []string{silent.URL, newServer(t, good).URL}})
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := c.ServerTime(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if _, err := c.ServerTime(ctx); err != nil {
		t.Error(err)
	}
}

func TestClientsShareABlock(t *testing.T) {
	limited := newServer(t, func(w http.ResponseWriter) {
		w.Header().Set("Retry-After", "100")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	fine := newServer(t, good)
	b := NewBudget(BudgetConfig{})
	one, two := clientOf(t, ClientConfig{Bases: []string{limited.URL}, Budget: b}), clientOf(t, ClientConfig{Bases: []string{fine.URL}})
	two.Use(b)
	if _, err := one.ServerTime(context.Background()); err == nil {
		t.Fatal("no limit")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := two.ServerTime(ctx); !errors.Is(err, context.DeadlineExceeded) || fine.calls.Load() != 0 {
		t.Errorf("%v, %d calls", err, fine.calls.Load())
	}
	if s := b.Stats(); s.Limited != 1 || s.BlockedUntil.IsZero() || s.Waiting != [priorities]int{} {
		t.Errorf("%+v", s)
	}
}

func TestRetryable(t *testing.T) {
	ctx := context.Background()
	ask := func(answer func(http.ResponseWriter)) error {
		_, err := clientOf(t, ClientConfig{Bases: []string{newServer(t, answer).URL}}).ServerTime(ctx)
		return err
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	_, refused := clientOf(t, ClientConfig{Bases: []string{gone.URL}}).ServerTime(ctx)
	tls := httptest.NewUnstartedServer(http.NotFoundHandler())
	tls.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of the stranger
	tls.StartTLS()
	defer tls.Close()
	_, stranger := clientOf(t, ClientConfig{Bases: []string{tls.URL}}).ServerTime(ctx)
	limit := func(code int, after string) error {
		return ask(func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", after)
			w.WriteHeader(code)
		})
	}
	said := func(status int, body string) error {
		return ask(func(w http.ResponseWriter) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		})
	}
	for name, c := range map[string]struct {
		err  error
		wait time.Duration
		ok   bool
	}{
		"nothing":      {nil, 0, false},
		"500":          {ask(status(500)), retryPause, true},
		"html 503":     {said(503, "<html>"), retryPause, true},
		"429":          {limit(429, "7"), 7 * time.Second, true},
		"429 plain":    {limit(429, ""), time.Minute, true},
		"418":          {limit(418, "300"), 5 * time.Minute, true},
		"418 plain":    {limit(418, ""), 2 * time.Minute, true},
		"-1121":        {said(400, `{"code":-1121,"msg":"Invalid symbol."}`), 0, false},
		"-1003":        {said(403, `{"code":-1003,"msg":"Too much"}`), time.Minute, true},
		"-1007":        {said(400, `{"code":-1007,"msg":"Timeout"}`), retryPause, true},
		"404":          {ask(status(404)), 0, false},
		"unreachable":  {refused, retryPause, true},
		"certificate":  {stranger, 0, false},
		"canceled":     {fmt.Errorf("get: %w", context.Canceled), 0, false},
		"too slow":     {fmt.Errorf("get: %w", context.DeadlineExceeded), retryPause, true},
		"no json":      {said(200, `{"serverTime":tomorrow}`), 0, false},
		"wrong":        {said(200, `{}`), 0, false},
		"breaking off": {ask(func(w http.ResponseWriter) { w.Header().Set("Content-Length", "100"); good(w) }), time.Second, true}, // the end may be missing
		"broken off": {ask(func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"serverTime":14`)
		}), retryPause, true},
	} {
		if c.err == nil && name != "nothing" {
			t.Errorf("%s: no error", name)
		}
		if wait, ok := Retryable(c.err); wait != c.wait || ok != c.ok {
			t.Errorf("%s: %v %v, wanted %v %v: %v", name, wait, ok, c.wait, c.ok, c.err)
		}
	}
}

func TestPagesOfHTMLAreNamed(t *testing.T) {
	page := "\n<!DOCTYPE html><HTML><head><Title>ERROR: The request\n could not be satisfied</Title></head>" + strings.Repeat("<p>", 5000)
	for code, says := range map[int]string{
		200: "look for a proxy or portal", 403: "firewall", 451: "does not serve this place", 502: "a page of HTML",
	} {
		_, err := serve(t, code, http.Header{"Content-Type": {"text/html"}}, page).ServerTime(context.Background())
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "The request could not be satisfied") || len(err.Error()) > 400 || strings.Contains(err.Error(), "<p>") {
			t.Errorf("%d: %v", code, err)
		}
	}
	for in, want := range map[string]string{"<b>": "a page of HTML", "<title>": `a page of HTML titled ""`, "<title>K</title>": `a page of HTML titled "K"`} {
		if got := describeHTML([]byte(in)); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
}

// A websocket goes by the proxy; where that refuses, no error shows its login.
func TestSourceProxy(t *testing.T) {
	var asked atomic.Value
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Method + " " + r.Host + " " + r.Header.Get("Proxy-Authorization"))
		w.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var failed error
	s, err := NewSource(Config{WS: "wss://exchange:9443", Symbols: []string{"A"}, Proxy: "http://me:secret@" + strings.TrimPrefix(proxy.URL, "http://"),
		Hooks: Hooks{Failed: func(err error, _ time.Duration) { failed = err; cancel() }}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if asked.Load() != "CONNECT exchange:9443 Basic bWU6c2VjcmV0" {
		t.Errorf("the proxy was asked %v", asked.Load())
	}
	if failed == nil || strings.Contains(failed.Error(), "secret") {
		t.Errorf("it failed with %v", failed)
	}
}

func TestProxy(t *testing.T) {
	fine := newServer(t, good)
	var auth atomic.Value
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		auth.Store(r.Header.Get("Proxy-Authorization") + " " + r.URL.Host)
		good(w)
	}))
	defer proxy.Close()
	at := strings.TrimPrefix(proxy.URL, "http://")
	c := clientOf(t, ClientConfig{Bases: []string{fine.URL}, Proxy: "http://me:secret@" + at})
	if _, err := c.ServerTime(context.Background()); err != nil || fine.calls.Load() != 0 {
		t.Errorf("%v, %d calls beside the proxy", err, fine.calls.Load())
	}
	if got := auth.Load(); got != "Basic bWU6c2VjcmV0 "+strings.TrimPrefix(fine.URL, "http://") {
		t.Error(got)
	}
	proxy.Close()
	for _, p := range []string{"http://me:secret@" + at, "https://me:secret@" + at, "socks5://me:secret@" + at} {
		_, err := clientOf(t, ClientConfig{Bases: []string{fine.URL}, Proxy: p}).ServerTime(context.Background())
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", p, err)
		}
		if _, ok := Retryable(err); !ok {
			t.Errorf("%s: not to be tried again: %v", p, err)
		}
	}
	for _, p := range []string{"ftp://me:secret@host", "http://", "http://me:secret@host/path", "http://me:secret@ho st", "http://me:sec%zzret@host", "secret", "me:secret@host:3128", "socks5://me:secret@host?x=secret"} {
		_, err := NewClientFrom(ClientConfig{Bases: []string{fine.URL}, Proxy: p})
		if err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "sec%") {
			t.Errorf("%s: %v", p, err)
		}
	}
	for _, p := range []string{"ftp://me:secret@host", "http://me:secret@host/path"} {
		if _, err := NewSource(Config{Symbols: []string{"A"}, Proxy: p}, nil); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("a source by %s: %v", p, err)
		}
	}
	if _, err := NewClientFrom(ClientConfig{}); err == nil {
		t.Error("a client without a server")
	}
	if _, err := NewClient("me:secret@host:443", ""); err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}
