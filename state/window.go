package state

import (
	"slices"
	"sort"

	"millrace/schema"
)

// window is one window with trades. Only windows that can still change stand in
// memory; the rest is in the store alone.
type window struct {
	start, end schema.Time
	fig        schema.Figures
	// changed is the offset of the record that changed what the window
	// publishes last; quiet the same for the run of empty windows before it.
	changed, quiet int64
	received       schema.Time // of its newest trade; not stored
	status         schema.Status
	// top is the last trade before the window where that has a higher id than
	// its own last: times fell as ids rose. Else it says nothing.
	top     basis
	dirty   bool
	unsaved bool // must be written, though nothing that it publishes changed
	// cut: the window before it is in the store alone, and all between the two
	// is proven.
	cut bool
	// gone: those that were right before it are forgotten. It stays cut.
	gone bool
	// proven: the run of empty windows before it is proven, so it stays as it is.
	proven bool
}

// foot is what the empty windows behind it stand on: of all trades up to its
// end the one with the highest id. So it only rises, whatever comes later, and
// their version with it; the window's own last trade would fall where a new
// window with lower ids comes between.
func (w *window) foot() basis {
	if w.top.id > w.fig.Last {
		return w.top
	}
	return basis{w.fig.Last, w.fig.Close}
}

// series is a symbol's windows of one period.
type series struct {
	period schema.Period
	win    []*window // by start
	// kept is how many windows the store has: one that lost some must be seen.
	kept int64
	// tail is the offset of the record that changed the run of empty windows
	// behind the newest window last.
	tail int64
	// since: windows that start at or before it are not kept (the period was
	// switched on when the symbol had reached it). first is the last trade
	// before those that are.
	since schema.Time
	first basis
	// Empty windows that start in [from, to) may have changed in this
	// micro-batch.
	from, to schema.Time
	free     []*window
}

// find gives the place of the first window that starts at or after start.
func (r *series) find(start schema.Time) int {
	n := len(r.win)
	if n == 0 || r.win[n-1].start < start {
		return n
	}
	if r.win[n-1].start == start {
		return n - 1
	}
	return sort.Search(n, func(i int) bool { return r.win[i].start >= start })
}

// touch notes that empty windows in [from, to) may have changed.
func (r *series) touch(from, to schema.Time) {
	if r.from >= r.to {
		r.from, r.to = from, to
		return
	}
	r.from, r.to = min(r.from, from), max(r.to, to)
}

// insert makes a window at place i.
func (r *series) insert(i int, start, end schema.Time) *window {
	var w *window
	if n := len(r.free); n > 0 {
		w, r.free = r.free[n-1], r.free[:n-1]
		*w = window{}
	} else {
		w = new(window)
	}
	w.start, w.end = start, end
	r.win = append(r.win, nil)
	copy(r.win[i+1:], r.win[i:])
	r.win[i] = w
	return w
}

// cut takes the windows that start in [from, to) out of memory, and gives the
// place of the next one.
func (r *series) cut(from, to schema.Time) int {
	i, j := r.find(from), r.find(to)
	r.win = slices.Delete(r.win, i, j)
	return i
}

// drop takes the windows for which cold reports true out of memory.
func (r *series) drop(cold func(i int) bool) {
	kept, cut := r.win[:0], false
	for i, w := range r.win {
		if cold(i) {
			r.free = append(r.free, w)
			cut = true
			continue
		}
		if cut {
			w.cut, cut = true, false
		}
		kept = append(kept, w)
	}
	r.win = kept
}
