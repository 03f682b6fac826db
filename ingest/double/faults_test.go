package double

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"millrace/schema"
)

// watcher reads what comes on one connection.
type watcher struct {
	ws *websocket.Conn

	mu   sync.Mutex
	ids  []int64
	late []time.Duration // of E behind T
	text []string        // frames that are no trades
	err  error
}

func watch(t testing.TB, d *Double, path string) *watcher {
	t.Helper()
	w := &watcher{ws: dial(t, d, path)}
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		for {
			_, b, err := w.ws.Read(ctx)
			var ev struct {
				E int64  `json:"E"`
				T int64  `json:"T"`
				K string `json:"e"`
				I *int64 `json:"t"`
			}
			w.mu.Lock()
			switch {
			case err != nil:
				w.err = err
			case json.Unmarshal(b, &ev) == nil && ev.K == "trade" && ev.I != nil:
				w.ids = append(w.ids, *ev.I)
				w.late = append(w.late, time.Duration(ev.E-ev.T)*time.Millisecond)
			default:
				w.text = append(w.text, string(b))
			}
			w.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return w
}

func (w *watcher) seen() ([]int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]int64{}, w.ids...), w.err
}

// more waits for n further trades.
func (w *watcher) more(t testing.TB, n int) {
	t.Helper()
	before, _ := w.seen()
	eventually(t, "more trades", func() bool { now, _ := w.seen(); return len(now) >= len(before)+n })
}

func faulty(faults ...Fault) Config {
	return Config{Synthetic: Synthetic{Seed: 1, Symbols: 2, Rate: 2000}, WaitFor: []string{"BTCUSDT"}, Faults: Scenario{Seed: 5, Faults: faults}}
}

// Faults come and go by the clocks they are on, as often as they should.
func TestFaultsKeepTime(t *testing.T) {
	from := origin + schema.Day
	s, err := ParseScenario("s", []byte(`
faults:
  - {kind: rest-5xx, at: 10s, for: 2s, every: 5s, times: 3}
  - {kind: clock-skew, at: 10s, clock: market, for: 20s, skew: 3s}
  - {kind: clock-skew, at: 2024-01-02T00:01:40Z, for: 100s, skew: -1s}
  - {kind: rest-429, at: 1h, for: 1s}
  - {kind: rest-429, for: 10m, clock: market, paths: [klines]}
`))
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(Config{Synthetic: Synthetic{Symbols: 1, Start: from, Pace: 10}, Faults: s})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Unix(1e9, 0)
	d.faults.begin(began, from)
	for _, c := range []struct {
		wall    float64
		skew    schema.Time
		errors  int
		started int64 // rest-5xx
	}{
		{0, 0, 0, 0}, {0.9, 0, 0, 0}, {1, 3 * schema.Second, 0, 0}, {2.9, 3 * schema.Second, 0, 0}, {3, 0, 0, 0}, {9.99, 0, 0, 0},
		{10, -schema.Second, 1, 1}, {11.9, -schema.Second, 1, 1}, {12, -schema.Second, 0, 1}, {15, -schema.Second, 1, 2},
		{19.9, -schema.Second, 0, 2}, {20, 0, 1, 3}, {22, 0, 0, 3}, {25, 0, 0, 3}, {3000, 0, 0, 3},
	} {
		gone := time.Duration(c.wall * 1e9)
		d.faults.step(began.Add(gone), from+micros(10*gone))
		if skew, n := d.faults.skew(), len(d.faults.asked("ping", 1, fault5xx)); skew != c.skew || n != c.errors || d.Counters().Faults[fault5xx] != c.started {
			t.Errorf("after %v s the time is off by %v, %d fail, %d began; wanted %+v", c.wall, skew, n, d.Counters().Faults[fault5xx], c)
		}
		if hit := d.faults.asked("klines", 1, fault429); c.wall == 20 && (len(hit) != 1 || len(d.faults.asked("ping", 1, fault429)) != 0) {
			t.Errorf("after %v s %d refusals", c.wall, len(hit))
		}
	}
	d.faults.stop()
	if c := d.Counters(); c.Faults[faultSkew] != 2 || c.Faults[fault429] != 1 || len(d.faults.running) != 0 {
		t.Errorf("%+v", c)
	}
}

func TestConnectionsAreCutAgainAndAgain(t *testing.T) {
	d := start(t, faulty(Fault{Kind: faultCut, At: 50 * time.Millisecond, Every: 200 * time.Millisecond}))
	for range 3 {
		w := watch(t, d, "/ws/btcusdt@trade")
		eventually(t, "the cut", func() bool { _, err := w.seen(); return err != nil })
		if _, err := w.seen(); websocket.CloseStatus(err) != -1 {
			t.Errorf("there was a word: %v", err)
		}
	}
	eventually(t, "three ends", func() bool { return d.Counters().Closes[faultCut] == 3 })
	if c := d.Counters(); c.Faults[faultCut] < 3 || c.Closes[byClient] != 0 {
		t.Errorf("%+v", c)
	}
}

func TestHalfDeadConnectionsStayOpen(t *testing.T) {
	d := start(t, faulty(Fault{Kind: faultHalfDead, At: 100 * time.Millisecond, For: 3 * time.Second}))
	w := watch(t, d, "/ws/btcusdt@trade")
	eventually(t, "the fault", func() bool { return d.Counters().Faults[faultHalfDead] == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := w.ws.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a ping was answered: %v", err)
	}
	before, err := w.seen()
	other := watch(t, d, "/ws/btcusdt@trade") // a new one lives
	other.more(t, 100)
	after, err2 := w.seen()
	if len(after) != len(before) || err != nil || err2 != nil {
		t.Errorf("%d trades came, %v %v", len(after)-len(before), err, err2)
	}
	eventually(t, "the end", func() bool { _, err := w.seen(); return err != nil })
	eventually(t, "its reason", func() bool { return d.Counters().Closes[faultHalfDead] == 1 })
}

func TestStalledSymbolIsSilentOnTheOldConnection(t *testing.T) {
	d := start(t, faulty(Fault{Kind: faultStall, At: 100 * time.Millisecond, Symbols: []string{"BTCUSDT"}}))
	w, other := watch(t, d, "/ws/btcusdt@trade"), watch(t, d, "/ws/ethusdt@trade")
	eventually(t, "the fault", func() bool { return d.Counters().Faults[faultStall] == 1 })
	if err := w.ws.Ping(t.Context()); err != nil { // what came before is behind us
		t.Fatal(err)
	}
	before, _ := w.seen()
	fresh := watch(t, d, "/ws/btcusdt@trade")
	fresh.more(t, 100)
	other.more(t, 100)
	if err := w.ws.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if after, err := w.seen(); len(after) > len(before)+1 || err != nil {
		t.Errorf("%d trades came, %v", len(after)-len(before), err)
	}
}

// Drops, doubles, late and shuffled events are known by their ids.
func TestStreamsThatLie(t *testing.T) {
	at, long := 50*time.Millisecond, time.Second
	for _, c := range []struct {
		fault Fault
		check func(t *testing.T, all, missing, twice, disorder, late int)
	}{
		{Fault{Kind: faultDrop, At: at, For: long, Share: 0.1}, func(t *testing.T, all, missing, twice, disorder, late int) {
			if missing < 30 || missing > all/6 || twice+disorder+late > 0 {
				t.Error(all, missing, twice, disorder, late)
			}
		}},
		{Fault{Kind: faultDrop, At: at, Count: 7}, func(t *testing.T, all, missing, twice, disorder, late int) {
			if missing != 7 || twice+disorder+late > 0 {
				t.Error(all, missing, twice, disorder, late)
			}
		}},
		{Fault{Kind: faultDouble, At: at, For: long, Share: 0.1}, func(t *testing.T, all, missing, twice, disorder, late int) {
			if twice < 30 || twice > all/6 || missing+disorder+late > 0 {
				t.Error(all, missing, twice, disorder, late)
			}
		}},
		{Fault{Kind: faultReorder, At: at, For: long, Window: 10}, func(t *testing.T, all, missing, twice, disorder, late int) {
			if disorder < 100 || missing+twice+late > 0 {
				t.Error(all, missing, twice, disorder, late)
			}
		}},
		{Fault{Kind: faultReorder, At: at, For: long, Delay: 20 * time.Millisecond}, func(t *testing.T, all, missing, twice, disorder, late int) {
			if disorder < 100 || missing+twice+late > 0 {
				t.Error(all, missing, twice, disorder, late)
			}
		}},
		{Fault{Kind: faultLate, At: at, For: long, Share: 0.1, Delay: 100 * time.Millisecond}, func(t *testing.T, all, missing, twice, disorder, late int) {
			if disorder < 30 || late < 30 || missing+twice > 0 {
				t.Error(all, missing, twice, disorder, late)
			}
		}},
	} {
		t.Run(c.fault.Kind, func(t *testing.T) {
			d := start(t, faulty(c.fault))
			w := watch(t, d, "/ws/btcusdt@trade")
			eventually(t, "the end of the fault", func() bool {
				d.faults.mu.Lock()
				defer d.faults.mu.Unlock()
				return d.tally.faults[c.fault.Kind] == 1 && len(d.faults.running)+len(d.faults.held) == 0
			})
			// Whatever was sent until now is in front of the pong, and what comes
			// behind it is without fault.
			if err := w.ws.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.more(t, 50)
			sent := d.Sent()["BTCUSDT"].FirstTime
			first := d.Truth("BTCUSDT", sent, sent+1)[0].ID
			w.mu.Lock()
			defer w.mu.Unlock()
			seen := map[int64]int{}
			disorder, late, twice, missing := 0, 0, 0, 0
			for i, id := range w.ids {
				seen[id]++
				if i > 0 && id < w.ids[i-1] {
					disorder++
				}
				if w.late[i] >= 50*time.Millisecond {
					late++
				}
			}
			for id := first; id <= w.ids[len(w.ids)-1]; id++ {
				if seen[id] == 0 {
					missing++
				}
				twice += max(0, seen[id]-1)
			}
			c.check(t, len(seen)+missing, missing, twice, disorder, late)
		})
	}
}

func TestShutdownIsAnnounced(t *testing.T) {
	cfg := faulty(Fault{Kind: faultShutdown, At: 50 * time.Millisecond, Delay: 300 * time.Millisecond})
	cfg.WaitFor = []string{"BTCUSDT", "ETHUSDT"}
	d := start(t, cfg)
	raw, combined := watch(t, d, "/ws/btcusdt@trade"), watch(t, d, "/stream?streams=ethusdt@aggTrade")
	for w, want := range map[*watcher]string{raw: `{"e":"serverShutdown","E":`, combined: `{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":`} {
		eventually(t, "the close", func() bool { _, err := w.seen(); return err != nil })
		w.mu.Lock()
		if websocket.CloseStatus(w.err) != websocket.StatusGoingAway {
			t.Error(w.err)
		}
		found := false
		for _, text := range w.text {
			found = found || strings.HasPrefix(text, want)
		}
		if !found {
			t.Errorf("no %s in %v", want, w.text[:min(3, len(w.text))])
		}
		w.mu.Unlock()
	}
}

func TestConnectionsEndAtAnAge(t *testing.T) {
	d := start(t, faulty(Fault{Kind: faultAge, Delay: 150 * time.Millisecond}))
	for range 2 {
		began := time.Now()
		w := watch(t, d, "/ws/btcusdt@trade")
		eventually(t, "the end", func() bool { _, err := w.seen(); return err != nil })
		if age := time.Since(began); age < 100*time.Millisecond {
			t.Errorf("it ended after %v", age)
		}
	}
	eventually(t, "two ends", func() bool { return d.Counters().Closes[faultAge] == 2 })
}

func TestAttemptsAreRefused(t *testing.T) {
	cfg := faulty(Fault{Kind: faultRefuse, At: 20 * time.Millisecond, For: 2 * time.Second})
	cfg.Limits.Connections = 100_000
	d := start(t, cfg)
	watch(t, d, "/ws/btcusdt@trade")
	eventually(t, "the fault", func() bool { return d.Counters().Faults[faultRefuse] == 1 })
	base, _ := d.URLs()
	if _, _, err := websocket.Dial(t.Context(), base+"/ws/btcusdt@trade", nil); err == nil {
		t.Error("it was let in")
	}
	eventually(t, "the end of it", func() bool {
		ws, _, err := websocket.Dial(t.Context(), base+"/ws/btcusdt@trade", nil)
		return err == nil && ws.CloseNow() == nil
	})
	if c := d.Counters(); c.Refused != 0 || c.Attempts < 3 {
		t.Errorf("%+v", c)
	}
}

func TestRESTFaults(t *testing.T) {
	type answer struct {
		status, wait int
		body         string
		took         time.Duration
	}
	ask := func(t *testing.T, d *Double, path string) answer {
		_, rest := d.URLs()
		began := time.Now()
		resp, err := http.Get(rest + "/api/v3/" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		wait, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return answer{resp.StatusCode, wait, string(body), time.Since(began)}
	}
	for _, c := range []struct {
		fault Fault
		check func(a answer) bool
	}{
		{Fault{Kind: faultSlow, Delay: 120 * time.Millisecond, Paths: []string{"time"}}, func(a answer) bool { return a.status == 200 && a.took >= 120*time.Millisecond }},
		{Fault{Kind: fault5xx}, func(a answer) bool {
			return a.status >= 502 && a.status <= 504 && (a.status == 502) == strings.HasPrefix(a.body, "<html>")
		}},
		{Fault{Kind: faultBan, For: 30 * time.Second}, func(a answer) bool {
			return a.status == 418 && a.wait > 25 && a.wait <= 30 && strings.Contains(a.body, "IP banned until 1")
		}},
		{Fault{Kind: fault429, For: 30 * time.Second}, func(a answer) bool {
			return a.status == 429 && a.wait > 25 && a.wait <= 30 && strings.HasPrefix(a.body, `{"code":-1003,`)
		}},
		{Fault{Kind: faultSkew, Skew: -time.Hour}, func(a answer) bool {
			var told struct{ ServerTime int64 }
			return json.Unmarshal([]byte(a.body), &told) == nil && time.Since(time.UnixMilli(told.ServerTime)) > 59*time.Minute
		}},
	} {
		t.Run(c.fault.Kind, func(t *testing.T) {
			cfg := faulty(c.fault)
			cfg.WaitFor = nil
			d := start(t, cfg)
			eventually(t, "the fault", func() bool { a := ask(t, d, "time"); return c.check(a) })
			if len(c.fault.Paths) > 0 {
				if a := ask(t, d, "ping"); c.check(a) {
					t.Errorf("%+v is hit too", a)
				}
			}
			if got := d.Counters(); got.TooMany+got.Banned != 0 || got.Faults[c.fault.Kind] != 1 {
				t.Errorf("%+v", got)
			}
			http.DefaultClient.CloseIdleConnections()
		})
	}
}

// Faults on the market's time keep pace with it, and a market with them comes
// to its end with every fault over and all that was held back sent.
func TestFaultsOfAPacedMarket(t *testing.T) {
	from := origin + 100*schema.Day
	cfg := Config{
		Synthetic: Synthetic{Seed: 2, Symbols: 4, Rate: 20, Start: from, Until: from + 10*schema.Minute, Pace: 200},
		WaitFor:   []string{"BTCUSDT"},
		Limits:    Limits{Weight: 1e9}, // it is asked all the time
		Faults: Scenario{Faults: []Fault{
			{Kind: faultStatus, Status: broken, At: 2 * time.Minute, Market: true, For: 2 * time.Minute, Symbols: []string{"BTCUSDT"}},
			{Kind: faultLate, Moment: from + schema.Minute, For: time.Hour, Share: 0.2, Delay: 90 * time.Second},
			{Kind: faultList, Moment: from + 5*schema.Minute, Symbols: []string{"SOLUSDT"}},
			{Kind: faultDelist, Moment: from + 5*schema.Minute, Symbols: []string{"BNBUSDT"}},
		}, Random: &Random{Seed: 1, PerMinute: 6, Market: true, Kinds: []string{faultDouble, faultReorder}}},
	}
	d := start(t, cfg)
	_, rest := d.URLs()
	info := func() string { _, body := get(t, rest+"/api/v3/exchangeInfo", false); return body }
	if body := info(); strings.Contains(body, "SOLUSDT") || !strings.Contains(body, "BNBUSDT") {
		t.Errorf("before: %s", body)
	}
	w := watch(t, d, "/ws/btcusdt@trade")
	eventually(t, "the break", func() bool { return strings.Contains(info(), `"symbol":"BTCUSDT","status":"BREAK"`) })
	await(t, "the end of the market", d.Done())
	if body := info(); !strings.Contains(body, "SOLUSDT") || strings.Contains(body, "BNBUSDT") {
		t.Errorf("after: %s", body)
	}
	want := d.Truth("BTCUSDT", from, schema.MaxTime)
	got := map[int64]bool{}
	eventually(t, "every trade", func() bool {
		ids, err := w.seen()
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			got[id] = true
		}
		return len(got) >= len(want)
	})
	for _, tr := range want {
		if !got[tr.ID] {
			t.Fatalf("trade %d is missing", tr.ID)
		}
		if tr.Time >= from+2*schema.Minute && tr.Time < from+4*schema.Minute {
			t.Fatalf("a trade in the break: %+v", tr)
		}
	}
	if sol := d.Truth("SOLUSDT", 0, schema.MaxTime); len(sol) == 0 || sol[0].ID != 0 || sol[0].Time < from+5*schema.Minute {
		t.Error("SOLUSDT does not begin with its listing")
	}
	if status, _ := get(t, rest+"/api/v3/trades?symbol=BNBUSDT", false); status != 400 {
		t.Errorf("BNBUSDT is still there: %d", status)
	}
	_, body := get(t, rest+"/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime="+strconv.FormatInt(from.Millis(), 10)+"&limit=5", false)
	var rows [][]any
	if err := json.Unmarshal([]byte(body), &rows); err != nil || len(rows) != 5 || rows[2][0].(float64) != float64((from+4*schema.Minute).Millis()) {
		t.Errorf("%s %v", body, err)
	}
	c := d.Counters()
	for _, k := range []string{faultStatus, faultList, faultDelist, faultLate, faultDouble, faultReorder} {
		if c.Faults[k] == 0 {
			t.Errorf("no %s: %v", k, c.Faults)
		}
	}
}
