package collect

import (
	"slices"
	"time"

	"millrace/schema"
)

// hole is a stretch of a symbol's ids that were not seen. It shrinks as they
// come, and splits where they come in its middle.
type hole struct {
	first, last int64
	// after is the time of the trade before it, 0 if that is not known.
	after schema.Time
	// before is the time of the trade behind it, 0 if that is not known.
	before schema.Time
	// dump says that REST doesn't have it, so that only a dump can bring it.
	dump bool
	// since is from when on the log may have it, brought by another ingestor;
	// zero once it was looked for there.
	since time.Time
	// parked: it is due again once the dump that is being read is done with.
	parked bool
	// cursor is the aggregate to go on from, −1 before the first page.
	cursor int64
	// singles says that aggregates don't fit and single trades are needed.
	singles bool
	// foreign holes are the processor's: this process has seen these ids, or
	// never watched for them. No mark waits for them.
	foreign bool
	// waived says that marks wait for it no more: it can't be had now, or took
	// too long.
	waived bool
	tries  int
	due    time.Time // of the next try
	why    string    // why it can't be had; "" while it may
	whole  *stretch
	// trouble is why the last call for it failed, which will be made again; ""
	// if it did not.
	trouble string
}

// stretch is a hole as it was found, of which the pieces are told as one.
type stretch struct {
	first, last int64
	left        int64
	found       time.Time
	history     bool // it lies before all that this process has seen
	routine     bool // nothing was missed: polling finds what is new so
	// since is the history's boundary where the stretch is a new symbol's
	// history of a day or longer: then its whole days come from dumps, however
	// few ids they hold.
	since schema.Time
	// days are those whose dumps have been tried, with when they may be again;
	// zero is never, since all that the dump has of the stretch was handed over.
	days map[schema.Time]time.Time
}

const (
	// grace is how long ids may come late, in another order, before they are
	// fetched.
	grace = 150 * time.Millisecond
	// elsewhereMost is how long a hole waits for the look into the log.
	elsewhereMost = 2 * time.Second
	// holdMax is how long marks wait for a hole.
	holdMax = 10 * time.Minute
	// holeMax is the longest hole that is fetched by REST, by default; longer
	// ones wait for a dump.
	holeMax = 1_000_000
	// lostRetry is after how long what couldn't be had is asked for again.
	lostRetry = 10 * time.Minute
	// lostAfter is how many answers without an id that must exist make it lost.
	lostAfter = 6
)

func (h *hole) count() int64 { return h.last - h.first + 1 }

// backoff sets the next try after a failed one.
func (h *hole) backoff(now time.Time) {
	h.due = now.Add(min(100*time.Millisecond<<min(h.tries, 10), 20*time.Second))
	h.tries++
}

// lose notes why the hole can't be had. It is tried again much later.
func (h *hole) lose(why string, now time.Time) {
	h.why, h.waived, h.trouble, h.due = why, true, "", now.Add(lostRetry)
}

// holes are a symbol's, by id: nearly always none.
type holes []hole

// missing tells how many of the ids first to last are in holes.
func (s holes) missing(first, last int64) (n int64) {
	for i := range s {
		if h := &s[i]; h.first <= last && first <= h.last {
			n += min(last, h.last) - max(first, h.first) + 1
		}
	}
	return n
}

// cut sees to it that no hole reaches over the place before an id.
func (s *holes) cut(at int64) {
	for i, h := range *s {
		if h.first < at && at <= h.last {
			left, right := h, h
			left.last, right.first = at-1, at
			*s = slices.Replace(*s, i, i+1, left, right)
			return
		}
	}
}

// remove takes the ids first to last out, which lie within holes, and gives the
// stretches that are whole now.
func (s *holes) remove(first, last int64) (done []*stretch) {
	s.cut(first)
	s.cut(last + 1)
	*s = slices.DeleteFunc(*s, func(h hole) bool {
		if h.last < first || last < h.first {
			return false
		}
		if h.whole.left -= h.count(); h.whole.left == 0 {
			done = append(done, h.whole)
		}
		return true
	})
	return done
}

// add puts a hole in its place; none of its ids is in one already.
func (s *holes) add(h hole) {
	i := len(*s)
	for i > 0 && (*s)[i-1].first > h.last {
		i--
	}
	*s = slices.Insert(*s, i, h)
}

// at finds the hole that begins with an id; nil if it is gone.
func (s holes) at(first int64) *hole {
	for i := range s {
		if s[i].first == first {
			return &s[i]
		}
	}
	return nil
}

// next gives the hole to be worked on first: of those due the shortest, since
// a long history must not hold up a second's gap; else the one due soonest.
func (s holes) next(now time.Time) (h hole, wait time.Duration, ok bool) {
	best := -1
	for i := range s {
		x := &s[i]
		if best < 0 {
			best = i
			continue
		}
		b := &s[best]
		xd, bd := !x.due.After(now), !b.due.After(now)
		if xd && (!bd || x.count() < b.count()) || !xd && !bd && x.due.Before(b.due) {
			best = i
		}
	}
	if best < 0 {
		return hole{}, 0, false
	}
	return s[best], max(s[best].due.Sub(now), 0), true
}

// wait reports whether marks must wait for any.
func (s holes) wait() bool {
	for i := range s {
		if !s[i].foreign && !s[i].waived {
			return true
		}
	}
	return false
}
