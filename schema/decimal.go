package schema

import (
	"errors"
	"fmt"
	"math/bits"
)

// MaxScale is the most decimal places a price or a quantity may have. Binance
// lists no asset with more than 8; the SQL columns and the width of the sums
// (see Sum) are laid out for 12.
const MaxScale = 12

var (
	// ErrDecimalSyntax reports text that is not a plain non-negative decimal.
	ErrDecimalSyntax = errors.New("not a decimal number")
	// ErrOverflow reports a value that no field can hold exactly.
	ErrOverflow = errors.New("number does not fit")
)

// Decimal is an exact non-negative number: Mantissa × 10^-Scale. A price is in
// the quote asset, a quantity in the base asset. Scale is 0 to MaxScale.
// Trailing zeros carry no meaning: 1.50 and 1.5 are equal values.
type Decimal struct {
	Mantissa int64
	Scale    uint8
}

var pow10 = [19]int64{
	1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9,
	1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
}

// ParseDecimal reads a decimal as Binance writes it ("0.00841000"): digits, at
// most one point, no sign, no exponent. Trailing zeros of the fraction are
// dropped, so that a large number with many zero decimals still fits.
func ParseDecimal(s []byte) (Decimal, error) {
	if len(s) == 0 || len(s) > 64 {
		return Decimal{}, fmt.Errorf("%w: %d bytes long", ErrDecimalSyntax, len(s))
	}
	// Find the end of the meaningful digits first: zeros behind the point
	// must not push the mantissa over its edge.
	point := -1
	for i, c := range s {
		if c == '.' {
			if point >= 0 {
				return Decimal{}, fmt.Errorf("%w: %q", ErrDecimalSyntax, s)
			}
			point = i
		} else if c < '0' || c > '9' {
			return Decimal{}, fmt.Errorf("%w: %q", ErrDecimalSyntax, s)
		}
	}
	if point == 0 || point == len(s)-1 {
		return Decimal{}, fmt.Errorf("%w: %q", ErrDecimalSyntax, s)
	}
	end := len(s)
	if point >= 0 {
		for s[end-1] == '0' {
			end--
		}
		if end == point+1 {
			end = point
		}
	}
	var m uint64
	scale := 0
	for i, c := range s[:end] {
		if c == '.' {
			continue
		}
		if m > (1<<63-1-uint64(c-'0'))/10 {
			return Decimal{}, fmt.Errorf("%w: %q", ErrOverflow, s)
		}
		m = m*10 + uint64(c-'0')
		if point >= 0 && i > point {
			scale++
		}
	}
	if scale > MaxScale {
		return Decimal{}, fmt.Errorf("%w: %q has more than %d decimals", ErrOverflow, s, MaxScale)
	}
	return Decimal{int64(m), uint8(scale)}, nil
}

// Rescale gives d with the wanted scale. ok is false where the value cannot be
// written so in an int64 (digits would be lost or the mantissa would overflow).
func (d Decimal) Rescale(scale uint8) (_ Decimal, ok bool) {
	switch {
	case scale == d.Scale:
		return d, true
	case scale > d.Scale:
		f := pow10[scale-d.Scale]
		hi, lo := bits.Mul64(uint64(d.Mantissa), uint64(f))
		if hi != 0 || lo > 1<<63-1 {
			return Decimal{}, false
		}
		return Decimal{int64(lo), scale}, true
	default:
		f := pow10[d.Scale-scale]
		if d.Mantissa%f != 0 {
			return Decimal{}, false
		}
		return Decimal{d.Mantissa / f, scale}, true
	}
}

// Canonical gives the one form of d: no trailing zeros in the fraction.
func (d Decimal) Canonical() Decimal {
	for d.Scale > 0 && d.Mantissa%10 == 0 {
		d.Mantissa /= 10
		d.Scale--
	}
	return d
}

// Cmp compares the values of d and e: -1, 0 or +1. It is exact for any scales.
func (d Decimal) Cmp(e Decimal) int {
	if d.Scale == e.Scale {
		switch {
		case d.Mantissa < e.Mantissa:
			return -1
		case d.Mantissa > e.Mantissa:
			return 1
		}
		return 0
	}
	if d.Scale < e.Scale {
		return -e.Cmp(d)
	}
	// e must be scaled up by at most 10^12, which 128 bits always hold.
	hi, lo := bits.Mul64(uint64(e.Mantissa), uint64(pow10[d.Scale-e.Scale]))
	m := uint64(d.Mantissa)
	switch {
	case hi != 0 || m < lo:
		return -1
	case m > lo:
		return 1
	}
	return 0
}

// Append writes d in its canonical form ("61837.63", "23").
func (d Decimal) Append(dst []byte) []byte {
	return Sum{Lo: uint64(d.Mantissa), Scale: d.Scale}.Append(dst)
}

// String is Append as a string.
func (d Decimal) String() string { return string(d.Append(nil)) }
