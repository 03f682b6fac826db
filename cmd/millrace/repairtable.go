package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/processor/audit"
	"millrace/schema"
)

// remade is the windows of a stretch of time, made of its trades the plain way.
type remade struct {
	symbol   string
	cal      schema.Calendar
	periods  []schema.Period
	from, to schema.Time
	windows  map[schema.Period]map[schema.Time]*schema.Figures
	trades   []schema.Trade
}

// size gives how many windows lie wholly in the stretch.
func (w *remade) size() (n int64) {
	for _, p := range w.periods {
		n += w.cal.Count(p, w.from, w.to)
	}
	return n
}

// holds reports whether a window lies wholly in the stretch.
func (w *remade) holds(p schema.Period, start schema.Time) bool {
	return start >= w.from && w.cal.End(p, start) <= w.to
}

func (w *remade) count(trades []schema.Trade) error {
	w.windows = map[schema.Period]map[schema.Time]*schema.Figures{}
	w.trades = trades
	for _, p := range w.periods {
		by := map[schema.Time]*schema.Figures{}
		for i := range trades {
			start := w.cal.Start(p, trades[i].Time)
			if !w.holds(p, start) {
				continue
			}
			f := by[start]
			if f == nil {
				f = new(schema.Figures)
				by[start] = f
			}
			if !f.Add(&trades[i]) {
				return fmt.Errorf("a sum of %s would overflow with trade %d", w.symbol, trades[i].ID)
			}
		}
		w.windows[p] = by
	}
	return nil
}

// shownAtMost is how many windows that differ are shown one by one.
const shownAtMost = 20

// compare tells in which windows the candles of now differ, and which keep what
// they have.
func (w *remade) compare(ctx context.Context, now audit.Source, out io.Writer) (differ int, _ error) {
	alike, absent := 0, 0
	for _, p := range w.periods {
		start := w.cal.Start(p, w.from)
		if start < w.from {
			start = w.cal.End(p, start)
		}
		for start < w.to && w.holds(p, start) {
			list, err := now.Candles(ctx, w.symbol, p, start, w.to, 5000)
			if err != nil {
				return 0, fmt.Errorf("read the candles of now: %w", err)
			}
			by := map[schema.Time]*schema.Candle{}
			end := w.to
			for i := range list {
				by[list[i].Start] = &list[i]
				if len(list) == 5000 {
					end = w.cal.End(p, list[i].Start)
				}
			}
			for ; start < end && w.holds(p, start); start = w.cal.End(p, start) {
				was, is := by[start], w.windows[p][start]
				switch {
				case was == nil && is == nil: // an empty second is not published, for one
				case was != nil && (is == nil && was.Trades == 0 || is != nil && was.Status == schema.Final && len(audit.Differences(&was.Figures, is)) == 0):
					alike++
				default:
					if was == nil {
						absent++
					}
					if differ++; differ <= shownAtMost {
						fmt.Fprintf(out, "  %-3v %v  %s\n", p, start, change(was, is))
					}
				}
			}
		}
	}
	if differ > shownAtMost {
		fmt.Fprintf(out, "  … and %d more\n", differ-shownAtMost)
	}
	fmt.Fprintf(out, "%s would change, %d of them not published now; %d are the same\n", plural(differ, "candle"), absent, alike)
	for _, p := range w.periods {
		for _, at := range slices.Compact([]schema.Time{w.cal.Start(p, w.from), w.cal.Start(p, w.to-1)}) {
			if !w.holds(p, at) {
				fmt.Fprintf(out, "  %-3v %v lies only partly in the stretch and keeps what it has\n", p, at)
			}
		}
	}
	return differ, nil
}

// change says in a line what becomes of a window.
func change(was *schema.Candle, is *schema.Figures) string {
	switch {
	case was == nil:
		return "none → " + brief(is)
	case is == nil:
		return brief(&was.Figures) + " → no trade"
	case was.Trades == 0:
		return "no trade → " + brief(is)
	}
	var out []string
	for _, d := range audit.Differences(&was.Figures, is) {
		out = append(out, fmt.Sprintf("%s %s → %s", d.Figure, d.Ours, d.Theirs))
	}
	if was.Status != schema.Final {
		out = append(out, was.Status.String()+" → final")
	}
	return strings.Join(out, ", ")
}

// brief is a window's figures in a line.
func brief(f *schema.Figures) string {
	if f == nil || f.Trades == 0 {
		return "no trade"
	}
	return fmt.Sprintf("%s of volume %s, close %s", plural(int(f.Trades), "trade"), f.Volume.Canonical().Append(nil), f.Close.Canonical().Append(nil))
}

// topicCandles are a symbol's candles as the topic has them, the highest version
// of each.
type topicCandles map[schema.Period][]schema.Candle

func (d *desk) candles(ctx context.Context) (topicCandles, error) {
	type window struct {
		p  schema.Period
		at schema.Time
	}
	by := map[window]schema.Candle{}
	err := d.each(ctx, d.s.Log.Candles, d.log.Candles, func(r *kgo.Record) error {
		c, err := schema.DecodeCandle(r.Value)
		if err != nil || c.Symbol != d.symbol {
			return nil // a deleted one, or none of ours
		}
		if w := (window{c.Period, c.Start}); c.Version >= by[w].Version {
			by[w] = c
		}
		return nil
	})
	out := topicCandles{}
	for w, c := range by {
		out[w.p] = append(out[w.p], c)
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b schema.Candle) int { return cmp.Compare(a.Start, b.Start) })
	}
	return out, err
}

// Candles is audit.Source's.
func (t topicCandles) Candles(_ context.Context, _ string, p schema.Period, from, to schema.Time, limit int) ([]schema.Candle, error) {
	list := t[p]
	i, _ := slices.BinarySearchFunc(list, from, func(c schema.Candle, at schema.Time) int { return cmp.Compare(c.Start, at) })
	j, _ := slices.BinarySearchFunc(list, to, func(c schema.Candle, at schema.Time) int { return cmp.Compare(c.Start, at) })
	return list[i:min(max(i, j), i+limit)], nil
}
