package binance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"millrace/schema"
)

// Binance's public addresses.
const (
	DefaultREST = "https://api.binance.com"
	DefaultWS   = "wss://stream.binance.com:9443"
	DefaultSBE  = "wss://stream-sbe.binance.com:9443"
)

// Bounds of bodies: exchangeInfo of all symbols has some 15 MB, a page of a
// thousand trades 160 KB, the day's figures of all symbols 2 MB.
const (
	maxInfoBody   = 64 << 20
	maxTickerBody = 16 << 20
	maxPageBody   = 4 << 20
	maxErrorBody  = 64 << 10
)

// MaxPage is the most rows one call gives.
const MaxPage = 1000

// ClientConfig is what a client needs.
type ClientConfig struct {
	// Bases are the servers' addresses, https://HOST[:PORT]. A call goes to the
	// one that answered last, and on to the next where it cannot be reached or
	// answers http 5xx.
	Bases []string
	// CAFile may name a PEM file of certificates to trust beside the system's.
	CAFile string
	// Proxy is the proxy's address: http://, https:// or socks5://, with user
	// and password if it wants them. Without it the environment's counts.
	Proxy string
	// Budget bounds the calls; nil gives the client one of its own. All clients
	// behind one address should share one.
	Budget *Budget
}

// Client makes REST calls. Each waits until it fits into the budget.
type Client struct {
	bases  []string
	base   atomic.Uint32 // the index of the one in use, modulo their number
	http   *http.Client
	budget *Budget
	clock  *ServerClock
	last   atomic.Pointer[Reply]
	calls  calls
}

// NewClient makes a client of the server at base, or of several, with commas
// in between. caFile may name a PEM file of certificates to trust beside the
// system's.
func NewClient(base, caFile string) (*Client, error) {
	return NewClientFrom(ClientConfig{Bases: strings.Split(base, ","), CAFile: caFile})
}

// NewClientFrom makes a client. It connects to nothing.
func NewClientFrom(cfg ClientConfig) (*Client, error) {
	c := &Client{budget: cfg.Budget}
	if len(cfg.Bases) == 0 {
		return nil, fmt.Errorf("binance rest: no address: give one, like %s", DefaultREST)
	}
	for _, b := range cfg.Bases {
		base, err := baseURL(strings.TrimSpace(b), "https", "http")
		if err != nil {
			return nil, fmt.Errorf("binance rest: %w", err)
		}
		c.bases = append(c.bases, base)
	}
	t, err := newTransport(cfg.CAFile, false)
	if err == nil {
		err = setProxy(t, cfg.Proxy)
	}
	if err != nil {
		return nil, fmt.Errorf("binance rest: %w", err)
	}
	c.http = &http.Client{Transport: t, Timeout: 30 * time.Second}
	if c.budget == nil {
		c.budget = NewBudget(BudgetConfig{})
	}
	c.clock = newServerClock(c)
	return c, nil
}

// Use puts the client's calls under b. It must come before the first call.
func (c *Client) Use(b *Budget) { c.budget = b }

// Budget is what the client's calls are under.
func (c *Client) Budget() *Budget { return c.budget }

// Addresses names the servers.
func (c *Client) Addresses() string { return strings.Join(c.bases, ",") }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Reply tells when an answer came, by both clocks.
type Reply struct {
	// Sent is when the call went, after its wait for the budget, and Received
	// when the answer's header was there: local.
	Sent, Received time.Time
	// Date is the server's clock, cut to the second; zero if it told none.
	Date time.Time
}

// Offset tells how far the local clock is behind the server's, as well as a
// date in whole seconds can tell.
func (a Reply) Offset() (offset, uncertainty time.Duration, ok bool) {
	if a.Date.IsZero() {
		return 0, 0, false
	}
	trip := a.Received.Sub(a.Sent)
	const half = time.Second / 2
	return a.Date.Add(half).Sub(a.Sent.Add(trip / 2)), trip/2 + half, true
}

// LastReply tells of the newest answer; ok is false before the first.
func (c *Client) LastReply() (_ Reply, ok bool) {
	if a := c.last.Load(); a != nil {
		return *a, true
	}
	return Reply{}, false
}

// request is one call, before it is known which server gets it.
type request struct {
	path     string
	query    url.Values
	weight   int64    // by the exchange's table
	priority Priority // where the context names none
	limit    int64    // the longest body
}

// get makes the call and reads the JSON of the answer into v.
func (c *Client) get(ctx context.Context, r request, v any) (Reply, error) {
	for try := 1; ; try++ {
		i := c.base.Load()
		a, err := c.try(ctx, c.bases[int(i)%len(c.bases)], &r, v)
		if err != nil {
			err = fmt.Errorf("get %s: %w", r.path, err)
		}
		more := elsewhere(err)
		if more { // of many calls that fail together one moves on for all
			c.base.CompareAndSwap(i, i+1)
		}
		if more && try < len(c.bases) && ctx.Err() == nil && !broken(err) {
			continue
		}
		if !a.Sent.IsZero() { // else it waited for the budget in vain
			c.calls.note(r.path, err, time.Now())
		}
		return a, err
	}
}

// try makes the call at one server.
func (c *Client) try(ctx context.Context, base string, r *request, v any) (a Reply, err error) {
	u := base + r.path
	if len(r.query) > 0 {
		u += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return a, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("X-MBX-TIME-UNIT", "MICROSECOND")
	call, err := c.budget.Acquire(ctx, r.weight, priorityOf(ctx, r.priority))
	if err != nil {
		return a, err
	}
	a.Sent = time.Now()
	resp, err := c.http.Do(req)
	a.Received = time.Now()
	if err != nil {
		call.Done(0, nil)
		var ue *url.Error
		if errors.As(err, &ue) {
			ue.URL = base // the path stands before it, and the rest hides the cause
		}
		return a, err
	}
	defer resp.Body.Close()
	call.Done(resp.StatusCode, resp.Header)
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		a.Date = date
	}
	c.last.Store(&a)
	if resp.StatusCode != http.StatusOK {
		return a, statusError(resp)
	}
	body := &bodyReader{r: io.LimitedReader{R: resp.Body, N: r.limit}}
	if err := decodeOne(body, v); err != nil {
		switch {
		case body.r.N <= 0:
			return a, fmt.Errorf("answer is longer than %d bytes", r.limit)
		case body.err != nil:
			return a, &brokenError{body.err}
		case isHTML(resp.Header, body.start):
			return a, fmt.Errorf("answer is %s where JSON was due: look for a proxy or portal in between", describeHTML(body.start))
		}
		return a, fmt.Errorf("answer: %w", err)
	}
	if v, ok := v.(checked); ok {
		if err := v.check(); err != nil {
			return a, fmt.Errorf("answer: %w", err)
		}
	}
	return a, nil
}

// checked is an answer that may be JSON and not make sense.
type checked interface{ check() error }

// bodyReader keeps a body's start and why it could not be read on.
type bodyReader struct {
	r     io.LimitedReader
	start []byte
	err   error
}

func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if len(b.start) == 0 {
		b.start = append(b.start, p[:min(n, 512)]...)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// Ping asks for nothing, to see whether the server is there.
func (c *Client) Ping(ctx context.Context) error {
	var body struct{}
	_, err := c.get(ctx, request{path: "/api/v3/ping", weight: 1, priority: PriorityClock, limit: maxErrorBody}, &body)
	return err
}

// ServerTime asks for the exchange's time.
func (c *Client) ServerTime(ctx context.Context) (schema.Time, error) {
	t, _, err := c.serverTime(ctx)
	return t, err
}

func (c *Client) serverTime(ctx context.Context) (schema.Time, Reply, error) {
	var body struct {
		ServerTime int64 `json:"serverTime"`
	}
	a, err := c.get(ctx, request{path: "/api/v3/time", weight: 1, priority: PriorityClock, limit: maxErrorBody}, &body)
	if err != nil {
		return 0, a, err
	}
	t, ok := ParseTime(body.ServerTime)
	if !ok || t == 0 {
		return 0, a, fmt.Errorf("get /api/v3/time: %d is no plausible time", body.ServerTime)
	}
	return t, a, nil
}

// Clock is the clock that all who use the client share.
func (c *Client) Clock() *ServerClock { return c.clock }

// SymbolInfo is what the exchange says of a symbol.
type SymbolInfo struct {
	Symbol string `json:"symbol"`
	Status string `json:"status"` // TRADING, HALT, BREAK, …
	Base   string `json:"baseAsset"`
	Quote  string `json:"quoteAsset"`
}

// RateLimit is one of the exchange's limits.
type RateLimit struct {
	Type        string `json:"rateLimitType"` // REQUEST_WEIGHT, RAW_REQUESTS, …
	Interval    string `json:"interval"`      // SECOND, MINUTE, DAY
	IntervalNum int64  `json:"intervalNum"`
	Limit       int64  `json:"limit"`
}

// ExchangeInfo is what the exchange says of itself.
type ExchangeInfo struct {
	ServerTime int64        `json:"serverTime"`
	RateLimits []RateLimit  `json:"rateLimits"`
	Symbols    []SymbolInfo `json:"symbols"`
}

// check refuses an answer without symbols: the exchange always has some.
func (x *ExchangeInfo) check() error {
	if len(x.Symbols) == 0 {
		return errors.New("it has no symbols: look for a proxy or portal in between")
	}
	return nil
}

// Exchange asks for the given symbols, or for all. One unknown symbol fails the
// whole call (code −1121). The budget takes over the limits of the answer.
func (c *Client) Exchange(ctx context.Context, symbols ...string) (*ExchangeInfo, error) {
	q := url.Values{}
	if len(symbols) > 0 {
		list, err := json.Marshal(symbols)
		if err != nil {
			return nil, fmt.Errorf("symbols: %w", err)
		}
		q.Set("symbols", string(list))
	}
	var info ExchangeInfo
	if _, err := c.get(ctx, request{path: "/api/v3/exchangeInfo", query: q, weight: 20, limit: maxInfoBody}, &info); err != nil {
		return nil, err
	}
	for _, s := range info.Symbols {
		if err := schema.ValidateSymbol(s.Symbol); err != nil {
			return nil, fmt.Errorf("get /api/v3/exchangeInfo: %w", err)
		}
	}
	c.budget.SetLimits(info.RateLimits)
	return &info, nil
}
