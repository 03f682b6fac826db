package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"millrace/schema/schemapb"
)

// randomCandle gives a candle as a window publishes it.
func randomCandle(r *rand.Rand) Candle {
	symbols := []string{"BTCUSDT", "这是测试币456", `quo"te\`, "é"}
	c := Candle{Symbol: symbols[r.IntN(len(symbols))], Period: Period(1 + r.IntN(NumPeriods)), Status: Status(r.IntN(4))}
	c.Start = Calendar{}.Start(c.Period, Time(r.Int64N(int64(100*365*Day))))
	if r.IntN(2) == 0 {
		c.Received, c.Committed = c.Start+Second, c.Start+2*Second
	}
	era := uint8(r.IntN(MaxEra + 1))
	if trades := randomTrades(r, r.IntN(5), true, false); len(trades) > 0 {
		for i := range trades {
			c.Add(&trades[i])
		}
		c.Missing = c.Figures.Missing()
		c.Version = TradesVersion(era, c.Trades, c.Status)
		return c
	}
	c.Figures = Empty(Decimal{1 + int64(randomBits(r, 40)), uint8(r.IntN(MaxScale + 1))})
	c.Version = EmptyVersion(era, int64(randomBits(r, 54)), c.Status)
	return c
}

// canonical gives c with each figure in the form in which it is read back.
func (c Candle) canonical() Candle {
	for _, d := range []*Decimal{&c.Open, &c.High, &c.Low, &c.Close} {
		*d = d.Canonical()
	}
	for _, s := range []*Sum{&c.Volume, &c.Quote, &c.TakerVolume, &c.TakerQuote} {
		*s = s.Canonical()
	}
	return c
}

// message is c as the generated code has it.
func message(c *Candle) *schemapb.Candle {
	return &schemapb.Candle{
		Symbol: c.Symbol, Period: c.Period.String(), StartMs: c.Start.Millis(),
		Open: c.Open.String(), High: c.High.String(), Low: c.Low.String(), Close: c.Close.String(),
		Volume: c.Volume.String(), QuoteVolume: c.Quote.String(), Trades: c.Trades,
		TakerBuyVolume: c.TakerVolume.String(), TakerBuyQuoteVolume: c.TakerQuote.String(),
		FirstTradeId: c.First, LastTradeId: c.Last, Status: schemapb.Status(c.Status),
		Missing: c.Missing, Version: int64(c.Version), Received: int64(c.Received), Committed: int64(c.Committed),
	}
}

func TestCandleRoundTrip(t *testing.T) {
	r := random(t)
	for range 1500 {
		c := randomCandle(r)
		value := AppendCandle([]byte("kept"), &c)[4:]
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(message(&c))
		if err != nil || !bytes.Equal(value, want) {
			t.Fatalf("%+v: %x, generated code writes %x, %v", c, value, want, err)
		}
		got, err := DecodeCandle(value)
		if err != nil || got != c.canonical() {
			t.Fatalf("%+v comes back as %+v, %v", c.canonical(), got, err)
		}
	}
}

func TestDecodeCandleBounds(t *testing.T) {
	r := random(t)
	full := Candle{Symbol: "BTCUSDT", Period: P1m, Start: at(t, "2024-08-08T23:55:00Z"), Status: Final}
	for id := range int64(3) {
		full.Add(&Trade{ID: 7 + 2*id, Last: 7 + 2*id, Time: 1, Price: Decimal{100 + r.Int64N(9), 1}, Qty: Decimal{1, 0}})
	}
	full.Missing, full.Version = full.Figures.Missing(), TradesVersion(0, 3, Final)
	empty := Candle{Symbol: "BTCUSDT", Period: P1m, Start: full.Start, Status: Closed, Figures: Empty(Decimal{5, 0}), Version: EmptyVersion(0, 6, Closed)}
	type change = func(*schemapb.Candle)
	for _, c := range []struct {
		name string
		of   *Candle
		ok   bool
		do   change
	}{
		{"as it is", &full, true, func(*schemapb.Candle) {}},
		{"empty", &empty, true, func(*schemapb.Candle) {}},
		{"void ids within", &full, true, func(p *schemapb.Candle) { p.Missing = 0 }},
		{"no symbol", &full, false, func(p *schemapb.Candle) { p.Symbol = "" }},
		{"symbol with a control character", &full, false, func(p *schemapb.Candle) { p.Symbol = "A\nB" }},
		{"period", &full, false, func(p *schemapb.Candle) { p.Period = "7m" }},
		{"start within a window", &full, false, func(p *schemapb.Candle) { p.StartMs++ }},
		{"start that wraps", &full, false, func(p *schemapb.Candle) { p.StartMs = math.MaxInt64 / 60000 * 60000 }},
		{"start long before the epoch", &full, false, func(p *schemapb.Candle) { p.StartMs = -864000000 }},
		{"no open", &full, false, func(p *schemapb.Candle) { p.Open = "" }},
		{"open below low", &full, false, func(p *schemapb.Candle) { p.Open = "1" }},
		{"close above high", &full, false, func(p *schemapb.Candle) { p.Close = "1000" }},
		{"a price with a sign", &full, false, func(p *schemapb.Candle) { p.Low = "-1" }},
		{"a price of words", &full, false, func(p *schemapb.Candle) { p.High = "NaN" }},
		{"no volume", &full, false, func(p *schemapb.Candle) { p.Volume = "" }},
		{"volume too large", &full, false, func(p *schemapb.Candle) { p.Volume = power(36).String() }},
		{"takers bought more than all", &full, false, func(p *schemapb.Candle) { p.TakerBuyVolume = "3.1" }},
		{"trades below zero", &full, false, func(p *schemapb.Candle) { p.Trades, p.Version = -3, int64(EmptyVersion(0, 1, Final)) }},
		{"more trades than ids", &full, false, func(p *schemapb.Candle) { p.Trades, p.Version = 6, int64(TradesVersion(0, 6, Final)) }},
		{"ids the wrong way round", &full, false, func(p *schemapb.Candle) { p.FirstTradeId, p.LastTradeId = 11, 7 }},
		{"ids that wrap", &full, false, func(p *schemapb.Candle) { p.FirstTradeId, p.LastTradeId = math.MinInt64, math.MaxInt64 }},
		{"more missing than fit", &full, false, func(p *schemapb.Candle) { p.Missing = 3 }},
		{"missing below zero", &full, false, func(p *schemapb.Candle) { p.Missing = -1 }},
		{"missing of an empty one", &empty, false, func(p *schemapb.Candle) { p.Missing = 1 }},
		{"ids of an empty one", &empty, false, func(p *schemapb.Candle) { p.FirstTradeId, p.LastTradeId = 0, 0 }},
		{"status unknown", &full, false, func(p *schemapb.Candle) { p.Status = 4 }},
		{"status that wraps", &full, false, func(p *schemapb.Candle) { p.Status = 256 + 3 }},
		{"status not the version's", &full, false, func(p *schemapb.Candle) { p.Status = schemapb.Status_STATUS_LIVE }},
		{"version below zero", &full, false, func(p *schemapb.Candle) { p.Version |= math.MinInt64 }},
		{"version of other trades", &full, false, func(p *schemapb.Candle) { p.Version += 4 }},
		{"version of an empty one", &full, false, func(p *schemapb.Candle) { p.Version = int64(EmptyVersion(0, 3, Final)) }},
	} {
		pb := message(c.of)
		c.do(pb)
		value, err := proto.Marshal(pb)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeCandle(value); (err == nil) != c.ok || err != nil && (!errors.Is(err, ErrCandle) || got != Candle{}) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
	for _, bad := range [][]byte{nil, {0xff}, []byte("hello")} {
		if _, err := DecodeCandle(bad); !errors.Is(err, ErrCandle) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

// checkJSON reads what AppendJSON wrote with encoding/json.
func checkJSON(t *testing.T, c *Candle) {
	t.Helper()
	text := c.AppendJSON(nil)
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	want := map[string]any{
		"symbol": c.Symbol, "period": c.Period.String(), "start_time": c.Start.Std().Format(time.RFC3339Nano),
		"open": c.Open.String(), "high": c.High.String(), "low": c.Low.String(), "close": c.Close.String(),
		"volume": c.Volume.String(), "quote_volume": c.Quote.String(), "trades": float64(c.Trades),
		"taker_buy_volume": c.TakerVolume.String(), "taker_buy_quote_volume": c.TakerQuote.String(),
		"first_trade_id": float64(c.First), "last_trade_id": float64(c.Last), "status": c.Status.String(),
		"missing": float64(c.Missing), "version": strconv.FormatInt(int64(c.Version), 10),
	}
	for name, v := range want {
		if got[name] != v {
			t.Errorf("%s: %s is %v, want %v", text, name, got[name], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d fields, want %d", text, len(got), len(want))
	}
}

func TestCandleJSON(t *testing.T) {
	r := random(t)
	for range 500 {
		c := randomCandle(r)
		checkJSON(t, &c)
	}
	c := randomCandle(r)
	for _, x := range []struct{ start, want string }{
		{"2024-08-08T23:55:00Z", `"start_time":"2024-08-08T23:55:00Z"`},
		{"2024-08-08T23:55:00.25Z", `"start_time":"2024-08-08T23:55:00.25Z"`},
	} {
		c.Start = at(t, x.start)
		if text := c.AppendJSON(nil); !bytes.Contains(text, []byte(x.want)) {
			t.Errorf("%s, want %s", text, x.want)
		}
	}
}

func TestCandleAllocatesNothing(t *testing.T) {
	c := randomCandle(random(t))
	buf := make([]byte, 0, 1024)
	noAllocs(t, "AppendCandle", func() { buf = AppendCandle(buf[:0], &c) })
	noAllocs(t, "AppendJSON", func() { buf = c.AppendJSON(buf[:0]) })
}
