package state

import "millrace/schema"

// interval is a stretch of trade ids, all applied. minT and maxT are the lowest
// and the highest trade time in it. Both move outwards only, so what an
// interval once proved it proves for ever.
type interval struct {
	first, last int64
	minT, maxT  schema.Time
	// firstT and lastT are the times of the trades first and last: ids order
	// trades, their times may fall by a little as ids rise.
	firstT, lastT schema.Time
	// found is the log's time at which the hole before this interval appeared;
	// open is set once that hole is old enough to be a gap. Of the first
	// interval both mean nothing.
	found schema.Time
	open  bool
}

// intervals are a symbol's applied ids, by id: nearly always one.
type intervals []interval

// overlap tells how many of the ids first to last are applied.
func (v intervals) overlap(first, last int64) int64 {
	var n int64
	for i := len(v) - 1; i >= 0 && v[i].last >= first; i-- {
		if v[i].first <= last {
			n += min(last, v[i].last) - max(first, v[i].first) + 1
		}
	}
	return n
}

// anew reports whether a trade of that id can't be of these ids: the ones right
// behind it, or around it, are older. t is its time less a bound.
func (v intervals) anew(id int64, t schema.Time) bool {
	i := len(v)
	for i > 0 && v[i-1].last >= id {
		i--
	}
	switch {
	case i == len(v):
		return false
	case v[i].first > id:
		return t > v[i].firstT
	}
	return t > v[i].maxT
}

// insert adds the ids first to last, none of which is applied. now is the log's
// time. filled tells whether they lay in a hole that is an open gap, and since
// when that was known.
func (v *intervals) insert(first, last int64, t, now schema.Time) (found schema.Time, filled bool) {
	s := *v
	i := len(s) // the place of the interval behind
	for i > 0 && s[i-1].first > last {
		i--
	}
	left := i > 0 && s[i-1].last+1 == first
	right := i < len(s) && last+1 == s[i].first
	if i > 0 && i < len(s) {
		found, filled = s[i].found, s[i].open
	} else {
		found = now
	}
	switch {
	case left && right:
		l, r := &s[i-1], &s[i]
		l.last, l.lastT, l.minT, l.maxT = r.last, r.lastT, min(l.minT, r.minT, t), max(l.maxT, r.maxT, t)
		*v = append(s[:i], s[i+1:]...)
	case left:
		l := &s[i-1]
		l.last, l.lastT, l.minT, l.maxT = last, t, min(l.minT, t), max(l.maxT, t)
	case right:
		r := &s[i]
		r.first, r.firstT, r.minT, r.maxT = first, t, min(r.minT, t), max(r.maxT, t)
	default:
		if i == 0 && len(s) > 0 { // a hole appears before what was the first
			s[0].found, s[0].open = now, false
		}
		s = append(s, interval{})
		copy(s[i+1:], s[i:])
		s[i] = interval{first, last, t, t, t, t, found, filled}
		*v = s
	}
	return found, filled
}
