package schema

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"millrace/schema/schemapb"
)

// controls has one record of each kind but a trade batch.
func controls() []any {
	return []any{
		Mark{Ingestor: "ing-1", W: 1723075200000000, Excepted: []string{"BTCUSDT", "币"}},
		defaults(),
		Anchor{Symbol: "BTCUSDT", ID: 3_700_000_000, Time: 1723075199999000, HasPrice: true, Price: Decimal{6183763, 2}},
		Watch{Symbol: "BTCUSDT", Ingestor: "ing-1", On: true, From: 1723075200000000, Status: schemapb.TradingStatus_TRADING_STATUS_TRADING},
		Seal{Symbol: "BTCUSDT", Before: 1723075200000000},
		NewSeries{Symbol: "BTCUSDT", Era: MaxEra},
		Repair{Symbol: "BTCUSDT", Era: 1, From: MinTime, To: MaxTime, First: 3_700_000_000, Last: MaxVersionN},
	}
}

// body gives the record that t holds.
func (t *Tick) body() any {
	return [...]any{nil, t.Batch, t.Mark, t.Settings, t.Anchor, t.Watch, t.Seal, t.NewSeries, t.Repair}[t.Kind]
}

// TestRepairedBatch: the trades of a repair name it, whoever packs them.
func TestRepairedBatch(t *testing.T) {
	trades := goldenTrades()["trades many"]
	value, n := AppendRepaired(nil, "BTCUSDT", trades, 1, schemapb.Source_SOURCE_DUMP, MaxEra)
	var tick Tick
	if err := tick.Decode(value); err != nil || n != len(trades) || tick.Batch.Repair != MaxEra || !slices.Equal(tick.Batch.Trades, trades) {
		t.Fatalf("%d, %+v, %v", n, tick.Batch, err)
	}
	var pb schemapb.Tick
	if err := proto.Unmarshal(value, &pb); err != nil || pb.GetTrades().Repair != MaxEra {
		t.Fatalf("%v, %v", pb.GetTrades().GetRepair(), err)
	}
	if plain, _ := AppendTrades(nil, "BTCUSDT", trades, 1, schemapb.Source_SOURCE_DUMP); tick.Decode(plain) != nil || tick.Batch.Repair != 0 {
		t.Errorf("a batch of no repair has %d", tick.Batch.Repair)
	}
	bad, _ := AppendRepaired(nil, "BTCUSDT", trades, 1, 0, MaxEra+1)
	if err := tick.Decode(bad); !errors.Is(err, ErrTick) {
		t.Errorf("got %v", err)
	}
}

func TestControlRoundTrip(t *testing.T) {
	var tick Tick
	for i, want := range controls() {
		value, err := AppendControl([]byte("kept"), want)
		if err != nil || !bytes.HasPrefix(value, []byte("kept")) {
			t.Fatalf("%T: %q, %v", want, value, err)
		}
		if err := tick.Decode(value[4:]); err != nil {
			t.Fatalf("%T: %v", want, err)
		}
		if got := tick.body(); int(tick.Kind) != i+2 || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v comes back as kind %d, %+v", want, tick.Kind, got)
		}
	}
	for _, bad := range []any{nil, Batch{}, &Mark{}, 7} {
		if value, err := AppendControl(nil, bad); !errors.Is(err, ErrTick) || len(value) > 0 {
			t.Errorf("%T: %x, %v", bad, value, err)
		}
	}
}

func TestControlBounds(t *testing.T) {
	long := strings.Repeat("x", MaxSymbol+1)
	for _, bad := range []any{
		Mark{Ingestor: "", W: 1},
		Mark{Ingestor: long, W: 1},
		Mark{Ingestor: "a", W: math.MaxInt64},
		Mark{Ingestor: "a", W: math.MinInt64},
		Mark{Ingestor: "a", W: 1, Excepted: []string{"A", "B|C"}},
		Settings{},
		Anchor{Symbol: "", ID: 1},
		Anchor{Symbol: "A", ID: -2},
		Anchor{Symbol: "A", ID: MaxVersionN + 1},
		Anchor{Symbol: "A", ID: 1, Time: math.MaxInt64},
		Anchor{Symbol: "A", ID: 1, HasPrice: true},
		Anchor{Symbol: "A", ID: 1, HasPrice: true, Price: Decimal{-1, 0}},
		Anchor{Symbol: "A", ID: 1, HasPrice: true, Price: Decimal{1, 13}},
		Watch{Symbol: long, Ingestor: "a"},
		Watch{Symbol: "A", Ingestor: ""},
		Watch{Symbol: "A", Ingestor: "a", From: math.MinInt64},
		Seal{Symbol: "A B", Before: 1},
		Seal{Symbol: "A", Before: math.MinInt64},
		NewSeries{Symbol: ""},
		NewSeries{Symbol: "A", Era: MaxEra + 1},
		Repair{Symbol: "A", Era: MaxEra + 1},
		Repair{Symbol: "A", From: math.MinInt64},
		Repair{Symbol: "A", To: math.MaxInt64},
		Repair{Symbol: "\n", To: 1},
		Repair{Symbol: "A", From: 1, To: 1},
		Repair{Symbol: "A", To: 1, First: -1},
		Repair{Symbol: "A", To: 1, First: 2, Last: 1},
		Repair{Symbol: "A", To: 1, Last: MaxVersionN + 1},
	} {
		value, err := AppendControl(nil, bad)
		if err != nil {
			t.Fatal(err)
		}
		var tick Tick
		if err := tick.Decode(value); !errors.Is(err, ErrTick) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	// A price that is said not to be known is none, whatever its fields hold.
	value, err := AppendControl(nil, Anchor{Symbol: "A", ID: -1, Price: Decimal{1, 200}})
	if err != nil {
		t.Fatal(err)
	}
	var tick Tick
	if err := tick.Decode(value); err != nil || tick.Anchor != (Anchor{Symbol: "A", ID: -1}) {
		t.Errorf("%+v, %v", tick.Anchor, err)
	}
	// A period that isn't Binance's, an era that would fit again once cut short.
	for _, pb := range []*schemapb.Tick{
		{Body: &schemapb.Tick_Settings{Settings: &schemapb.Settings{Periods: []string{"7m"}}}},
		{Body: &schemapb.Tick_NewSeries{NewSeries: &schemapb.NewSeries{Symbol: "A", Era: 256}}},
		{Body: &schemapb.Tick_Anchor{Anchor: &schemapb.Anchor{Symbol: "A", HasPrice: true, Price: 1, PriceScale: 256}}},
	} {
		value, err := proto.Marshal(pb)
		if err != nil {
			t.Fatal(err)
		}
		if err := tick.Decode(value); !errors.Is(err, ErrTick) {
			t.Errorf("%v: %v", pb, err)
		}
	}
}

func TestTickEnvelope(t *testing.T) {
	good, _ := AppendTrades(nil, "BTCUSDT", randomTrades(random(t), 2, false, false), 1, 1)
	mark, err := AppendControl(nil, Mark{Ingestor: "a", W: 1})
	if err != nil {
		t.Fatal(err)
	}
	field := func(num protowire.Number) []byte {
		_, _, n := protowire.ConsumeTag(good)
		return append(protowire.AppendTag(nil, num, protowire.BytesType), good[n:]...)
	}
	var tick Tick
	for name, bad := range map[string][]byte{
		"nothing":             nil,
		"a later body":        field(9),
		"a body numbered 257": field(257), // 1 once cut to a byte
		"no message":          {0x08, 0x01},
		"a group":             {0x0b, 0x0c},
		"two bodies":          append(bytes.Clone(good), mark...),
		"a byte too many":     append(bytes.Clone(good), 0),
		"text":                []byte("hello, world"),
	} {
		if err := tick.Decode(bad); !errors.Is(err, ErrTick) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, whole := range [][]byte{good, mark} {
		for n := range whole {
			if err := tick.Decode(whole[:n]); !errors.Is(err, ErrTick) {
				t.Errorf("the first %d of %d bytes: %v", n, len(whole), err)
			}
		}
	}
	if err := tick.Decode(good); err != nil || tick.Kind != KindTrades || len(tick.Batch.Trades) != 2 {
		t.Errorf("a good record behind bad ones: %v", err)
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	r := random(t)
	for _, n := range []int{1, 100, 1000} {
		trades := randomTrades(r, n, true, false)
		value, _ := AppendTrades(nil, "BTCUSDT", trades, 1, 1)
		var tick Tick
		var err error
		noAllocs(t, "Decode", func() { err = tick.Decode(value) })
		if err != nil || len(tick.Batch.Trades) != n {
			t.Errorf("%d trades: %v", len(tick.Batch.Trades), err)
		}
		written := 0
		noAllocs(t, "AppendTrades", func() { value, written = AppendTrades(value[:0], "BTCUSDT", trades, 1, 1) })
		if written != n {
			t.Errorf("%d trades written", written)
		}
	}
}
