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
	Repair   uint8 // the era of the repair whose trades they are; 0: of the id series
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
	fRepair
)

// column is what is left to read of a field: body[at:end].
type column struct{ at, end int }

func (c column) of(body []byte) []byte { return body[c.at:c.end] }
func (c column) empty() bool           { return c.at == c.end }

// decode reads a TradeBatch as a proto3 parser has to: fields in any order,
// unknown ones passed over. Every trade is validated.
func (b *Batch) decode(body []byte) error {
	*b = Batch{Trades: b.Trades[:0]}
	var col [fVoid + 1]column
	var priceScale, qtyScale uint32
	for i := 0; i < len(body); {
		tag, n := number(body, i)
		num := tag >> 3
		if n >= len(body) || num < 1 || num > uint64(protowire.MaxValidNumber) {
			return errCut // no field ends with its tag
		}
		switch i = n; tag & 7 {
		case 2:
			l, n := number(body, i)
			if n > len(body) || l > uint64(len(body)-n) {
				return errCut
			}
			i = n + int(l)
			if num <= fVoid {
				if col[num].end > 0 {
					return b.loose(body)
				}
				col[num] = column{n, i}
			}
		case 0:
			v, n := number(body, i)
			if n > len(body) {
				return errCut
			}
			i = n
			switch num {
			case fPriceScale:
				priceScale = uint32(v)
			case fQtyScale:
				qtyScale = uint32(v)
			case fReceived:
				b.Received = Time(v)
			case fSource:
				b.Source = Source(v)
			case fRepair:
				if v > MaxEra {
					return fmt.Errorf("%w: trade batch of the repair %d", ErrTick, v)
				}
				b.Repair = uint8(v)
			case fID, fTime, fPrice, fQty, fSpan:
				return b.loose(body)
			}
		default:
			n := protowire.ConsumeFieldValue(protowire.Number(num), protowire.Type(tag&7), body[i:])
			if n < 0 {
				return errCut
			}
			i += n
		}
	}
	b.Symbol = col[fSymbol].of(body)
	if !plainSymbol(b.Symbol) {
		if err := ValidateSymbol(string(b.Symbol)); err != nil {
			return fmt.Errorf("%w: trade batch: %w", ErrTick, err)
		}
	}
	if priceScale > MaxScale || qtyScale > MaxScale {
		return fmt.Errorf("%w: trade batch of %s with scales %d and %d", ErrTick, b.Symbol, priceScale, qtyScale)
	}
	return b.columns(body, &col, uint8(priceScale), uint8(qtyScale))
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

// columns turns the columns into trades, all columns in step. What is too large
// for an int64, and a sum that wraps, is negative; Validate refuses it.
func (b *Batch) columns(body []byte, col *[fVoid + 1]column, priceScale, qtyScale uint8) error {
	ids, times, prices, qtys, spans := col[fID], col[fTime], col[fPrice], col[fQty], col[fSpan]
	aggregates := !spans.empty()
	makers, voids := col[fBuyerMaker].of(body), col[fVoid].of(body)
	var next, last, price int64
	for i := 0; ids.at < ids.end; i++ {
		// A number that runs over its column's end is found here, a turn later.
		if times.at >= times.end || prices.at >= prices.end || qtys.at >= qtys.end || aggregates && spans.at >= spans.end {
			return b.uneven()
		}
		var dID, dT, dP, qty, span uint64
		dID, ids.at = number(body, ids.at)
		dT, times.at = number(body, times.at)
		dP, prices.at = number(body, prices.at)
		qty, qtys.at = number(body, qtys.at)
		if aggregates {
			span, spans.at = number(body, spans.at)
		}
		if i >= MaxBatch {
			return fmt.Errorf("%w: trade batch of %s: more than %d trades", ErrTick, b.Symbol, MaxBatch)
		}
		id := next + unzigzag(dID)
		last += unzigzag(dT)
		price += unzigzag(dP)
		b.Trades = append(b.Trades, Trade{
			ID: id, Last: id + int64(span), Time: Time(last),
			Price: Decimal{price, priceScale}, Qty: Decimal{int64(qty), qtyScale},
			BuyerMaker: bit(makers, i), Void: bit(voids, i),
		})
		t := &b.Trades[i]
		if err := t.Validate(); err != nil {
			return fmt.Errorf("%w: trade batch of %s: %w", ErrTick, b.Symbol, err)
		}
		next = t.Last + 1
	}
	if len(b.Trades) == 0 || !ids.empty() || !times.empty() || !prices.empty() || !qtys.empty() || !spans.empty() {
		return b.uneven()
	}
	return nil
}

func (b *Batch) uneven() error {
	return fmt.Errorf("%w: trade batch of %s: columns of different or no length", ErrTick, b.Symbol)
}

var errCut = fmt.Errorf("%w: cut short", ErrTick)
