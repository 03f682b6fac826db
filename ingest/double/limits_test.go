package double

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"millrace/ingest/binance"
	"millrace/schema"
)

func TestWeightIsCountedByTheMinute(t *testing.T) {
	m := newMeter(Limits{Weight: 100, Warnings: 2, Ban: 2 * time.Minute, Connections: 3})
	at := time.Date(2026, 5, 1, 10, 0, 20, 0, time.UTC)
	second := func(n float64) time.Time { return at.Add(time.Duration(n * float64(time.Second))) }
	for i, c := range []struct {
		addr   string
		at     float64
		weight int64
		used   int64
		status int
		wait   string
	}{
		{"a", 0, 60, 60, 200, ""},
		{"a", 1, 40, 100, 200, ""},
		{"b", 1, 100, 100, 200, ""}, // each address has its own
		{"a", 2, 1, 101, 429, "38"},
		{"a", 39.5, 1, 102, 429, "1"},
		{"a", 40, 1, 1, 200, ""}, // a new minute, by the clock
		{"a", 41, 100, 101, 429, "59"},
		{"a", 42, 1, 102, 429, "58"},
		{"a", 43, 1, 103, 418, "120"}, // it went on for too long
		{"a", 101, 1, 1, 418, "62"},   // also in the next minute
		{"b", 101, 1, 1, 200, ""},
		{"a", 163, 1, 1, 200, ""},
		{"a", 164, 100, 101, 429, "56"},
		{"a", 164, 1, 102, 429, "56"},
		{"a", 164, 1, 103, 418, "240"}, // the second lasts twice as long
	} {
		v := m.charge(c.addr, c.weight, second(c.at))
		wait := ""
		if v.wait > 0 {
			wait = seconds(v.wait)
		}
		// A ban's wait is known only to who is banned.
		if v.used != c.used || v.status != c.status || wait != c.wait {
			t.Errorf("%d: used %d, status %d, wait %q; wanted %+v", i, v.used, v.status, wait, c)
		}
	}
	if m.weightPeak != 103 || m.tooMany != 6 || m.bans != 3 {
		t.Errorf("peak %d, %d 429s, %d 418s", m.weightPeak, m.tooMany, m.bans)
	}
	for i, c := range []struct {
		at float64
		ok bool
	}{{0, true}, {1, true}, {2, true}, {3, false}, {4, false}, {299, false}, {304, true}} {
		if m.attempt("a", second(c.at)) != c.ok {
			t.Errorf("attempt %d: %v", i, !c.ok)
		}
	}
	if m.peak != 5 || m.attempted != 7 {
		t.Errorf("%d attempts, %d at most", m.attempted, m.peak)
	}
}

func TestOverTheLimitIsAnsweredAsBinanceDoes(t *testing.T) {
	d := start(t, Config{Synthetic: Synthetic{Seed: 1, Symbols: 3, Rate: 1}, Limits: Limits{Weight: 30, Warnings: 1, Ban: time.Hour}})
	_, rest := d.URLs()
	ask := func(path string) (*http.Response, string) {
		resp, err := http.Get(rest + "/api/v3/" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var body struct {
			Code int
			Msg  string
		}
		if resp.StatusCode != 200 {
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || body.Code != -1003 {
				t.Errorf("%s: %+v %v", path, body, err)
			}
		}
		return resp, body.Msg
	}
	// All in one minute: a test that began at its end would see the next.
	eventually(t, "the next minute", func() bool { return time.Now().Second() < 50 })
	for _, c := range []struct {
		path         string
		status, used int
		words        string
	}{
		{"ping", 200, 1, ""},
		{"historicalTrades?symbol=BTCUSDT", 200, 26, ""},
		{"aggTrades?symbol=BTCUSDT", 200, 30, ""},
		{"klines?symbol=BTCUSDT&interval=1m", 429, 32, "Too much request weight used; current limit is 30 request weight per 1 MINUTE. "},
		{"time", 418, 33, "Way too much request weight used; IP banned until "},
	} {
		resp, msg := ask(c.path)
		after, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if resp.StatusCode != c.status || resp.Header.Get("X-MBX-USED-WEIGHT-1M") != strconv.Itoa(c.used) || !strings.HasPrefix(msg, c.words) {
			t.Errorf("%s: %d, %v, %q", c.path, resp.StatusCode, resp.Header, msg)
		}
		if c.status != 200 && (err != nil || after < 1 || c.status == 418 && after != 3600 || c.status == 429 && after > 60) {
			t.Errorf("%s: Retry-After %q", c.path, resp.Header.Get("Retry-After"))
		}
	}
	if c := d.Counters(); c.Calls != 5 || c.WeightPeak != 33 || c.TooMany != 1 || c.Banned != 1 {
		t.Errorf("%+v", c)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestConnectionsAreCounted(t *testing.T) {
	d := start(t, Config{Synthetic: Synthetic{Seed: 1, Symbols: 3, Rate: 1}, Limits: Limits{Connections: 2}})
	ws, _ := d.URLs()
	dial := func() (*websocket.Conn, int) {
		conn, resp, err := websocket.Dial(t.Context(), ws+"/stream?streams=btcusdt@trade/ethusdt@trade", nil)
		if err != nil {
			return nil, resp.StatusCode
		}
		return conn, resp.StatusCode
	}
	a, _ := dial()
	b, _ := dial()
	if a == nil || b == nil {
		t.Fatal("two were refused")
	}
	if c, status := dial(); c != nil || status != http.StatusTooManyRequests {
		t.Errorf("the third got %d", status)
	}
	// Six messages are one too many.
	for range 6 {
		if err := b.Write(t.Context(), websocket.MessageText, []byte(`{"method":"LIST_SUBSCRIPTIONS","id":1}`)); err != nil {
			t.Fatal(err)
		}
	}
	var ce websocket.CloseError
	for {
		if _, _, err := b.Read(t.Context()); errors.As(err, &ce) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := a.CloseNow(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "two ends", func() bool { c := d.Counters(); return c.Closes[byClient] == 1 && c.Closes[byRate] == 1 })
	_, rest := d.URLs()
	var told Counters
	if _, body := get(t, rest+"/double/counters", false); json.Unmarshal([]byte(body), &told) != nil || told.Attempts != 3 || told.Closes[byRate] != 1 {
		t.Errorf("%s", body)
	}
	if c := d.Counters(); c.Attempts != 3 || c.AttemptsPeak != 3 || c.Refused != 1 || c.MessagesPeak != 6 || c.StreamsPeak != 2 {
		t.Errorf("%+v", c)
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func TestWhatIsOlderThanTheRetentionIsSkipped(t *testing.T) {
	cfg := quiet(false)
	cfg.Retention = schema.Hour
	cfg.Now = func() schema.Time { return origin + 300*schema.Day }
	d := start(t, cfg)
	c := restOf(t, d)
	for name, ask := range map[string]func(context.Context, string, int64, int) (*binance.Page, error){
		"historicalTrades": c.HistoricalTrades, "aggTrades": c.AggTrades,
	} {
		p, err := ask(t.Context(), "BTCUSDT", 1, 5)
		if err != nil || len(p.Trades) == 0 {
			t.Fatalf("%s: %+v %v", name, p, err)
		}
		now := d.market.now()
		if at := p.Trades[0].Time; at < now-schema.Hour-schema.Minute || at > now-schema.Hour+10*schema.Minute || p.FirstRow < 1000 {
			t.Errorf("%s skipped to %d at %v, now is %v", name, p.FirstRow, at, now)
		}
	}
}

func TestAggregatesUpToATime(t *testing.T) {
	d := replayed(t)
	_, rest := d.URLs()
	truth := d.market.(*recorded).books["BTCUSDT"].aggs
	end := truth[1000].Time
	_, body := get(t, rest+"/api/v3/aggTrades?symbol=BTCUSDT&limit=7&endTime="+strconv.FormatInt(end.Millis(), 10), false)
	var rows []struct{ A, F, L, T int64 }
	if err := json.Unmarshal([]byte(body), &rows); err != nil || len(rows) != 7 {
		t.Fatalf("%s %v", body, err)
	}
	if last := rows[6]; last.T > end.Millis() || truth[last.A+1].Time.Millis() <= end.Millis() || truth[last.A].Last != last.L {
		t.Errorf("%+v", rows)
	}
}

func TestVoidAggregates(t *testing.T) {
	for row := range int64(50) {
		id := aggIDOf(row, 3)
		if back, void := rowOf(id, 3); back != row || void {
			t.Errorf("row %d has id %d, which has row %d", row, id, back)
		}
		if back, void := rowOf(id+1, 3); void != voidBehind(row, 3) || back != row+1 {
			t.Errorf("id %d has row %d, void %v", id+1, back, void)
		}
	}
	d := start(t, Config{Files: []string{btc}, StartAtOnce: true, VoidAggs: 3})
	await(t, "the end of the replay", d.Done())
	_, rest := d.URLs()
	truth := d.market.(*recorded).books["BTCUSDT"].aggs
	real, voids := 0, 0
	for from := int64(0); ; {
		_, body := get(t, rest+"/api/v3/aggTrades?symbol=BTCUSDT&limit=501&fromId="+strconv.FormatInt(from, 10), false)
		var rows []struct {
			A, F, L int64
			P       string
		}
		if err := json.Unmarshal([]byte(strings.ReplaceAll(body, `"M":true`, `"z":0`)), &rows); err != nil {
			t.Fatal(err)
		}
		if len(rows) == 0 {
			break
		}
		for _, r := range rows {
			switch {
			case r.A != from:
				t.Fatalf("aggregate %d, wanted %d", r.A, from)
			case r.F == -1:
				voids++
				if r.L != -1 || r.P != "0.00000000" {
					t.Fatalf("%+v", r)
				}
			default:
				if truth[real].ID != r.F || truth[real].Last != r.L {
					t.Fatalf("%+v, wanted %+v", r, truth[real])
				}
				real++
			}
			from++
		}
	}
	if real != len(truth) || voids != len(truth)/3 {
		t.Errorf("%d real, %d void of %d", real, voids, len(truth))
	}
}
