package schema

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"millrace/schema/schemapb"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/formats.golden anew: only with a new version of a format")

// goldenTrades are fixed trades, one batch each.
func goldenTrades() map[string][]Trade {
	one := Trade{ID: 3_726_784_091, Last: 3_726_784_091, Time: 1723161299999000, Price: Decimal{6183763, 2}, Qty: Decimal{841, 5}, BuyerMaker: true}
	many := []Trade{one}
	for i := range int64(9) {
		x := one
		x.ID, x.Last = one.ID+1+i, one.ID+1+i
		x.Time += Time(i*i) * Millisecond
		x.Price.Mantissa -= 50 * i
		x.Qty.Mantissa += 1000 * i
		x.BuyerMaker = i%3 == 0
		many = append(many, x)
	}
	holes := slices.Clone(many[:3])
	holes[1].ID, holes[1].Last = holes[1].ID+10, holes[1].ID+14
	holes[2].ID, holes[2].Last = one.ID-5, one.ID-5 // received late
	holes[2].Void, holes[2].Price, holes[2].Qty = true, Decimal{0, 2}, Decimal{0, 5}
	return map[string][]Trade{"trades one": {one}, "trades many": many, "trades aggregate hole void": holes}
}

func goldenCandles() map[string]Candle {
	full := Candle{Symbol: "这是测试币456", Period: P5m, Start: 1723161300000000 - 5*Minute, Status: Final, Received: 1723161300001000, Committed: 1723161300004000}
	trades := goldenTrades()["trades many"]
	for i := range trades {
		full.Add(&trades[i])
	}
	full.Version = TradesVersion(1, full.Trades, Final)
	empty := Candle{Symbol: "BTCUSDT", Period: P1M, Start: 1722470400000000, Status: Closed, Figures: Empty(Decimal{6183763, 2}), Version: EmptyVersion(0, 3_726_784_091, Closed)}
	return map[string]Candle{"candle full": full.canonical(), "candle empty": empty}
}

// formats gives each durable format's bytes of fixed values.
func formats(t *testing.T) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for name, trades := range goldenTrades() {
		value, n := AppendTrades(nil, "BTCUSDT", trades, 1723161300001000, schemapb.Source_SOURCE_WEBSOCKET)
		if n != len(trades) {
			t.Fatalf("%s: %d trades written", name, n)
		}
		out[name] = value
	}
	for _, body := range controls() {
		value, err := AppendControl(nil, body)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.ToLower(reflect.TypeOf(body).Name())] = value
	}
	for name, c := range goldenCandles() {
		out[name] = AppendCandle(nil, &c)
		out[name+" key"] = AppendCandleKey(nil, c.Symbol, c.Period, c.Start)
		out[name+" json"] = c.AppendJSON(nil)
	}
	g := gapSet()
	value, err := AppendGapSet(nil, &g)
	if err != nil {
		t.Fatal(err)
	}
	out["gap set"] = value
	return out
}

// readGolden gives the lines of the golden file: a name, a colon, bytes in hex.
func readGolden(t *testing.T) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/formats.golden")
	if err != nil {
		t.Fatal(err)
	}
	return parseGolden(t, string(text))
}

func parseGolden(t *testing.T, text string) map[string][]byte {
	t.Helper()
	golden := map[string][]byte{}
	var err error
	for line := range strings.Lines(text) {
		name, digits, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if golden[name], err = hex.DecodeString(digits); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return golden
}

// TestGoldenWrite fails when the bytes of a format change. What lies in the
// topics was written by the program that made the golden file.
func TestGoldenWrite(t *testing.T) {
	now := formats(t)
	if *rewrite {
		var b bytes.Buffer
		for _, name := range slices.Sorted(maps.Keys(now)) {
			fmt.Fprintf(&b, "%s: %x\n", name, now[name])
		}
		if err := os.WriteFile("testdata/formats.golden", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden := readGolden(t)
	for name, want := range golden {
		if !bytes.Equal(now[name], want) {
			t.Errorf("%s: %x is written, the format has %x", name, now[name], want)
		}
	}
	if len(now) != len(golden) {
		t.Errorf("%d formats, %d in the golden file", len(now), len(golden))
	}
}

// TestGoldenRead fails when what was once written reads as something else.
func TestGoldenRead(t *testing.T) {
	golden := readGolden(t)
	var tick Tick
	for name, trades := range goldenTrades() {
		if err := tick.Decode(golden[name]); err != nil || !slices.Equal(tick.Batch.Trades, trades) || tick.Batch.Received != 1723161300001000 {
			t.Errorf("%s: %+v, %v", name, tick.Batch, err)
		}
	}
	for _, want := range controls() {
		name := strings.ToLower(reflect.TypeOf(want).Name())
		if err := tick.Decode(golden[name]); err != nil || !reflect.DeepEqual(tick.body(), want) {
			t.Errorf("%s: %+v, %v", name, tick.body(), err)
		}
	}
	for name, want := range goldenCandles() {
		if c, err := DecodeCandle(golden[name]); err != nil || c != want {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	if g, err := DecodeGapSet(golden["gap set"]); err != nil || !reflect.DeepEqual(g, gapSet()) {
		t.Errorf("gap set: %+v, %v", g, err)
	}
}
