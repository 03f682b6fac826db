package schema

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"millrace/schema/schemapb"
)

// reference reads a TradeBatch by way of the generated code and math/big,
// without a line of what it is compared with.
func reference(body []byte) (pb *schemapb.TradeBatch, trades []Trade, err error) {
	pb = new(schemapb.TradeBatch)
	if err := proto.Unmarshal(body, pb); err != nil {
		return nil, nil, err
	}
	n := len(pb.Id)
	if len(pb.Time) != n || len(pb.Price) != n || len(pb.Qty) != n || len(pb.Span) != n && len(pb.Span) != 0 || n == 0 || n > MaxBatch {
		return nil, nil, errors.New("uneven")
	}
	if pb.PriceScale > MaxScale || pb.QtyScale > MaxScale {
		return nil, nil, errors.New("scales")
	}
	if err := ValidateSymbol(pb.Symbol); err != nil {
		return nil, nil, err
	}
	flag := func(bits []byte, i int) bool { return i/8 < len(bits) && bits[i/8]&(1<<(i%8)) != 0 }
	var id, at, price, last big.Int
	for i := range n {
		id.Add(&id, big.NewInt(pb.Id[i]))
		at.Add(&at, big.NewInt(pb.Time[i]))
		price.Add(&price, big.NewInt(pb.Price[i]))
		last.Set(&id)
		if len(pb.Span) > 0 {
			last.Add(&last, new(big.Int).SetUint64(pb.Span[i]))
		}
		least := int64(1)
		if flag(pb.Void, i) {
			least = 0
		}
		if id.Sign() < 0 || last.Cmp(big.NewInt(1<<54)) >= 0 || at.Sign() <= 0 || at.Cmp(big.NewInt(1<<53)) > 0 ||
			price.Cmp(big.NewInt(least)) < 0 || !price.IsInt64() || pb.Qty[i] < uint64(least) || pb.Qty[i] >= 1<<63 {
			return nil, nil, fmt.Errorf("trade %d", i)
		}
		trades = append(trades, Trade{
			ID: id.Int64(), Last: last.Int64(), Time: Time(at.Int64()),
			Price: Decimal{price.Int64(), uint8(pb.PriceScale)}, Qty: Decimal{int64(pb.Qty[i]), uint8(pb.QtyScale)},
			BuyerMaker: flag(pb.BuyerMaker, i), Void: flag(pb.Void, i),
		})
		id.Add(&last, big.NewInt(1))
	}
	return pb, trades, nil
}

// checkBatch holds Batch to the reference on any bytes.
func checkBatch(t *testing.T, b *Batch, body []byte) {
	t.Helper()
	err := b.decode(body)
	pb, trades, want := reference(body)
	if (err == nil) != (want == nil) {
		t.Fatalf("%x: %v, the reference says %v", body, err, want)
	}
	if err != nil {
		if !errors.Is(err, ErrTick) {
			t.Fatalf("%x: %v is no ErrTick", body, err)
		}
		return
	}
	if string(b.Symbol) != pb.Symbol || b.Received != Time(pb.Received) || b.Source != pb.Source || !slices.Equal(b.Trades, trades) {
		t.Fatalf("%x: %+v, the reference says %+v, %+v", body, b, pb, trades)
	}
}

// valueOf makes the value of a record on ticks of a TradeBatch's bytes.
func valueOf(body []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), body)
}

func TestAppendTradesRoundTrip(t *testing.T) {
	r := random(t)
	var tick Tick
	for range 600 {
		trades := randomTrades(r, 1+r.IntN(60), r.IntN(2) == 0, r.IntN(2) == 0)
		if r.IntN(2) == 0 {
			shuffle(r, trades) // the order received need not be that of ids
		}
		source, received := Source(r.IntN(5)), Time(r.Int64N(1<<52))
		prefix := []byte("kept")
		got, n := AppendTrades(prefix, "这是测试币456", trades, received, source)
		if n != len(trades) || !bytes.HasPrefix(got, prefix) {
			t.Fatalf("%d of %d trades written", n, len(trades))
		}
		got = got[len(prefix):]
		if err := tick.Decode(got); err != nil {
			t.Fatal(err)
		}
		b := &tick.Batch
		if tick.Kind != KindTrades || string(b.Symbol) != "这是测试币456" || b.Received != received || b.Source != source || !slices.Equal(b.Trades, trades) {
			t.Fatalf("%+v, want %+v", tick, trades)
		}
		// The generated code reads the same, and writes the same bytes.
		var pb schemapb.Tick
		if err := proto.Unmarshal(got, &pb); err != nil {
			t.Fatal(err)
		}
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(pb.GetTrades())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(valueOf(body), got) {
			t.Fatalf("generated code writes %x, we %x", valueOf(body), got)
		}
		checkBatch(t, b, body)
	}
}

// reordered writes pb as other writers may: columns unpacked, in pieces, in any
// order, with fields of a later version among them.
func reordered(r *rand.Rand, pb *schemapb.TradeBatch) []byte {
	whole, _ := proto.Marshal(pb)
	columns := map[protowire.Number][][]byte{} // a column's fields must keep their order
	for len(whole) > 0 {
		num, typ, n := protowire.ConsumeField(whole)
		field := whole[:n]
		whole = whole[n:]
		if typ == protowire.BytesType && slices.Contains([]protowire.Number{fID, fTime, fPrice, fQty, fSpan}, num) {
			_, _, tag := protowire.ConsumeTag(field)
			packed, _ := protowire.ConsumeBytes(field[tag:])
			way := r.IntN(3) // packed, unpacked, or in pieces of either kind
			for way > 0 && len(packed) > 0 {
				v, m := protowire.ConsumeVarint(packed)
				packed = packed[m:]
				one := protowire.AppendVarint(nil, v)
				if way == 1 || r.IntN(2) == 0 {
					one = append(protowire.AppendTag(nil, num, protowire.VarintType), one...)
				} else {
					one = protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), one)
				}
				columns[num] = append(columns[num], one)
			}
			if way > 0 {
				continue
			}
		}
		columns[num] = append(columns[num], field)
	}
	columns[99] = [][]byte{protowire.AppendString(protowire.AppendTag(nil, 99, protowire.BytesType), "later")}
	columns[100] = [][]byte{protowire.AppendFixed64(protowire.AppendTag(nil, 100, protowire.Fixed64Type), 7)}
	var out []byte
	for len(columns) > 0 {
		for num, fields := range columns { // a map's order is random enough
			out = append(out, fields[0]...)
			if columns[num] = fields[1:]; len(fields) == 1 {
				delete(columns, num)
			}
			break
		}
	}
	return out
}

func TestDecodeWhatOthersWrite(t *testing.T) {
	r := random(t)
	var b Batch
	for range 1000 {
		trades := randomTrades(r, 1+r.IntN(20), r.IntN(2) == 0, r.IntN(2) == 0)
		whole, _ := AppendTrades(nil, "BTCUSDT", trades, 5, schemapb.Source_SOURCE_REST)
		var pb schemapb.Tick
		if err := proto.Unmarshal(whole, &pb); err != nil {
			t.Fatal(err)
		}
		body := reordered(r, pb.GetTrades())
		checkBatch(t, &b, body)
		if !slices.Equal(b.Trades, trades) {
			t.Fatalf("%x: %+v, want %+v", body, b.Trades, trades)
		}
	}
}

// TestDecodeDamaged turns, cuts and copies bytes of good batches: whatever comes
// of it, the reference must agree.
func TestDecodeDamaged(t *testing.T) {
	r := random(t)
	var b Batch
	for range 8000 {
		value, _ := AppendTrades(nil, "BTCUSDT", randomTrades(r, 1+r.IntN(4), r.IntN(2) == 0, r.IntN(2) == 0), 5, 1)
		_, _, tag := protowire.ConsumeTag(value)
		body, _ := protowire.ConsumeBytes(value[tag:])
		for range 1 + r.IntN(3) {
			if len(body) == 0 {
				break
			}
			i := r.IntN(len(body))
			switch r.IntN(4) {
			case 0:
				body[i] = byte(r.Uint32())
			case 1:
				body = body[:i]
			case 2:
				body = slices.Concat(body, body[i:])
			case 3:
				body = slices.Delete(slices.Clone(body), i, i+1)
			}
		}
		checkBatch(t, &b, body)
	}
}

func TestAppendTradesStopsAtWhatDoesNotFit(t *testing.T) {
	good := Trade{ID: 1, Last: 1, Time: 1, Price: Decimal{1, 2}, Qty: Decimal{1, 0}}
	with := func(do func(*Trade)) Trade { x := good; do(&x); return x }
	large := with(func(x *Trade) { x.Price = Decimal{1<<63 - 1, 0} })
	for _, c := range []struct {
		name   string
		trades []Trade
		n      int
	}{
		{"none", nil, 0},
		{"one", []Trade{good}, 1},
		{"a price that can't share two decimals", []Trade{good, good, large, good}, 2},
		{"a scale that the ones before can't share", []Trade{large, good}, 1},
		{"a quantity that can't share", []Trade{with(func(x *Trade) { x.Qty = Decimal{1 << 62, 0} }), with(func(x *Trade) { x.Qty.Scale = 1 })}, 1},
		{"a first that isn't valid", []Trade{with(func(x *Trade) { x.Qty = Decimal{} }), good}, 0},
		{"a third that isn't valid", []Trade{good, good, with(func(x *Trade) { x.ID = -1 })}, 2},
		{"a scale beyond all", []Trade{good, with(func(x *Trade) { x.Price.Scale = 200 })}, 1},
		{"a void id of a negative quantity", []Trade{with(func(x *Trade) { x.Void, x.Qty.Mantissa = true, -1 })}, 0},
		{"too many", slices.Repeat([]Trade{good}, MaxBatch+1), MaxBatch},
	} {
		value, n := AppendTrades(nil, "BTCUSDT", c.trades, 0, 0)
		if n != c.n || (len(value) > 0) != (n > 0) {
			t.Errorf("%s: %d trades in %d bytes, want %d", c.name, n, len(value), c.n)
		}
		var tick Tick
		if n == 0 {
			continue
		}
		if err := tick.Decode(value); err != nil || len(tick.Batch.Trades) != n {
			t.Errorf("%s: %d trades come back, %v", c.name, len(tick.Batch.Trades), err)
		}
	}
	if value, n := AppendTrades(nil, "BTC|USDT", []Trade{good}, 0, 0); n != 0 || len(value) != 0 {
		t.Error("wrote a symbol that no reader takes")
	}
}

func TestTradeBatchBounds(t *testing.T) {
	one := &schemapb.TradeBatch{Symbol: "A", Id: []int64{0}, Time: []int64{1}, Price: []int64{1}, Qty: []uint64{1}}
	for _, c := range []struct {
		name string
		ok   bool
		do   func(*schemapb.TradeBatch)
	}{
		{"as it is", true, func(*schemapb.TradeBatch) {}},
		{"last id that fits", true, func(b *schemapb.TradeBatch) { b.Id[0] = MaxVersionN }},
		{"id too high", false, func(b *schemapb.TradeBatch) { b.Id[0] = MaxVersionN + 1 }},
		{"id below zero", false, func(b *schemapb.TradeBatch) { b.Id[0] = -1 }},
		{"span over the highest id", false, func(b *schemapb.TradeBatch) { b.Id[0], b.Span = 1, []uint64{MaxVersionN} }},
		{"span that wraps", false, func(b *schemapb.TradeBatch) { b.Id[0], b.Span = 1<<53, []uint64{1<<64 - 1} }},
		{"id delta that wraps", false, func(b *schemapb.TradeBatch) {
			b.Id, b.Time, b.Price, b.Qty = []int64{5, 1<<63 - 1}, []int64{1, 0}, []int64{1, 0}, []uint64{1, 1}
		}},
		{"price that wraps to a positive one", false, func(b *schemapb.TradeBatch) {
			b.Id, b.Time, b.Price, b.Qty = []int64{5, 0, 0}, []int64{1, 0, 0}, []int64{1<<63 - 1, 1<<63 - 1, 4}, []uint64{1, 1, 1}
		}},
		{"time 0", false, func(b *schemapb.TradeBatch) { b.Time[0] = 0 }},
		{"time too late", false, func(b *schemapb.TradeBatch) { b.Time[0] = 1<<53 + 1 }},
		{"price 0", false, func(b *schemapb.TradeBatch) { b.Price[0] = 0 }},
		{"price 0 of a void id", true, func(b *schemapb.TradeBatch) { b.Price[0], b.Qty[0], b.Void = 0, 0, []byte{1} }},
		{"price below 0 of a void id", false, func(b *schemapb.TradeBatch) { b.Price[0], b.Void = -1, []byte{1} }},
		{"quantity beyond int64", false, func(b *schemapb.TradeBatch) { b.Qty[0] = 1 << 63 }},
		{"scale 13", false, func(b *schemapb.TradeBatch) { b.QtyScale = 13 }},
		{"no symbol", false, func(b *schemapb.TradeBatch) { b.Symbol = "" }},
		{"symbol with a line break", false, func(b *schemapb.TradeBatch) { b.Symbol = "A\nB" }},
		{"symbol not ASCII", true, func(b *schemapb.TradeBatch) { b.Symbol = "币" }},
		{"no trades", false, func(b *schemapb.TradeBatch) { b.Id, b.Time, b.Price, b.Qty = nil, nil, nil, nil }},
		{"a column too short", false, func(b *schemapb.TradeBatch) { b.Qty = nil }},
		{"a column too long", false, func(b *schemapb.TradeBatch) { b.Time = []int64{1, 1} }},
		{"too many trades", false, func(b *schemapb.TradeBatch) {
			n := MaxBatch + 1
			b.Id, b.Time, b.Price, b.Qty = make([]int64, n), append(b.Time, make([]int64, n-1)...), append(b.Price, make([]int64, n-1)...), slices.Repeat(b.Qty, n)
		}},
	} {
		pb := proto.CloneOf(one)
		c.do(pb)
		body, err := proto.Marshal(pb)
		if err != nil {
			t.Fatal(err)
		}
		var b Batch
		if err := b.decode(body); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
		checkBatch(t, &b, body)
	}
	// A column that ends early at the very end of the record: nothing may be
	// read behind it.
	field := func(body []byte, num protowire.Number, content string) []byte {
		return protowire.AppendString(protowire.AppendTag(body, num, protowire.BytesType), content)
	}
	columns := []protowire.Number{fID, fTime, fPrice, fQty, fSpan}
	for _, num := range columns {
		body := field(nil, fSymbol, "A")
		for _, f := range columns {
			if f != num {
				body = field(body, f, "\x02\x02")
			}
		}
		body = slices.Clip(field(body, num, "\x02"))
		var b Batch
		if err := b.decode(body); !errors.Is(err, ErrTick) {
			t.Errorf("column %d ends early: %v", num, err)
		}
		checkBatch(t, &b, body)
	}
	// Nor may a number run over its column's end into the next.
	for _, num := range columns {
		body := field(nil, fSymbol, "A")
		for _, f := range columns {
			if f != num {
				body = field(body, f, "\x02")
			}
		}
		body = field(field(body, num, "\x82"), fReceived+90, "\x02")
		checkBatch(t, new(Batch), body)
	}
	var b Batch
	long := bytes.Repeat(protowire.AppendVarint(protowire.AppendTag(nil, fID, protowire.VarintType), 0), maxLoose/2+1)
	if err := b.decode(long); !errors.Is(err, ErrTick) || cap(b.Trades) > 0 {
		t.Errorf("a long batch that isn't packed: %v", err)
	}
}
