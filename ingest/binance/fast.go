package binance

import (
	"encoding/binary"
	"math"
	"math/bits"

	"millrace/schema"
)

// The exchange writes the keys of a trade in one order and without white space.
// fast walks over just that text, with no look at what kind of value stands
// where:
//
//	{"stream":"…","data":{"e":"trade","E":…,"s":"…","t":…,"p":"…","q":"…","T":…,"m":…,"M":…}}
//	{"stream":"…","data":{"e":"aggTrade","E":…,"s":"…","a":…,"p":"…","q":"…","f":…,"l":…,"T":…,"m":…,"M":…}}
//
// The wrapper may be missing, and M; older trades have "b":…,"a":… before T.
// All other text, and each trade that is not in order, is left to the scanner,
// which alone refuses. So fast may give up on anything, but what it takes the
// scanner must read the same: agreeFast holds the two together.
//
// Its steps take a place in the frame and give the one behind what they read,
// or lost, from which each further step is lost too.
const lost = math.MaxInt

// fast reads a trade or an aggregate into an empty event. After false the event
// holds nothing of use.
func fast(b []byte, ev *Event) bool {
	i, wrapped := 0, false
	if j := after(b, 0, `{"stream`); j != lost {
		wrapped = true
		i = after(b, j, `":"`)
		ev.Stream, i = plain(b, i)
		i = after(b, i, `","data"`)
		i = after(b, i, `:`)
	}
	i = after(b, i, `{"e":"`)
	ev.Kind = Trade
	if j := after(b, i, `trade`); j != lost {
		i = j
	} else {
		ev.Kind = AggTrade
		i = after(b, i, `aggTrade`)
	}
	i = after(b, i, `","E":`)
	event, i := number(b, i)
	i = after(b, i, `,"s":"`)
	ev.Symbol, i = plain(b, i)
	t := &ev.Trade
	if ev.Kind == Trade {
		i = after(b, i, `","t":`)
		t.ID, i = number(b, i)
		t.Last = t.ID
	} else {
		i = after(b, i, `","a":`)
		ev.AggID, i = number(b, i)
	}
	i = after(b, i, `,"p":"`)
	t.Price, i = decimal(b, i)
	i = after(b, i, `","q":"`)
	t.Qty, i = decimal(b, i)
	i = after(b, i, `"`)
	if ev.Kind == AggTrade {
		i = after(b, i, `,"f":`)
		t.ID, i = number(b, i)
		i = after(b, i, `,"l":`)
		t.Last, i = number(b, i)
	} else if j := after(b, i, `,"b":`); j != lost {
		_, i = number(b, j)
		i = after(b, i, `,"a":`)
		_, i = number(b, i)
	}
	i = after(b, i, `,"T":`)
	when, i := number(b, i)
	i = after(b, i, `,"m":`)
	t.BuyerMaker, i = boolean(b, i)
	if j := after(b, i, `,"M":`); j != lost {
		_, i = boolean(b, j)
	}
	i = after(b, i, `}`)
	if wrapped {
		i = after(b, i, `}`)
	}
	if i != len(b) || len(ev.Symbol) == 0 || len(ev.Symbol) > schema.MaxSymbol {
		return false
	}
	var okE, okT bool
	ev.EventTime, okE = ParseTime(event)
	t.Time, okT = ParseTime(when)
	return okE && okT && t.Validate() == nil
}

// after takes a text of at most 8 bytes: those the compiler compares at once.
func after(b []byte, i int, text string) int {
	if len(b)-i >= len(text) && string(b[i:i+len(text)]) == text {
		return i + len(text)
	}
	return lost
}

func boolean(b []byte, i int) (bool, int) {
	if j := after(b, i, "true"); j != lost {
		return true, j
	}
	return false, after(b, i, "false")
}

// Eight bytes are looked at as one word, the first of them lowest. In a word of
// marks a byte's highest bit is set where the byte is not what is wanted; only
// the first mark is exact, for a carry may spoil those above it.
const (
	each = 0x0101010101010101 // times a byte: that byte, eight times
	tops = 0x80 * each
)

// first gives the place of the first mark, 8 without one.
func first(marks uint64) int { return bits.TrailingZeros64(marks) / 8 }

// plain reads what is left of a string, without the quote behind it, if all of
// it may stand in a symbol: visible ASCII but for the bar.
func plain(b []byte, from int) ([]byte, int) {
	for i := from; len(b)-i >= 8; i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		quote, escape, bar := (w^'"'*each)-each, (w^'\\'*each)-each, (w^'|'*each)-each
		marks := (quote | escape | bar | (w - '!'*each) | (w + each) | w) & tops
		if marks == 0 {
			continue
		}
		if i += first(marks); b[i] != '"' {
			return nil, lost
		}
		return b[from:i:i], i
	}
	return nil, lost
}

// digits reads the up to 8 digits at i: each as a byte of 0 to 9, then zeros.
func digits(b []byte, i int) (_ uint64, n int) {
	if len(b)-i < 8 {
		return 0, 0
	}
	w := binary.LittleEndian.Uint64(b[i:]) ^ '0'*each
	n = first(((w + (0x7f-9)*each) | w) & tops)
	return w & (1<<(8*n) - 1), n
}

// value gives the number that n digits write.
func value(w uint64, n int) uint64 {
	w <<= 64 - 8*n // now there are 8, with zeros in front
	w = (w * (10<<8 + 1)) >> 8
	w = (w & (0x00ff * (1<<48 + 1<<32 + 1<<16 + 1)) * (100<<16 + 1)) >> 16
	return (w & (0xffff * (1<<32 + 1)) * (10000<<32 + 1)) >> 32
}

// powers are those of ten that so many digits make.
var powers = [9]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8}

// upTo16 reads 1 to 16 digits. Where more follow, what must stand behind the
// number does not.
func upTo16(b []byte, i int) (uint64, int) {
	w, n := digits(b, i)
	if n == 0 {
		return 0, lost
	}
	v := value(w, n)
	if n == 8 {
		w, n = digits(b, i+8)
		v, n = v*powers[n]+value(w, n), n+8
	}
	return v, i + n
}

// number reads a number that is neither negative nor begins with a needless
// zero.
func number(b []byte, i int) (int64, int) {
	v, end := upTo16(b, i)
	if end == lost || b[i] == '0' && end > i+1 {
		return 0, lost
	}
	return int64(v), end
}

// maxWhole keeps what stands before the point, with 8 decimals more, within an
// int64.
const maxWhole = 9e10

// decimal reads a price or a quantity of at most 8 decimals, with the scale that
// schema.ParseDecimal gives it.
func decimal(b []byte, i int) (schema.Decimal, int) {
	v, i := upTo16(b, i)
	if i >= len(b) || v > maxWhole {
		return schema.Decimal{}, lost
	}
	if b[i] != '.' {
		return schema.Decimal{Mantissa: int64(v)}, i
	}
	w, n := digits(b, i+1)
	if n == 0 {
		return schema.Decimal{}, lost
	}
	scale := (bits.Len64(w) + 7) / 8 // zeros at the end go
	return schema.Decimal{Mantissa: int64(v*powers[scale] + value(w, scale)), Scale: uint8(scale)}, i + 1 + n
}
