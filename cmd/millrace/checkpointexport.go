package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"millrace/schema"
	"millrace/state"
	"millrace/state/checkpoint"
)

func (a *app) checkpointExport() command {
	var o struct {
		format, out, symbol string
		empties, json       bool
	}
	return command{
		use:   "export CHECKPOINT",
		short: "the candles of a checkpoint as CSV, JSON, Parquet or SQL upserts",
		long: "Downloads a checkpoint, verifies it, and writes what it publishes, with the columns of the SQL store: as CSV, as lines of JSON, as Parquet (decimals are DECIMAL, times are UTC), or as the upserts with which the store is written. " +
			"In SQL a row that stands there with a higher version stays as it is, so running them is always safe.",
		example: "millrace checkpoint export 0/184467-3f9a --out candles.parquet\n" +
			"millrace checkpoint export 0/184467-3f9a --json --symbol BTCUSDT\n" +
			"millrace checkpoint export 0/184467-3f9a --format mysql | mysql market",
		groups: checkpointGroups, leave: checkpointLeave, args: 1,
		own: func(f *pflag.FlagSet) {
			f.StringVar(&o.format, "format", "", "`FORMAT`: csv, ndjson, parquet, mysql or sqlite; without it as --out ends, else csv")
			f.BoolVar(&o.json, "json", false, "a line of JSON for each candle: --format ndjson")
			f.StringVar(&o.out, "out", "", "`FILE` to write; without it standard output")
			f.StringVar(&o.symbol, "symbol", "", "only this `SYMBOL`")
			f.BoolVar(&o.empties, "empties", true, "windows without trades too")
		},
		run: func(ctx context.Context, s *settings, args []string) error {
			if len(args) == 0 {
				return usagef("wanted the name of a checkpoint; see millrace checkpoint list")
			}
			format, err := formatOf(o.format, o.out, o.json)
			if err != nil {
				return err
			}
			v, err := openVault(ctx, s, false)
			if err != nil {
				return err
			}
			defer v.close()
			quiet := *a
			if o.out == "" {
				quiet.stdout = io.Discard // no bar among the rows
			}
			n := 0
			only := strings.ToUpper(o.symbol)
			err = quiet.within(ctx, v, args[0], func(m *checkpoint.Manifest, view *state.View) error {
				if has := view.Summary().Symbols; only != "" && !slices.ContainsFunc(has, func(y state.SymbolSummary) bool { return y.Name == only }) {
					return usagef("--symbol: checkpoint %v has no %s; see millrace checkpoint inspect", m.Ref, only)
				}
				return a.intoFile(o.out, func(out io.Writer) error {
					w := bufio.NewWriterSize(out, 1<<16)
					rows, err := newRowWriter(format, w)
					if err != nil {
						return err
					}
					err = candlesOf(view, only, o.empties, func(some []schema.Candle) error {
						n += len(some)
						return rows.Write(some)
					})
					if err == nil {
						err = rows.Close()
					}
					if err == nil {
						err = w.Flush()
					}
					return err
				})
			})
			if err == nil && o.out != "" {
				_, err = fmt.Fprintf(a.stdout, "%s in %s\n", plural(n, "candle"), o.out)
			}
			return err
		},
	}
}

// intoFile calls f with the file of a name, which is there once it is whole; or
// with standard output, without a name.
func (a *app) intoFile(name string, f func(io.Writer) error) (err error) {
	if name == "" {
		return f(a.stdout)
	}
	part := name + ".writing"
	w, err := os.Create(part)
	if err != nil {
		return usagef("--out: %w", err)
	}
	if err = f(w); err == nil {
		err = w.Sync()
	}
	err = errors.Join(err, w.Close())
	if err == nil {
		err = os.Rename(part, name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return nil
}

// candlesOf calls yield with what a view publishes, in pieces.
func candlesOf(v *state.View, symbol string, empties bool, yield func([]schema.Candle) error) error {
	const piece = 5000
	return v.Since(0, piece, func(c *state.Changes) error {
		rows := make([]schema.Candle, 0, piece)
		var err error
		add := func(x *schema.Candle) bool {
			if symbol == "" || x.Symbol == symbol {
				rows = append(rows, *x)
			}
			if len(rows) >= piece {
				err = yield(rows)
				rows = rows[:0]
			}
			return err == nil
		}
		for i := range c.Candles {
			if !add(&c.Candles[i]) {
				return err
			}
		}
		for i := range c.Runs {
			if !empties {
				break
			}
			if c.Runs[i].Expand(c.Calendar, add); err != nil {
				return err
			}
		}
		if len(rows) > 0 {
			err = yield(rows)
		}
		return err
	})
}

// diffJSON is how two checkpoints differ.
type diffJSON struct {
	A       *checkpoint.Manifest `json:"a"`
	B       *checkpoint.Manifest `json:"b"`
	OnlyA   int64                `json:"only_a"` // windows with trades
	OnlyB   int64                `json:"only_b"`
	Changed int64                `json:"changed"`
	Fell    int64                `json:"fell"` // of them those whose version is lower in B
	First   []windowDiff         `json:"first,omitempty"`
}

type windowDiff struct {
	Symbol string `json:"symbol"`
	Period string `json:"period"`
	Start  string `json:"start"`
	A      string `json:"a,omitempty"` // trades and status
	B      string `json:"b,omitempty"`
}

const diffMost = 20

func (a *app) checkpointDiff() command {
	var asJSON bool
	return command{
		use:     "diff CHECKPOINT CHECKPOINT",
		short:   "in which windows two checkpoints differ",
		long:    "Downloads two checkpoints of a partition, verifies them, and compares the windows with trades: those that only one has, and those that changed.",
		example: "millrace checkpoint diff 0/184467-3f9a 0/190211-77c0",
		groups:  checkpointGroups, leave: checkpointLeave, args: 2,
		own: func(f *pflag.FlagSet) { jsonFlag(f, &asJSON) },
		run: func(ctx context.Context, s *settings, args []string) error {
			if len(args) != 2 {
				return usagef("wanted the names of two checkpoints; see millrace checkpoint list")
			}
			v, err := openVault(ctx, s, false)
			if err != nil {
				return err
			}
			defer v.close()
			d := &diffJSON{}
			err = a.within(ctx, v, args[0], func(m *checkpoint.Manifest, x *state.View) error {
				d.A = m
				return a.within(ctx, v, args[1], func(m *checkpoint.Manifest, y *state.View) error {
					d.B = m
					return state.Diff(x, y, d.add)
				})
			})
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.stdout, d)
			}
			_, err = fmt.Fprint(a.stdout, d.text())
			return err
		},
	}
}

func (d *diffJSON) add(a, b *schema.Candle) error {
	c := a
	switch {
	case a == nil:
		d.OnlyB++
		c = b
	case b == nil:
		d.OnlyA++
	default:
		d.Changed++
		if b.Version < a.Version {
			d.Fell++
		}
	}
	if len(d.First) >= diffMost {
		return nil
	}
	say := func(c *schema.Candle) string {
		if c == nil {
			return ""
		}
		return fmt.Sprintf("%s, %v, close %v", plural(c.Trades, "trade"), c.Status, c.Close)
	}
	d.First = append(d.First, windowDiff{c.Symbol, c.Period.String(), c.Start.String(), say(a), say(b)})
	return nil
}

func (d *diffJSON) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v at %d, %v at %d: %s, %d only in the first, %d only in the second", d.A.Ref, d.A.Offset, d.B.Ref, d.B.Offset, plural(d.Changed, "changed window"), d.OnlyA, d.OnlyB)
	if d.Fell > 0 {
		fmt.Fprintf(&b, "; %d know less in the second", d.Fell)
	}
	b.WriteByte('\n')
	if len(d.First) == 0 {
		return b.String()
	}
	rows := [][]string{{"symbol", "period", "start", "first", "second"}}
	for _, w := range d.First {
		rows = append(rows, []string{w.Symbol, w.Period, w.Start, dash(w.A), dash(w.B)})
	}
	writeTable(&b, rows, "lllll")
	if n := d.Changed + d.OnlyA + d.OnlyB - int64(len(d.First)); n > 0 {
		fmt.Fprintf(&b, "… and %d more\n", n)
	}
	return b.String()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// collectedJSON is what gc did for one partition.
type collectedJSON struct {
	Topic       string   `json:"topic"`
	TopicID     string   `json:"topic_id"`
	Partition   int32    `json:"partition"`
	Checkpoints []string `json:"checkpoints"` // that were removed
	Files       int      `json:"files"`
	Bytes       int64    `json:"bytes"`
	Kept        int      `json:"kept"`
}

func (a *app) checkpointGC() command {
	var o struct{ dry, json bool }
	leave := slices.DeleteFunc(slices.Clone(checkpointLeave), func(name string) bool { return name == "checkpoint-keep" || name == "checkpoint-keep-for" })
	return command{
		use:   "gc",
		short: "remove checkpoints that need not be kept, and files that none needs",
		long: "Does at once, for all that is in the store, what processors do after each checkpoint: keeps the newest of each partition and those that are young, and removes the rest with the files that none of the others needs. " +
			"What was uploaded within the last six hours stays in any case, so nothing that is under way is harmed.",
		example: "millrace checkpoint gc --checkpoint-keep 1 --checkpoint-keep-for 1h --dry-run",
		groups:  checkpointGroups, leave: leave,
		own: func(f *pflag.FlagSet) {
			f.BoolVar(&o.dry, "dry-run", false, "only say")
			jsonFlag(f, &o.json)
		},
		run: func(ctx context.Context, s *settings, _ []string) error {
			v, err := openVault(ctx, s, false)
			if err != nil {
				return err
			}
			defer v.close()
			rows, err := v.gc(ctx, o.dry)
			if o.json {
				return errors.Join(writeJSON(a.stdout, rows), err)
			}
			var b strings.Builder
			table := [][]string{{"topic", "partition", "removed", "files", "size", "kept"}}
			for _, r := range rows {
				table = append(table, []string{r.Topic, fmt.Sprint(r.Partition), fmt.Sprint(len(r.Checkpoints)), fmt.Sprint(r.Files), byteText(r.Bytes), fmt.Sprint(r.Kept)})
			}
			writeTable(&b, table, "lrrrrr")
			if o.dry {
				b.WriteString("nothing was removed: --dry-run\n")
			}
			_, bad := fmt.Fprint(a.stdout, b.String())
			return errors.Join(err, bad)
		},
	}
}

func (v *vault) gc(ctx context.Context, dry bool) ([]collectedJSON, error) {
	refs, err := v.store.List(ctx, checkpoint.Log{})
	if err != nil {
		return nil, err
	}
	rows := []collectedJSON{}
	for i, r := range refs {
		if i > 0 && refs[i-1].Log == r.Log {
			continue
		}
		c, err := v.store.Collect(ctx, r.Log, v.s.keep(), dry)
		if err != nil {
			return rows, fmt.Errorf("partition %d of %s: %w", r.Partition, r.Topic, err)
		}
		row := collectedJSON{Topic: r.Topic, TopicID: fmt.Sprintf("%x", r.TopicID), Partition: r.Partition, Checkpoints: []string{}, Files: c.Files, Bytes: c.Bytes, Kept: c.Kept}
		for _, x := range c.Checkpoints {
			row.Checkpoints = append(row.Checkpoints, x.String())
		}
		rows = append(rows, row)
	}
	return rows, nil
}
