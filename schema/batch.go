package schema

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

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

// repeated has a bit for each field that is a column of numbers.
const repeated = 1<<fID | 1<<fTime | 1<<fPrice | 1<<fQty | 1<<fSpan

// decode reads a TradeBatch as a proto3 parser has to: fields in any order,
// unknown ones passed over. Every trade is validated.
func (b *Batch) decode(body []byte) error {
	*b = Batch{Trades: b.Trades[:0]}
	var col [fVoid + 1][]byte
	var priceScale, qtyScale uint32
	for in := body; len(in) > 0; {
		tag, n := varint(in)
		if n <= 0 || tag>>3 < 1 || tag>>3 > uint64(protowire.MaxValidNumber) {
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
			if num <= fVoid {
				if col[num] != nil {
					return b.loose(body)
				}
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
				priceScale = uint32(v)
			case fQtyScale:
				qtyScale = uint32(v)
			case fReceived:
				b.Received = Time(v)
			case fSource:
				b.Source = Source(v)
			default:
				if num <= fVoid && repeated>>num&1 == 1 {
					return b.loose(body)
				}
			}
		default:
			n := protowire.ConsumeFieldValue(protowire.Number(num), protowire.Type(tag&7), in)
			if n < 0 {
				return errCut
			}
			in = in[n:]
		}
	}
	if !plainSymbol(col[fSymbol]) {
		if err := ValidateSymbol(string(col[fSymbol])); err != nil {
			return fmt.Errorf("%w: trade batch: %w", ErrTick, err)
		}
	}
	if priceScale > MaxScale || qtyScale > MaxScale {
		return fmt.Errorf("%w: trade batch of %s with scales %d and %d", ErrTick, col[fSymbol], priceScale, qtyScale)
	}
	b.Symbol = col[fSymbol]
	return b.columns(&col, uint8(priceScale), uint8(qtyScale))
}

// maxLoose bounds what loose reads: MaxBatch unpacked trades of the longest
// numbers are shorter.
const maxLoose = 1 << 20

// loose reads a batch whose columns are not packed, or come in pieces. Parsers
// of proto3 must take both, though hardly anyone writes them, so it may
// allocate: the generated code reads it and packs it anew.
func (b *Batch) loose(body []byte) error {
	if len(body) > maxLoose {
		return fmt.Errorf("%w: trade batch of %d bytes that is not packed", ErrTick, len(body))
	}
	var pb schemapb.TradeBatch
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, &pb); err != nil {
		return fmt.Errorf("%w: %w", ErrTick, err)
	}
	packed, err := proto.Marshal(&pb)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTick, err)
	}
	return b.decode(packed)
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
		if n1 <= 0 || n2 <= 0 || n3 <= 0 || n4 <= 0 {
			return b.uneven()
		}
		if i >= MaxBatch {
			return fmt.Errorf("%w: trade batch of %s: more than %d trades", ErrTick, b.Symbol, MaxBatch)
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
