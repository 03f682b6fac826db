package binance

import (
	"encoding/binary"
	"fmt"
	"math"

	"millrace/schema"
)

// The frame of a TradesStreamEvent, little-endian, from Binance's schema
// spot_stream (id 1). Both block lengths are read, not taken as known: a newer
// schema may add fields behind those drawn here, and they are passed over.
//
//	 0  u16 block length (18)   u16 template   u16 schema   u16 version
//	 8  i64 event time, µs      i64 transact time, µs
//	24  i8  price exponent      i8  quantity exponent
//	26  u16 block length (25)   u32 number of trades
//	32  i64 id   i64 price   i64 quantity   u8 buyer is maker   (each trade)
//	..  u8  length, the symbol in UTF-8
//
// isBestMatch is a constant of the schema and takes no byte.
const (
	sbeHeader   = 8
	sbeBlock    = 18
	sbeGroup    = 6
	sbeTrade    = 25
	sbeSchema   = 1
	sbeTemplate = 10000
)

// SBEEvent is what one binary frame says. Symbol points into the frame and
// Trades into the decoder's memory; both hold until the next call of Decode.
type SBEEvent struct {
	// Kind is Trade for a frame of trades, else Other; then nothing else is set.
	Kind   Kind
	Symbol []byte // upper case
	// EventTime is when the server sent the event; 0 where that or another thing
	// that the trades share cannot be used.
	EventTime schema.Time
	// Trades are those of one order that met others: they share their time.
	Trades []schema.Trade
	// Bad is how many trades of the frame cannot be used and are not in Trades.
	Bad int
}

// SBEDecoder reads the binary frames of Binance's SBE streams. Answers to
// control messages and farewells come there as text frames, which a Decoder
// reads. One goroutine uses it; it keeps memory for the largest frame's trades.
type SBEDecoder struct {
	trades []schema.Trade
}

// Decode reads one binary frame into ev. An error that wraps ErrFrame leaves
// nothing of use in ev. A *TradeError is about the first trade that cannot be
// used: the good ones of that frame, before and behind it, are in ev.Trades, so
// the caller hands those over and refuses the frame for the ev.Bad others. A
// bad time or symbol spoils every trade of the frame.
func (d *SBEDecoder) Decode(frame []byte, ev *SBEEvent) error {
	*ev = SBEEvent{}
	if len(frame) < sbeHeader {
		return sbeError(frame, len(frame), "it ends within the header")
	}
	block := int(binary.LittleEndian.Uint16(frame))
	if id := binary.LittleEndian.Uint16(frame[4:]); id != sbeSchema {
		return sbeError(frame, 4, fmt.Sprintf("schema %d, where this program reads %d", id, sbeSchema))
	}
	if binary.LittleEndian.Uint16(frame[2:]) != sbeTemplate {
		return nil
	}
	if block < sbeBlock {
		return sbeError(frame, 0, fmt.Sprintf("a block of %d bytes, where %d hold the fields", block, sbeBlock))
	}
	if len(frame) < sbeHeader+block+sbeGroup {
		return sbeError(frame, len(frame), "it ends before its trades")
	}
	group := frame[sbeHeader+block:]
	size, n := int(binary.LittleEndian.Uint16(group)), int64(binary.LittleEndian.Uint32(group[2:]))
	rows := group[sbeGroup:]
	if n > 0 && size < sbeTrade {
		return sbeError(frame, sbeHeader+block, fmt.Sprintf("trades of %d bytes, where %d hold the fields", size, sbeTrade))
	}
	// The bytes that are there bound the number of trades, whatever it says.
	if n*int64(size) >= int64(len(rows)) {
		return sbeError(frame, sbeHeader+block+2, fmt.Sprintf("%d trades of %d bytes and no room for a symbol", n, size))
	}
	tail := rows[int(n)*size:]
	end := 1 + int(tail[0])
	if len(tail) < end {
		return sbeError(frame, len(frame)-len(tail), "it ends within the symbol")
	}
	ev.Kind = Trade
	ev.Symbol = tail[1:end:end]
	rows = rows[:int(n)*size]
	if err := d.shared(frame, ev); err != nil {
		ev.Bad = int(n)
		return refuseSBE(ev.Symbol, rows, err)
	}
	return d.rows(frame, rows, size, ev)
}

// shared judges what all trades of a frame have in common.
func (d *SBEDecoder) shared(frame []byte, ev *SBEEvent) error {
	if err := validSymbol(ev.Symbol); err != nil {
		return err
	}
	sent, traded := schema.Time(i64(frame[8:])), schema.Time(i64(frame[16:]))
	if !plausibleMicros(sent) {
		return fmt.Errorf("%w: event time %d is no plausible one in microseconds", ErrField, int64(sent))
	}
	if !plausibleMicros(traded) {
		return fmt.Errorf("%w: transact time %d is no plausible one in microseconds", ErrField, int64(traded))
	}
	ev.EventTime = sent
	return nil
}

// rows reads the trades of a frame, size bytes each, and keeps the first error.
func (d *SBEDecoder) rows(frame, rows []byte, size int, ev *SBEEvent) error {
	t := schema.Trade{Time: schema.Time(i64(frame[16:]))}
	priceExp, qtyExp := int8(frame[24]), int8(frame[25])
	d.trades = d.trades[:0]
	var first error
	for ; len(rows) > 0; rows = rows[size:] {
		t.ID = i64(rows)
		t.Last = t.ID
		t.BuyerMaker = rows[24] == 1
		var err error
		if t.Price, err = sbeDecimal("price", i64(rows[8:]), priceExp); err == nil {
			t.Qty, err = sbeDecimal("quantity", i64(rows[16:]), qtyExp)
		}
		switch {
		case err != nil:
		case rows[24] > 1:
			err = fmt.Errorf("%w: isBuyerMaker is %d, neither 0 nor 1", ErrField, rows[24])
		default:
			err = t.Validate()
		}
		if err == nil {
			d.trades = append(d.trades, t)
		} else if ev.Bad++; first == nil {
			first = refuseSBE(ev.Symbol, rows, err)
		}
	}
	ev.Trades = d.trades
	return first
}

func i64(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) }

// plausibleMicros refuses times that no trade may carry, and milliseconds sent
// by mistake, which would be a moment of 1970.
func plausibleMicros(t schema.Time) bool { return t >= microsFrom && t <= maxMicros }

// refuseSBE makes a TradeError about the first of rows.
func refuseSBE(symbol, rows []byte, err error) error {
	e := &TradeError{ID: -1, Err: err}
	if validSymbol(symbol) == nil {
		e.Symbol = string(symbol)
	}
	if len(rows) > 0 {
		e.ID = max(-1, i64(rows))
	}
	return e
}

// sbeDecimal makes a Decimal of mantissa × 10^exp, in the same form as the text
// of the JSON streams gives: without zeros at the fraction's end. So a trade is
// the same, and the log no longer, whichever way it came.
func sbeDecimal(name string, mantissa int64, exp int8) (schema.Decimal, error) {
	switch {
	case mantissa <= 0:
		return schema.Decimal{}, fmt.Errorf("%w: %s %d × 10^%d is not positive", schema.ErrTrade, name, mantissa, exp)
	case exp > 0:
		m := mantissa
		for range exp {
			if m > math.MaxInt64/10 {
				return schema.Decimal{}, fmt.Errorf("%w: %s %d × 10^%d", schema.ErrOverflow, name, mantissa, exp)
			}
			m *= 10
		}
		return schema.Decimal{Mantissa: m}, nil
	}
	m, scale := mantissa, -int(exp)
	for scale > 0 && m%10 == 0 {
		m /= 10
		scale--
	}
	if scale > schema.MaxScale {
		return schema.Decimal{}, fmt.Errorf("%w: %s %d × 10^%d has more than %d decimals", schema.ErrOverflow, name, mantissa, exp, schema.MaxScale)
	}
	return schema.Decimal{Mantissa: m, Scale: uint8(scale)}, nil
}

// maxHex bounds how much of a binary frame an error shows.
const maxHex = 64

// sbeError tells what is wrong, where, and shows how the frame begins: its
// header and what the trades share.
func sbeError(frame []byte, at int, what string) error {
	return fmt.Errorf("%w: sbe: %s (byte %d of %d): % x", ErrFrame, what, at, len(frame), frame[:min(len(frame), maxHex)])
}
