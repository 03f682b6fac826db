package double

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"millrace/ingest/binance"
	"millrace/ingest/file"
	"millrace/schema"
)

func restOf(t testing.TB, d *Double) *binance.Client {
	t.Helper()
	_, rest := d.URLs()
	c, err := binance.NewClient(rest, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// replayed gives a double whose replay of BTCUSDT is over.
func replayed(t testing.TB) *Double {
	t.Helper()
	d := start(t, Config{Files: []string{btc}, StartAtOnce: true})
	await(t, "the end of the replay", d.Done())
	return d
}

func TestRecordedKlineEqualsBinances(t *testing.T) {
	official, err := file.ReadKlines("../testdata/btcusdt-spot-2024-08-08/klines_5m.csv")
	if err != nil {
		t.Fatal(err)
	}
	d := replayed(t)
	if s := d.Sent()["BTCUSDT"]; s.Trades != 9757 || s.Unheard != 9757 {
		t.Errorf("%+v", s)
	}
	want := official[0]
	got, err := restOf(t, d).Klines(context.Background(), "BTCUSDT", schema.P5m, want.Start, want.Start+schema.Second)
	if err != nil || len(got) != 1 {
		t.Fatalf("%v %v", got, err)
	}
	if diff := want.Diff(&got[0]); diff != "" {
		t.Error(diff)
	}
}

func TestRESTOfARecording(t *testing.T) {
	d := replayed(t)
	c := restOf(t, d)
	ctx := context.Background()
	truth := d.Truth("BTCUSDT", 0, schema.MaxTime)
	first, last := truth[0].ID, truth[len(truth)-1].ID

	var all []schema.Trade
	for from := first; from <= last; {
		p, err := c.HistoricalTrades(ctx, "BTCUSDT", from, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if p.FirstRow != from || len(p.Refused) != 0 {
			t.Fatalf("asked from %d, got %d, refused %v", from, p.FirstRow, p.Refused)
		}
		all = append(all, p.Trades...)
		from = p.LastRow + 1
	}
	same(t, "historicalTrades", all, truth)

	all = nil
	for from := int64(0); ; {
		p, err := c.AggTrades(ctx, "BTCUSDT", from, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if p.FirstRow < 0 {
			break
		}
		if p.FirstRow != from {
			t.Fatalf("asked from %d, got %d", from, p.FirstRow)
		}
		all = append(all, p.Trades...)
		from = p.LastRow + 1
	}
	same(t, "aggTrades", all, d.market.(*recorded).books["BTCUSDT"].aggs)

	// From before what is there the server skips forward, behind it it is empty.
	if p, err := c.HistoricalTrades(ctx, "BTCUSDT", 1, 3); err != nil || p.FirstRow != first {
		t.Errorf("%+v %v", p, err)
	}
	if p, err := c.HistoricalTrades(ctx, "BTCUSDT", last+1, 3); err != nil || p.FirstRow != -1 {
		t.Errorf("%+v %v", p, err)
	}
	if p, err := c.RecentTrades(ctx, "BTCUSDT", 3); err != nil || p.FirstRow != last-2 || p.LastRow != last {
		t.Errorf("%+v %v", p, err)
	}
	at := truth[5000].Time
	if p, err := c.AggTradesSince(ctx, "BTCUSDT", at, 2); err != nil || p.Trades[0].Time < at || p.Trades[0].ID > truth[5000].ID {
		t.Errorf("%+v %v", p, err)
	}
	if now, err := c.ServerTime(ctx); err != nil || now != d.market.now() {
		t.Errorf("%v %v", now, err)
	}
	info, err := c.Exchange(ctx, "BTCUSDT")
	if err != nil || len(info.Symbols) != 1 || info.Symbols[0] != (binance.SymbolInfo{Symbol: "BTCUSDT", Status: "TRADING", Base: "BTC", Quote: "USDT"}) || info.RateLimits[0].Limit != 6000 {
		t.Errorf("%+v %v", info, err)
	}
}

func TestRESTKnowsNothingOfTheFuture(t *testing.T) {
	d := start(t, Config{Files: []string{btc}})
	c := restOf(t, d)
	p, err := c.HistoricalTrades(context.Background(), "BTCUSDT", 0, 1000)
	if err != nil || p.FirstRow != -1 {
		t.Errorf("before the replay: %+v %v", p, err)
	}
	if k, err := c.Klines(context.Background(), "BTCUSDT", schema.P1m, 0, schema.FromMillis(1e13)); err != nil || len(k) != 0 {
		t.Errorf("before the replay: %+v %v", k, err)
	}
}

func TestRESTErrors(t *testing.T) {
	d := start(t, quiet(false))
	_, rest := d.URLs()
	for path, want := range map[string]string{
		"trades?symbol=NOSUCH":              `{"code":-1121,"msg":"Invalid symbol."}`,
		"trades":                            `{"code":-1102,"msg":"Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."}`,
		"klines?symbol=BTCUSDT&interval=7m": `{"code":-1120,"msg":"Invalid interval."}`,
		"aggTrades?symbol=BTCUSDT&fromId=3&startTime=99": `{"code":-1128,"msg":"Combination of optional parameters invalid."}`,
		"historicalTrades?symbol=BTCUSDT&fromId=x":       `{"code":-1100,"msg":"Illegal characters found in parameter 'fromId'; legal range is '^[0-9]{1,20}$'."}`,
		`exchangeInfo?symbols=["BTCUSDT","NOSUCH"]`:      `{"code":-1121,"msg":"Invalid symbol."}`,
		"ticker/price?symbol=NOSUCH":                     `{"code":-1121,"msg":"Invalid symbol."}`,
	} {
		if status, body := get(t, rest+"/api/v3/"+path, false); status != 400 || body != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	var ae *binance.APIError
	if _, err := restOf(t, d).Exchange(context.Background(), "NOSUCH"); !errors.As(err, &ae) || ae.Code != -1121 || ae.Status != 400 {
		t.Error(err)
	}
}

func get(t testing.TB, url string, micros bool) (int, string) {
	t.Helper()
	req, err := http.NewRequest("GET", strings.NewReplacer(`"`, "%22", "[", "%5B", "]", "%5D").Replace(url), nil)
	if err != nil {
		t.Fatal(err)
	}
	if micros {
		req.Header.Set("X-MBX-TIME-UNIT", "MICROSECOND")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestRESTBodiesVerbatim(t *testing.T) {
	d := replayed(t)
	_, rest := d.URLs()
	const from = "&limit=1&fromId=3735683259"
	for path, want := range map[string]string{
		"ping":                                   `{}`,
		"historicalTrades?symbol=BTCUSDT" + from: `[{"id":3735683259,"price":"61837.63000000","qty":"0.02000000","quoteQty":"1236.75260000","time":1723161255342,"isBuyerMaker":true,"isBestMatch":true}]`,
		"aggTrades?symbol=BTCUSDT&limit=1&fromId=0": `[{"a":0,"p":"61837.63000000","q":"0.02000000","f":3735683259,"l":3735683259,"T":1723161255342,"m":true,"M":true}]`,
		"ticker/price?symbol=BTCUSDT":               `{"symbol":"BTCUSDT","price":"` + lastPrice(t, d) + `"}`,
		`ticker/price?symbols=["BTCUSDT"]`:          `[{"symbol":"BTCUSDT","price":"` + lastPrice(t, d) + `"}]`,
		"ticker/price":                              `[{"symbol":"BTCUSDT","price":"` + lastPrice(t, d) + `"}]`,
	} {
		if status, body := get(t, rest+"/api/v3/"+path, false); status != 200 || body != want {
			t.Errorf("%s: %d %s\nwant %s", path, status, body, want)
		}
	}
	official, err := os.ReadFile("../testdata/btcusdt-spot-2024-08-08/klines_5m.csv")
	if err != nil {
		t.Fatal(err)
	}
	cols := strings.Split(strings.TrimSpace(string(official)), ",")
	for i := range cols {
		if i != 0 && i != 6 && i != 8 {
			cols[i] = `"` + cols[i] + `"`
		}
	}
	want := "[[" + strings.Join(cols, ",") + "]]"
	if _, body := get(t, rest+"/api/v3/klines?symbol=BTCUSDT&interval=5m&startTime=1723161300000&limit=1", false); body != want {
		t.Errorf("klines\n got %s\nwant %s", body, want)
	}
	want = strings.Replace(strings.Replace(want, "1723161300000,", "1723161300000000,", 1), "1723161599999,", "1723161599999999,", 1)
	if _, body := get(t, rest+"/api/v3/klines?symbol=BTCUSDT&interval=5m&startTime=1723161300000000&limit=1", true); body != want {
		t.Errorf("klines in microseconds\n got %s\nwant %s", body, want)
	}
}

func lastPrice(t testing.TB, d *Double) string {
	all := d.Truth("BTCUSDT", 0, schema.MaxTime)
	return string(appendDecimal(nil, all[len(all)-1].Price))
}

func TestKlineWindows(t *testing.T) {
	m := schema.Minute
	at := func(k ...int) (w []schema.Time) {
		for _, i := range k {
			w = append(w, schema.Time(i)*m)
		}
		return w
	}
	for _, c := range []struct {
		name      string
		from, end schema.Time
		n         int
		want      []schema.Time
	}{
		{"newest", -1, -1, 3, at(98, 99, 100)},
		{"all", -1, -1, 500, nil},
		{"a start is rounded up", 20*m + 1, -1, 2, at(21, 22)},
		{"a start on the edge", 20 * m, -1, 2, at(20, 21)},
		{"both", 20 * m, 22*m + 5, 500, at(20, 21, 22)},
		{"an end", -1, 22*m + 5, 2, at(21, 22)},
		{"before all", -1, 5 * m, 2, nil},
		{"an early start", 0, -1, 2, at(10, 11)},
		{"a late start", 101 * m, -1, 2, nil},
		{"a late end", 99 * m, 1e9 * m, 5, at(99, 100)},
	} {
		got := klineWindows(schema.P1m, 10*m+7, 100*m+9, c.from, c.end, c.n, func(schema.Time, schema.Time) bool { return false })
		if c.name == "all" {
			if len(got) != 91 || got[0] != 10*m || got[90] != 100*m {
				t.Errorf("%s: %v", c.name, got)
			}
			continue
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %v", c.name, got)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: %v", c.name, got)
				break
			}
		}
	}
}

// The candles of a quiet synthetic symbol, empty ones among them, hold what
// its trades say.
func TestSyntheticKlines(t *testing.T) {
	cfg := quiet(false)
	cfg.Synthetic = Synthetic{Seed: 5, Symbols: 10, Rate: 1}
	d := start(t, cfg)
	symbol := d.Symbols()[8]
	now := cfg.Now()
	all, err := restOf(t, d).Klines(context.Background(), symbol, schema.P1m, 0, now)
	if err != nil {
		t.Fatal(err)
	}
	truth := d.Truth(symbol, 0, now-delay+1)
	if len(truth) == 0 || len(all) == 0 {
		t.Fatalf("%d trades, %d candles", len(truth), len(all))
	}
	empty, close := 0, schema.Decimal{}
	trades := int64(0)
	for i, k := range all {
		f := schema.Empty(close)
		for j := range truth {
			if tr := &truth[j]; tr.Time >= k.Start && tr.Time < k.Start+schema.Minute {
				f.Add(tr)
			}
		}
		want := binance.Kline{Start: k.Start, CloseTime: k.Start + schema.Minute - schema.Millisecond, Open: f.Open, High: f.High, Low: f.Low, Close: f.Close,
			Volume: f.Volume, Quote: f.Quote, Trades: f.Trades, TakerVolume: f.TakerVolume, TakerQuote: f.TakerQuote}
		if diff := want.Diff(&k); diff != "" || i > 0 && k.Start != all[i-1].Start+schema.Minute {
			t.Errorf("%v: %s", k.Start, diff)
		}
		if k.Trades == 0 {
			empty++
		}
		close, trades = f.Close, trades+f.Trades
	}
	if trades != int64(len(truth)) || empty == 0 || empty == len(all) {
		t.Errorf("%d of %d candles empty, %d of %d trades", empty, len(all), trades, len(truth))
	}
}
