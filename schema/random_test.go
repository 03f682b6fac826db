package schema

import (
	"math/big"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// random gives a source of randomness whose seed a failed test prints;
// MILLRACE_SEED sets it, to see the same run again.
func random(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("MILLRACE_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("MILLRACE_SEED: %v", err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("MILLRACE_SEED=%d gives this run again", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// bits gives a number of 0 to n bits, small ones as likely as large ones.
func randomBits(r *rand.Rand, n int) uint64 {
	k := r.IntN(n + 1)
	if k == 0 {
		return 0
	}
	v := r.Uint64() >> (64 - k)
	switch r.IntN(8) { // the edges are where mistakes are
	case 0:
		v = 1<<k - 1
	case 1:
		v = 1 << (k - 1)
	}
	return v
}

func randomDecimal(r *rand.Rand) Decimal {
	d := Decimal{int64(randomBits(r, 63)), uint8(r.IntN(MaxScale + 1))}
	if r.IntN(3) == 0 { // with zeros behind it
		f := pow10[r.IntN(13)]
		d.Mantissa = d.Mantissa / f * f
	}
	return d
}

// randomSum gives a sum that a Sum may hold, one in four near the limit.
func randomSum(r *rand.Rand) Sum {
	for {
		s := Sum{randomBits(r, 56), randomBits(r, 64), uint8(r.IntN(MaxSumScale + 1))}
		switch r.IntN(4) {
		case 0:
			s.Hi = 0
		case 1:
			s.Hi, s.Lo = sumLimitHi, sumLimitLo-1-randomBits(r, 20)
		}
		if r.IntN(3) == 0 {
			n := new(big.Int).Exp(big.NewInt(10), big.NewInt(r.Int64N(30)), nil)
			b := s.big()
			s = sumOfBig(b.Sub(b, new(big.Int).Mod(b, n)), s.Scale)
		}
		if !s.tooLarge() {
			return s
		}
	}
}

func sumOfBig(b *big.Int, scale uint8) Sum {
	lo := new(big.Int).And(b, new(big.Int).SetUint64(1<<64-1)).Uint64()
	return Sum{new(big.Int).Rsh(b, 64).Uint64(), lo, scale}
}

func power(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

func (d Decimal) rat() *big.Rat {
	return new(big.Rat).SetFrac(big.NewInt(d.Mantissa), power(int(d.Scale)))
}

func (s Sum) rat() *big.Rat { return new(big.Rat).SetFrac(s.big(), power(int(s.Scale))) }

// sumHolds tells whether a Sum can hold v: its shortest form has at most
// SumDigits digits and MaxSumScale decimals.
func sumHolds(v *big.Rat) bool {
	m, scale := shortest(v)
	return scale <= MaxSumScale && m.Cmp(power(SumDigits)) < 0
}

// shortest gives mantissa and scale of v's shortest form; v must have one.
func shortest(v *big.Rat) (mantissa *big.Int, scale int) {
	m := new(big.Rat).Set(v)
	for ; !m.IsInt(); scale++ {
		if scale > 200 {
			panic("not a decimal: " + v.String())
		}
		m.Mul(m, big.NewRat(10, 1))
	}
	return m.Num(), scale
}

// randomTrades gives valid trades with ids rising from a random one, with holes,
// aggregates and void ids among them as asked, in the order of ids.
func randomTrades(r *rand.Rand, n int, aggregates, voids bool) []Trade {
	ps, qs := uint8(r.IntN(MaxScale+1)), uint8(r.IntN(MaxScale+1))
	id := int64(randomBits(r, 50))
	at := Time(1_700_000_000_000_000 + r.Int64N(1_000_000_000))
	price := 1 + r.Int64N(10_000_000)
	trades := make([]Trade, 0, n)
	for range n {
		t := Trade{ID: id, Last: id, Time: at, BuyerMaker: r.IntN(2) == 0}
		price = max(1, price+r.Int64N(2001)-1000)
		t.Price = Decimal{price, ps}
		t.Qty = Decimal{1 + int64(randomBits(r, 40)), qs}
		if aggregates && r.IntN(2) == 0 {
			t.Last += int64(randomBits(r, 12))
		}
		if voids && r.IntN(8) == 0 {
			t.Void, t.Price.Mantissa, t.Qty.Mantissa = true, 0, 0
		}
		trades = append(trades, t)
		id = t.Last + 1
		if r.IntN(4) == 0 {
			id += int64(randomBits(r, 10))
		}
		at += Time(r.Int64N(200_000) - 20_000)
	}
	return trades
}

func shuffle[T any](r *rand.Rand, s []T) {
	r.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
}

// noAllocs fails if f allocates once its memory has grown.
func noAllocs(t *testing.T, what string, f func()) {
	t.Helper()
	f()
	if n := testing.AllocsPerRun(100, f); n != 0 {
		t.Errorf("%s allocates %v times", what, n)
	}
}
