package state

import (
	"bytes"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"millrace/schema"
)

// Diff calls yield with each window with trades in which two views differ in
// what they publish, in the order of the keys; a or b is nil where one doesn't
// have it.
func Diff(a, b *View, yield func(a, b *schema.Candle) error) error {
	x, err := newWalk(a)
	if err != nil {
		return err
	}
	y, err := newWalk(b)
	if err != nil {
		return closeIter(x.it, err)
	}
	err = diffWalks(x, y, yield)
	err = closeIter(x.it, err)
	return closeIter(y.it, err)
}

func diffWalks(x, y *walk, yield func(a, b *schema.Candle) error) error {
	for x.ok || y.ok {
		order := 0
		switch {
		case !x.ok:
			order = 1
		case !y.ok:
			order = -1
		default:
			order = bytes.Compare(x.it.Key(), y.it.Key())
		}
		var a, b *schema.Candle
		var err error
		if order <= 0 {
			if a, err = x.take(); err != nil {
				return err
			}
		}
		if order >= 0 {
			if b, err = y.take(); err != nil {
				return err
			}
		}
		if a == nil && b == nil || a != nil && b != nil && *a == *b {
			continue
		}
		if err := yield(a, b); err != nil {
			return err
		}
	}
	return nil
}

// walk goes through a view's windows.
type walk struct {
	v  *View
	it *pebble.Iterator
	ok bool
}

func newWalk(v *View) (*walk, error) {
	it, err := v.snap.NewIter(&pebble.IterOptions{LowerBound: []byte{windowPrefix}, UpperBound: []byte{windowPrefix + 1}})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return &walk{v: v, it: it, ok: it.First()}, nil
}

// take gives the window at hand, nil if it isn't published, and goes on.
func (w *walk) take() (*schema.Candle, error) {
	name, rest, cut := bytes.Cut(w.it.Key()[1:], []byte{0})
	y := w.v.p.byID(string(name))
	if !cut || len(rest) != 9 || y == nil {
		return nil, w.v.explain(fmt.Errorf("%w: a row with the key %x, which nothing knows of", errDamaged, w.it.Key()))
	}
	var out *schema.Candle
	for _, r := range y.series {
		if r.period != schema.Period(rest[0]) {
			continue
		}
		row, err := w.it.ValueAndErr()
		if err != nil {
			return nil, w.v.explain(fmt.Errorf("%w: %w", errDamaged, err))
		}
		win, err := w.v.window(y, r, windowStart(w.it.Key()), row)
		if err != nil {
			return nil, w.v.explain(err)
		}
		if y.published(w.v.p.cal, r, win.start) {
			c := y.candle(r, win)
			out = &c
		}
	}
	w.ok = w.it.Next()
	return out, nil
}
