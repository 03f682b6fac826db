package schema

import (
	"errors"
	"math/big"
	"strings"
	"testing"
)

func mustSum(t testing.TB, text string) Sum {
	t.Helper()
	s, err := ParseSum([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSumLimit(t *testing.T) {
	if got := (Sum{Hi: sumLimitHi, Lo: sumLimitLo}).big(); got.Cmp(power(SumDigits)) != 0 {
		t.Errorf("the limit is %v, want 10^%d", got, SumDigits)
	}
}

func TestParseSum(t *testing.T) {
	nines := strings.Repeat("9", 36)
	for _, c := range []struct {
		text, form string
		err        error
	}{
		{"0", "0", nil},
		{"0.000", "0", nil},
		{"000.5", "0.5", nil},
		{"1.50", "1.5", nil},
		{"1.0500", "1.05", nil},
		{nines, nines, nil},
		{"1" + nines[1:] + "0", "", ErrOverflow},
		{"1" + strings.Repeat("0", 36), "", ErrOverflow},
		{"1" + strings.Repeat("0", 35), "1" + strings.Repeat("0", 35), nil},
		{nines[:12] + "." + nines[:24], nines[:12] + "." + nines[:24], nil},
		{nines[:13] + "." + nines[:24], "", ErrOverflow},
		{nines[:13] + "." + nines[:23] + "0", nines[:13] + "." + nines[:23], nil},
		{nines + "." + strings.Repeat("0", 30), nines, nil},
		{"0." + strings.Repeat("0", 23) + "1", "0." + strings.Repeat("0", 23) + "1", nil},
		{"0." + strings.Repeat("0", 24) + "1", "", ErrOverflow},
		{strings.Repeat("9", 80), "", ErrOverflow},
		{strings.Repeat("0", 81), "", ErrDecimalSyntax},
		{"", "", ErrDecimalSyntax},
		{".", "", ErrDecimalSyntax},
		{".1", "", ErrDecimalSyntax},
		{"1.", "", ErrDecimalSyntax},
		{"1..1", "", ErrDecimalSyntax},
		{"-1", "", ErrDecimalSyntax},
		{"1e9", "", ErrDecimalSyntax},
	} {
		s, err := ParseSum([]byte(c.text))
		if !errors.Is(err, c.err) || err == nil && s.String() != c.form {
			t.Errorf("ParseSum(%q) = %v, %v; want %q, %v", c.text, s, err, c.form, c.err)
		}
		if err != nil && s != (Sum{}) {
			t.Errorf("ParseSum(%q) gives %+v beside its error", c.text, s)
		}
	}
}

func TestSumAgainstBig(t *testing.T) {
	r := random(t)
	var fits, not int
	for range 10000 {
		a, b := randomSum(r), randomSum(r)
		if r.IntN(6) == 0 {
			b = Sum{a.Hi, a.Lo, a.Scale}.Canonical()
		}
		if got, want := a.Cmp(b), a.rat().Cmp(b.rat()); got != want {
			t.Fatalf("%+v.Cmp(%+v) = %d, want %d", a, b, got, want)
		}
		want := new(big.Rat).Add(a.rat(), b.rat())
		got, ok := a.Add(b)
		if ok != sumHolds(want) || ok && got.rat().Cmp(want) != 0 {
			t.Fatalf("%+v.Add(%+v) = %+v, %v; the sum is %v", a, b, got, ok, want)
		}
		if back, ok2 := b.Add(a); ok2 != ok || ok && back.Cmp(got) != 0 {
			t.Fatalf("%+v + %+v is not the same the other way round", a, b)
		}
		if ok {
			fits++
		} else {
			not++
		}
		_, places := shortest(a.rat())
		if text := a.String(); text != a.rat().FloatString(places) {
			t.Fatalf("%+v is written %q", a, text)
		} else if back := mustSum(t, text); back != a.Canonical() {
			t.Fatalf("%q is read as %+v, want %+v", text, back, a.Canonical())
		}
	}
	if fits < 500 || not < 500 {
		t.Errorf("%d sums fit and %d did not: too few of one", fits, not)
	}
}

func TestProductAgainstBig(t *testing.T) {
	r := random(t)
	for range 10000 {
		p, q := randomDecimal(r), randomDecimal(r)
		want := new(big.Rat).Mul(p.rat(), q.rat())
		got, ok := Product(p, q)
		if ok != sumHolds(want) || ok && got.rat().Cmp(want) != 0 {
			t.Fatalf("Product(%+v, %+v) = %+v, %v; want %v", p, q, got, ok, want)
		}
	}
}

// roundHalfEven gives v × 10^scale as a whole number.
func roundHalfEven(v *big.Rat, scale int) *big.Int {
	m := new(big.Rat).Mul(v, new(big.Rat).SetInt(power(scale)))
	q, rem := new(big.Int).QuoRem(m.Num(), m.Denom(), new(big.Int))
	half := new(big.Rat).SetFrac(rem, m.Denom()).Cmp(big.NewRat(1, 2))
	if half > 0 || half == 0 && q.Bit(0) == 1 {
		q.Add(q, big.NewInt(1))
	}
	return q
}

func TestQuoAgainstBig(t *testing.T) {
	r := random(t)
	for range 5000 {
		a, b, scale := randomSum(r), randomSum(r), uint8(r.IntN(MaxSumScale+1))
		got, ok := a.Quo(b, scale)
		if b.IsZero() {
			if ok {
				t.Fatalf("%+v.Quo(%+v) = %+v", a, b, got)
			}
			continue
		}
		want := new(big.Rat).SetFrac(roundHalfEven(new(big.Rat).Quo(a.rat(), b.rat()), int(scale)), power(int(scale)))
		if ok != sumHolds(want) || ok && got.rat().Cmp(want) != 0 {
			t.Fatalf("%+v.Quo(%+v, %d) = %+v, %v; want %v", a, b, scale, got, ok, want)
		}
	}
	for _, c := range []struct{ a, b, want string }{
		{"1", "8", "0.12"}, {"3", "8", "0.38"}, {"5", "8", "0.62"}, {"7", "8", "0.88"}, {"1", "3", "0.33"}, {"2", "3", "0.67"}, {"10", "2.50", "4"},
	} {
		if got, ok := mustSum(t, c.a).Quo(mustSum(t, c.b), 2); !ok || got.String() != c.want {
			t.Errorf("%s ÷ %s = %v, %v; want %s", c.a, c.b, got, ok, c.want)
		}
	}
}

func TestSumAllocatesNothing(t *testing.T) {
	p, q := Decimal{6183763, 2}, Decimal{841, 5}
	sum, other := mustSum(t, "123456789.12345678"), mustSum(t, "0.5")
	buf := make([]byte, 0, 64)
	ok := true
	c := 0
	noAllocs(t, "Product", func() { _, k := Product(p, q); ok = ok && k })
	noAllocs(t, "Add", func() { _, k := sum.Add(other); ok = ok && k })
	noAllocs(t, "Cmp", func() { c += sum.Cmp(sum) })
	noAllocs(t, "Append", func() { buf = sum.Append(buf[:0]) })
	if !ok || c != 0 || string(buf) != "123456789.12345678" {
		t.Errorf("%v, %d, %q", ok, c, buf)
	}
}
