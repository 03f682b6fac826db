package schema

import "testing"

func TestVersionLayout(t *testing.T) {
	for _, c := range []struct {
		v    Version
		want int64
	}{
		{EmptyVersion(0, 0, Live), 0},
		{EmptyVersion(0, 0, Final), 3},
		{EmptyVersion(0, 1, Closed), 5},
		{EmptyVersion(0, 3_500_000_000, Holed), 14_000_000_002},
		{EmptyVersion(0, MaxVersionN, Final), 1<<56 - 1},
		{TradesVersion(0, 1, Live), 1<<56 + 4},
		{TradesVersion(0, 1000, Final), 72057594037931939},
		{TradesVersion(1, 1, Closed), 3<<56 + 5},
		{EmptyVersion(2, 7, Closed), 4<<56 + 29},
		{TradesVersion(MaxEra, MaxVersionN, Final), 1<<63 - 1},
	} {
		if int64(c.v) != c.want {
			t.Errorf("%d (era %d, n %d, %v), want %d", c.v, c.v.Era(), c.v.N(), c.v.Status(), c.want)
		}
	}
	if got := TradesVersion(0, 1000, Final).String(); got != "72057594037931939" {
		t.Error(got)
	}
}

// knowledge is what a version is made of, and how design promise 3 orders it:
// era, then any trades above none, then their number or the basis, then status.
type knowledge struct {
	era    uint8
	trades bool
	n      int64
	status Status
}

func (k knowledge) version() Version {
	if k.trades {
		return TradesVersion(k.era, k.n, k.status)
	}
	return EmptyVersion(k.era, k.n, k.status)
}

func (k knowledge) less(o knowledge) bool {
	switch {
	case k.era != o.era:
		return k.era < o.era
	case k.trades != o.trades:
		return o.trades
	case k.n != o.n:
		return k.n < o.n
	}
	return k.status < o.status
}

func TestVersionOrder(t *testing.T) {
	r := random(t)
	draw := func() knowledge {
		k := knowledge{uint8(r.IntN(MaxEra + 1)), r.IntN(2) == 0, int64(randomBits(r, 54)), Status(r.IntN(4))}
		if k.trades {
			k.n = max(k.n, 1)
		}
		return k
	}
	for range 20000 {
		a, b := draw(), draw()
		if r.IntN(2) == 0 { // near each other
			keep := a
			if f := r.IntN(4); f == 0 {
				keep.era = b.era
			} else if f == 1 {
				keep.trades, keep.n = b.trades, max(a.n, 1)
			} else if f == 2 {
				keep.n = max(b.n, 1)
			} else {
				keep.status = b.status
			}
			b = keep
		}
		v := a.version()
		if v < 0 {
			t.Fatalf("%+v has the version %d", a, v)
		}
		if back := (knowledge{v.Era(), v.HasTrades(), v.N(), v.Status()}); back != a {
			t.Fatalf("%+v comes back as %+v", a, back)
		}
		if (v < b.version()) != a.less(b) {
			t.Fatalf("%+v and %+v: versions %d and %d", a, b, v, b.version())
		}
	}
}

func TestStatusNames(t *testing.T) {
	for s := Live; s <= Final; s++ {
		if got, err := ParseStatus(s.String()); err != nil || got != s {
			t.Errorf("%v comes back as %v, %v", s, got, err)
		}
	}
	for _, name := range []string{"", "Final", "status(4)", "open"} {
		if s, err := ParseStatus(name); err == nil {
			t.Errorf("ParseStatus(%q) = %v", name, s)
		}
	}
	if got := Status(4).String(); got != "status(4)" {
		t.Error(got)
	}
}
