package binance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"millrace/schema"
)

// DefaultREST and DefaultWS are Binance's public addresses.
const (
	DefaultREST = "https://api.binance.com"
	DefaultWS   = "wss://stream.binance.com:9443"
)

// Bounds of bodies: exchangeInfo of all symbols has some 15 MB, a page of a
// thousand trades 160 KB.
const (
	maxInfoBody  = 64 << 20
	maxPageBody  = 4 << 20
	maxErrorBody = 64 << 10
)

// MaxPage is the most rows one call gives.
const MaxPage = 1000

// Client makes REST calls. It keeps no count of weights: who calls in a loop
// heeds LimitError.
type Client struct {
	base string
	http *http.Client
}

// NewClient makes a client of the server at base. caFile may name a PEM file of
// certificates to trust beside the system's.
func NewClient(base, caFile string) (*Client, error) {
	base, err := baseURL(base, "https", "http")
	if err != nil {
		return nil, fmt.Errorf("binance rest: %w", err)
	}
	t, err := newTransport(caFile, false)
	if err != nil {
		return nil, fmt.Errorf("binance rest: %w", err)
	}
	return &Client{base: base, http: &http.Client{Transport: t, Timeout: 30 * time.Second}}, nil
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// LimitError reports that too much was asked. With status 418 the address is
// banned. Nothing may be asked before RetryAfter has passed.
type LimitError struct {
	Status     int
	RetryAfter time.Duration // 0 if the server named none
	Code       int64
	Message    string
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("binance limits calls: http %d, code %d, %.200q, retry after %v", e.Status, e.Code, e.Message, e.RetryAfter)
}

// APIError is any other answer but 200.
type APIError struct {
	Status  int
	Code    int64 // 0 if the body had none
	Message string
}

func (e *APIError) Error() string {
	return fmt.Sprintf("binance answers http %d, code %d, %.200q", e.Status, e.Code, e.Message)
}

// get asks for path and reads the JSON of the answer into v.
func (c *Client) get(ctx context.Context, path string, query url.Values, limit int64, v any) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("get %s: %w", path, err)
		}
	}()
	u := c.base + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return statusError(resp)
	}
	body := &io.LimitedReader{R: resp.Body, N: limit}
	if err := json.NewDecoder(body).Decode(v); err != nil {
		if body.N <= 0 {
			return fmt.Errorf("answer is longer than %d bytes", limit)
		}
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

func statusError(resp *http.Response) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil {
		return fmt.Errorf("http %d: %w", resp.StatusCode, err)
	}
	var body struct {
		Code int64  `json:"code"`
		Msg  string `json:"msg"`
	}
	if json.Unmarshal(data, &body) != nil {
		body.Code, body.Msg = 0, string(data[:min(len(data), 200)])
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusTeapot {
		e := &LimitError{Status: resp.StatusCode, Code: body.Code, Message: body.Msg}
		if s, err := strconv.ParseInt(resp.Header.Get("Retry-After"), 10, 32); err == nil && s > 0 {
			e.RetryAfter = time.Duration(s) * time.Second
		}
		return e
	}
	return &APIError{Status: resp.StatusCode, Code: body.Code, Message: body.Msg}
}

// ServerTime asks for the exchange's time.
func (c *Client) ServerTime(ctx context.Context) (schema.Time, error) {
	var body struct {
		ServerTime int64 `json:"serverTime"`
	}
	if err := c.get(ctx, "/api/v3/time", nil, maxErrorBody, &body); err != nil {
		return 0, err
	}
	t, ok := ParseTime(body.ServerTime)
	if !ok || t == 0 {
		return 0, fmt.Errorf("get /api/v3/time: %d is no plausible time", body.ServerTime)
	}
	return t, nil
}

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

// Exchange asks for the given symbols, or for all. One unknown symbol fails the
// whole call (code −1121).
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
	if err := c.get(ctx, "/api/v3/exchangeInfo", q, maxInfoBody, &info); err != nil {
		return nil, err
	}
	for _, s := range info.Symbols {
		if err := schema.ValidateSymbol(s.Symbol); err != nil {
			return nil, fmt.Errorf("get /api/v3/exchangeInfo: %w", err)
		}
	}
	return &info, nil
}

// Limited reports whether err is the exchange's word to stop asking, and for
// how long.
func Limited(err error) (time.Duration, bool) {
	var e *LimitError
	if errors.As(err, &e) {
		return e.RetryAfter, true
	}
	return 0, false
}
