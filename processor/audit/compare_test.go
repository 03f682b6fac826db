package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/internal/testenv"
	"millrace/processor/audit"
	sqlsink "millrace/processor/sink/sql"
	"millrace/schema"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

var start = schema.FromStd(time.Date(2024, 8, 8, 23, 0, 0, 0, time.UTC))

func newDB(t *testing.T, candles ...schema.Candle) *sqlsink.DB {
	t.Helper()
	db, err := sqlsink.Open(t.Context(), sqlsink.Config{DSN: "sqlite:" + filepath.Join(t.TempDir(), "x.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := db.Write(t.Context(), sqlsink.Key{}, nil, sqlsink.Batch{Candles: candles}); err != nil {
		t.Fatal(err)
	}
	return db
}

func sum(t *testing.T, s string) schema.Sum {
	t.Helper()
	v, err := schema.ParseSum([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// series makes n candles and the klines they should equal.
func series(t *testing.T, n int, p schema.Period, step schema.Time) (candles []schema.Candle, klines []audit.Kline) {
	for i := range n {
		c := schema.Candle{Symbol: "BTCUSDT", Period: p, Start: start + schema.Time(i)*step, Status: schema.Final, Version: schema.TradesVersion(0, 7, schema.Final),
			Figures: schema.Figures{First: 1, Last: 7, Trades: 7,
				Open: schema.Decimal{Mantissa: 6183763, Scale: 2}, High: schema.Decimal{Mantissa: 62000 + int64(i)}, Low: schema.Decimal{Mantissa: 61000}, Close: schema.Decimal{Mantissa: 61500},
				Volume: sum(t, "12.5"), Quote: sum(t, "770000.00000001"), TakerVolume: sum(t, "6.25"), TakerQuote: sum(t, "0.1")}}
		candles = append(candles, c)
		// As Binance writes them: with zeros at the end.
		klines = append(klines, audit.Kline{Start: c.Start, Open: schema.Decimal{Mantissa: 6183763000000, Scale: 8}, High: c.High, Low: c.Low, Close: schema.Decimal{Mantissa: 6150000, Scale: 2},
			Volume: sum(t, "12.50000000"), Quote: c.Quote, TakerVolume: c.TakerVolume, TakerQuote: c.TakerQuote, Trades: 7})
	}
	return candles, klines
}

// More than two pages, in any order, are all equal.
func TestEqual(t *testing.T) {
	candles, klines := series(t, 12001, schema.P1s, schema.Second)
	db := newDB(t, candles...)
	rand.Shuffle(len(klines), func(i, j int) { klines[i], klines[j] = klines[j], klines[i] })
	r, err := audit.Compare(t.Context(), db, "BTCUSDT", schema.P1s, klines)
	if err != nil || !r.OK() || r.Equal != 12001 || r.Final != 12001 {
		t.Errorf("%+v, %v", r, err)
	}
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	if want := "OK: BTCUSDT 1s: 12001 klines, 12001 equal, 12001 final, 0 absent, 0 extra\n"; b.String() != want {
		t.Errorf("wrote %q, wanted %q", b.String(), want)
	}
}

// Each of the nine figures is compared, and the difference is exact.
func TestEachFigureIsCompared(t *testing.T) {
	candles, klines := series(t, 1, schema.P5m, 5*schema.Minute)
	db := newDB(t, candles...)
	for _, x := range []struct {
		change                   func(*audit.Kline)
		figure, ours, theirs, by string
	}{
		{func(k *audit.Kline) { k.Open.Mantissa++ }, "open", "61837.63", "61837.63000001", "-0.00000001"},
		{func(k *audit.Kline) { k.High.Mantissa -= 5 }, "high", "62000", "61995", "+5"},
		{func(k *audit.Kline) { k.Low.Mantissa = 0 }, "low", "61000", "0", "+61000"},
		{func(k *audit.Kline) { k.Close.Mantissa++ }, "close", "61500", "61500.01", "-0.01"},
		{func(k *audit.Kline) { k.Volume = sum(t, "999999999999999999999999999999999999") }, "volume", "12.5", "999999999999999999999999999999999999", "-999999999999999999999999999999999986.5"},
		{func(k *audit.Kline) { k.Quote = sum(t, "770000") }, "quote_volume", "770000.00000001", "770000", "+0.00000001"},
		{func(k *audit.Kline) { k.Trades = 9 }, "trades", "7", "9", "-2"},
		{func(k *audit.Kline) { k.TakerVolume = sum(t, "6.250000000001") }, "taker_buy_volume", "6.25", "6.250000000001", "-0.000000000001"},
		{func(k *audit.Kline) { k.TakerQuote = schema.Sum{} }, "taker_buy_quote_volume", "0.1", "0", "+0.1"},
	} {
		k := klines[0]
		x.change(&k)
		r, err := audit.Compare(t.Context(), db, "BTCUSDT", schema.P5m, []audit.Kline{k})
		if err != nil || r.OK() || r.Equal != 0 || r.Final != 1 || len(r.Findings) != 1 {
			t.Errorf("%s: %+v, %v", x.figure, r, err)
			continue
		}
		want := audit.Difference{Figure: x.figure, Ours: x.ours, Theirs: x.theirs, By: x.by}
		if d := r.Findings[0].Differences; len(d) != 1 || d[0] != want {
			t.Errorf("found %+v, wanted %+v", d, want)
		}
	}
}

func TestFindings(t *testing.T) {
	candles, klines := series(t, 6, schema.P1m, schema.Minute)
	candles[1].Status, candles[1].Version = schema.Closed, schema.TradesVersion(0, 7, schema.Closed)
	candles[2].Trades, candles[2].Missing = 5, 2
	// 3: no candle. 4: no kline. A candle without trades beside klines is none.
	empty := schema.Candle{Symbol: "BTCUSDT", Period: schema.P1m, Start: start + 30*schema.Second, Figures: schema.Empty(candles[0].Close), Version: schema.EmptyVersion(0, 7, schema.Live)}
	db := newDB(t, append(append(candles[:3:3], candles[4:]...), empty)...)
	r, err := audit.Compare(t.Context(), db, "BTCUSDT", schema.P1m, append(klines[:4:4], klines[5]))
	if err != nil || r.OK() {
		t.Fatalf("%+v, %v", r, err)
	}
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	want := `BTCUSDT 1m 2024-08-08T23:01:00Z: equal, but closed
BTCUSDT 1m 2024-08-08T23:02:00Z: differs, final, 2 trades missing inside
  trades                 ours 5, Binance's 7 (-2)
BTCUSDT 1m 2024-08-08T23:03:00Z: absent: Binance has a kline, there is no candle
BTCUSDT 1m 2024-08-08T23:04:00Z: extra: a candle with trades (final), Binance has no kline
NOT OK: BTCUSDT 1m: 5 klines, 3 equal, 3 final, 1 absent, 1 extra
`
	if b.String() != want {
		t.Errorf("wrote\n%swanted\n%s", b.String(), want)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `{"start_time":"2024-08-08T23:02:00Z","kind":"differs","status":"final","missing":2,"differences":[{"figure":"trades","ours":"5","theirs":"7","by":"-2"}]}`) {
		t.Errorf("as JSON: %s", text)
	}

	// Nothing of the series is there.
	r, err = audit.Compare(t.Context(), db, "BTCUSDT", schema.P1M, klines)
	if err != nil || r.OK() || r.Absent != 6 {
		t.Errorf("%+v, %v", r, err)
	}
}

// One that is not final is enough for not OK; the list of findings is bounded.
func TestNeverOKByMistake(t *testing.T) {
	candles, klines := series(t, 3000, schema.P1s, schema.Second)
	for i := range candles {
		candles[i].Status, candles[i].Version = schema.Holed, schema.TradesVersion(0, 7, schema.Holed)
	}
	db := newDB(t, candles...)
	r, err := audit.Compare(t.Context(), db, "BTCUSDT", schema.P1s, klines)
	if err != nil || r.OK() || r.Found != 3000 || len(r.Findings) > 1000 || r.Equal != 3000 {
		t.Errorf("%d found, %d listed, %v", r.Found, len(r.Findings), err)
	}
	if _, err := audit.Compare(t.Context(), db, "BTCUSDT", schema.P1s, nil); err == nil {
		t.Error("no klines are no proof")
	}
	if _, err := audit.Compare(t.Context(), db, "BTCUSDT", schema.P1s, append(klines, klines[9])); err == nil || !strings.Contains(err.Error(), "two klines start at") {
		t.Errorf("a kline twice: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := audit.Compare(ctx, db, "BTCUSDT", schema.P1s, klines); !errors.Is(err, context.Canceled) {
		t.Errorf("a store that fails: %v", err)
	}
	if empty := (audit.Report{}); empty.OK() {
		t.Error("an empty report is OK")
	}
}
