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

// TestFailing: one path fails while another answers, and what is not asked for
// any more does not fail for ever.
func TestFailing(t *testing.T) {
	var c calls
	start := time.Now()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	first, second := errors.New("first"), errors.New("second")
	c.note("time", nil, at(0))
	if s := c.stats(at(0), false); !s.FailingSince.IsZero() || s.LastErr != "" || !s.LastGood.Equal(at(0)) {
		t.Errorf("all is well: %+v", s)
	}
	c.note("trades", first, at(time.Second))
	c.note("time", nil, at(2*time.Second))
	c.note("trades", second, at(3*time.Second))
	c.note("trades", fmt.Errorf("its caller left: %w", context.Canceled), at(4*time.Second))
	s := c.stats(at(4*time.Second), false)
	if !s.FailingSince.Equal(at(time.Second)) || s.Failing != 2 || s.LastErr != "second" || !s.LastErrAt.Equal(at(3*time.Second)) || !s.LastGood.Equal(at(2*time.Second)) {
		t.Errorf("one path fails: %+v", s)
	}
	if s.Outcomes != [outcomes]int64{CallOK: 2, CallFailed: 2} {
		t.Errorf("counted %v", s.Outcomes)
	}
	// Another fails after it: while the first does, its errors are told of.
	c.note("trades", nil, at(5*time.Second))
	c.note("info", first, at(6*time.Second))
	if s := c.stats(at(6*time.Second), false); !s.FailingSince.Equal(at(6*time.Second)) || s.Failing != 1 || s.LastErr != "first" {
		t.Errorf("another path: %+v", s)
	}
	c.note("info", &APIError{Status: 400, Code: -1121}, at(7*time.Second))
	if s := c.stats(at(8*time.Second), false); !s.FailingSince.IsZero() || s.LastErr != "first" {
		t.Errorf("it answers again, though with no: %+v", s)
	}
	c.note("info", second, at(10*time.Second))
	late := at(10*time.Second + failsFor + time.Second)
	if s := c.stats(late, false); !s.FailingSince.IsZero() {
		t.Errorf("nobody asks any more: %+v", s)
	}
	if s := c.stats(late, true); !s.FailingSince.Equal(at(10 * time.Second)) {
		t.Errorf("nobody may ask: %+v", s)
	}
	c.note("info", second, late)
	if s := c.stats(late, false); !s.FailingSince.Equal(late) || s.Failing != 1 {
		t.Errorf("it fails anew: %+v", s)
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
		fmt.Fprint(w, `{"serverTime":1700000000000000}`)
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
