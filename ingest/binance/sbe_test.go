package binance

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"millrace/schema"
)

// sbeFrame writes a frame of trades field by field, for tests to bend.
type sbeFrame struct {
	template, schema, version uint16
	event, transact           int64
	priceExp, qtyExp          int8
	rows                      []sbeRow
	symbol                    string
	// Bytes that a newer schema has behind the block, each trade and the symbol.
	blockTail, rowTail, tail int
}

type sbeRow struct {
	id, price, qty int64
	maker          byte
}

func (f *sbeFrame) bytes() []byte {
	le := binary.LittleEndian
	b := le.AppendUint16(nil, uint16(18+f.blockTail))
	b = le.AppendUint16(b, f.template)
	b = le.AppendUint16(b, f.schema)
	b = le.AppendUint16(b, f.version)
	b = le.AppendUint64(b, uint64(f.event))
	b = le.AppendUint64(b, uint64(f.transact))
	b = append(b, byte(f.priceExp), byte(f.qtyExp))
	b = append(b, bytes.Repeat([]byte{0xee}, f.blockTail)...)
	b = le.AppendUint16(b, uint16(25+f.rowTail))
	b = le.AppendUint32(b, uint32(len(f.rows)))
	for _, r := range f.rows {
		b = le.AppendUint64(b, uint64(r.id))
		b = le.AppendUint64(b, uint64(r.price))
		b = le.AppendUint64(b, uint64(r.qty))
		b = append(b, r.maker)
		b = append(b, bytes.Repeat([]byte{0xee}, f.rowTail)...)
	}
	b = append(b, byte(len(f.symbol)))
	b = append(b, f.symbol...)
	return append(b, bytes.Repeat([]byte{0xee}, f.tail)...)
}

const sbeMicros = 1723161255342123

// goodSBE gives a frame of n trades that nothing is wrong with.
func goodSBE(n int) *sbeFrame {
	f := &sbeFrame{template: 10000, schema: 1, event: sbeMicros + 777, transact: sbeMicros, priceExp: -2, qtyExp: -8, symbol: "BTCUSDT"}
	for i := range n {
		f.rows = append(f.rows, sbeRow{3735683259 + int64(i), 6183763 + int64(i), 2000000 + 1000*int64(i), byte(i & 1)})
	}
	return f
}

func TestSBETrades(t *testing.T) {
	for name, bend := range map[string]func(*sbeFrame){
		"as drawn":          func(*sbeFrame) {},
		"newer version":     func(f *sbeFrame) { f.version = 9 },
		"longer block":      func(f *sbeFrame) { f.blockTail = 3 },
		"longer trades":     func(f *sbeFrame) { f.rowTail = 40 },
		"more behind it":    func(f *sbeFrame) { f.tail = 300 },
		"all of it longer":  func(f *sbeFrame) { f.version, f.blockTail, f.rowTail, f.tail = 2, 1000, 1, 1 },
		"more than ASCII":   func(f *sbeFrame) { f.symbol = "这是测试币456" },
		"the longest name":  func(f *sbeFrame) { f.symbol = strings.Repeat("A", schema.MaxSymbol) },
		"other exponents":   func(f *sbeFrame) { f.rescale(-4, -10) },
		"reducible scales":  func(f *sbeFrame) { f.rescale(-14, -16) },
		"latest of moments": func(f *sbeFrame) { f.event, f.transact = maxMicros, maxMicros },
	} {
		for _, n := range []int{0, 1, 3, 20} {
			f := goodSBE(n)
			bend(f)
			frame := f.bytes()
			var d SBEDecoder
			var ev SBEEvent
			if err := d.Decode(frame, &ev); err != nil {
				t.Errorf("%s, %d trades: %v", name, n, err)
				continue
			}
			if ev.Kind != Trade || string(ev.Symbol) != f.symbol || ev.EventTime != schema.Time(f.event) || len(ev.Trades) != n || ev.Bad != 0 {
				t.Errorf("%s: %+v", name, ev)
			}
			for i, tr := range ev.Trades {
				want := schema.Trade{ID: 3735683259 + int64(i), Last: 3735683259 + int64(i), Time: schema.Time(f.transact), BuyerMaker: i&1 == 1,
					Price: schema.Decimal{Mantissa: 6183763 + int64(i), Scale: 2}.Canonical(), Qty: schema.Decimal{Mantissa: 2000 + int64(i), Scale: 5}.Canonical()}
				if tr != want {
					t.Errorf("%s: trade %d: %+v, wanted %+v", name, i, tr, want)
				}
			}
		}
	}
}

// rescale writes the same prices and quantities with other exponents.
func (f *sbeFrame) rescale(priceExp, qtyExp int8) {
	for i := range f.rows {
		f.rows[i].price *= int64(math.Pow10(int(f.priceExp - priceExp)))
		f.rows[i].qty *= int64(math.Pow10(int(f.qtyExp - qtyExp)))
	}
	f.priceExp, f.qtyExp = priceExp, qtyExp
}

func TestSBEExponents(t *testing.T) {
	for _, c := range []struct {
		mantissa int64
		exp      int8
		want     schema.Decimal
		is       error
	}{
		{5, 0, schema.Decimal{Mantissa: 5}, nil},
		{50, 0, schema.Decimal{Mantissa: 50}, nil},
		{5, 3, schema.Decimal{Mantissa: 5000}, nil},
		{9, 18, schema.Decimal{Mantissa: 9e18}, nil},
		{10, 18, schema.Decimal{}, schema.ErrOverflow},
		{1, 19, schema.Decimal{}, schema.ErrOverflow},
		{1, 127, schema.Decimal{}, schema.ErrOverflow},
		{math.MaxInt64, 0, schema.Decimal{Mantissa: math.MaxInt64}, nil},
		{math.MaxInt64, 1, schema.Decimal{}, schema.ErrOverflow},
		{math.MaxInt64, -12, schema.Decimal{Mantissa: math.MaxInt64, Scale: 12}, nil},
		{math.MaxInt64, -13, schema.Decimal{}, schema.ErrOverflow},
		{1500, -2, schema.Decimal{Mantissa: 15}, nil},
		{1500, -3, schema.Decimal{Mantissa: 15, Scale: 1}, nil},
		{1, -12, schema.Decimal{Mantissa: 1, Scale: 12}, nil},
		{1, -13, schema.Decimal{}, schema.ErrOverflow},
		{10, -13, schema.Decimal{Mantissa: 1, Scale: 12}, nil},
		{1e18, -30, schema.Decimal{Mantissa: 1, Scale: 12}, nil},
		{1e18, -31, schema.Decimal{}, schema.ErrOverflow},
		{1, -128, schema.Decimal{}, schema.ErrOverflow},
		{0, -2, schema.Decimal{}, schema.ErrTrade},
		{0, 127, schema.Decimal{}, schema.ErrTrade},
		{-1, -2, schema.Decimal{}, schema.ErrTrade},
		{math.MinInt64, -128, schema.Decimal{}, schema.ErrTrade}, // what SBE writes for null
		{math.MinInt64, 127, schema.Decimal{}, schema.ErrTrade},
	} {
		got, err := sbeDecimal("price", c.mantissa, c.exp)
		if got != c.want || !errors.Is(err, c.is) {
			t.Errorf("%d × 10^%d: %+v %v", c.mantissa, c.exp, got, err)
		}
	}
}

func TestSBEOtherTemplates(t *testing.T) {
	for _, template := range []uint16{0, 10001, 10002, 10003, 65535} {
		f := goodSBE(1)
		f.template = template
		for _, frame := range [][]byte{f.bytes(), f.bytes()[:8]} {
			var d SBEDecoder
			ev := SBEEvent{Kind: Trade, Bad: 7}
			if err := d.Decode(frame, &ev); err != nil || ev.Kind != Other || ev.Symbol != nil || ev.Trades != nil || ev.EventTime != 0 || ev.Bad != 0 {
				t.Errorf("template %d: %+v %v", template, ev, err)
			}
		}
	}
}

func TestSBERefusesFrames(t *testing.T) {
	check := func(name string, frame []byte) {
		t.Helper()
		var d SBEDecoder
		var ev SBEEvent
		if err := d.Decode(frame, &ev); !errors.Is(err, ErrFrame) || len(err.Error()) > 400 {
			t.Errorf("%s: %v", name, err)
		}
		if ev.Kind != Other || ev.Trades != nil || ev.Symbol != nil {
			t.Errorf("%s: an error came with %+v", name, ev)
		}
	}
	whole := goodSBE(3).bytes()
	for n := range len(whole) {
		check(fmt.Sprintf("the first %d bytes", n), whole[:n:n])
	}
	set := func(at int, b ...byte) []byte {
		f := bytes.Clone(whole)
		copy(f[at:], b)
		return f
	}
	check("text", []byte(goodTrade))
	check("schema 0", set(4, 0))
	check("schema 257", set(5, 1))
	check("a block of 17", set(0, 17))
	check("a block of 17 and nothing amiss behind it", append(set(0, 17)[:25:25], whole[26:]...))
	check("a block of nothing", set(0, 0))
	check("the longest block", set(0, 0xff, 0xff))
	check("trades of 24", set(26, 24))
	check("trades of nothing", set(26, 0, 0))
	check("the longest trades", set(26, 0xff, 0xff))
	check("four trades where three are", set(28, 4))
	check("the most trades", set(28, 0xff, 0xff, 0xff, 0xff))
	check("the most and longest trades", set(26, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
	check("the most trades of nothing", set(26, 0, 0, 0xff, 0xff, 0xff, 0xff))
	check("symbol of 8", set(len(whole)-8, 8))
	check("symbol of 255", set(len(whole)-8, 255))
}

func TestSBERefusesTrades(t *testing.T) {
	second := func(bend func(*sbeRow)) func(*sbeFrame) { return func(f *sbeFrame) { bend(&f.rows[1]) } }
	const id = 3735683259
	for _, c := range []struct {
		name   string
		bend   func(*sbeFrame)
		symbol string
		id     int64
		is     error
		bad    int
	}{
		{"maker 2", second(func(r *sbeRow) { r.maker = 2 }), "BTCUSDT", id + 1, ErrField, 1},
		{"maker null", second(func(r *sbeRow) { r.maker = 255 }), "BTCUSDT", id + 1, ErrField, 1},
		{"id negative", second(func(r *sbeRow) { r.id = -5 }), "BTCUSDT", -1, schema.ErrTrade, 1},
		{"id null", second(func(r *sbeRow) { r.id = math.MinInt64 }), "BTCUSDT", -1, schema.ErrTrade, 1},
		{"id too large", second(func(r *sbeRow) { r.id = math.MaxInt64 }), "BTCUSDT", math.MaxInt64, schema.ErrTrade, 1},
		{"price 0", second(func(r *sbeRow) { r.price = 0 }), "BTCUSDT", id + 1, schema.ErrTrade, 1},
		{"price negative", second(func(r *sbeRow) { r.price = -1 }), "BTCUSDT", id + 1, schema.ErrTrade, 1},
		{"quantity 0", second(func(r *sbeRow) { r.qty = 0 }), "BTCUSDT", id + 1, schema.ErrTrade, 1},
		{"quantity null", second(func(r *sbeRow) { r.qty = math.MinInt64 }), "BTCUSDT", id + 1, schema.ErrTrade, 1},
		{"first and second", func(f *sbeFrame) { f.rows[0].qty, f.rows[1].price = 0, 0 }, "BTCUSDT", id, schema.ErrTrade, 2},
		{"price overflows", func(f *sbeFrame) { f.priceExp = 13 }, "BTCUSDT", id, schema.ErrOverflow, 3},
		{"price too fine", func(f *sbeFrame) { f.priceExp = -30 }, "BTCUSDT", id, schema.ErrOverflow, 3},
		{"quantity too fine", func(f *sbeFrame) { f.qtyExp = -128 }, "BTCUSDT", id, schema.ErrOverflow, 3},
		{"one price too fine", func(f *sbeFrame) { f.rescale(-13, -8); f.rows[2].price++ }, "BTCUSDT", id + 2, schema.ErrOverflow, 1},
		{"T in milliseconds", func(f *sbeFrame) { f.transact = sbeMicros / 1000 }, "BTCUSDT", id, ErrField, 3},
		{"T negative", func(f *sbeFrame) { f.transact = -1 }, "BTCUSDT", id, ErrField, 3},
		{"T null", func(f *sbeFrame) { f.transact = math.MinInt64 }, "BTCUSDT", id, ErrField, 3},
		{"T too late", func(f *sbeFrame) { f.transact = maxMicros + 1 }, "BTCUSDT", id, ErrField, 3},
		{"E in milliseconds", func(f *sbeFrame) { f.event = sbeMicros / 1000 }, "BTCUSDT", id, ErrField, 3},
		{"E too late", func(f *sbeFrame) { f.event = math.MaxInt64 }, "BTCUSDT", id, ErrField, 3},
		{"no symbol", func(f *sbeFrame) { f.symbol = "" }, "", id, schema.ErrSymbol, 3},
		{"symbol too long", func(f *sbeFrame) { f.symbol = strings.Repeat("A", schema.MaxSymbol+1) }, "", id, schema.ErrSymbol, 3},
		{"the longest symbol", func(f *sbeFrame) { f.symbol = strings.Repeat("A", 255) }, "", id, schema.ErrSymbol, 3},
		{"symbol with a bar", func(f *sbeFrame) { f.symbol = "BTC|USDT" }, "", id, schema.ErrSymbol, 3},
		{"symbol with a zero", func(f *sbeFrame) { f.symbol = "BTC\x00" }, "", id, schema.ErrSymbol, 3},
		{"symbol with a delete", func(f *sbeFrame) { f.symbol = "BTC\x7f" }, "", id, schema.ErrSymbol, 3},
		{"symbol not UTF-8", func(f *sbeFrame) { f.symbol = "BTC\xff" }, "", id, schema.ErrSymbol, 3},
		{"no symbol, id negative", func(f *sbeFrame) { f.symbol, f.rows[0].id = "", -7 }, "", -1, schema.ErrSymbol, 3},
		{"no symbol, no trade", func(f *sbeFrame) { f.symbol, f.rows = "", nil }, "", -1, schema.ErrSymbol, 0},
	} {
		f := goodSBE(3)
		c.bend(f)
		var d SBEDecoder
		var ev SBEEvent
		err := d.Decode(f.bytes(), &ev)
		var te *TradeError
		if !errors.As(err, &te) || !errors.Is(err, c.is) || te.Symbol != c.symbol || te.ID != c.id || ev.Bad != c.bad || len(err.Error()) > 300 {
			t.Errorf("%s: %v, %d bad", c.name, err, ev.Bad)
			continue
		}
		// The good ones are given out, and none but them.
		if len(ev.Trades)+ev.Bad != len(f.rows) || string(ev.Symbol) != f.symbol {
			t.Errorf("%s: %d given out, %d bad", c.name, len(ev.Trades), ev.Bad)
		}
		for _, tr := range ev.Trades {
			if tr.Validate() != nil || tr.ID == c.id || tr.ID < id || tr.ID >= id+3 {
				t.Errorf("%s: gave out %+v", c.name, tr)
			}
		}
		if all := c.bad == 3 || len(f.rows) == 0; (ev.EventTime == 0) != (all && !errors.Is(c.is, schema.ErrOverflow)) {
			t.Errorf("%s: event time %v", c.name, ev.EventTime)
		}
	}
}

// A frame's trades never show in the next frame's event.
func TestSBEDecoderIsReused(t *testing.T) {
	var d SBEDecoder
	var ev SBEEvent
	for _, n := range []int{20, 1, 0, 3} {
		if err := d.Decode(goodSBE(n).bytes(), &ev); err != nil || len(ev.Trades) != n {
			t.Fatalf("%d trades of %d, %v", len(ev.Trades), n, err)
		}
		if err := d.Decode(goodSBE(n).bytes()[:30], &ev); err == nil || len(ev.Trades) != 0 {
			t.Fatalf("%d trades of a cut frame, %v", len(ev.Trades), err)
		}
	}
}

func TestSBEAllocatesNothing(t *testing.T) {
	var d SBEDecoder
	var ev SBEEvent
	frames := [][]byte{goodSBE(20).bytes(), goodSBE(1).bytes(), goodSBE(3).bytes()}
	if n := testing.AllocsPerRun(1000, func() {
		for _, f := range frames {
			if d.Decode(f, &ev) != nil {
				t.Fatal("refused")
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSBE(b *testing.B) {
	for _, n := range []int{1, 3, 20} {
		b.Run(fmt.Sprintf("trades=%d", n), func(b *testing.B) {
			frame := goodSBE(n).bytes()
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			var d SBEDecoder
			var ev SBEEvent
			for b.Loop() {
				if err := d.Decode(frame, &ev); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/trade")
		})
	}
}
