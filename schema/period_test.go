package schema

import (
	"testing"
	"time"
)

func at(t testing.TB, text string) Time {
	t.Helper()
	v, err := time.Parse("2006-01-02T15:04:05.999999Z07:00", text)
	if err != nil {
		t.Fatal(err)
	}
	return FromStd(v)
}

func TestCalendar(t *testing.T) {
	anchored := Calendar{ThreeDay: at(t, "2017-08-17T00:00:00Z")}
	for _, c := range []struct {
		cal            Calendar
		period         Period
		t, start, end_ string
	}{
		{Calendar{}, P1s, "2024-08-08T23:59:59.999999Z", "2024-08-08T23:59:59Z", "2024-08-09T00:00:00Z"},
		{Calendar{}, P1m, "2024-08-08T23:59:00Z", "2024-08-08T23:59:00Z", "2024-08-09T00:00:00Z"},
		{Calendar{}, P3m, "2024-08-08T00:05:59Z", "2024-08-08T00:03:00Z", "2024-08-08T00:06:00Z"},
		{Calendar{}, P15m, "2024-08-08T13:14:59Z", "2024-08-08T13:00:00Z", "2024-08-08T13:15:00Z"},
		{Calendar{}, P6h, "2024-08-08T23:00:00Z", "2024-08-08T18:00:00Z", "2024-08-09T00:00:00Z"},
		{Calendar{}, P8h, "2024-08-08T15:59:59Z", "2024-08-08T08:00:00Z", "2024-08-08T16:00:00Z"},
		{Calendar{}, P1d, "2024-02-29T12:00:00Z", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"},
		{Calendar{}, P1M, "2024-02-29T23:59:59.999999Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"},
		{Calendar{}, P1M, "2023-02-28T23:59:59Z", "2023-02-01T00:00:00Z", "2023-03-01T00:00:00Z"},
		{Calendar{}, P1M, "2024-12-31T23:59:59Z", "2024-12-01T00:00:00Z", "2025-01-01T00:00:00Z"},
		{Calendar{}, P1M, "1969-12-31T23:59:59Z", "1969-12-01T00:00:00Z", "1970-01-01T00:00:00Z"},
		{Calendar{}, P1M, "1900-02-28T23:59:59Z", "1900-02-01T00:00:00Z", "1900-03-01T00:00:00Z"}, // no leap year
		{Calendar{}, P1w, "2024-08-08T12:00:00Z", "2024-08-05T00:00:00Z", "2024-08-12T00:00:00Z"}, // Thursday to Monday
		{Calendar{}, P1w, "2024-08-04T23:59:59Z", "2024-07-29T00:00:00Z", "2024-08-05T00:00:00Z"}, // Sunday
		{Calendar{}, P1w, "2024-12-31T00:00:00Z", "2024-12-30T00:00:00Z", "2025-01-06T00:00:00Z"}, // over a new year
		{Calendar{}, P1w, "1970-01-01T00:00:00Z", "1969-12-29T00:00:00Z", "1970-01-05T00:00:00Z"}, // a start below zero
		{Calendar{}, P1m, "1969-12-31T23:59:59.5Z", "1969-12-31T23:59:00Z", "1970-01-01T00:00:00Z"},
		{Calendar{}, P3d, "1970-01-03T23:00:00Z", "1970-01-01T00:00:00Z", "1970-01-04T00:00:00Z"},
		{Calendar{}, P3d, "1969-12-31T00:00:00Z", "1969-12-29T00:00:00Z", "1970-01-01T00:00:00Z"},
		{anchored, P3d, "2017-08-17T00:00:00Z", "2017-08-17T00:00:00Z", "2017-08-20T00:00:00Z"},
		{anchored, P3d, "2017-08-16T23:59:59Z", "2017-08-14T00:00:00Z", "2017-08-17T00:00:00Z"},
		{anchored, P3d, "2024-02-29T00:00:00Z", "2024-02-27T00:00:00Z", "2024-03-01T00:00:00Z"},
	} {
		start := c.cal.Start(c.period, at(t, c.t))
		if start != at(t, c.start) {
			t.Errorf("%v at %s starts %v, want %s", c.period, c.t, start, c.start)
		}
		if end := c.cal.End(c.period, start); end != at(t, c.end_) {
			t.Errorf("%v at %s ends %v, want %s", c.period, c.t, end, c.end_)
		}
	}
}

func TestCalendarProperties(t *testing.T) {
	r := random(t)
	for range 8000 {
		cal := Calendar{ThreeDay: Time(r.Int64N(40000)-20000) * Day}
		at := Time(r.Int64N(int64(160*365*Day))) - 60*365*Day
		p := Period(1 + r.IntN(NumPeriods))
		start := cal.Start(p, at)
		end := cal.End(p, start)
		if start > at || at >= end {
			t.Fatalf("%v of %v: [%v, %v)", p, at, start, end)
		}
		if got := cal.Start(p, start); got != start {
			t.Fatalf("%v: the start of the start %v is %v", p, start, got)
		}
		if got := cal.Start(p, end); got != end {
			t.Fatalf("%v: the end %v is no start but within %v", p, end, got)
		}
		if got := cal.Start(p, end-1); got != start {
			t.Fatalf("%v: the last moment before %v is in the window of %v, not %v", p, end, got, start)
		}
		if p == P3d && (start-cal.ThreeDay)%(3*Day) != 0 {
			t.Fatalf("the window of 3d at %v isn't whole windows from %v", start, cal.ThreeDay)
		}
		if p == P1w && start.Std().Weekday() != time.Monday {
			t.Fatalf("a week starts on %v", start.Std().Weekday())
		}
		// Walk some windows on: Count must tell how many.
		n, to := r.Int64N(40), start
		for range n {
			to = cal.End(p, to)
		}
		if got := cal.Count(p, start, to); got != n {
			t.Fatalf("%v: %d windows from %v to %v, want %d", p, got, start, to, n)
		}
		if got := cal.Count(p, to, start); got != 0 {
			t.Fatalf("%v: %d windows backwards", p, got)
		}
	}
}

// TestNests walks over 62 days: Nests must tell exactly the pairs in which each
// edge of a larger window is an edge of a smaller one.
func TestNests(t *testing.T) {
	cal := Calendar{ThreeDay: at(t, "2017-08-17T00:00:00Z")}
	from := at(t, "2024-01-29T00:00:00Z")
	for p := P1s; p <= P1M; p++ {
		for larger := P1s; larger <= P1M; larger++ {
			want := true
			for s := cal.Start(larger, from); s < from+62*Day && want; s = cal.End(larger, s) {
				want = p <= larger && cal.Start(p, s) == s
				if larger < P1h && s > from+Day {
					break // the small ones repeat each day
				}
			}
			if got := p.Nests(larger); got != want {
				t.Errorf("%v nests in %v: %v, want %v", p, larger, got, want)
			}
		}
		if p > P1m && !P1m.Nests(p) {
			t.Errorf("%v can't be merged from minutes", p)
		}
	}
}

func TestPeriodNames(t *testing.T) {
	files := map[string]bool{}
	for p := P1s; p <= P1M; p++ {
		if got, err := ParsePeriod(p.String()); err != nil || got != p {
			t.Errorf("%v comes back as %v, %v", p, got, err)
		}
		files[p.FileName()] = true
	}
	if len(files) != NumPeriods || !files["1mo"] || files["1M"] {
		t.Errorf("file names: %v", files)
	}
	if P1m != 2 || P1d != 13 || P1M != 16 {
		t.Error("a period's number is part of the formats and has moved")
	}
	for _, name := range []string{"", "1", "1S", "1D", "60m", "1mo", "2m", "period(0)"} {
		if p, err := ParsePeriod(name); err == nil {
			t.Errorf("ParsePeriod(%q) = %v", name, p)
		}
	}
	if Period(0).Valid() || Period(17).Valid() || Period(17).String() != "period(17)" {
		t.Error("0 and 17 are no periods")
	}
}

func TestTime(t *testing.T) {
	for _, c := range []struct {
		t      Time
		millis int64
		text   string
	}{
		{0, 0, "1970-01-01T00:00:00Z"},
		{-1, -1, "1969-12-31T23:59:59.999999Z"},
		{1999, 1, "1970-01-01T00:00:00.001999Z"},
		{FromMillis(1_723_075_200_123), 1_723_075_200_123, "2024-08-08T00:00:00.123Z"},
	} {
		if c.t.Millis() != c.millis || c.t.String() != c.text || FromStd(c.t.Std()) != c.t {
			t.Errorf("%d: %d ms, %v", int64(c.t), c.t.Millis(), c.t)
		}
	}
	// No number of milliseconds may wrap into a time that looks right.
	for _, ms := range []int64{1 << 62, -1 << 62, 1<<63 - 1, -1 << 63, 1 << 61, 18446744073709551} {
		if got := FromMillis(ms); ms > 0 && got < 1<<53 || ms < 0 && got > 0 || !got.plausible() {
			t.Errorf("%d ms are %d µs", ms, int64(got))
		}
	}
}
