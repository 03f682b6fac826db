package double

import (
	"strings"
	"testing"

	"millrace/ingest/file"
	"millrace/schema"
)

// The truth of a recording is what Binance itself said.
func TestTruthEqualsBinances(t *testing.T) {
	official, err := file.ReadKlines("../testdata/btcusdt-spot-2024-08-08/klines_5m.csv")
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(Config{Files: []string{btc}})
	if err != nil {
		t.Fatal(err)
	}
	k := official[0]
	got := d.TruthCandles("BTCUSDT", schema.P5m, k.Start, k.Start+5*schema.Minute)
	if len(got) != 1 {
		t.Fatalf("%+v", got)
	}
	want := TruthCandle{Symbol: "BTCUSDT", Period: "5m", StartTime: "2024-08-08T23:55:00Z",
		Open: k.Open.Canonical().String(), High: k.High.Canonical().String(), Low: k.Low.Canonical().String(), Close: k.Close.Canonical().String(),
		Volume: k.Volume.Canonical().String(), QuoteVolume: k.Quote.Canonical().String(), Trades: k.Trades,
		TakerBuyVolume: k.TakerVolume.Canonical().String(), TakerBuyQuoteVolume: k.TakerQuote.Canonical().String(),
		FirstTradeID: got[0].FirstTradeID, LastTradeID: got[0].FirstTradeID + k.Trades - 1}
	if got[0] != want {
		t.Errorf("\n got %+v\nwant %+v", got[0], want)
	}
	if from, to := d.Span(); from != 1723161255342000 || to < k.Start+4*schema.Minute {
		t.Errorf("span %v to %v", from, to)
	}
}

// The truth agrees with the figures of schema, another code, on every window of
// every period of a made-up market with a break.
func TestTruthOfASyntheticMarket(t *testing.T) {
	from := origin + 100*schema.Day
	cfg := Config{Synthetic: Synthetic{Seed: 3, Symbols: 3, Rate: 0.02, Start: from, Until: from + 40*schema.Day}, Faults: Scenario{Faults: []Fault{
		{Kind: faultStatus, Status: broken, Moment: from + 3*schema.Day, For: 5 * 3600e9, Symbols: []string{"ETHUSDT"}},
		{Kind: faultList, Moment: from + schema.Day, Symbols: []string{"SOLUSDT"}},
		{Kind: faultDelist, Moment: from + 20*schema.Day, Symbols: []string{"SOLUSDT"}},
	}}}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var cal schema.Calendar
	empty := 0
	for _, symbol := range d.Symbols() {
		for p := schema.P1m; p <= schema.P1M; p++ {
			end := from + 40*schema.Day
			if p < schema.P1h {
				end = from + 4*schema.Day // a break and a listing lie in it
			}
			trades := d.Truth(symbol, 0, end)
			got := d.TruthCandles(symbol, p, from, end)
			at := cal.Start(p, from)
			if at < from {
				at = cal.End(p, at)
			}
			i, tr, before := 0, 0, schema.Decimal{}
			for tr < len(trades) && trades[tr].Time < at {
				before = trades[tr].Price
				tr++
			}
			for ; cal.End(p, at) <= end; at = cal.End(p, at) {
				f := schema.Empty(before)
				for tr < len(trades) && trades[tr].Time < cal.End(p, at) {
					f.Add(&trades[tr])
					tr++
				}
				before = f.Close
				absent := f.Trades == 0 && before.Mantissa == 0
				switch symbol {
				case "ETHUSDT":
					absent = absent || at >= from+3*schema.Day && cal.End(p, at) <= from+3*schema.Day+5*schema.Hour
				case "SOLUSDT":
					absent = absent || cal.End(p, at) <= from+schema.Day || at >= from+20*schema.Day
				}
				if absent {
					continue
				}
				if f.Trades == 0 {
					empty++
				}
				want := TruthCandle{Symbol: symbol, Period: p.String(), StartTime: at.String(),
					Open: f.Open.Canonical().String(), High: f.High.Canonical().String(), Low: f.Low.Canonical().String(), Close: f.Close.Canonical().String(),
					Volume: f.Volume.Canonical().String(), QuoteVolume: f.Quote.Canonical().String(), Trades: f.Trades,
					TakerBuyVolume: f.TakerVolume.Canonical().String(), TakerBuyQuoteVolume: f.TakerQuote.Canonical().String(),
					FirstTradeID: f.First, LastTradeID: f.Last}
				if i >= len(got) || got[i] != want {
					t.Fatalf("%s %v:\n got %+v\nwant %+v", symbol, p, got[min(i, len(got)-1)], want)
				}
				i++
			}
			if i != len(got) {
				t.Errorf("%s %v: %d candles, wanted %d", symbol, p, len(got), i)
			}
		}
	}
	if empty == 0 {
		t.Error("no window was empty")
	}
	if d.TruthCandles("NOSUCH", schema.P1m, from, from+schema.Hour) != nil {
		t.Error("candles of no symbol")
	}
}

func BenchmarkTruth(b *testing.B) {
	d, err := New(Config{Synthetic: Synthetic{Seed: 3, Symbols: 1, Rate: 1000, Start: origin + schema.Day}})
	if err != nil {
		b.Fatal(err)
	}
	n := int64(0)
	for b.Loop() {
		for _, c := range d.TruthCandles("BTCUSDT", schema.P1m, origin+schema.Day, origin+schema.Day+10*schema.Minute) {
			if n += c.Trades; strings.Contains(c.Volume, "-") {
				b.Fatal(c)
			}
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "trades/s")
}
