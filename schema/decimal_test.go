package schema

import (
	"errors"
	"math/big"
	"regexp"
	"strings"
	"testing"
)

func TestParseDecimal(t *testing.T) {
	for _, c := range []struct {
		text string
		want Decimal
		err  error
		form string
	}{
		{"0", Decimal{0, 0}, nil, "0"},
		{"0.0", Decimal{0, 0}, nil, "0"},
		{"00012.50", Decimal{125, 1}, nil, "12.5"},
		{"0.00841000", Decimal{841, 5}, nil, "0.00841"},
		{"61837.63000000", Decimal{6183763, 2}, nil, "61837.63"},
		{"23", Decimal{23, 0}, nil, "23"},
		{"23.", Decimal{}, ErrDecimalSyntax, ""},
		{"9223372036854775807", Decimal{1<<63 - 1, 0}, nil, "9223372036854775807"},
		{"9223372036854775808", Decimal{}, ErrOverflow, ""},
		{"922337203685.4775807", Decimal{1<<63 - 1, 7}, nil, "922337203685.4775807"},
		{"922337203685.4775808", Decimal{}, ErrOverflow, ""},
		{"100000000000.00000000", Decimal{100000000000, 0}, nil, "100000000000"},
		{"9223372036854775807.000000000000000000", Decimal{1<<63 - 1, 0}, nil, "9223372036854775807"},
		{"0.000000000001", Decimal{1, 12}, nil, "0.000000000001"},
		{"0.0000000000001", Decimal{}, ErrOverflow, ""},
		{"0.0000000000010", Decimal{1, 12}, nil, "0.000000000001"},
		{"", Decimal{}, ErrDecimalSyntax, ""},
		{".", Decimal{}, ErrDecimalSyntax, ""},
		{".5", Decimal{}, ErrDecimalSyntax, ""},
		{"1.2.3", Decimal{}, ErrDecimalSyntax, ""},
		{"-1", Decimal{}, ErrDecimalSyntax, ""},
		{"+1", Decimal{}, ErrDecimalSyntax, ""},
		{"1e3", Decimal{}, ErrDecimalSyntax, ""},
		{" 1", Decimal{}, ErrDecimalSyntax, ""},
		{"1,5", Decimal{}, ErrDecimalSyntax, ""},
		{"NaN", Decimal{}, ErrDecimalSyntax, ""},
		{"١", Decimal{}, ErrDecimalSyntax, ""},
		{strings.Repeat("0", 63) + "1", Decimal{1, 0}, nil, "1"},
		{strings.Repeat("0", 65), Decimal{}, ErrDecimalSyntax, ""},
	} {
		got, err := ParseDecimal([]byte(c.text))
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("ParseDecimal(%q) = %v, %v; want %v, %v", c.text, got, err, c.want, c.err)
		}
		if err == nil && got.String() != c.form {
			t.Errorf("ParseDecimal(%q) is written %q, want %q", c.text, got, c.form)
		}
	}
}

var decimalForm = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)

// checkParseDecimal compares ParseDecimal with math/big.
func checkParseDecimal(t *testing.T, text string) {
	t.Helper()
	d, err := ParseDecimal([]byte(text))
	if len(text) > 64 || !decimalForm.MatchString(text) {
		if !errors.Is(err, ErrDecimalSyntax) {
			t.Fatalf("%q: %v, %v; want a syntax error", text, d, err)
		}
		return
	}
	want, _ := new(big.Rat).SetString(text)
	mantissa, scale := shortest(want)
	if scale > MaxScale || !mantissa.IsInt64() {
		if !errors.Is(err, ErrOverflow) {
			t.Fatalf("%q: %v, %v; want an overflow", text, d, err)
		}
		return
	}
	if err != nil || d.rat().Cmp(want) != 0 || d != d.Canonical() {
		t.Fatalf("%q: %+v, %v", text, d, err)
	}
	if again, err := ParseDecimal([]byte(d.String())); err != nil || again != d {
		t.Fatalf("%q written as %q and read again is %+v, %v", text, d, again, err)
	}
}

func TestParseDecimalRandom(t *testing.T) {
	r := random(t)
	for range 10000 {
		text := []byte(randomDecimal(r).rat().FloatString(r.IntN(15)))
		if r.IntN(4) == 0 {
			text[r.IntN(len(text))] = "0123456789.-e "[r.IntN(14)]
		}
		checkParseDecimal(t, string(text))
	}
}

func FuzzParseDecimal(f *testing.F) {
	for _, s := range []string{"0", "61837.63000000", "9223372036854775807", "100000000000.00000000", "0.0000000000001", ".5", "1.", "1e3"} {
		f.Add(s)
	}
	f.Fuzz(checkParseDecimal)
}

func TestDecimalCmpRescaleAppend(t *testing.T) {
	r := random(t)
	for range 10000 {
		d, e := randomDecimal(r), randomDecimal(r)
		if r.IntN(4) == 0 { // equal values of unequal form
			if x, ok := d.Rescale(e.Scale); ok {
				e = x
			}
		}
		if got, want := d.Cmp(e), d.rat().Cmp(e.rat()); got != want {
			t.Fatalf("%+v.Cmp(%+v) = %d, want %d", d, e, got, want)
		}
		scale := uint8(r.IntN(MaxScale + 1))
		m := new(big.Rat).Mul(d.rat(), new(big.Rat).SetInt(power(int(scale))))
		got, ok := d.Rescale(scale)
		if want := m.IsInt() && m.Num().IsInt64(); ok != want {
			t.Fatalf("%+v.Rescale(%d) = %+v, %v; want %v", d, scale, got, ok, want)
		}
		if ok && (got.Scale != scale || got.rat().Cmp(d.rat()) != 0) {
			t.Fatalf("%+v.Rescale(%d) = %+v", d, scale, got)
		}
		_, places := shortest(d.rat())
		if got, want := d.String(), d.rat().FloatString(places); got != want {
			t.Fatalf("%+v is written %q, want %q", d, got, want)
		}
	}
}

func TestDecimalAllocatesNothing(t *testing.T) {
	d, e := Decimal{6183763000000, 8}, Decimal{6183763, 2}
	text := []byte("61837.63000000")
	buf := make([]byte, 0, 64)
	var c int
	noAllocs(t, "Cmp", func() { c += d.Cmp(e) })
	noAllocs(t, "Rescale", func() { e, _ = e.Rescale(2) })
	noAllocs(t, "Append", func() { buf = d.Append(buf[:0]) })
	noAllocs(t, "ParseDecimal", func() { d, _ = ParseDecimal(text) })
	if c != 0 || string(buf) != "61837.63" {
		t.Errorf("Cmp %d, Append %q", c, buf)
	}
}
