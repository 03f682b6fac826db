package binance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"millrace/schema"
)

// script is a server that runs fn for each connection and keeps count.
func script(t *testing.T, fn func(n int, ws *websocket.Conn, r *http.Request)) string {
	t.Helper()
	var mu sync.Mutex
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		mu.Lock()
		n++
		k := n
		mu.Unlock()
		fn(k, ws, r)
	}))
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http")
}

// notes is an Out that writes down what happens, in order.
type notes struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

func newNotes() *notes { return &notes{more: make(chan struct{}, 1000)} }

func (n *notes) note(format string, args ...any) {
	n.mu.Lock()
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
	n.mu.Unlock()
	n.more <- struct{}{}
}

func (n *notes) Trade(symbol []byte, t *schema.Trade, received schema.Time) error {
	if received <= 0 {
		return errors.New("no time of receipt")
	}
	n.note("trade %s %d", symbol, t.ID)
	return nil
}

func (n *notes) Refused(frame []byte, _ schema.Time, why error) error {
	var te *TradeError
	if errors.As(why, &te) {
		n.note("refused %s %d", te.Symbol, te.ID)
	} else {
		n.note("refused %.12s %v", frame, errors.Is(why, ErrFrame))
	}
	return nil
}

func (n *notes) Progress(w schema.Time) { n.note("progress %d", w.Millis()) }

// until waits until there are k notes, and gives them.
func (n *notes) until(t *testing.T, k int) []string {
	t.Helper()
	late := time.After(time.Minute)
	for {
		n.mu.Lock()
		lines := append([]string{}, n.lines...)
		n.mu.Unlock()
		if len(lines) >= k {
			return lines
		}
		select {
		case <-n.more:
		case <-late:
			t.Fatalf("waited for %d notes, have %q", k, lines)
		}
	}
}

// run starts a source and gives what stops it and returns its error.
func run(t *testing.T, cfg Config, out Out) (ended <-chan error, stop func()) {
	t.Helper()
	s, err := NewSource(cfg, out)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ch := make(chan error, 1)
	go func() { ch <- s.Run(ctx) }()
	t.Cleanup(cancel)
	return ch, cancel
}

func wait(t *testing.T, ended <-chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(time.Minute):
		t.Fatal("the source did not end")
		return nil
	}
}

func send(ws *websocket.Conn, msgs ...string) {
	for _, m := range msgs {
		_ = ws.Write(context.Background(), websocket.MessageText, []byte(m)) // the client may have left
	}
}

// listen waits for a message, or for the client to leave; it answers pings.
func listen(ws *websocket.Conn) { _, _, _ = ws.Read(context.Background()) }

func tradeOf(symbol string, id, e, t int64) string {
	return fmt.Sprintf(`{"stream":"%s@trade","data":{"e":"trade","E":%d,"s":"%s","t":%d,"p":"1","q":"1","T":%d,"m":true,"M":true}}`, strings.ToLower(symbol), e, symbol, id, t)
}

// serverTime is a REST server whose time steps on by a second with each call.
func serverTime(t *testing.T, from int64) *Client {
	t.Helper()
	var mu sync.Mutex
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprintf(w, `{"serverTime":%d}`, from)
		from += 1000
	}))
	t.Cleanup(s.Close)
	c, err := NewClient(s.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestProgressComesOnlyBehindWhatItPromises(t *testing.T) {
	url := script(t, func(_ int, ws *websocket.Conn, r *http.Request) {
		if r.URL.Path != "/stream" || r.URL.RawQuery != "streams=ab@trade/cd@trade&timeUnit=MICROSECOND" {
			t.Errorf("asked for %s", r.URL)
		}
		// Sent before the first pong: the reader must hand them over first, and
		// promise nothing for them before it knows that all streams stand.
		send(ws, tradeOf("AB", 5, 1700000001000, 1700000000990), tradeOf("CD", 6, 1700000000900, 1700000000890))
		listen(ws) // answers pings until the client leaves
	})
	out := newNotes()
	sessions := make(chan Session, 10)
	ended, stop := run(t, Config{WS: url, REST: serverTime(t, 1700000000000), Symbols: []string{"AB", "CD"}, PingEvery: 250 * time.Millisecond,
		Hooks: Hooks{Connected: func(s Session) { sessions <- s }, Live: func(s Session) { sessions <- s }}}, out)
	got := out.until(t, 6)
	want := []string{"trade AB 5", "trade CD 6",
		"progress 1700000000750", // the newest E less the margin, at the first pong
		"progress 1700000001750", // 1700000002000 was told before the second ping
		"progress 1700000002750", "progress 1700000003750"}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("got %q", got)
		}
	}
	if a, b := <-sessions, <-sessions; a.Dialed.Millis() != 1700000000000 || a.Live != 0 || b.Dialed != a.Dialed || b.Live.Millis() != 1700000001000 {
		t.Errorf("%+v %+v", a, b)
	}
	stop()
	if err := wait(t, ended); err != nil {
		t.Error(err)
	}
}

// The server's farewell is answered by another connection, which takes over
// once the old one has brought what came before it stood.
func TestAFarewellIsHeeded(t *testing.T) {
	url := script(t, func(n int, ws *websocket.Conn, _ *http.Request) {
		if n == 1 {
			send(ws, tradeOf("AB", 5, 1700000001000, 1700000000990), `{"e":"serverShutdown","E":1700000009000}`)
		} else {
			send(ws, tradeOf("AB", 6, 1700000001000, 1700000000990))
		}
		listen(ws)
	})
	out := newNotes()
	ended, stop := run(t, Config{WS: url, REST: serverTime(t, 1700000000000), Symbols: []string{"AB"}, PingEvery: 250 * time.Millisecond, Hooks: Hooks{
		Shutdown:     func() { out.note("shutdown") },
		Renewed:      func(s Session, why string) { out.note("renewed %v %s", s.Symbols, why) },
		Disconnected: func(err error, _ time.Duration) { out.note("lost %v", err) },
	}}, out)
	for k := 1; ; k++ {
		lines := out.until(t, k)
		if last := lines[k-1]; strings.HasPrefix(last, "lost") {
			t.Fatalf("got %q", lines)
		} else if last == "renewed [AB] the server closes" {
			break
		}
	}
	stop()
	if err := wait(t, ended); err != nil {
		t.Error(err)
	}
}

// A gateway that answers 404 or 401 for a moment does not end a source whose
// connection has stood, where the first connection would.
func TestARefusalAtAReconnectPasses(t *testing.T) {
	var mu sync.Mutex
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		k := n
		mu.Unlock()
		if k == 2 || k == 3 {
			w.WriteHeader(map[int]int{2: http.StatusNotFound, 3: http.StatusUnauthorized}[k])
			return
		}
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		send(ws, tradeOf("AB", int64(k), 1700000001000, 1700000000990))
		if k == 1 {
			ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
			defer cancel()
			_, _, _ = ws.Read(ctx) // answers the ping by which it stands
			return
		}
		listen(ws)
	}))
	t.Cleanup(s.Close)
	out := newNotes()
	failed := make(chan error, 10)
	ended, stop := run(t, Config{WS: "ws" + strings.TrimPrefix(s.URL, "http"), Symbols: []string{"AB"}, PingEvery: 250 * time.Millisecond, MinPause: time.Millisecond,
		Hooks: Hooks{Failed: func(err error, _ time.Duration) { failed <- err }}}, out)
	for k := 1; ; k++ {
		if out.until(t, k)[k-1] == "trade AB 4" {
			break
		}
	}
	for _, says := range []string{"404", "401"} {
		if err := <-failed; !strings.Contains(err.Error(), says) {
			t.Errorf("%v, wanted %s", err, says)
		}
	}
	stop()
	if err := wait(t, ended); err != nil {
		t.Error(err)
	}
}

func TestWhatCannotBeUsedIsHandedOverAsSuch(t *testing.T) {
	url := script(t, func(_ int, ws *websocket.Conn, _ *http.Request) {
		send(ws, tradeOf("AB", 1, 1700000000000, 1700000000000), `{"e":"tra`, `not json`,
			strings.Replace(tradeOf("AB", 2, 1700000000000, 1700000000000), `"p":"1"`, `"p":"99999999999999999999.9"`, 1),
			tradeOf("ZZ", 3, 1700000000000, 1700000000000),
			`{"e":"aggTrade","E":1700000000000,"s":"AB","a":7,"p":"1","q":"1","f":100,"l":105,"T":1700000000000,"m":true}`,
			`{"u":4,"s":"AB","b":"1","B":"1","a":"1","A":"1"}`, `{"id":77,"result":null}`)
		_ = ws.Write(context.Background(), websocket.MessageBinary, []byte("\x00\x01binary"))
		send(ws, tradeOf("AB", 4, 1700000000000, 1700000000000))
		listen(ws)
	})
	out := newNotes()
	ended, stop := run(t, Config{WS: url, Symbols: []string{"AB"}, PingEvery: 20 * time.Second}, out)
	var got []string
	for _, l := range out.until(t, 8) {
		if !strings.HasPrefix(l, "progress") {
			got = append(got, l)
		}
	}
	want := []string{"trade AB 1", `refused {"e":"tra true`, "refused not json true", "refused AB 2", `refused {"stream":"z true`, `refused {"e":"aggTra true`, "refused \x00\x01binary true", "trade AB 4"}
	for len(got) < len(want) {
		got = out.until(t, len(want)+1)
	}
	k := 0
	for _, l := range got {
		if strings.HasPrefix(l, "progress") {
			continue
		}
		if k >= len(want) || l != want[k] {
			t.Fatalf("got %q", got)
		}
		k++
	}
	stop()
	if err := wait(t, ended); err != nil {
		t.Error(err)
	}
}

// refusing answers every message with body, and then stays.
func refusing(body string) func(int, *websocket.Conn, *http.Request) {
	return func(_ int, ws *websocket.Conn, _ *http.Request) {
		listen(ws)
		send(ws, body)
		listen(ws)
	}
}

func manySymbols(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("S%d", i))
	}
	return all
}

func TestSourceEndsWhereNoOtherConnectionHelps(t *testing.T) {
	for body, says := range map[string]string{
		`{"error":{"code":2,"msg":"Invalid request: invalid stream"},"id":1}`: "Invalid request: invalid stream",
		`{"code":4,"msg":"Too many subscriptions","id":1}`:                    "Too many subscriptions",
	} {
		ended, _ := run(t, Config{WS: script(t, refusing(body)), Symbols: manySymbols(201)}, newNotes())
		if err := wait(t, ended); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", body, err)
		}
	}
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	ended, _ := run(t, Config{WS: "ws" + strings.TrimPrefix(s.URL, "http"), Symbols: []string{"AB"}}, newNotes())
	if err := wait(t, ended); err == nil || !strings.Contains(err.Error(), "404") {
		t.Error(err)
	}
}

func TestSourceComesBack(t *testing.T) {
	lost := make(chan error, 100)
	var pauses []time.Duration
	url := script(t, func(n int, ws *websocket.Conn, r *http.Request) {
		switch n {
		case 1: // refuses for now
			listen(ws)
			send(ws, `{"error":{"code":3,"msg":"busy"},"id":1}`)
			listen(ws)
		case 2:
			ws.Close(websocket.StatusPolicyViolation, "Too many requests")
		case 3: // a frame over the limit
			send(ws, strings.Repeat("x", 3000))
			listen(ws)
		case 4: // never answers SUBSCRIBE
			for {
				if _, _, err := ws.Read(context.Background()); err != nil {
					return
				}
			}
		default:
			listen(ws)
			send(ws, `{"id":1,"result":null}`, tradeOf("S7", 9, 1700000000000, 1700000000000))
			listen(ws)
		}
	})
	out := newNotes()
	ended, stop := run(t, Config{WS: url, Symbols: manySymbols(201), ReadLimit: 2048, MinPause: time.Millisecond, MaxPause: 8 * time.Millisecond, PongTimeout: 300 * time.Millisecond,
		Hooks: Hooks{Failed: func(err error, p time.Duration) { pauses = append(pauses, p); lost <- err }}}, out)
	if got := out.until(t, 1); got[0] != "trade S7 9" {
		t.Errorf("got %q", got)
	}
	for _, says := range []string{"busy", "Too many requests", "too big", "no answer within"} {
		if err := <-lost; err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, wanted %s", err, says)
		}
	}
	stop()
	if err := wait(t, ended); err != nil {
		t.Error(err)
	}
	for i, p := range pauses[:4] { // 1, 2, 4, 8 ms at most, half of it at least
		if top := time.Millisecond << i; p < top/2 || p > top {
			t.Errorf("pause %d: %v", i, p)
		}
	}
}

func TestMissingPongEndsTheConnection(t *testing.T) {
	deaf := make(chan struct{})
	defer close(deaf)
	url := script(t, func(n int, ws *websocket.Conn, _ *http.Request) {
		if n == 1 {
			<-deaf // does not even read
		}
		listen(ws)
	})
	lost := make(chan error, 10)
	ended, stop := run(t, Config{WS: url, Symbols: []string{"AB"}, PongTimeout: 50 * time.Millisecond, MinPause: time.Millisecond,
		Hooks: Hooks{Failed: func(err error, _ time.Duration) { lost <- err }}}, newNotes())
	select {
	case err := <-lost:
		if !strings.Contains(err.Error(), "ping") {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("nobody noticed")
	}
	stop()
	if err := wait(t, ended); err != nil {
		t.Error(err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{WS: "ws://127.0.0.1:1", Symbols: []string{"AB"}}
	for name, change := range map[string]func(*Config){
		"no symbols":     func(c *Config) { c.Symbols = nil },
		"too many":       func(c *Config) { c.Symbols = manySymbols(1025) },
		"twice":          func(c *Config) { c.Symbols = []string{"AB", "AB"} },
		"no symbol":      func(c *Config) { c.Symbols = []string{"A B"} },
		"https":          func(c *Config) { c.WS = "https://x" },
		"query":          func(c *Config) { c.WS = "wss://x/?a=b" },
		"fast pings":     func(c *Config) { c.PingEvery = time.Millisecond },
		"negative":       func(c *Config) { c.Margin = -1 },
		"small frames":   func(c *Config) { c.ReadLimit = 10 },
		"pauses crossed": func(c *Config) { c.MinPause, c.MaxPause = time.Minute, time.Second },
		"no file":        func(c *Config) { c.CAFile = "nowhere" },
	} {
		c := good
		change(&c)
		if _, err := NewSource(c, newNotes()); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	s, err := NewSource(good, newNotes())
	if err != nil {
		t.Fatal(err)
	}
	if s.cfg.Margin != 250*time.Millisecond || s.cfg.ReadLimit != 1<<20 || s.cfg.PingEvery != time.Second {
		t.Errorf("%+v", s.cfg)
	}
	var c Config
	c.EnsureDefaults()
	if c.WS != DefaultWS {
		t.Error(c.WS)
	}
}
