package double

import (
	"encoding/json"
	"math"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace/schema"
)

func TestWeights(t *testing.T) {
	names := func(n int) string {
		return `symbols=["` + strings.Join(strings.Split(strings.Repeat("A", n), ""), `","`) + `"]`
	}
	d := start(t, quiet(false))
	for _, c := range []struct {
		path, query string
		want        int64
	}{
		{"ping", "", 1}, {"time", "", 1}, {"exchangeInfo", "", 20}, {"trades", "", 25}, {"historicalTrades", "", 25},
		{"aggTrades", "", 4}, {"klines", "", 2}, {"ticker/price", "symbol=A", 2}, {"ticker/price", "", 4}, {"ticker/price", names(2), 4},
		{"ticker/24hr", "symbol=A", 2}, {"ticker/24hr", names(20), 2}, {"ticker/24hr", names(21), 40},
		{"ticker/24hr", names(100), 40}, {"ticker/24hr", names(101), 80}, {"ticker/24hr", "", 80},
	} {
		q, err := url.ParseQuery(c.query)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.endpoints()[c.path].weigh(q); got != c.want {
			t.Errorf("%s?%s weighs %d, wanted %d", c.path, c.query, got, c.want)
		}
	}
}

type dayRow struct {
	Symbol                                                         string
	OpenPrice, HighPrice, LowPrice, LastPrice, Volume, QuoteVolume string
	PriceChange, PriceChangePercent, WeightedAvgPrice, LastQty     string
	OpenTime, CloseTime, FirstID, LastID, Count                    int64
}

func TestTickerOfADay(t *testing.T) {
	cfg := quiet(false)
	cfg.Synthetic = Synthetic{Seed: 5, Symbols: 60, Rate: 2}
	cfg.Now = func() schema.Time { return origin + 300*schema.Day + 12345 }
	d := start(t, cfg)
	_, rest := d.URLs()
	now := cfg.Now()
	var all []dayRow
	if _, body := get(t, rest+"/api/v3/ticker/24hr", false); json.Unmarshal([]byte(body), &all) != nil || len(all) != 60 {
		t.Fatal(body)
	}
	number := func(s string) float64 {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	exact, sampled := 0, 0
	for _, r := range all {
		truth := d.Truth(r.Symbol, now-schema.Day, now-delay+1)
		if r.FirstID != truth[0].ID || r.LastID != truth[len(truth)-1].ID || r.Count != int64(len(truth)) || r.CloseTime-r.OpenTime != 86_400_000 || r.CloseTime != now.Millis() {
			t.Errorf("%+v, wanted ids %d to %d", r, truth[0].ID, truth[len(truth)-1].ID)
		}
		last := string(appendDecimal(nil, truth[len(truth)-1].Price))
		volume, quote, high := schema.Sum{}, schema.Sum{}, schema.Decimal{}
		for i := range truth {
			p, _ := schema.Product(truth[i].Price, truth[i].Qty)
			quote, _ = quote.Add(p)
			volume, _ = volume.Add(schema.SumOf(truth[i].Qty))
			if truth[i].Price.Cmp(high) > 0 {
				high = truth[i].Price
			}
		}
		if r.LastPrice != last || r.PriceChange == "" || r.WeightedAvgPrice == "" {
			t.Errorf("%+v, wanted the last price %s", r, last)
		}
		if len(truth) <= exactRows {
			exact++
			if v := string(appendSum(nil, volume)); r.Volume != v || number(r.QuoteVolume) != number(string(appendSum(nil, quote))) || r.HighPrice != string(appendDecimal(nil, high)) {
				t.Errorf("%+v, wanted %s and %s", r, v, appendSum(nil, quote))
			}
			continue
		}
		sampled++
		if f := number(r.QuoteVolume) / number(string(appendSum(nil, quote))); math.Abs(f-1) > 0.5 {
			t.Errorf("%s: the sample is off by a factor of %v", r.Symbol, f)
		}
	}
	if exact == 0 || sampled == 0 {
		t.Errorf("%d exact, %d sampled", exact, sampled)
	}
	if _, body := get(t, rest+"/api/v3/ticker/24hr?symbol=BTCUSDT&type=MINI", false); !strings.HasPrefix(body, `{"symbol":"BTCUSDT","openPrice":"`) || strings.Contains(body, "priceChange") {
		t.Error(body)
	}
	if _, body := get(t, rest+`/api/v3/ticker/24hr?symbols=["ETHUSDT"]`, false); !strings.HasPrefix(body, `[{"symbol":"ETHUSDT","priceChange":"`) {
		t.Error(body)
	}
	for path, code := range map[string]string{"symbol=NOSUCH": "-1121", "type=BIG": "-1139", "symbols=x": "-1100"} {
		if status, body := get(t, rest+"/api/v3/ticker/24hr?"+path, false); status != 400 || !strings.HasPrefix(body, `{"code":`+code+`,`) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

// Of a recording everything is exact, whatever the number of trades.
func TestTickerOfARecording(t *testing.T) {
	d := replayed(t)
	_, rest := d.URLs()
	truth := d.Truth("BTCUSDT", 0, schema.MaxTime)
	volume := schema.Sum{}
	for i := range truth {
		volume, _ = volume.Add(schema.SumOf(truth[i].Qty))
	}
	var r dayRow
	_, body := get(t, rest+"/api/v3/ticker/24hr?symbol=BTCUSDT", false)
	if err := json.Unmarshal([]byte(body), &r); err != nil || r.Volume != string(appendSum(nil, volume)) || r.Count != int64(len(truth)) {
		t.Errorf("%s %v", body, err)
	}
}

// A ticker of 500 symbols takes far less than a tenth of a second.
func BenchmarkTickerOfAll(b *testing.B) {
	now := schema.FromStd(time.Now())
	m := newSynthetic(Synthetic{Seed: 1, Symbols: 500, Rate: 5000}, func() schema.Time { return now })
	for b.Loop() {
		for _, s := range m.symbols() {
			dayOf(m.tape(s, false), now)
		}
	}
}
