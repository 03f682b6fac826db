package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/ingest/file"
	"millrace/schema"
)

// gathering is the trades of a stretch of time, as they come: by id, copies
// held against one another.
type gathering struct {
	from, to schema.Time
	by       map[int64]schema.Trade // by first id
	edges    [2]int64               // ids wanted beside the stretch; −1 before they are known
	taken    int
}

// beside is how far beside the stretch trades are kept whose ids may lie within:
// ids order trades, their times may fall by a little.
const beside = 10 * schema.Second

// mostTrades bounds what is kept in memory, about 100 bytes each.
const mostTrades = 20_000_000

func (g *gathering) begin() {
	g.by, g.edges, g.taken = map[int64]schema.Trade{}, [2]int64{-1, -1}, 0
}

// take keeps a trade of the stretch, or at its edges.
func (g *gathering) take(t *schema.Trade) error {
	if (t.Time < g.from-beside || t.Time >= g.to+beside) && t.Last != g.edges[0] && t.ID != g.edges[1] || t.Void {
		return nil
	}
	old, ok := g.by[t.ID]
	switch {
	case !ok || old.Last > t.Last: // single trades tell more than an aggregate
		g.by[t.ID] = *t
		if len(g.by) > mostTrades {
			return usagef("the stretch has more than %d trades: repair it in pieces", mostTrades)
		}
	case old.Last == t.Last && (old.Time != t.Time || old.Price.Cmp(t.Price) != 0 || old.Qty.Cmp(t.Qty) != 0 || old.BuyerMaker != t.BuyerMaker):
		return fmt.Errorf("trade %d is told in two ways, %+v and %+v: name a dump that tells which is right", t.ID, old, *t)
	}
	return nil
}

// inside gives the ids from the first trade with T ≥ from to the last with T <
// to; ok is false if there is none.
func (g *gathering) inside() (first, last int64, ok bool) {
	first, last = -1, -1
	for _, t := range g.by {
		if t.Time >= g.from && (first < 0 || t.ID < first) {
			first = t.ID
		}
		if t.Time < g.to {
			last = max(last, t.Last)
		}
	}
	return first, last, first >= 0 && first <= last
}

// twice reads a source, and again where the trades beside the stretch lie
// further away than beside.
func (g *gathering) twice(read func() error) error {
	g.begin()
	if err := read(); err != nil {
		return err
	}
	first, last, ok := g.inside()
	if !ok {
		return errors.New("it has no trade in the stretch")
	}
	g.edges = [2]int64{first - 1, last + 1}
	if g.ends(first-1) && g.has(last+1) {
		return nil
	}
	return read()
}

func (g *gathering) has(id int64) bool { _, ok := g.by[id]; return ok }

func (g *gathering) ends(id int64) bool {
	if id < 0 || g.has(id) && g.by[id].Last == id {
		return true
	}
	for _, t := range g.by {
		if t.Last == id {
			return true
		}
	}
	return false
}

// whole gives the trades from the one before the stretch to the one behind it,
// by id, without a hole.
func (g *gathering) whole() ([]schema.Trade, error) {
	first, last, _ := g.inside()
	var out []schema.Trade
	for _, id := range slices.Sorted(maps.Keys(g.by)) {
		t := g.by[id]
		switch n := len(out); {
		case t.Last < first-1 || t.ID > last+1:
		case n > 0 && t.ID <= out[n-1].Last: // of an aggregate that is there
		case n > 0 && t.ID > out[n-1].Last+1:
			return nil, fmt.Errorf("the trades %d to %d are missing", out[n-1].Last+1, t.ID-1)
		default:
			out = append(out, t)
		}
	}
	switch {
	case len(out) == 0 || out[0].Time >= g.from && out[0].ID != 0:
		return nil, fmt.Errorf("the trade before it, %d, is missing", first-1)
	case out[len(out)-1].Time < g.to:
		return nil, fmt.Errorf("the trade behind it, %d, is missing", last+1)
	}
	return out, nil
}

// dumps reads Binance's dumps.
func (g *gathering) dumps(ctx context.Context, symbol string, paths []string, check bool) error {
	return g.twice(func() error {
		for _, path := range paths {
			if err := g.dump(ctx, symbol, path, check); err != nil {
				return err
			}
		}
		return nil
	})
}

func (g *gathering) dump(ctx context.Context, symbol, path string, check bool) (err error) {
	d, err := file.OpenDump(ctx, path, file.Options{Symbol: symbol, RequireChecksum: check})
	if err != nil {
		return usagef("%w", err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	var t schema.Trade
	for {
		if err := d.Next(&t); errors.Is(err, io.EOF) {
			return ctx.Err()
		} else if err != nil {
			return err
		}
		if err := g.take(&t); err != nil {
			return err
		}
	}
}

// log reads the symbol's partition of the log: of the id series in which the
// stretch lies, which is the last that has trades in it.
func (g *gathering) log(ctx context.Context, d *desk) error {
	return g.twice(func() error {
		before := g.edges
		var kept map[int64]schema.Trade
		var tick schema.Tick
		err := d.each(ctx, d.s.Log.Ticks, d.log.Ticks, func(r *kgo.Record) error {
			if string(r.Key) != d.symbol || tick.Decode(r.Value) != nil {
				return nil
			}
			switch {
			case tick.Kind == schema.KindNewSeries:
				if _, _, ok := g.inside(); ok {
					kept = g.by
				}
				g.by = map[int64]schema.Trade{}
			case tick.Kind == schema.KindTrades && tick.Batch.Repair == 0:
				for i := range tick.Batch.Trades {
					if err := g.take(&tick.Batch.Trades[i]); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if _, _, ok := g.inside(); !ok && kept != nil {
			g.by = kept
		}
		g.edges = before
		return err
	})
}
