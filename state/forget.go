package state

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"millrace/schema"
)

// forgetAtOnce bounds the windows that one Forget takes: some 20 ms of work.
const forgetAtOnce = 50_000

// Forget drops windows that start before a time, are final or sealed, and were
// changed last before the record at have: every sink has everything up to there.
// What stands in memory, since something can still change it, stays. It gives
// how many windows were dropped. Call it right after Commit.
//
// What is published of the rest does not change by it. A sink that is set back
// to before Forgotten lacks what only a replay of the log can give.
func (s *Store) Forget(before schema.Time, have int64) (n int, err error) {
	p := s.p
	b := s.db.NewBatch()
	err = p.all(func(y *symbol) error {
		dropped := 0
		for _, r := range y.series {
			k, err := s.forgetSeries(b, y, r, before, have, forgetAtOnce-n-dropped)
			if err != nil {
				return err
			}
			dropped += k
		}
		if dropped > 0 {
			n += dropped
			if err := b.Set(appendSymbolKey(nil, y.id), y.append(nil), nil); err != nil {
				return fmt.Errorf("forget: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return 0, errors.Join(err, b.Close())
	}
	if n == 0 {
		return 0, b.Close()
	}
	p.forgotten = max(p.forgotten, have)
	meta, err := p.appendMeta(nil)
	if err == nil {
		err = b.Set([]byte(metaKey), meta, nil)
	}
	if err == nil {
		atForget.Hit()
		err = s.write(func() error { return errors.Join(b.Commit(pebble.NoSync), b.Close()) })
	}
	if err != nil {
		return 0, fmt.Errorf("forget: %w", err)
	}
	return n, nil
}

// forgetSeries drops stretches of windows, at most so many, and marks the window
// behind each.
func (s *Store) forgetSeries(b *pebble.Batch, y *symbol, r *series, before schema.Time, have int64, most int) (n int, err error) {
	if y.repair != nil && !y.still() || y.shown() >= have {
		return 0, nil
	}
	var from schema.Time // of the stretch at hand
	stretch := 0
	stop := errors.New("far enough")
	err = scan(s.db, appendSeriesKey(nil, y.id, r.period), appendSeriesKey(nil, y.id, r.period+1), func(key, row []byte) error {
		w := &window{start: windowStart(key)}
		if err := w.decode(row); err != nil {
			return err
		}
		i := r.find(w.start)
		hot := i < len(r.win) && r.win[i].start == w.start
		if (!hot || y.sealedAt(r, i)) && w.start < before && w.changed < have && w.quiet < have && n+stretch < most {
			if stretch == 0 {
				from = w.start
			}
			stretch++
			return nil
		}
		if stretch > 0 {
			if err := b.DeleteRange(appendWindowKey(nil, y.id, r.period, from), appendWindowKey(nil, y.id, r.period, w.start), nil); err != nil {
				return err
			}
			w.gone = true
			if i = r.cut(from, w.start); hot {
				r.win[i].cut = true
			}
			if err := b.Set(appendWindowKey(nil, y.id, r.period, w.start), w.append(nil), nil); err != nil {
				return err
			}
			if hot {
				r.win[i].gone = true
			}
			n, stretch = n+stretch, 0
		}
		if w.start >= before || n >= most {
			return stop
		}
		return nil
	})
	if err != nil && !errors.Is(err, stop) {
		return 0, fmt.Errorf("forget: %w", err)
	}
	r.kept -= int64(n)
	return n, nil
}
