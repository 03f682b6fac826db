package binance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace/schema"
)

func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Outcome
	}{
		{nil, CallOK},
		{&APIError{Status: 400, Code: -1121, Message: "Invalid symbol."}, CallRefused},
		{&APIError{Status: 503, Code: -1008}, CallFailed},
		{&APIError{Status: 502, Message: "a page of HTML"}, CallFailed},
		{&APIError{Status: 403, Message: "a page of HTML"}, CallFailed}, // a firewall, not the exchange
		{&LimitError{Status: 429}, CallLimited},
		{&brokenError{errors.New("reset")}, CallFailed},
		{context.DeadlineExceeded, CallFailed},
		{errors.New("answer is HTML"), CallFailed},
	} {
		if got := outcomeOf(c.err); got != c.want {
			t.Errorf("%v is %v, want %v", c.err, got, c.want)
		}
	}
}

// TestFailing goes through outages of all paths and of one.
func TestFailing(t *testing.T) {
	start := time.Now()
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	refused := &APIError{Status: 400, Code: -1121}
	type step struct {
		at    int
		path  string
		err   error
		since int // −1: all is well
		n     int64
		last  string
	}
	no := func(s string) error { return errors.New(s) }
	for name, steps := range map[string][]step{
		"all is well": {{0, "time", nil, -1, 0, ""}},
		"a blip": {{0, "time", nil, -1, 0, ""}, {1, "day", no("x"), 1, 1, "x"}, {2, "time", nil, -1, 0, "x"},
			{61, "day", nil, -1, 0, "x"}},
		// What is asked for rarely must not prolong an outage.
		"an outage": {{0, "time", nil, -1, 0, ""}, {1, "time", no("a"), 1, 1, "a"}, {2, "day", no("b"), 1, 2, "b"},
			{3, "time", no("c"), 1, 3, "c"}, {4, "time", nil, -1, 0, "c"}, {5, "time", nil, -1, 0, "c"}},
		"a long ban": {{0, "time", no("a"), 0, 1, "a"}, {7200, "time", no("b"), 0, 2, "b"}, {7201, "day", nil, -1, 0, "b"}},
		"one alone": {{0, "trades", no("a"), 0, 1, "a"}, {1, "time", nil, -1, 0, "a"}, {2, "trades", no("b"), 0, 2, "b"},
			{3, "time", nil, 0, 2, "b"}, {100, "time", nil, 0, 2, "b"}, {123, "time", nil, -1, 0, "b"}},
		"one alone, answered": {{0, "trades", no("a"), 0, 1, "a"}, {1, "time", nil, -1, 0, "a"}, {2, "trades", no("b"), 0, 2, "b"},
			{3, "trades", refused, -1, 0, "b"}},
		"one alone, and once more": {{0, "trades", no("a"), 0, 1, "a"}, {1, "time", nil, -1, 0, "a"}, {2, "trades", no("b"), 0, 2, "b"},
			{200, "time", nil, -1, 0, "b"}, {201, "trades", no("c"), 201, 1, "c"}},
		"another's error": {{0, "trades", no("a"), 0, 1, "a"}, {1, "time", nil, -1, 0, "a"}, {2, "trades", no("b"), 0, 2, "b"},
			{3, "day", no("c"), 0, 3, "c"}, {4, "time", nil, 0, 2, "b"}},
		"callers leave": {{0, "time", nil, -1, 0, ""}, {1, "time", fmt.Errorf("left: %w", context.Canceled), -1, 0, ""}},
	} {
		var c calls
		for i, s := range steps {
			c.note(s.path, s.err, at(s.at))
			got := c.stats(at(s.at))
			since := time.Time{}
			if s.since >= 0 {
				since = at(s.since)
			}
			if !got.FailingSince.Equal(since) || got.Failing != s.n || got.LastErr != s.last || (got.LastErr == "") != got.LastErrAt.IsZero() {
				t.Errorf("%s, step %d: %+v", name, i, got)
			}
		}
	}
}

// TestCallsAreCounted: by the client, once for all its servers.
func TestCallsAreCounted(t *testing.T) {
	var broken atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if broken.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = w.Write([]byte(`{"serverTime":1700000000000000}`))
	}))
	defer s.Close()
	nobody := unused(t)
	c, err := NewClientFrom(ClientConfig{Bases: []string{nobody, s.URL}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.ServerTime(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := c.Calls(); n.Outcomes != [outcomes]int64{CallOK: 1} || n.LastGood.IsZero() || !n.FailingSince.IsZero() {
		t.Errorf("the second server answered: %+v", n)
	}
	broken.Store(true)
	if _, err := c.ServerTime(t.Context()); err == nil {
		t.Fatal("no error")
	}
	left, leave := context.WithCancel(t.Context())
	leave()
	if _, err := c.ServerTime(left); err == nil {
		t.Fatal("no error")
	}
	n := c.Calls()
	if n.Outcomes != [outcomes]int64{CallOK: 1, CallFailed: 1} || n.FailingSince.IsZero() || n.Failing != 1 {
		t.Errorf("both failed, and one caller left: %+v", n)
	}
	if c.Addresses() != nobody+","+s.URL {
		t.Errorf("addresses %s", c.Addresses())
	}
}

// unused gives an address at which nobody listens.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// TestErrorsShowTheirCause: neither the query nor hundreds of streams stand
// before it.
func TestErrorsShowTheirCause(t *testing.T) {
	nobody := unused(t)
	c, err := NewClient(nobody, "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.AggTrades(t.Context(), "BTCUSDT", 7, 10)
	if err == nil || strings.Contains(err.Error(), "fromId") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a call: %v", err)
	}
	if _, again := Retryable(err); !again {
		t.Errorf("may not be made again: %v", err)
	}
	failed := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var symbols []string
	for i := range 300 {
		symbols = append(symbols, fmt.Sprintf("S%03dUSDT", i))
	}
	ws := strings.Replace(nobody, "http", "ws", 1)
	s, err := NewSource(Config{WS: ws, Symbols: symbols, Hooks: Hooks{Failed: func(err error, _ time.Duration) {
		failed <- err
		cancel()
	}}}, discard{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	got := (<-failed).Error()
	if !strings.HasPrefix(got, "connect to "+ws+" (streams: 300): ") || !strings.HasSuffix(got, "connection refused") || len(got) > 140 {
		t.Errorf("a connection: %s", got)
	}
}

// discard takes what comes and does nothing with it.
type discard struct{}

func (discard) Trade([]byte, *schema.Trade, schema.Time) error { return nil }
func (discard) Refused([]byte, schema.Time, error) error       { return nil }
func (discard) Progress(schema.Time)                           {}

// TestLagWaitsForTheClock: what came before the clocks' offset is known is not
// measured, unless nobody can tell it.
func TestLagWaitsForTheClock(t *testing.T) {
	c, err := NewClient("http://127.0.0.1:1", "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, rest := range []*Client{c, nil} {
		s, err := NewSource(Config{WS: "ws://127.0.0.1:1", Symbols: []string{"A"}, REST: rest}, discard{})
		if err != nil {
			t.Fatal(err)
		}
		sent := schema.Time(1_700_000_000_000_000)
		s.counts.lag(sent, sent+schema.Hour)
		if n := s.Counts().Lag.Count; (n == 0) != (rest != nil) {
			t.Errorf("with a client: %v: %d lags", rest != nil, n)
		}
		s.SetOffset(-time.Hour)
		s.counts.lag(sent, sent+schema.Hour+1000)
		if b := s.Counts().Lag.Buckets; len(b) == 0 || b[0].Below > 2*time.Millisecond {
			t.Errorf("lags %+v", b)
		}
	}
}
