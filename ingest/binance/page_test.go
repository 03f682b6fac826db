package binance

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"millrace/schema"
)

// heard is a server that keeps the requests and answers by path.
type heard struct {
	*Client
	mu   sync.Mutex
	urls []string
}

func hear(t *testing.T, bodies map[string]string) *heard {
	t.Helper()
	h := &heard{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.urls = append(h.urls, r.URL.RequestURI())
		h.mu.Unlock()
		_, _ = w.Write([]byte(bodies[r.URL.Path]))
	}))
	t.Cleanup(s.Close)
	c, err := NewClient(s.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	h.Client = c
	return h
}

func (h *heard) last() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.urls) == 0 {
		return ""
	}
	return h.urls[len(h.urls)-1]
}

// TestCallsAskAndWeigh looks at what each call asks for and what it costs.
func TestCallsAskAndWeigh(t *testing.T) {
	const at = schema.Time(1_700_000_000_123_456)
	ctx := context.Background()
	h := hear(t, map[string]string{
		"/api/v3/time": `{"serverTime":1700000000123}`, "/api/v3/ping": `{}`, "/api/v3/exchangeInfo": `{"symbols":[{"symbol":"AB"}]}`,
		"/api/v3/trades": `[]`, "/api/v3/historicalTrades": `[]`, "/api/v3/aggTrades": `[]`, "/api/v3/klines": `[]`, "/api/v3/ticker/24hr": `[]`,
	})
	for _, c := range []struct {
		call   func() error
		url    string
		weight int64
	}{
		{func() error { return h.Ping(ctx) }, "/api/v3/ping", 1},
		{func() error { _, err := h.ServerTime(ctx); return err }, "/api/v3/time", 1},
		{func() error { _, err := h.Exchange(ctx, "AB"); return err }, "/api/v3/exchangeInfo?symbols=%5B%22AB%22%5D", 20},
		{func() error { _, err := h.RecentTrades(ctx, "AB", 5000); return err }, "/api/v3/trades?limit=1000&symbol=AB", 25},
		{func() error { _, err := h.HistoricalTrades(ctx, "AB", 7, 10); return err }, "/api/v3/historicalTrades?fromId=7&limit=10&symbol=AB", 25},
		{func() error { _, err := h.AggTrades(ctx, "AB", 7, 10); return err }, "/api/v3/aggTrades?fromId=7&limit=10&symbol=AB", 4},
		{func() error { _, err := h.AggTradesSince(ctx, "AB", at, 10); return err }, "/api/v3/aggTrades?limit=10&startTime=1700000000123&symbol=AB", 4},
		{func() error { _, err := h.AggTradesUntil(ctx, "AB", at, 10); return err }, "/api/v3/aggTrades?endTime=1700000000123&limit=10&symbol=AB", 4},
		{func() error { _, err := h.AggTradesBetween(ctx, "AB", at, at+schema.Second, 0); return err }, "/api/v3/aggTrades?endTime=1700000001123&limit=1&startTime=1700000000123&symbol=AB", 4},
		{func() error { _, err := h.Klines(ctx, "AB", schema.P1m, at, at+schema.Second); return err }, "/api/v3/klines?endTime=1700000001123&interval=1m&limit=1000&startTime=1700000000123&symbol=AB", 2},
		{func() error { _, err := h.Tickers24h(ctx); return err }, "/api/v3/ticker/24hr?type=MINI", 80},
		{func() error { _, err := h.Tickers24h(ctx, "CD", "AB", "CD"); return err }, "/api/v3/ticker/24hr?symbols=%5B%22AB%22%2C%22CD%22%5D&type=MINI", 2},
	} {
		before := h.Budget().Stats().Used
		if err := c.call(); err != nil {
			t.Errorf("%s: %v", c.url, err)
		}
		if got := h.last(); got != c.url {
			t.Errorf("asked for %s, wanted %s", got, c.url)
		}
		if got := h.Budget().Stats().Used - before; got != c.weight {
			t.Errorf("%s weighs %d, wanted %d", c.url, got, c.weight)
		}
	}
}

func TestPageTellsWhenItCame(t *testing.T) {
	before := time.Now()
	h := hear(t, map[string]string{"/api/v3/aggTrades": recorded(t, "rest/aggTrades_BTCUSDT_2020-01-02.json")})
	if _, ok := h.LastReply(); ok {
		t.Error("an answer before the first")
	}
	p, err := h.AggTradesUntil(context.Background(), "BTCUSDT", schema.FromMillis(1577977900000), 1000)
	if err != nil {
		t.Fatal(err)
	}
	if p.FirstRow != 202790190 || p.LastRow != p.FirstRow+999 {
		t.Errorf("rows %d to %d", p.FirstRow, p.LastRow)
	}
	if r, ok := h.LastReply(); !ok || r != p.Reply || r.Sent.Before(before) || r.Received.Before(r.Sent) || r.Date.IsZero() {
		t.Errorf("%+v %+v", r, p.Reply)
	}
	if off, unsure, ok := p.Reply.Offset(); !ok || off.Abs() > unsure {
		t.Errorf("this machine is %v ± %v away from itself", off, unsure)
	}
	if _, _, ok := (Reply{}).Offset(); ok {
		t.Error("an offset without a date")
	}
}
