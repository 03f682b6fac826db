package main

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"millrace/schema"
)

// view keeps the newest window of each series, for the table that dev shows.
type view struct {
	mu     sync.Mutex // guards what follows
	newest map[seriesKey]schema.Candle
	trades map[string]int64 // of the newest window, by symbol: the busy ones come first
}

type seriesKey struct {
	symbol string
	period schema.Period
}

// maxSeries bounds what is kept; the table shows far fewer.
const maxSeries = 10_000

func newView() *view {
	return &view{newest: map[seriesKey]schema.Candle{}, trades: map[string]int64{}}
}

// take notes candles that have changed.
func (v *view) take(candles []schema.Candle) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range candles {
		c := &candles[i]
		k := seriesKey{c.Symbol, c.Period}
		old, ok := v.newest[k]
		if ok && (old.Start > c.Start || old.Start == c.Start && old.Version > c.Version) || !ok && len(v.newest) >= maxSeries {
			continue
		}
		v.newest[k] = *c
		v.trades[c.Symbol] = max(v.trades[c.Symbol], c.Trades)
	}
}

// rows gives the newest candles of the busiest symbols, the smallest period of
// each first.
func (v *view) rows() []candleRow {
	v.mu.Lock()
	list := make([]schema.Candle, 0, len(v.newest))
	for _, c := range v.newest {
		if c.Period <= schema.P1m {
			list = append(list, c)
		}
	}
	busy := make(map[string]int64, len(v.trades))
	for s, n := range v.trades {
		busy[s] = n
	}
	v.mu.Unlock()
	slices.SortFunc(list, func(a, b schema.Candle) int {
		return cmp.Or(cmp.Compare(busy[b.Symbol], busy[a.Symbol]), cmp.Compare(a.Symbol, b.Symbol), cmp.Compare(a.Period, b.Period))
	})
	rows := make([]candleRow, 0, 50)
	for i := range list[:min(len(list), 50)] {
		c := &list[i]
		rows = append(rows, candleRow{
			Symbol: c.Symbol, Period: c.Period.String(), Start: c.Start.Std(), Open: c.Open.String(), High: c.High.String(), Low: c.Low.String(),
			Close: c.Close.String(), Volume: c.Volume.String(), Trades: c.Trades, Status: c.Status.String(),
		})
	}
	return rows
}

// frame is what dev shows now.
func (d *dev) frame() frame {
	var ticks, duplicates, refused, gaps int64
	for _, s := range d.proc.Status() {
		ticks += s.Counts.Trades
		duplicates += s.Counts.Duplicates
		refused += s.Counts.Refused
		gaps += int64(s.Holes)
	}
	st := d.bridge.Stats()
	f := frame{
		Title: fmt.Sprintf("millrace dev · %s · %s · %s · %s · %s", short(time.Since(d.began).Round(time.Second)), plural(ticks, "tick"), plural(gaps, "gap"), plural(duplicates, "duplicate"), plural(refused, "dead letter")),
		Notes: d.notes,
		Rows:  d.view.rows(),
	}
	collected, stages := d.watch.shown()
	if collected != "" {
		f.Notes = append(f.Notes[:len(f.Notes):len(f.Notes)], collected)
	}
	f.Stages = append(f.Stages, stages...)
	f.Stages = append(f.Stages, processStages(d.proc)...)
	f.Stages = append(f.Stages, latencyStage("tick received to NATS", st.Received))
	return f
}
