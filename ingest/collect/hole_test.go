package collect

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Holes are cut and removed as a plain set of ids would be, and each stretch is
// told once, when the last of its ids has come.
func TestHolesAgreeWithASet(t *testing.T) {
	one := &stretch{first: 10, last: 19, left: 10}
	two := &stretch{first: 30, last: 34, left: 5}
	var s holes
	s.add(hole{first: 30, last: 34, whole: two})
	s.add(hole{first: 10, last: 19, whole: one})
	ids := map[int64]bool{}
	for _, w := range []*stretch{one, two} {
		for id := w.first; id <= w.last; id++ {
			ids[id] = true
		}
	}
	text := func() string {
		var b strings.Builder
		for _, h := range s {
			fmt.Fprintf(&b, "%d-%d ", h.first, h.last)
		}
		return strings.TrimSpace(b.String())
	}
	if got := text(); got != "10-19 30-34" {
		t.Fatalf("added: %s", got)
	}
	for _, c := range []struct {
		cut         int64 // 0: none
		first, last int64
		want        string
		done        []*stretch
	}{
		{first: 14, last: 15, want: "10-13 16-19 30-34"},
		{cut: 18, first: 10, last: 10, want: "11-13 16-17 18-19 30-34"},
		{cut: 30, first: 34, last: 34, want: "11-13 16-17 18-19 30-33"},
		{first: 11, last: 13, want: "16-17 18-19 30-33"},
		{first: 16, last: 19, want: "30-33", done: []*stretch{one}},
		{first: 30, last: 33, want: "", done: []*stretch{two}},
	} {
		s.cut(c.cut)
		done := s.remove(c.first, c.last)
		for id := c.first; id <= c.last; id++ {
			delete(ids, id)
		}
		if got := text(); got != c.want || fmt.Sprint(done) != fmt.Sprint(c.done) {
			t.Errorf("removed %d to %d: %s, done %v, want %s, %v", c.first, c.last, got, done, c.want, c.done)
		}
		if n := s.missing(0, 100); n != int64(len(ids)) {
			t.Errorf("removed %d to %d: %d ids are missing, want %d", c.first, c.last, n, len(ids))
		}
	}
}

// A hole that was given up tells why, not what went wrong before.
func TestALostHoleTellsWhy(t *testing.T) {
	h := hole{trouble: "http 502"}
	h.lose("longer than 9 ids", time.Now())
	if h.why != "longer than 9 ids" || h.trouble != "" || !h.waived {
		t.Errorf("%+v", h)
	}
}
