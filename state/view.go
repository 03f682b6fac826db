package state

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"millrace/schema"
)

// View is the state as it was committed at one moment. It is for other
// goroutines than the owner's: a sink that has fallen behind reads from one
// what changed after its progress, instead of anybody keeping a list.
type View struct {
	snap pebble.Reader
	p    *Partition
	dir  string
}

// View opens a view of what is committed now.
func (s *Store) View() (*View, error) {
	v := &View{snap: s.db.NewSnapshot(), p: NewPartition(s.p.pos.TopicID, s.p.pos.Partition), dir: s.dir}
	if err := v.load(); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

// OpenView opens a store that nobody has open, whosever it is, to be read alone.
func OpenView(o Options) (*View, error) {
	o.ensureDefaults()
	db, err := newDisk(o).open(true)
	if err != nil {
		return nil, err
	}
	v := &View{snap: db, p: NewPartition([16]byte{}, 0), dir: o.Dir}
	if err := marked(db, v.load()); err != nil {
		_ = v.Close() // of a store that cannot be read it says nothing new
		return nil, err
	}
	return v, nil
}

func (v *View) load() error {
	row, closer, err := v.snap.Get([]byte(metaKey))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = errors.Join(v.p.decodeMeta(row), closer.Close())
	} else {
		err = fmt.Errorf("%w: %w", errDamaged, err)
	}
	if err == nil && v.p.settings != nil {
		err = symbolsInto(v.p, v.snap)
	}
	return v.explain(err)
}

// Close gives the view back.
func (v *View) Close() error { return v.snap.Close() }

// explain says what to do about a state that cannot be read.
func (v *View) explain(err error) error {
	if errors.Is(err, errDamaged) && !errors.Is(err, ErrDamaged) {
		return damaged(v.dir, err)
	}
	return err
}

// Forgotten is Partition.Forgotten as of the view.
func (v *View) Forgotten() int64 { return v.p.forgotten }

// Position gives where the view stands.
func (v *View) Position() Position { return v.p.pos }

// Since calls yield with what the partition publishes and changed at or after
// the record at offset, in pieces of about size rows. Position is set in each.
func (v *View) Since(offset int64, size int, yield func(*Changes) error) error {
	if v.p.settings == nil {
		return nil
	}
	c := v.changes()
	flush := func(force bool) error {
		if c.Empty() || !force && len(c.Candles)+len(c.Runs) < size {
			return nil
		}
		full := c
		c = v.changes()
		return yield(full)
	}
	err := v.p.all(func(y *symbol) error {
		if y.gapChanged >= offset && y.opened > 0 && !y.former && y.repair == nil {
			c.Gaps = append(c.Gaps, y.gaps())
		}
		for _, r := range y.series {
			if err := v.series(y, r, offset, &c, func() error { return flush(false) }); err != nil {
				return v.explain(err)
			}
		}
		return flush(false)
	})
	if err != nil {
		return err
	}
	return flush(true)
}

func (v *View) changes() *Changes {
	return &Changes{Position: v.p.pos, LogTime: v.p.logTime, Newest: v.p.newest, Calendar: v.p.cal}
}

// series gathers what changed of one series, with a look at the window before
// each: it is what the empty ones between stand on. *at takes the rows; full is
// called after each and may exchange it.
func (v *View) series(y *symbol, r *series, offset int64, at **Changes, full func() error) error {
	b, from, known := y.left(v.p.cal, r)
	n := int64(0)
	whole := y.shown() >= offset // all of it was published since
	err := scan(v.snap, appendSeriesKey(nil, y.id, r.period), appendSeriesKey(nil, y.id, r.period+1), func(key, row []byte) error {
		w, err := v.window(y, r, windowStart(key), row)
		if err != nil {
			return err
		}
		n++
		c := *at
		if known && !w.gone && (whole || w.quiet >= offset) && v.emptiesShown(y, r) {
			c.Runs = y.pieces(c.Runs, v.p.cal, r, b, from, w.start)
		}
		if (whole || w.changed >= offset) && y.published(v.p.cal, r, w.start) {
			c.Candles = append(c.Candles, y.candle(r, w))
		}
		b, from, known = w.foot(), w.end, true
		return full()
	})
	if err == nil && n != r.kept {
		err = fmt.Errorf("%w: %s has %d windows of %v, wanted %d", errDamaged, y.name, n, r.period, r.kept)
	}
	if err == nil && known && r.tail >= offset && v.emptiesShown(y, r) {
		(*at).Runs = y.pieces((*at).Runs, v.p.cal, r, b, from, y.watermark)
	}
	return err
}

// emptiesShown: in a repaired stretch all are, since one may stand in the place
// of a window with trades.
func (v *View) emptiesShown(y *symbol, r *series) bool {
	return r.period != schema.P1s || v.p.settings.EmptySeconds || y.repair != nil
}

func (v *View) window(y *symbol, r *series, start schema.Time, row []byte) (*window, error) {
	w := &window{start: start, end: v.p.cal.End(r.period, start)}
	if err := w.decode(row); err != nil {
		return nil, fmt.Errorf("%s %v %v: %w", y.name, r.period, start, err)
	}
	w.status = y.ruling(w)
	return w, nil
}

// Candle gives what the partition publishes for one window; ok is false if it
// publishes nothing, or has forgotten the window.
func (v *View) Candle(name string, period schema.Period, start schema.Time) (c schema.Candle, ok bool, err error) {
	now := v.p.symbols[name]
	if now == nil {
		return c, false, nil
	}
	for _, y := range now.book.of(now) {
		if c, ok, err = v.candleOf(y, period, start); ok || err != nil {
			break
		}
	}
	return c, ok, err
}

func (v *View) candleOf(y *symbol, period schema.Period, start schema.Time) (c schema.Candle, ok bool, err error) {
	var r *series
	for _, x := range y.series {
		if x.period == period {
			r = x
		}
	}
	if r == nil || v.p.cal.Start(period, start) != start || !y.published(v.p.cal, r, start) {
		return c, false, nil
	}
	it, err := v.snap.NewIter(&pebble.IterOptions{LowerBound: appendSeriesKey(nil, y.id, period), UpperBound: appendSeriesKey(nil, y.id, period+1)})
	if err != nil {
		return c, false, v.explain(fmt.Errorf("%w: %w", errDamaged, err))
	}
	defer func() { err = v.explain(closeIter(it, err)) }()
	b, from, known := y.left(v.p.cal, r)
	end := y.watermark
	if it.SeekLT(appendWindowKey(nil, y.id, period, start+1)) {
		w, err := v.window(y, r, windowStart(it.Key()), it.Value())
		if err != nil {
			return c, false, err
		}
		if w.start == start {
			return y.candle(r, w), true, nil
		}
		b, from, known = w.foot(), w.end, true
	}
	if it.SeekGE(appendWindowKey(nil, y.id, period, start)) {
		next, err := v.window(y, r, windowStart(it.Key()), it.Value())
		if err != nil {
			return c, false, err
		}
		end, known = next.start, known && !next.gone
	}
	if !known || !v.emptiesShown(y, r) || start < from || start >= end {
		return c, false, nil
	}
	for _, run := range y.pieces(nil, v.p.cal, r, b, start, v.p.cal.End(period, start)) {
		run.Expand(v.p.cal, func(e *schema.Candle) bool { c, ok = *e, true; return false })
	}
	return c, ok, nil
}
