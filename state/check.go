package state

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"millrace/schema"
)

// FormatVersion is the version of the rows that this program writes, and the
// newest that it reads.
const FormatVersion = rowVersion

// Check reads every row of the view and holds it against the others: each has
// its form and belongs to a symbol, nothing is there twice or missing, what an
// interval of ids says agrees with what windows have counted. The error says
// which row is wrong, and wraps ErrDamaged.
//
// What it can't find is a row that is wrong and yet agrees with all others;
// against that stands the hash of the file it is in.
func (v *View) Check() error {
	p := v.p
	err := p.all(func(y *symbol) error {
		if err := p.checkSymbol(y); err != nil {
			return fmt.Errorf("%w: %s: %w", errDamaged, y, err)
		}
		return nil
	})
	if err != nil {
		return v.explain(err)
	}
	return v.explain(errors.Join(v.checkOthers(), v.checkWindows()))
}

// checkSymbol holds a symbol's row against itself and the position.
func (p *Partition) checkSymbol(y *symbol) error {
	var ids int64
	for i, x := range y.applied {
		switch {
		case x.first < 0 || x.last < x.first:
			return fmt.Errorf("an interval of ids from %d to %d", x.first, x.last)
		case i > 0 && x.first <= y.applied[i-1].last+1:
			return fmt.Errorf("the interval from id %d touches the one that ends at %d", x.first, y.applied[i-1].last)
		case x.minT > x.maxT || x.firstT < x.minT || x.firstT > x.maxT || x.lastT < x.minT || x.lastT > x.maxT:
			return fmt.Errorf("the interval from id %d has times out of order", x.first)
		case x.maxT > y.newest:
			return fmt.Errorf("the interval from id %d is newer than the newest trade", x.first)
		}
		ids += x.last - x.first + 1
	}
	if ids != y.count {
		return fmt.Errorf("its intervals have %d ids, it counts %d", ids, y.count)
	}
	if !slices.IsSortedFunc(y.anchors, func(a, b schema.Anchor) int { return cmp.Compare(a.ID, b.ID) }) {
		return errors.New("anchors out of order")
	}
	if y.gapChanged > p.pos.Offset {
		return fmt.Errorf("its gaps changed at %d, beyond the position %d", y.gapChanged, p.pos.Offset)
	}
	for _, spans := range [][]span{y.cover, y.breaks} {
		for i, s := range spans {
			if s.from > s.to || i > 0 && s.from < spans[i-1].from {
				return errors.New("spans of time out of order")
			}
		}
	}
	if err := p.checkEras(y); err != nil {
		return err
	}
	had := map[schema.Period]bool{}
	for _, r := range y.series {
		if had[r.period] || !slices.Contains(p.settings.Periods, r.period) {
			return fmt.Errorf("a series of %v that the settings do not have, or have once", r.period)
		}
		had[r.period] = true
		if r.kept < 0 || r.tail > p.pos.Offset {
			return fmt.Errorf("the series of %v has %d windows and changed at %d, the position is %d", r.period, r.kept, r.tail, p.pos.Offset)
		}
	}
	if len(had) != len(p.settings.Periods) {
		return fmt.Errorf("it has %d series, the settings have %d periods", len(had), len(p.settings.Periods))
	}
	return nil
}

// checkEras holds a symbol against the others of its name.
func (p *Partition) checkEras(y *symbol) error {
	now := p.symbols[y.name]
	switch {
	case now == nil || now.former || now.repair != nil:
		return errors.New("no id series is at hand")
	case y.era > now.granted || y != now && (y.repair == nil) != y.former:
		return fmt.Errorf("the era %d, the highest is %d", y.era, now.granted)
	case y.former && (y.floor > now.floor || y.begins > now.begins || len(y.watches) > 0):
		return fmt.Errorf("its series has ended, and the next one begins before it")
	case y.repair == nil:
		return nil
	}
	q := y.repair
	whole := len(y.applied) == 1 && y.applied[0].first == q.first && y.applied[0].last == q.last && y.proven(q.from, q.to)
	if q.from >= q.to || q.first < 0 || q.last < q.first || q.shown >= p.pos.Offset || whole != (q.shown >= 0) {
		return fmt.Errorf("a repair from %v to %v of the ids %d to %d, shown at %d", q.from, q.to, q.first, q.last, q.shown)
	}
	return nil
}

// checkWindows goes through all windows once, in stretches of symbols beside one
// another: it is what a restore takes longest at. Of what it finds the first is
// told.
func (v *View) checkWindows() error {
	names := v.p.ids()
	n := max(1, min(runtime.GOMAXPROCS(0), len(names)))
	found := make([]error, n)
	var all sync.WaitGroup
	from := []byte{windowPrefix}
	for i := range n {
		mine := names[i*len(names)/n : (i+1)*len(names)/n]
		to := []byte{windowPrefix + 1}
		if i+1 < n {
			to = append([]byte{windowPrefix}, names[(i+1)*len(names)/n]...)
		}
		lo := from
		all.Go(func() { found[i] = v.checkStretch(mine, lo, to) })
		from = to
	}
	all.Wait()
	for _, err := range found {
		if err != nil {
			return err
		}
	}
	return nil
}

// tally is what was met of a series.
type tally struct {
	windows, trades int64
	gone            bool // a window that follows what is forgotten
}

// checkStretch holds each window between two keys against its symbol's ids, and
// what there is in all against what the symbols count.
func (v *View) checkStretch(names []string, from, to []byte) error {
	met := map[*series]*tally{}
	for _, name := range names {
		for _, r := range v.p.byID(name).series {
			met[r] = &tally{}
		}
	}
	var y *symbol // of the series r
	var r *series
	var t *tally
	var lead []byte // of the keys of its rows
	var w window
	err := scan(v.snap, from, to, func(key, row []byte) error {
		if r == nil || len(key) != len(lead)+8 || !bytes.HasPrefix(key, lead) {
			if y, r = v.seriesOf(key); r == nil || met[r] == nil {
				return unknown(key)
			}
			t, lead = met[r], append(lead[:0], key[:len(key)-8]...)
		}
		w = window{start: windowStart(key)}
		err := w.decode(row)
		if err == nil {
			err = v.checkWindow(y, r, &w)
		}
		if err != nil {
			return fmt.Errorf("%w: %s %v %v: %w", errDamaged, y, r.period, w.start, err)
		}
		t.windows++
		t.trades += w.fig.Trades
		t.gone = t.gone || w.gone
		return nil
	})
	for _, name := range names {
		y := v.p.byID(name)
		for _, r := range y.series {
			t := met[r]
			switch whole := r.since == noTime && !t.gone; {
			case err != nil:
				return err
			case t.windows != r.kept:
				return fmt.Errorf("%w: %s has %d windows of %v, wanted %d", errDamaged, y, t.windows, r.period, r.kept)
			case whole && t.trades != y.count, t.trades > y.count:
				return fmt.Errorf("%w: the windows of %s of %v have %d trades, it counts %d", errDamaged, y, r.period, t.trades, y.count)
			}
		}
	}
	return err
}

// seriesOf gives whose a window's row is; nil if nothing knows of it.
func (v *View) seriesOf(key []byte) (*symbol, *series) {
	name, rest, ok := bytes.Cut(key[1:], []byte{0})
	y := v.p.byID(string(name))
	if !ok || y == nil || len(rest) != 9 {
		return nil, nil
	}
	for _, r := range y.series {
		if r.period == schema.Period(rest[0]) {
			return y, r
		}
	}
	return nil, nil
}

func unknown(key []byte) error {
	return fmt.Errorf("%w: a row with the key %x, which nothing knows of", errDamaged, key)
}

func (v *View) checkWindow(y *symbol, r *series, w *window) error {
	f := &w.fig
	switch {
	case v.p.cal.Start(r.period, w.start) != w.start:
		return errors.New("no window of this period starts then")
	case w.changed >= v.p.pos.Offset || w.quiet >= v.p.pos.Offset:
		return fmt.Errorf("it changed at %d, beyond the position %d", max(w.changed, w.quiet), v.p.pos.Offset)
	case f.Trades <= 0 || f.Last-f.First+1 < f.Trades:
		return fmt.Errorf("%d trades with the ids %d to %d", f.Trades, f.First, f.Last)
	case y.applied.overlap(f.First, f.First) == 0 || y.applied.overlap(f.Last, f.Last) == 0:
		return fmt.Errorf("its trade %d or %d is not applied", f.First, f.Last)
	case f.Low.Cmp(f.Open) > 0 || f.Low.Cmp(f.Close) > 0 || f.High.Cmp(f.Open) < 0 || f.High.Cmp(f.Close) < 0:
		return fmt.Errorf("the prices are out of order: %v %v %v %v", f.Open, f.High, f.Low, f.Close)
	case f.TakerVolume.Cmp(f.Volume) > 0 || f.TakerQuote.Cmp(f.Quote) > 0:
		return errors.New("takers bought more than was traded")
	}
	return nil
}

// checkOthers looks among the rows that are no windows for some that nothing
// knows of.
func (v *View) checkOthers() error {
	look := func(key, _ []byte) error {
		if string(key) == metaKey || string(key) == programKey || key[0] == symbolPrefix && v.p.byID(string(key[1:])) != nil {
			return nil
		}
		return unknown(key)
	}
	if err := scan(v.snap, nil, []byte{windowPrefix}, look); err != nil {
		return err
	}
	return scan(v.snap, []byte{windowPrefix + 1}, nil, look)
}
