package double

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"millrace/ingest/binance"
	"millrace/schema"
)

const (
	btc  = "../testdata/btcusdt-spot-2024-08-08/frames.gz"
	eth1 = "../testdata/ethusdt-spot-2024-08-08/frames-1.gz"
	eth2 = "../testdata/ethusdt-spot-2024-08-08/frames-2.gz"
)

// start runs a double until the test ends.
func start(t testing.TB, cfg Config) *Double {
	t.Helper()
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run did not end")
		}
	})
	return d
}

// collector is an Out that keeps everything, and checks the promise of time.
type collector struct {
	mu      sync.Mutex
	trades  map[string][]schema.Trade
	refused []error
	w       schema.Time
	late    int // trades at or behind the progress promised before
	total   int
	enough  chan struct{} // closed at goal trades
	goal    int
}

func newCollector(goal int) *collector {
	return &collector{trades: make(map[string][]schema.Trade), enough: make(chan struct{}), goal: goal}
}

func (c *collector) Trade(symbol []byte, t *schema.Trade, received schema.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trades[string(symbol)] = append(c.trades[string(symbol)], *t)
	if t.Time <= c.w {
		c.late++
	}
	if c.total++; c.total == c.goal {
		close(c.enough)
	}
	return nil
}

func (c *collector) Refused(frame []byte, received schema.Time, why error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = append(c.refused, why)
	return nil
}

func (c *collector) Progress(w schema.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.w = max(c.w, w)
}

func (c *collector) of(symbol string) []schema.Trade {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]schema.Trade{}, c.trades[symbol]...)
}

// collect runs a source against the double until the test ends.
func collect(t testing.TB, d *Double, cfg binance.Config, out binance.Out) (stop func()) {
	t.Helper()
	ws, rest := d.URLs()
	cfg.WS = ws
	client, err := binance.NewClient(rest, "")
	if err != nil {
		t.Fatal(err)
	}
	cfg.REST = client
	s, err := binance.NewSource(cfg, out)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			client.Close()
		})
	}
	t.Cleanup(stop)
	return stop
}

func await(t testing.TB, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(time.Minute):
		t.Fatalf("waited too long for %s", what)
	}
}

// same compares trades, whose decimals may differ in their zeros.
func same(t *testing.T, what string, got, want []schema.Trade) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d trades, wanted %d", what, len(got), len(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		g.Price, w.Price = g.Price.Canonical(), w.Price.Canonical()
		g.Qty, w.Qty = g.Qty.Canonical(), w.Qty.Canonical()
		if g != w {
			t.Fatalf("%s: trade %d is\n%+v, wanted\n%+v", what, i, g, w)
		}
	}
}

func TestEveryRecordedTradeArrivesInOrder(t *testing.T) {
	for _, c := range []struct {
		name   string
		millis bool
		speed  float64
	}{{"microseconds", false, 0}, {"milliseconds", true, 0}, {"paced", true, 200}} {
		t.Run(c.name, func(t *testing.T) {
			d := start(t, Config{Files: []string{eth2, btc, eth1}, Speed: c.speed})
			out := newCollector(9757 + 14515)
			var live sync.WaitGroup
			live.Add(1)
			collect(t, d, binance.Config{Symbols: []string{"ETHUSDT", "BTCUSDT"}, Milliseconds: c.millis, PingEvery: 250 * time.Millisecond, Hooks: binance.Hooks{
				Live: func(s binance.Session) {
					if first := schema.Time(1723161255342000); s.Dialed >= first || s.Live == 0 {
						t.Errorf("session %+v", s)
					}
					live.Done()
				},
			}}, out)
			await(t, "the trades", out.enough)
			await(t, "the end of the replay", d.Done())
			live.Wait()
			for symbol, n := range map[string]int{"BTCUSDT": 9757, "ETHUSDT": 14515} {
				want := d.Truth(symbol, 0, schema.MaxTime)
				if len(want) != n {
					t.Fatalf("%s: the double knows %d trades", symbol, len(want))
				}
				same(t, symbol, out.of(symbol), want)
				if s := d.Sent()[symbol]; s.Trades != int64(n) || s.Unheard != 0 || s.LastTime != want[n-1].Time || s.FirstTime != want[0].Time {
					t.Errorf("%s: sent %+v", symbol, s)
				}
			}
			// At the end, the time stands still just behind the last trade, and
			// the promise comes up to it less the margin.
			last := d.market.now() - 250*schema.Millisecond
			deadline := time.After(10 * time.Second)
			for {
				out.mu.Lock()
				w, late, refused := out.w, out.late, len(out.refused)
				out.mu.Unlock()
				if late != 0 || refused != 0 || w > last {
					t.Fatalf("%d trades behind the promised time, %d refused, promised %v of %v", late, refused, w, last)
				}
				if w == last {
					break
				}
				select {
				case <-time.After(10 * time.Millisecond):
				case <-deadline:
					t.Fatalf("promised only %v of %v", w, last)
				}
			}
		})
	}
}

func TestReplayWaitsForItsSubscribers(t *testing.T) {
	d := start(t, Config{Files: []string{btc, eth1}})
	before := d.market.now()
	out := newCollector(9757)
	stop := collect(t, d, binance.Config{Symbols: []string{"BTCUSDT"}}, out)
	ws := dial(t, d, "/ws")
	if got := say(t, ws, `{"method":"LIST_SUBSCRIPTIONS","id":3}`); got != `{"result":[],"id":3}` {
		t.Error(got)
	}
	if d.market.now() != before || len(d.Sent()) != 0 {
		t.Fatal("the replay did not wait for ETHUSDT")
	}
	say(t, ws, `{"method":"SUBSCRIBE","params":["ethusdt@trade"],"id":4}`)
	await(t, "BTCUSDT's trades", out.enough)
	stop()
	if _, err := New(Config{Files: []string{btc}, WaitFor: []string{"ETHUSDT"}}); err == nil || !strings.Contains(err.Error(), "[BTCUSDT]") {
		t.Error(err)
	}
}

func TestAggregatesOfARecording(t *testing.T) {
	d := start(t, Config{Files: []string{btc}})
	want := d.market.(*recorded).books["BTCUSDT"].aggs
	out := newCollector(len(want))
	collect(t, d, binance.Config{Symbols: []string{"BTCUSDT"}, Aggregates: true}, out)
	await(t, "the aggregates", out.enough)
	same(t, "aggregates", out.of("BTCUSDT"), want)
	trades := int64(0)
	for i := range want {
		trades += want[i].Count()
	}
	if trades != 9757 || len(want) >= 9757 {
		t.Errorf("%d aggregates of %d trades", len(want), trades)
	}
}

func TestCutAndReconnect(t *testing.T) {
	d := start(t, Config{Files: []string{btc}, Speed: 60})
	out := newCollector(300)
	back := make(chan struct{})
	var mu sync.Mutex
	connected, lost := 0, error(nil)
	gone := func(err error, pause time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		lost = err
		if pause <= 0 || pause > time.Second {
			t.Errorf("pause %v", pause)
		}
	}
	collect(t, d, binance.Config{Symbols: []string{"BTCUSDT"}, MinPause: time.Millisecond, Hooks: binance.Hooks{
		Connected: func(binance.Session) {
			mu.Lock()
			defer mu.Unlock()
			if connected++; connected == 2 {
				close(back)
			}
		},
		Disconnected: gone, Failed: gone, // as it stood already, or not yet
	}}, out)
	await(t, "some trades", out.enough)
	d.Cut()
	await(t, "the second connection", back)
	mu.Lock()
	if lost == nil {
		t.Error("no word of the lost connection")
	}
	mu.Unlock()
	n := len(out.of("BTCUSDT"))
	deadline := time.After(time.Minute)
	for len(out.of("BTCUSDT")) < n+100 {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			t.Fatal("nothing came by the second connection")
		}
	}
	got := out.of("BTCUSDT")
	for i := 1; i < len(got); i++ {
		if got[i].ID <= got[i-1].ID {
			t.Fatalf("%d after %d", got[i].ID, got[i-1].ID)
		}
	}
}

func TestSlowReaderIsDropped(t *testing.T) {
	d := start(t, Config{Synthetic: Synthetic{Symbols: 1, Rate: 200_000}, WriteTimeout: 200 * time.Millisecond})
	ws := dial(t, d, "/ws/btcusdt@trade")
	readOne(t, ws)
	// From here on nothing is read: the socket's buffers fill, then the queue.
	deadline := time.After(time.Minute)
	for len(d.snapshot()) > 0 {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatal("the client is still there")
		}
	}
}

func TestDoubleRefuses(t *testing.T) {
	for _, cfg := range []Config{
		{Speed: -1}, {Synthetic: Synthetic{Symbols: 9999}}, {Synthetic: Synthetic{Rate: 1e9}}, {Files: []string{"none"}}, {Files: []string{"double_test.go"}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
	a, err := New(Config{})
	if err == nil {
		err = a.Listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer a.listener.Close()
	b, err := New(Config{Addr: a.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "listen") {
		t.Error(err)
	}
}

func dial(t testing.TB, d *Double, path string) *websocket.Conn {
	t.Helper()
	base, _ := d.URLs()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	return ws
}

func readOne(t testing.TB, ws *websocket.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, msg, err := ws.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(msg)
}

func say(t testing.TB, ws *websocket.Conn, msg string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := ws.Write(ctx, websocket.MessageText, []byte(msg)); err != nil {
		t.Fatal(err)
	}
	return readOne(t, ws)
}

var errStop = errors.New("stop")

// failing is an Out that refuses.
type failing struct{ collector }

func (*failing) Trade([]byte, *schema.Trade, schema.Time) error { return errStop }

func TestSourceEndsWithItsOut(t *testing.T) {
	d := start(t, Config{Files: []string{btc}})
	ws, _ := d.URLs()
	s, err := binance.NewSource(binance.Config{WS: ws, Symbols: []string{"BTCUSDT"}}, &failing{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Run(ctx); !errors.Is(err, errStop) {
		t.Error(err)
	}
}
