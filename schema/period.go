package schema

import (
	"fmt"
	"time"
)

// Period is one of Binance's sixteen kline intervals, the smallest first.
// Its number is part of the durable formats.
type Period uint8

const (
	P1s Period = iota + 1
	P1m
	P3m
	P5m
	P15m
	P30m
	P1h
	P2h
	P4h
	P6h
	P8h
	P12h
	P1d
	P3d
	P1w
	P1M
)

// NumPeriods is the number of periods; valid ones are 1 to NumPeriods.
const NumPeriods = 16

var periodNames = [NumPeriods + 1]string{"", "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"}

// periodUnits is each fixed period's length; a month has none.
var periodUnits = [NumPeriods + 1]Time{0, Second, Minute, 3 * Minute, 5 * Minute, 15 * Minute, 30 * Minute,
	Hour, 2 * Hour, 4 * Hour, 6 * Hour, 8 * Hour, 12 * Hour, Day, 3 * Day, 7 * Day, 0}

// monday is the first Monday after the epoch, from which weeks are counted.
const monday = 4 * Day

// ParsePeriod reads Binance's name of a period. Case matters: 1m is a minute,
// 1M a month.
func ParsePeriod(s string) (Period, error) {
	for p := P1s; p <= P1M; p++ {
		if periodNames[p] == s {
			return p, nil
		}
	}
	return 0, fmt.Errorf("unknown period %q: Binance has 1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M", s)
}

// Valid reports whether p is one of the sixteen.
func (p Period) Valid() bool { return p >= P1s && p <= P1M }

// String gives Binance's name.
func (p Period) String() string {
	if !p.Valid() {
		return fmt.Sprintf("period(%d)", uint8(p))
	}
	return periodNames[p]
}

// FileName gives the name in paths of Binance's public dumps and in SQL views,
// where case may not matter: a month is 1mo.
func (p Period) FileName() string {
	if p == P1M {
		return "1mo"
	}
	return p.String()
}

// Nests reports whether every window of the larger period is made of whole
// windows of p, so that its figures can be merged from theirs. 3m and 5m do not
// nest, nor do weeks in a month.
func (p Period) Nests(larger Period) bool {
	switch {
	case p == larger:
		return true
	case larger == P1M:
		return p <= P1d
	}
	return p < larger && periodUnits[larger]%periodUnits[p] == 0
}

// Calendar aligns windows. Windows start at UTC midnight or at a multiple of
// their length from it, weeks on Mondays, months on their first day.
type Calendar struct {
	// ThreeDay is any midnight at which a window of 3d starts. Binance documents
	// none, so it is a setting; zero counts from the epoch.
	ThreeDay Time
}

// Start gives the start of the window of period p that holds t.
func (c Calendar) Start(p Period, t Time) Time {
	switch p {
	case P1M:
		y, m, _ := t.Std().Date()
		return FromStd(time.Date(y, m, 1, 0, 0, 0, 0, time.UTC))
	case P1w:
		return floor(t-monday, 7*Day) + monday
	case P3d:
		off := c.ThreeDay - floor(c.ThreeDay, 3*Day)
		return floor(t-off, 3*Day) + off
	}
	return floor(t, periodUnits[p])
}

// End gives the end (exclusive) of the window of period p that starts at start.
func (c Calendar) End(p Period, start Time) Time {
	if p == P1M {
		y, m, _ := start.Std().Date()
		return FromStd(time.Date(y, m+1, 1, 0, 0, 0, 0, time.UTC))
	}
	return start + periodUnits[p]
}

// Count gives the number of windows of period p in [from, to); both must be
// starts of windows.
func (c Calendar) Count(p Period, from, to Time) int64 {
	if to <= from {
		return 0
	}
	if p == P1M {
		a, b := from.Std(), to.Std()
		return int64(b.Year()-a.Year())*12 + int64(b.Month()) - int64(a.Month())
	}
	return int64((to - from) / periodUnits[p])
}
