package schema

import "time"

// Time is a moment in microseconds since the Unix epoch, UTC. Every time in the
// log and in the state is one; Binance's milliseconds become it on the way in,
// Kafka's, SQL's and NATS's times are made of it on the way out.
type Time int64

const (
	Millisecond Time = 1000
	Second           = 1000 * Millisecond
	Minute           = 60 * Second
	Hour             = 60 * Minute
	Day              = 24 * Hour
)

// MinTime and MaxTime lie outside of everything: "since ever" and "never".
const (
	MinTime Time = -1 << 62
	MaxTime Time = 1 << 62
)

// plausible reports whether t, read from outside, lies within MinTime and
// MaxTime. The difference of such a time and that of a trade never overflows.
func (t Time) plausible() bool { return t >= MinTime && t <= MaxTime }

// FromMillis makes a Time of milliseconds since the epoch. What lies beyond
// MinTime and MaxTime becomes them, so that no wrong input wraps into a right
// time.
func FromMillis(ms int64) Time {
	return Time(min(max(ms, int64(MinTime/Millisecond)), int64(MaxTime/Millisecond))) * Millisecond
}

// FromStd makes a Time of t.
func FromStd(t time.Time) Time { return Time(t.UnixMicro()) }

// Millis gives whole milliseconds since the epoch, rounded down.
func (t Time) Millis() int64 { return int64(floor(t, Millisecond) / Millisecond) }

// Std gives t as a time.Time in UTC.
func (t Time) Std() time.Time { return time.UnixMicro(int64(t)).UTC() }

// String gives t in RFC 3339, UTC.
func (t Time) String() string { return t.Std().Format("2006-01-02T15:04:05.999999Z07:00") }

// floor rounds t down to a multiple of unit, also below zero.
func floor(t, unit Time) Time {
	r := t % unit
	if r < 0 {
		r += unit
	}
	return t - r
}

// duration gives t, a length of time, as a time.Duration.
func (t Time) duration() time.Duration { return time.Duration(t) * time.Microsecond }
