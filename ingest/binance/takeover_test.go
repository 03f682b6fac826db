package binance

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"millrace/schema"
)

// honest is an Out that checks each promise against the market: what lies at or
// before it must have been handed over.
type honest struct {
	t      *testing.T
	market map[int64]schema.Time // by id

	mu       sync.Mutex
	seen     map[int64]bool
	promised schema.Time
	told     bool // that trades may be missing

	has map[int64]chan struct{} // closed once the trade has been handed over
}

func newHonest(t *testing.T, market map[int64]schema.Time) *honest {
	h := &honest{t: t, market: market, seen: map[int64]bool{}, has: map[int64]chan struct{}{}}
	for id := range market {
		h.has[id] = make(chan struct{})
	}
	return h
}

func (h *honest) Trade(_ []byte, t *schema.Trade, _ schema.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.seen[t.ID] {
		h.seen[t.ID] = true
		close(h.has[t.ID])
	}
	return nil
}

func (h *honest) Refused(frame []byte, _ schema.Time, why error) error {
	h.t.Errorf("refused %s: %v", frame, why)
	return nil
}

func (h *honest) Progress(w schema.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.promised = max(h.promised, w)
	for id, at := range h.market {
		if at <= w && !h.seen[id] && !h.told {
			h.t.Errorf("%d ms is promised, and trade %d at %d ms has not come", w.Millis(), id, at.Millis())
		}
	}
}

// TestTheNewConnectionWaitsForTheOld: the old connection lags. The new one
// stands, brings trades and could promise much, but takes over only when the
// old one's promise has come as far as the moment from which the new one sees
// everything. Where the old one ends before that, trades may be missing, and
// that is told.
func TestTheNewConnectionWaitsForTheOld(t *testing.T) {
	const base = 1700000000000
	// Trade 7 is the first of the new connection; when it stands, the newest
	// event there is of 2000 ms, so it counts as seeing everything from 2250 ms
	// on. Trades 6 and 10 come by the old one alone.
	events := map[int64][2]int64{ // E and T, in ms behind the base
		5: {1000, 990}, 6: {2400, 1500}, 7: {2000, 1990}, 8: {2600, 2590}, 9: {2700, 2690},
		10: {2450, 2240}, 11: {2900, 2890},
	}
	market := map[int64]schema.Time{}
	for id, e := range events {
		market[id] = schema.Time((base + e[1]) * 1000)
	}
	frame := func(id int64) string { return tradeOf("AB", id, base+events[id][0], base+events[id][1]) }
	for name, oldEnds := range map[string]bool{"it catches up": false, "it is lost": true} {
		t.Run(name, func(t *testing.T) {
			out := newHonest(t, market)
			var mu sync.Mutex
			n := 0
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				n++
				k := n
				mu.Unlock()
				pings := make(chan struct{}, 1000)
				ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{OnPingReceived: func(context.Context, []byte) bool {
					pings <- struct{}{}
					return true
				}})
				if err != nil {
					return
				}
				defer func() { _ = ws.CloseNow() }()
				await := func(c <-chan struct{}) {
					select {
					case <-c:
					case <-r.Context().Done():
					}
				}
				switch k {
				case 1:
					send(ws, frame(5), `{"e":"serverShutdown","E":1700000009000}`)
					gone := ws.CloseRead(context.Background()) // answers pings
					await(out.has[9])
					if oldEnds {
						return
					}
					// With these its promise comes to 2150 and 2200 ms: not enough.
					send(ws, frame(6), frame(10))
					send(ws, frame(8), frame(9), frame(11))
					<-gone.Done()
				case 2:
					send(ws, frame(7))
					gone := ws.CloseRead(context.Background())
					// The second ping goes once the first one's pong is back: it stands.
					await(pings)
					await(pings)
					// When 9 is handed over, what 8 lets it promise is promised.
					send(ws, frame(8), frame(9))
					<-gone.Done()
				default:
					listen(ws)
				}
			}))
			defer s.Close()
			renewed, lost := make(chan struct{}, 10), make(chan struct{}, 10)
			ended, stop := run(t, Config{WS: "ws" + strings.TrimPrefix(s.URL, "http"), Symbols: []string{"AB"}, PingEvery: 250 * time.Millisecond, OverlapMax: time.Minute, Hooks: Hooks{
				Renewed: func(Session, string) { renewed <- struct{}{} },
				Disconnected: func(error, time.Duration) {
					out.mu.Lock()
					out.told = true
					out.mu.Unlock()
					lost <- struct{}{}
				},
			}}, out)
			wanted, other := renewed, lost
			if oldEnds {
				wanted, other = lost, renewed
			}
			select {
			case <-wanted:
			case <-other:
				t.Error("it took over without a word of what is missing, or was lost for nothing")
			case <-time.After(time.Minute):
				t.Error("it neither took over nor was lost")
			}
			stop()
			if err := wait(t, ended); err != nil {
				t.Error(err)
			}
			out.mu.Lock()
			defer out.mu.Unlock()
			if !oldEnds && out.promised < market[8]-schema.Time(250_000) {
				t.Errorf("promised no more than %d ms", out.promised.Millis())
			}
		})
	}
}
