package collect

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/ingest/binance"
	"millrace/ingest/double"
)

// heard keeps what is logged from a level on, a line each.
type heard struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(p)
}

func (h *heard) count(what string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Count(h.text.String(), what)
}

func (h *heard) log() *slog.Logger { return slog.New(slog.NewTextHandler(h, nil)) }

func TestAnOutageIsToldOnce(t *testing.T) {
	var o outage
	start := time.Now()
	for i, s := range []struct {
		since, now time.Duration // since −1: all is well
		told       bool
		over       time.Duration
	}{
		{-1, 0, false, 0},
		{time.Second, 2 * time.Second, false, 0},
		{-1, 3 * time.Second, false, 0}, // over before anybody was told
		{4 * time.Second, 8 * time.Second, false, 0},
		{4 * time.Second, 9 * time.Second, true, 0},
		{4 * time.Second, time.Minute, false, 0},
		{-1, 64 * time.Second, false, time.Minute},
		{-1, 65 * time.Second, false, 0},
		{70 * time.Second, 80 * time.Second, true, 0},
	} {
		var since time.Time
		if s.since >= 0 {
			since = start.Add(s.since)
		}
		if told, over := o.look(since, start.Add(s.now)); told != s.told || over != s.over {
			t.Errorf("step %d: told %v, over %v", i, told, over)
		}
	}
}

// TestGapsAreSummedUp: one is told of by itself, many in one line.
func TestGapsAreSummedUp(t *testing.T) {
	var s filledSum
	var h heard
	now := time.Now()
	s.tell(h.log(), now)
	s.add(filledGap{"A", 3, 7, time.Second}, now)
	s.tell(h.log(), now.Add(filledEvery/2))
	if n := h.count("\n"); n != 0 {
		t.Errorf("%d lines while more may come", n)
	}
	s.tell(h.log(), now.Add(filledEvery))
	if h.count("\n") != 1 || h.count(`msg="a gap is filled" symbol=A first=3 last=7 after=1s`) != 1 {
		t.Errorf("one gap:\n%s", h.text.String())
	}
	h.text.Reset()
	for i := range 500 { // one every 20 ms
		now = now.Add(filledAfter / 250)
		name := string(rune('A' + i%3))
		s.add(filledGap{name, int64(i), int64(i), time.Duration(i%7) * time.Second}, now)
		s.tell(h.log(), now)
	}
	s.tell(h.log(), now.Add(time.Minute))
	if n := h.count("\n"); n < 2 || n > 3 || h.count("symbols=3") != n || h.count("after=6s") != n {
		t.Errorf("many gaps:\n%s", h.text.String())
	}
}

// TestRESTDiesBesideTheStreams: what the stream leaves out can't be fetched, and
// it is told why; trades go on, and so does the clock.
func TestRESTDiesBesideTheStreams(t *testing.T) {
	t.Parallel()
	cfg := faulty(300, 6,
		double.Fault{Kind: "rest-5xx", At: 4 * time.Second, For: 9 * time.Second},
		double.Fault{Kind: "drop", At: 5 * time.Second, For: 2 * time.Second, Share: 0.05},
	)
	cfg.Synthetic.Pace = 1 // a clock of which the offset can be known
	b := newBench(t, cfg)
	var h heard
	c := b.collect(func(l *Live) { l.Log = h.log() })
	b.settled(c)
	if s := c.Status(); !s.Calls.FailingSince.IsZero() || s.Calls.Outcomes[binance.CallOK] == 0 || s.Calls.LastGood.IsZero() {
		t.Errorf("before: %+v", s.Calls)
	}
	b.until("the offset is known", func() bool { return c.Status().OffsetKnown })
	offset := c.Status().Offset
	b.until("a hole tells why it is not filled yet", func() bool {
		s := c.Status()
		for _, x := range s.Symbols {
			for _, y := range x.Holes {
				if y.Trouble != "" {
					if y.Why != "" || !strings.Contains(y.Trouble, "http 50") {
						t.Fatalf("%+v", y)
					}
					return !s.Calls.FailingSince.IsZero()
				}
			}
		}
		return false
	})
	b.until("the log tells", func() bool { return h.count("level=WARN msg=\"REST fails") == 1 })
	s := c.Status()
	if s.Calls.Failing == 0 || s.Calls.LastErr == "" || s.Calls.Outcomes[binance.CallFailed] < s.Calls.Failing {
		t.Errorf("while it fails: %+v", s.Calls)
	}
	if !s.OffsetKnown || (s.Offset-offset).Abs() > time.Second {
		t.Errorf("the offset was %v, and is %v, %v", offset, s.Offset, s.OffsetKnown)
	}
	before := c.Trades()
	b.until("trades come on", func() bool { return c.Trades() > before+50 })
	b.until("the log tells that it is over", func() bool { return h.count("level=INFO msg=\"REST answers again") == 1 })
	if s := c.Status(); !s.Calls.FailingSince.IsZero() {
		t.Errorf("after it: %+v", s.Calls)
	}
	b.settled(c)
	for _, g := range c.all() { // the market began hours ago by the local clock
		if worst := g.source.Counts().Lag.Quantile(1); worst == 0 || worst > time.Minute {
			t.Errorf("a lag of %v was counted", worst)
		}
	}
	c.stop()
	b.whole(b.log())
	b.kept(b.log(), true)
	if n := h.count("msg=\"REST fails"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// TestRESTComesLater: at the start nobody is at the address of REST. That is
// told, and waited for.
func TestRESTComesLater(t *testing.T) {
	t.Parallel()
	b := newBench(t, double.Config{Synthetic: recent(100, 3)})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	client, err := binance.NewClient("http://"+at, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	var h heard
	c := b.collect(func(l *Live) { l.Source.REST, l.Log = client, h.log() })
	b.until("it is told", func() bool { return strings.Contains(c.Status().Waiting, "refused") })
	b.until("it was tried again", func() bool { return c.Status().Calls.Failing > 1 })
	if h.count("level=WARN") != 1 || h.count("rest=http://"+at) != 1 {
		t.Errorf("the log:\n%s", h.text.String())
	}
	_, rest := b.double.URLs()
	to, err := url.Parse(rest)
	if err != nil {
		t.Fatal(err)
	}
	if l, err = net.Listen("tcp", at); err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	transport := &http.Transport{}
	proxy.Transport = transport
	server := &http.Server{Handler: proxy, ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		transport.CloseIdleConnections()
	})
	b.settled(c)
	if s := c.Status(); s.Waiting != "" {
		t.Errorf("still waited for: %s", s.Waiting)
	}
	c.stop()
	b.whole(b.log())
	b.kept(b.log(), false)
}

// TestWaitingEnds: whoever waits for REST can be stopped, in good order.
func TestWaitingEnds(t *testing.T) {
	b := newBench(t, double.Config{Synthetic: recent(100, 3)})
	client, err := binance.NewClient("http://127.0.0.1:1", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	var h heard
	c := b.collect(func(l *Live) { l.Source.REST, l.Log = client, h.log() })
	b.until("it waits", func() bool { return c.Status().Waiting != "" })
	c.stop() // fails the test where Run gives an error
}

// TestRefusalsAreFinal: what the exchange refuses is not asked for again.
func TestRefusalsAreFinal(t *testing.T) {
	b := newBench(t, double.Config{Synthetic: recent(100, 3)})
	_, rest := b.double.URLs()
	client, err := binance.NewClient(rest, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	chosen, err := binance.ParseSelection([]string{"NOPE"})
	if err != nil {
		t.Fatal(err)
	}
	var h heard
	live := &Live{Source: binance.Config{REST: client}, Select: chosen, Log: h.log()}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := live.Run(ctx); err == nil || !strings.Contains(err.Error(), "unknown to the exchange") {
		t.Errorf("%v", err)
	}
}
