package schema

import "math/big"

// quo divides by way of math/big: it runs once per published figure, not per
// tick, and 128-bit by 128-bit division isn't worth owning.
func quo(s, t Sum, scale uint8) (Sum, bool) {
	if t.IsZero() {
		return Sum{}, false
	}
	num, den := s.big(), t.big()
	// s/10^a ÷ t/10^b × 10^scale = s × 10^(b+scale) ÷ (t × 10^a)
	num.Mul(num, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(t.Scale)+int64(scale)), nil))
	den.Mul(den, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(s.Scale)), nil))
	q, rem := new(big.Int).QuoRem(num, den, new(big.Int))
	switch rem.Lsh(rem, 1).Cmp(den) {
	case 1:
		q.Add(q, big.NewInt(1))
	case 0:
		q.Add(q, new(big.Int).And(q, big.NewInt(1)))
	}
	ten := big.NewInt(10)
	for scale > 0 && q.BitLen() > 128 { // zeros must never be the reason for a refusal
		if q.QuoRem(q, ten, rem); rem.Sign() != 0 {
			return Sum{}, false
		}
		scale--
	}
	if q.BitLen() > 128 {
		return Sum{}, false
	}
	r := Sum{Lo: new(big.Int).And(q, new(big.Int).SetUint64(1<<64-1)).Uint64(), Hi: q.Rsh(q, 64).Uint64(), Scale: scale}.Canonical()
	return r, !r.tooLarge()
}

func (s Sum) big() *big.Int {
	b := new(big.Int).SetUint64(s.Hi)
	return b.Add(b.Lsh(b, 64), new(big.Int).SetUint64(s.Lo))
}
