package schema

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"millrace/schema/schemapb"
)

// FuzzTickDecode: any bytes give a record or an error that wraps ErrTick, in
// bounded memory; trades as the generated code reads them; and what was read is
// written and read again as the same.
func FuzzTickDecode(f *testing.F) {
	for _, trades := range goldenTrades() {
		value, _ := AppendTrades(nil, "BTCUSDT", trades, 1, 1)
		f.Add(value)
		_, _, n := protowire.ConsumeTag(value)
		body, _ := protowire.ConsumeBytes(value[n:])
		var pb schemapb.TradeBatch
		if err := proto.Unmarshal(body, &pb); err != nil {
			f.Fatal(err)
		}
		for range 3 {
			f.Add(valueOf(reordered(random(f), &pb)))
		}
	}
	for _, body := range controls() {
		value, err := AppendControl(nil, body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		var tick, again Tick
		err := tick.Decode(value)
		if cap(tick.Batch.Trades) > 2*MaxBatch {
			t.Fatalf("room for %d trades", cap(tick.Batch.Trades))
		}
		if num, typ, n := protowire.ConsumeTag(value); num == 1 && typ == protowire.BytesType && n > 0 {
			if body, m := protowire.ConsumeBytes(value[n:]); n+m == len(value) {
				checkBatch(t, new(Batch), body)
			}
		}
		if err != nil {
			if !errors.Is(err, ErrTick) {
				t.Fatalf("%v is no ErrTick", err)
			}
			return
		}
		var out []byte
		if b := &tick.Batch; tick.Kind == KindTrades {
			n := 0
			if out, n = AppendTrades(nil, string(b.Symbol), b.Trades, b.Received, b.Source); n != len(b.Trades) {
				t.Fatalf("%d of %d trades written", n, len(b.Trades))
			}
		} else if out, err = AppendControl(nil, tick.body()); err != nil {
			t.Fatal(err)
		}
		if err := again.Decode(out); err != nil {
			t.Fatalf("what was read can't be read again: %v", err)
		}
		if tick.Kind == KindTrades {
			if !slices.Equal(again.Batch.Trades, tick.Batch.Trades) || string(again.Batch.Symbol) != string(tick.Batch.Symbol) ||
				again.Batch.Received != tick.Batch.Received || again.Batch.Source != tick.Batch.Source {
				t.Fatalf("%+v comes back as %+v", tick.Batch, again.Batch)
			}
		} else if !reflect.DeepEqual(again.body(), tick.body()) {
			t.Fatalf("%+v comes back as %+v", tick.body(), again.body())
		}
	})
}

// FuzzCandleDecode: any bytes give a candle that is written as it was read, and
// as valid JSON, or an error that wraps ErrCandle.
func FuzzCandleDecode(f *testing.F) {
	for _, c := range goldenCandles() {
		f.Add(AppendCandle(nil, &c))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		c, err := DecodeCandle(value)
		if err != nil {
			if !errors.Is(err, ErrCandle) || c != (Candle{}) {
				t.Fatalf("%+v, %v", c, err)
			}
			return
		}
		again, err := DecodeCandle(AppendCandle(nil, &c))
		if err != nil || again != c {
			t.Fatalf("%+v comes back as %+v, %v", c, again, err)
		}
		if text := c.AppendJSON(nil); !json.Valid(text) {
			t.Fatalf("%s is not JSON", text)
		}
		c.VWAP()
	})
}

// FuzzGapSetDecode: the same of gap sets.
func FuzzGapSetDecode(f *testing.F) {
	g := gapSet()
	value, err := AppendGapSet(nil, &g)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Fuzz(func(t *testing.T, value []byte) {
		g, err := DecodeGapSet(value)
		if err != nil {
			if !errors.Is(err, ErrGapSet) {
				t.Fatal(err)
			}
			return
		}
		out, err := AppendGapSet(nil, &g)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := DecodeGapSet(out); err != nil || !reflect.DeepEqual(again, g) {
			t.Fatalf("%+v comes back as %+v, %v", g, again, err)
		}
	})
}
