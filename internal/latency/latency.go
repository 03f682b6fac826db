// Package latency counts how long things took, cheaply and from any goroutine.
package latency

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Buckets double every four: a value is known to within a quarter, from 1 µs to
// about 12 days, in a kilobyte.
const (
	perOctave = 4
	octaves   = 40
)

// Histogram counts durations. The zero one is empty and ready.
type Histogram struct {
	counts [octaves * perOctave]atomic.Uint64
	sum    atomic.Int64 // µs
}

// bucketOf gives the bucket of a value in µs: two bits behind its highest one.
func bucketOf(us int64) int {
	if us < perOctave {
		return int(max(us, 0)) // the first values have a bucket each
	}
	octave := bits.Len64(uint64(us)) - 1
	return min((octave-1)*perOctave+int(us>>(octave-2)&3), octaves*perOctave-1)
}

// upper gives the least value, in µs, beyond bucket i.
func upper(i int) int64 {
	if i < perOctave {
		return int64(i) + 1
	}
	octave := i/perOctave + 1
	return int64(perOctave+i%perOctave+1) << (octave - 2)
}

// Observe counts d; a negative one, of two clocks that disagree, as 0.
func (h *Histogram) Observe(d time.Duration) {
	us := max(d.Microseconds(), 0)
	h.counts[bucketOf(us)].Add(1)
	h.sum.Add(us)
}

// Snapshot gives what was counted so far. It is not of one moment.
func (h *Histogram) Snapshot() Snapshot {
	s := Snapshot{Sum: time.Duration(h.sum.Load()) * time.Microsecond}
	for i := range h.counts {
		if n := h.counts[i].Load(); n > 0 {
			s.Count += n
			s.Buckets = append(s.Buckets, Bucket{time.Duration(upper(i)) * time.Microsecond, n})
		}
	}
	return s
}

// Snapshot is what a Histogram held at a moment.
type Snapshot struct {
	Count   uint64
	Sum     time.Duration
	Buckets []Bucket // those that are not empty, the fastest first
}

// Bucket counts the durations below Below and not below the bucket before.
type Bucket struct {
	Below time.Duration
	Count uint64
}

// Quantile gives a duration below which the share q (0 to 1) of all lie; it is
// at most a quarter too long. 0 if there are none.
func (s Snapshot) Quantile(q float64) time.Duration {
	want, seen := uint64(q*float64(s.Count)), uint64(0)
	for _, b := range s.Buckets {
		if seen += b.Count; seen > want || seen == s.Count {
			return b.Below
		}
	}
	return 0
}

// Merge gives what both counted.
func (s Snapshot) Merge(o Snapshot) Snapshot {
	m := Snapshot{Count: s.Count + o.Count, Sum: s.Sum + o.Sum}
	a, b := s.Buckets, o.Buckets
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Below < b[0].Below:
			m.Buckets, a = append(m.Buckets, a[0]), a[1:]
		case len(a) == 0 || b[0].Below < a[0].Below:
			m.Buckets, b = append(m.Buckets, b[0]), b[1:]
		default:
			m.Buckets = append(m.Buckets, Bucket{a[0].Below, a[0].Count + b[0].Count})
			a, b = a[1:], b[1:]
		}
	}
	return m
}

// Octaves gives, for a microsecond doubled from, from+1, … to times, how many
// durations lie below it. These bounds are bounds of buckets too, so the figures
// are exact.
func (s Snapshot) Octaves(from, to int) []Bucket {
	all := make([]Bucket, 0, to-from+1)
	i, below := 0, uint64(0)
	for k := from; k <= to; k++ {
		bound := time.Microsecond << k
		for ; i < len(s.Buckets) && s.Buckets[i].Below <= bound; i++ {
			below += s.Buckets[i].Count
		}
		all = append(all, Bucket{bound, below})
	}
	return all
}
