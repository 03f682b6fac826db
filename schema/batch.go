package schema

import (
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"millrace/schema/schemapb"
)

// Source says where a batch's trades were read.
type Source = schemapb.Source

// MaxBatch is the most trades a batch may hold.
const MaxBatch = 16384

// Batch is the trades of one symbol of one Kafka record, in the order received.
// It is the unit of the log; decoding one allocates nothing once its memory has
// grown to the largest seen.
type Batch struct {
	Symbol   []byte // points into the record's value
	Trades   []Trade
	Received Time // when the ingestor received the first trade, by its own clock
	Source   Source
}

// Field numbers of TradeBatch in the .proto.
const (
	fSymbol = iota + 1
	fPriceScale
	fQtyScale
	fID
	fTime
	fPrice
	fQty
	fBuyerMaker
	fSpan
	fVoid
	fReceived
	fSource
)

// decode reads a TradeBatch. Columns may come in any order; unknown fields are
// passed over. Every trade is validated.
func (b *Batch) decode(in []byte) error {
	*b = Batch{Trades: b.Trades[:0]}
	var col [fVoid + 1][]byte
	var priceScale, qtyScale uint64
	for len(in) > 0 {
		tag, n := varint(in)
		if n <= 0 {
			return errCut
		}
		in = in[n:]
		num := int(tag >> 3)
		switch tag & 7 {
		case 2:
			l, n := varint(in)
			if n <= 0 || l > uint64(len(in)-n) {
				return errCut
			}
			if num >= 1 && num <= fVoid {
				col[num] = in[n : n+int(l)]
			}
			in = in[n+int(l):]
		case 0:
			v, n := varint(in)
			if n <= 0 {
				return errCut
			}
			in = in[n:]
			switch num {
			case fPriceScale:
				priceScale = v
			case fQtyScale:
				qtyScale = v
			case fReceived:
				b.Received = Time(v)
			case fSource:
				b.Source = Source(v)
			}
		default:
			n := protowire.ConsumeFieldValue(protowire.Number(num), protowire.Type(tag&7), in)
			if n < 0 || num < 1 {
				return errCut
			}
			in = in[n:]
		}
	}
	if len(col[fSymbol]) == 0 || len(col[fSymbol]) > MaxSymbol || !utf8.Valid(col[fSymbol]) {
		return fmt.Errorf("%w: trade batch with the symbol %q", ErrTick, col[fSymbol])
	}
	if priceScale > MaxScale || qtyScale > MaxScale {
		return fmt.Errorf("%w: trade batch of %s with scales %d and %d", ErrTick, col[fSymbol], priceScale, qtyScale)
	}
	b.Symbol = col[fSymbol]
	return b.columns(&col, uint8(priceScale), uint8(qtyScale))
}

// columns turns the columns into trades, all columns in step.
func (b *Batch) columns(col *[fVoid + 1][]byte, priceScale, qtyScale uint8) error {
	ids, times, prices, qtys, spans := col[fID], col[fTime], col[fPrice], col[fQty], col[fSpan]
	aggregates := len(spans) > 0
	makers, voids := col[fBuyerMaker], col[fVoid]
	var next, last, price int64
	for i := 0; len(ids) > 0; i++ {
		dID, n1 := varint(ids)
		dT, n2 := varint(times)
		dP, n3 := varint(prices)
		qty, n4 := varint(qtys)
		if n1 <= 0 || n2 <= 0 || n3 <= 0 || n4 <= 0 || i >= MaxBatch {
			return b.uneven()
		}
		ids, times, prices, qtys = ids[n1:], times[n2:], prices[n3:], qtys[n4:]
		var span uint64
		if aggregates {
			var n int
			if span, n = varint(spans); n <= 0 || span > MaxVersionN {
				return b.uneven()
			}
			spans = spans[n:]
		}
		if qty > 1<<63-1 {
			return fmt.Errorf("%w: trade batch of %s: quantity out of bounds", ErrTick, b.Symbol)
		}
		id := next + unzigzag(dID)
		last += unzigzag(dT)
		price += unzigzag(dP)
		b.Trades = append(b.Trades, Trade{
			ID: id, Last: id + int64(span), Time: Time(last),
			Price: Decimal{price, priceScale}, Qty: Decimal{int64(qty), qtyScale},
			BuyerMaker: bit(makers, i), Void: len(voids) > 0 && bit(voids, i),
		})
		t := &b.Trades[i]
		if err := t.Validate(); err != nil {
			return fmt.Errorf("%w: trade batch of %s: %w", ErrTick, b.Symbol, err)
		}
		next = t.Last + 1
	}
	if len(times)+len(prices)+len(qtys)+len(spans) > 0 || len(b.Trades) == 0 {
		return b.uneven()
	}
	return nil
}

func (b *Batch) uneven() error {
	return fmt.Errorf("%w: trade batch of %s: columns of different or no length", ErrTick, b.Symbol)
}

var errCut = fmt.Errorf("%w: cut short", ErrTick)

// varint reads one varint. n is 0 where the input ends too early, −1 where
// the number is over 64 bits.
func varint(in []byte) (v uint64, n int) {
	if len(in) > 0 && in[0] < 0x80 { // the common case in a delta-coded column
		return uint64(in[0]), 1
	}
	for i := 0; i < len(in) && i < 10; i++ {
		c := in[i]
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			if i == 9 && c > 1 {
				return 0, -1
			}
			return v, i + 1
		}
	}
	return 0, 0
}

func zigzag(v int64) uint64   { return uint64(v<<1) ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

func bit(bits []byte, i int) bool { return i>>3 < len(bits) && bits[i>>3]>>(i&7)&1 == 1 }

// Shared finds how many of the leading trades can share one batch, and the
// scales they share. It is at least 1 for a valid trade.
func Shared(trades []Trade) (n int, priceScale, qtyScale uint8) {
	fits := func(k int, ps, qs uint8) bool {
		for i := range trades[:k] {
			if _, ok := trades[i].Price.Rescale(ps); !ok {
				return false
			}
			if _, ok := trades[i].Qty.Rescale(qs); !ok {
				return false
			}
		}
		return true
	}
	for n < len(trades) && n < MaxBatch {
		ps, qs := max(priceScale, trades[n].Price.Scale), max(qtyScale, trades[n].Qty.Scale)
		if ps == priceScale && qs == qtyScale {
			if !fits1(&trades[n], ps, qs) {
				break
			}
		} else if !fits(n+1, ps, qs) {
			break
		}
		priceScale, qtyScale = ps, qs
		n++
	}
	return n, priceScale, qtyScale
}

func fits1(t *Trade, ps, qs uint8) bool {
	_, ok1 := t.Price.Rescale(ps)
	_, ok2 := t.Qty.Rescale(qs)
	return ok1 && ok2
}

// AppendTrades writes a record of trades, all of one symbol, and returns how
// many of the leading ones it holds: fewer than all where their scales cannot
// be shared, 0 only where trades is empty or its first is not valid.
func AppendTrades(dst []byte, symbol string, trades []Trade, received Time, source Source) ([]byte, int) {
	n, ps, qs := Shared(trades)
	for i := range trades[:n] {
		if trades[i].Validate() != nil {
			n = i
			break
		}
	}
	if n == 0 {
		return dst, 0
	}
	trades = trades[:n]
	var w columnWriter
	w.measure(trades, ps, qs)
	body := sizeBytes(fSymbol, len(symbol)) + sizeVarint(fPriceScale, uint64(ps)) + sizeVarint(fQtyScale, uint64(qs)) +
		sizeBytes(fID, w.size[fID]) + sizeBytes(fTime, w.size[fTime]) + sizeBytes(fPrice, w.size[fPrice]) + sizeBytes(fQty, w.size[fQty]) +
		sizeBytes(fBuyerMaker, w.size[fBuyerMaker]) + sizeBytes(fSpan, w.size[fSpan]) + sizeBytes(fVoid, w.size[fVoid]) +
		sizeVarint(fReceived, uint64(received)) + sizeVarint(fSource, uint64(source))
	dst = protowire.AppendTag(dst, protowire.Number(KindTrades), protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(body))
	dst = protowire.AppendTag(dst, fSymbol, protowire.BytesType)
	dst = protowire.AppendString(dst, symbol)
	dst = appendVarint(dst, fPriceScale, uint64(ps))
	dst = appendVarint(dst, fQtyScale, uint64(qs))
	dst = w.append(dst, trades, ps, qs)
	dst = appendVarint(dst, fReceived, uint64(received))
	return appendVarint(dst, fSource, uint64(source)), n
}

// columnWriter writes the columns in two passes over the trades: a protobuf
// column is led by its length.
type columnWriter struct {
	size [fVoid + 1]int
}

// each calls put with every number of a column.
func each(field int, trades []Trade, ps, qs uint8, put func(uint64)) {
	var next, last, price int64
	for i := range trades {
		t := &trades[i]
		switch field {
		case fID:
			put(zigzag(t.ID - next))
			next = t.Last + 1
		case fTime:
			put(zigzag(int64(t.Time) - last))
			last = int64(t.Time)
		case fPrice:
			p, _ := t.Price.Rescale(ps)
			put(zigzag(p.Mantissa - price))
			price = p.Mantissa
		case fQty:
			q, _ := t.Qty.Rescale(qs)
			put(uint64(q.Mantissa))
		case fSpan:
			put(uint64(t.Last - t.ID))
		}
	}
}

func (w *columnWriter) measure(trades []Trade, ps, qs uint8) {
	for _, f := range [...]int{fID, fTime, fPrice, fQty, fSpan} {
		each(f, trades, ps, qs, func(v uint64) { w.size[f] += protowire.SizeVarint(v) })
	}
	single := true
	for i := range trades {
		t := &trades[i]
		single = single && t.Last == t.ID
		if t.BuyerMaker {
			w.size[fBuyerMaker] = i>>3 + 1
		}
		if t.Void {
			w.size[fVoid] = i>>3 + 1
		}
	}
	if single {
		w.size[fSpan] = 0
	}
}

func (w *columnWriter) append(dst []byte, trades []Trade, ps, qs uint8) []byte {
	for f := fID; f <= fVoid; f++ {
		if w.size[f] == 0 {
			continue
		}
		dst = protowire.AppendTag(dst, protowire.Number(f), protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(w.size[f]))
		if f != fBuyerMaker && f != fVoid {
			each(f, trades, ps, qs, func(v uint64) { dst = protowire.AppendVarint(dst, v) })
			continue
		}
		at := len(dst)
		dst = append(dst, make([]byte, w.size[f])...)
		for i := range trades {
			if f == fBuyerMaker && trades[i].BuyerMaker || f == fVoid && trades[i].Void {
				dst[at+(i>>3)] |= 1 << (i & 7)
			}
		}
	}
	return dst
}

func sizeBytes(field, n int) int {
	if n == 0 {
		return 0
	}
	return protowire.SizeTag(protowire.Number(field)) + protowire.SizeBytes(n)
}

func sizeVarint(field int, v uint64) int {
	if v == 0 {
		return 0
	}
	return protowire.SizeTag(protowire.Number(field)) + protowire.SizeVarint(v)
}

func appendVarint(dst []byte, field int, v uint64) []byte {
	if v == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, protowire.Number(field), protowire.VarintType)
	return protowire.AppendVarint(dst, v)
}
