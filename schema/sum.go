package schema

import (
	"fmt"
	"math/bits"
)

// MaxSumScale is the largest scale of a Sum: price times quantity.
const MaxSumScale = 2 * MaxScale

// SumDigits is the number of decimal digits a Sum's 128-bit mantissa may have.
// With at most 12 decimals in a volume and 24 in a quote volume, the SQL
// columns DECIMAL(48,12) and DECIMAL(60,24) hold every Sum exactly.
const SumDigits = 36

// Sum is an exact non-negative 128-bit sum: (Hi·2^64 + Lo) × 10^-Scale. It
// holds volumes (base asset) and quote volumes (quote asset). The zero Sum is 0.
type Sum struct {
	Hi, Lo uint64
	Scale  uint8
}

// 10^36, the first unscaled value that is refused, as two words.
const (
	sumLimitHi = 54210108624275221
	sumLimitLo = 12919594847110692864
)

func (s Sum) tooLarge() bool {
	return s.Hi > sumLimitHi || s.Hi == sumLimitHi && s.Lo >= sumLimitLo
}

// SumOf gives d as a Sum.
func SumOf(d Decimal) Sum { return Sum{Lo: uint64(d.Mantissa), Scale: d.Scale} }

// Product gives price × qty, exactly. ok is false where it overflows a Sum.
func Product(price, qty Decimal) (_ Sum, ok bool) {
	hi, lo := bits.Mul64(uint64(price.Mantissa), uint64(qty.Mantissa))
	s := Sum{hi, lo, price.Scale + qty.Scale}
	if s.tooLarge() { // zeros must never be the reason for a refusal
		s = s.Canonical()
	}
	return s, !s.tooLarge()
}

// Add gives s + t. ok is false if the shortest form of the sum overflows: zeros
// of the fraction are never the reason for a refusal.
func (s Sum) Add(t Sum) (_ Sum, ok bool) {
	if r, ok := s.add(t); ok {
		return r, true
	}
	r, ok := s.Canonical().add(t.Canonical())
	if !ok {
		r = r.Canonical()
		ok = r != Sum{} && !r.tooLarge()
	}
	return r, ok
}

// add is Add at the larger of the two scales. Where not even 128 bits hold the
// sum it gives the zero Sum.
func (s Sum) add(t Sum) (_ Sum, ok bool) {
	if s.Scale != t.Scale {
		if s, t, ok = align(s, t); !ok {
			return Sum{}, false
		}
	}
	lo, c := bits.Add64(s.Lo, t.Lo, 0)
	hi, c := bits.Add64(s.Hi, t.Hi, c)
	if c != 0 {
		return Sum{}, false
	}
	r := Sum{hi, lo, s.Scale}
	return r, !r.tooLarge()
}

// align brings both to the larger scale; ok is false where 128 bits are too few.
func align(s, t Sum) (_, _ Sum, ok bool) {
	scale := max(s.Scale, t.Scale)
	s, ok1 := s.up(scale)
	t, ok2 := t.up(scale)
	return s, t, ok1 && ok2
}

// up scales s up to scale (never down).
func (s Sum) up(scale uint8) (Sum, bool) {
	for n := scale - s.Scale; n > 0; {
		k := min(n, 18)
		f := uint64(pow10[k])
		h1, l := bits.Mul64(s.Lo, f)
		h2, h := bits.Mul64(s.Hi, f)
		h, c := bits.Add64(h, h1, 0)
		if h2 != 0 || c != 0 {
			return Sum{}, false
		}
		s.Hi, s.Lo = h, l
		n -= k
	}
	s.Scale = scale
	return s, true
}

func (s Sum) div10() (q Sum, rem uint64) {
	q.Hi = s.Hi / 10
	q.Lo, rem = bits.Div64(s.Hi%10, s.Lo, 10)
	q.Scale = s.Scale
	return q, rem
}

// Canonical gives the one form of s: no trailing zeros in the fraction.
func (s Sum) Canonical() Sum {
	if s.IsZero() {
		return Sum{}
	}
	for s.Scale > 0 {
		q, rem := s.div10()
		if rem != 0 {
			break
		}
		q.Scale--
		s = q
	}
	return s
}

// IsZero reports whether the value is 0.
func (s Sum) IsZero() bool { return s.Hi == 0 && s.Lo == 0 }

// Cmp compares the values of s and t.
func (s Sum) Cmp(t Sum) int {
	s, t = s.Canonical(), t.Canonical()
	if a, b, ok := align(s, t); ok {
		switch {
		case a.Hi < b.Hi || a.Hi == b.Hi && a.Lo < b.Lo:
			return -1
		case a.Hi > b.Hi || a.Lo > b.Lo:
			return 1
		}
		return 0
	}
	// Only the one with the smaller scale can have overflowed: it is larger.
	if s.Scale < t.Scale {
		return 1
	}
	return -1
}

// Append writes s in its canonical form.
func (s Sum) Append(dst []byte) []byte {
	s = s.Canonical()
	var buf [48]byte
	i := len(buf)
	for n := uint8(0); n < s.Scale || !s.IsZero() || i == len(buf); n++ {
		if n == s.Scale && s.Scale > 0 {
			i--
			buf[i] = '.'
		}
		if s.Hi == 0 { // the common case, without 128-bit division
			i--
			buf[i] = byte('0' + s.Lo%10)
			s.Lo /= 10
			continue
		}
		q, rem := s.div10()
		i--
		buf[i] = byte('0' + rem)
		s.Hi, s.Lo = q.Hi, q.Lo
	}
	if s.Scale > 0 && buf[i] != '.' && len(buf)-i == int(s.Scale) {
		i--
		buf[i] = '.'
	}
	if buf[i] == '.' {
		i--
		buf[i] = '0'
	}
	return append(dst, buf[i:]...)
}

// String is Append as a string.
func (s Sum) String() string { return string(s.Append(nil)) }

// ParseSum reads a decimal of at most SumDigits digits and MaxSumScale decimals.
func ParseSum(text []byte) (Sum, error) {
	var s Sum
	point, digits := false, 0
	if len(text) == 0 || len(text) > 80 {
		return s, fmt.Errorf("%w: %d bytes long", ErrDecimalSyntax, len(text))
	}
	zeros := uint8(0) // zeros of the fraction held back until a digit follows
	for _, c := range text {
		switch {
		case c == '.' && !point && digits > 0:
			point = true
		case c >= '0' && c <= '9':
			digits++
			if point && c == '0' {
				zeros++
				continue
			}
			n := uint8(1)
			if point {
				n += zeros
				zeros = 0
			}
			t := Sum{s.Hi, s.Lo, 0}
			t, ok := t.up(n)
			if !ok {
				return Sum{}, fmt.Errorf("%w: %q", ErrOverflow, text)
			}
			if point {
				t.Scale = s.Scale + n
			} else {
				t.Scale = 0
			}
			if t.Scale > MaxSumScale {
				return Sum{}, fmt.Errorf("%w: %q has more than %d decimals", ErrOverflow, text, MaxSumScale)
			}
			var carry uint64
			t.Lo, carry = bits.Add64(t.Lo, uint64(c-'0'), 0)
			t.Hi += carry
			if t.tooLarge() {
				return Sum{}, fmt.Errorf("%w: %q", ErrOverflow, text)
			}
			s = t
		default:
			return Sum{}, fmt.Errorf("%w: %q", ErrDecimalSyntax, text)
		}
	}
	if digits == 0 || text[len(text)-1] == '.' {
		return Sum{}, fmt.Errorf("%w: %q", ErrDecimalSyntax, text)
	}
	return s, nil
}

// Quo gives s ÷ t with scale decimals, rounded half to even: the VWAP is
// quote volume ÷ volume. ok is false where t is 0 or the result overflows.
func (s Sum) Quo(t Sum, scale uint8) (_ Sum, ok bool) {
	return quo(s.Canonical(), t.Canonical(), scale)
}
