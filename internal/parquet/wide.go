package parquet

import "math/bits"

// wide is an unsigned number of 128 bits.
type wide struct{ hi, lo uint64 }

func (n wide) less(m wide) bool { return n.hi < m.hi || n.hi == m.hi && n.lo < m.lo }

// ten gives n × 10.
func (n wide) ten() (_ wide, ok bool) {
	over, hi := bits.Mul64(n.hi, 10)
	carry, lo := bits.Mul64(n.lo, 10)
	hi, c := bits.Add64(hi, carry, 0)
	return wide{hi, lo}, over == 0 && c == 0
}

// tenth gives n ÷ 10; ok is false if a digit would be lost.
func (n wide) tenth() (_ wide, ok bool) {
	lo, rem := bits.Div64(n.hi%10, n.lo, 10)
	return wide{n.hi / 10, lo}, rem == 0
}

// rescale gives the mantissa of n × 10^-from at another scale.
func rescale(n wide, from, to int) (_ wide, ok bool) {
	if n == (wide{}) {
		return n, true
	}
	ok = true
	for ; from < to && ok; from++ {
		n, ok = n.ten()
	}
	for ; from > to && ok; from-- {
		n, ok = n.tenth()
	}
	return n, ok
}

// power gives 10^n, for n up to MaxPrecision.
func power(n int) wide {
	p := wide{0, 1}
	for range n {
		p, _ = p.ten()
	}
	return p
}
