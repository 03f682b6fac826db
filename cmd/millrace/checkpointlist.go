package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/pflag"

	"millrace/schema"
	"millrace/state"
	"millrace/state/checkpoint"
)

// checkpointRow is one checkpoint in a list.
type checkpointRow struct {
	Name      string     `json:"checkpoint"`
	Topic     string     `json:"topic"`
	TopicID   string     `json:"topic_id"`
	Partition int32      `json:"partition"`
	Offset    int64      `json:"offset"`
	Lag       *int64     `json:"lag,omitempty"` // records behind the log's end; absent if the log can't be asked, or is another
	Newest    *time.Time `json:"newest,omitempty"`
	Watermark *time.Time `json:"watermark,omitempty"`
	Taken     *time.Time `json:"taken,omitempty"`
	Stored    time.Time  `json:"stored"`
	Size      int64      `json:"size"`
	Symbols   int        `json:"symbols"`
	Windows   int64      `json:"windows"`
	Gaps      int        `json:"gaps"`
	Program   string     `json:"program,omitempty"`
	Verified  *bool      `json:"verified,omitempty"` // absent: not tried
	Why       string     `json:"why,omitempty"`      // it can't be used
}

func (a *app) checkpointList() command {
	var o struct{ json, verify bool }
	return command{
		use:     "list",
		short:   "what is in the store: position, lag, age, size",
		long:    "Lists the checkpoints in the store, those that stand farthest first. The lag is counted to the end of the log, if Kafka can be reached.",
		example: "millrace checkpoint list --checkpoints s3://bucket/millrace --kafka kafka1:9092\nmillrace checkpoint list --verify",
		groups:  checkpointGroups, leave: checkpointLeave,
		own: func(f *pflag.FlagSet) {
			f.BoolVar(&o.verify, "verify", false, "download and verify each one")
			jsonFlag(f, &o.json)
		},
		run: func(ctx context.Context, s *settings, _ []string) error {
			v, err := openVault(ctx, s, false)
			if err != nil {
				return err
			}
			defer v.close()
			rows, err := a.list(ctx, v, o.verify)
			if err != nil {
				return err
			}
			if o.json {
				return writeJSON(a.stdout, rows)
			}
			var b strings.Builder
			writeRows(&b, rows, time.Now())
			if v.log == nil {
				fmt.Fprintf(&b, "the log can't be asked: %s\n", v.says)
			}
			_, err = fmt.Fprint(a.stdout, b.String())
			return err
		},
	}
}

func (a *app) list(ctx context.Context, v *vault, verify bool) ([]checkpointRow, error) {
	refs, err := v.store.List(ctx, checkpoint.Log{})
	if err != nil {
		return nil, err
	}
	rows := []checkpointRow{}
	for _, r := range refs {
		row := checkpointRow{Name: r.String(), Topic: r.Topic, TopicID: fmt.Sprintf("%x", r.TopicID), Partition: r.Partition, Offset: r.Offset, Stored: r.Stored.UTC()}
		m, err := v.store.Manifest(ctx, r)
		switch {
		case errors.Is(err, checkpoint.ErrGone):
			continue
		case errors.Is(err, checkpoint.ErrRefused):
			row.Why = oneLine(err)
		case err != nil:
			return nil, err
		default:
			row.Newest, row.Watermark, row.Taken, row.Program = m.Newest, m.Watermark, &m.Taken, m.Program
			row.Size, row.Symbols, row.Windows, row.Gaps = m.Size, m.Symbols, m.Windows, m.Gaps
		}
		if v.log != nil && r.Topic == v.log.Topic && r.TopicID == v.log.ID {
			_, end, err := v.log.Bounds(ctx, r.Partition)
			if err != nil {
				return nil, err
			}
			lag := end - r.Offset
			row.Lag = &lag
		}
		if verify {
			err := a.verifyOne(ctx, v, r)
			if err != nil && !errors.Is(err, checkpoint.ErrRefused) && !errors.Is(err, checkpoint.ErrGone) {
				return nil, err
			}
			ok := err == nil
			row.Verified = &ok
			if !ok {
				row.Why = oneLine(err)
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// verifyOne verifies one checkpoint, with a bar.
func (a *app) verifyOne(ctx context.Context, v *vault, r checkpoint.Ref) error {
	dir, remove, err := scratch()
	if err != nil {
		return err
	}
	defer remove()
	return a.showBytes(ctx, "verifying "+r.String(), func(p checkpoint.Progress) error {
		_, err := v.store.Verify(ctx, r, filepath.Join(dir, "state"), p)
		return err
	})
}

func writeRows(b *strings.Builder, rows []checkpointRow, now time.Time) {
	table := [][]string{{"checkpoint", "topic", "lag", "newest trade", "watermark", "age", "size", "symbols", "windows", "gaps", "verified"}}
	for _, r := range rows {
		lag, verified := "?", "-"
		if r.Lag != nil {
			lag = fmt.Sprint(*r.Lag)
		}
		if r.Verified != nil {
			verified = "yes"
		}
		if r.Why != "" {
			verified = "NO: " + clip(r.Why, 160)
		}
		table = append(table, []string{r.Name, r.Topic, lag, timeText(r.Newest), timeText(r.Watermark), ago(now, r.Taken), byteText(r.Size),
			fmt.Sprint(r.Symbols), fmt.Sprint(r.Windows), fmt.Sprint(r.Gaps), verified})
	}
	writeTable(b, table, "llrllrrrrrl")
}

func timeText(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.DateTime)
}

func (a *app) checkpointVerify() command {
	var asJSON bool
	return command{
		use:     "verify [CHECKPOINT…]",
		short:   "download checkpoints, compare every byte, check the state inside",
		long:    "Downloads the checkpoints that are named, or all, holds every byte against the manifest, opens the state inside and runs its checker: rows have their form, counts agree, intervals of ids and windows don't contradict one another. Succeeds only if all of them do.",
		example: "millrace checkpoint verify\nmillrace checkpoint verify 0/184467-3f9a",
		groups:  checkpointGroups, leave: checkpointLeave, args: 1000,
		own: func(f *pflag.FlagSet) { jsonFlag(f, &asJSON) },
		run: func(ctx context.Context, s *settings, args []string) error {
			v, err := openVault(ctx, s, false)
			if err != nil {
				return err
			}
			defer v.close()
			rows, err := a.list(ctx, v, len(args) == 0)
			if err != nil {
				return err
			}
			if len(args) > 0 {
				if rows, err = a.verifyNamed(ctx, v, rows, args); err != nil {
					return err
				}
			}
			if asJSON {
				err = writeJSON(a.stdout, rows)
			} else {
				var b strings.Builder
				writeRows(&b, rows, time.Now())
				_, err = fmt.Fprint(a.stdout, b.String())
			}
			bad := 0
			for _, r := range rows {
				if r.Verified == nil || !*r.Verified {
					bad++
				}
			}
			if err == nil && bad > 0 {
				err = &classed{exitNotWhole, fmt.Errorf("%d of %s did not verify", bad, plural(len(rows), "checkpoint"))}
			}
			return err
		},
	}
}

func (a *app) verifyNamed(ctx context.Context, v *vault, rows []checkpointRow, names []string) (out []checkpointRow, err error) {
	refs, err := v.store.List(ctx, checkpoint.Log{})
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		r, err := checkpoint.Find(refs, name)
		if err != nil {
			return nil, usagef("%w; see millrace checkpoint list", err)
		}
		for _, row := range rows {
			if row.Name != r.String() || row.TopicID != fmt.Sprintf("%x", r.TopicID) {
				continue
			}
			err := a.verifyOne(ctx, v, r)
			if err != nil && !errors.Is(err, checkpoint.ErrRefused) && !errors.Is(err, checkpoint.ErrGone) {
				return nil, err
			}
			ok := err == nil
			row.Verified = &ok
			if !ok {
				row.Why = oneLine(err)
			}
			out = append(out, row)
		}
	}
	return out, nil
}

// insideJSON is what inspect tells.
type insideJSON struct {
	Manifest *checkpoint.Manifest `json:"manifest"`
	Settings *schema.Settings     `json:"settings,omitempty"`
	Windows  map[string]int64     `json:"windows"` // by period
	Symbols  []symbolInside       `json:"symbols"`
}

type symbolInside struct {
	Symbol    string           `json:"symbol"`
	Newest    *time.Time       `json:"newest,omitempty"`
	Watermark *time.Time       `json:"watermark,omitempty"`
	Watched   bool             `json:"watched"`
	Stopped   bool             `json:"stopped,omitempty"`
	Era       uint8            `json:"era"`
	Former    bool             `json:"former,omitempty"` // its id series has ended
	Repair    *repairInside    `json:"repair,omitempty"`
	Sealed    *time.Time       `json:"sealed,omitempty"`
	Applied   int64            `json:"applied"`
	Intervals [][2]int64       `json:"intervals"`
	Gaps      []gapInside      `json:"gaps,omitempty"`
	Windows   map[string]int64 `json:"windows"`
}

type repairInside struct {
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	First int64     `json:"first_id"`
	Last  int64     `json:"last_id"`
	Whole bool      `json:"whole"`
}

type gapInside struct {
	First int64     `json:"first"`
	Last  int64     `json:"last"`
	Found time.Time `json:"found"`
}

func (a *app) checkpointInspect() command {
	var o struct{ json, all bool }
	return command{
		use:     "inspect CHECKPOINT",
		short:   "what is inside: symbols, windows, gaps, ids",
		long:    "Downloads a checkpoint, verifies it, and shows what the state inside holds: windows by period, and by symbol the newest trade, the watermark, the intervals of applied ids and the gaps.",
		example: "millrace checkpoint inspect 0/184467-3f9a\nmillrace checkpoint inspect 0/184467 --json",
		groups:  checkpointGroups, leave: checkpointLeave, args: 1,
		own: func(f *pflag.FlagSet) {
			f.BoolVar(&o.all, "all", false, "print every symbol")
			jsonFlag(f, &o.json)
		},
		run: func(ctx context.Context, s *settings, args []string) error {
			if len(args) == 0 {
				return usagef("wanted the name of a checkpoint; see millrace checkpoint list")
			}
			v, err := openVault(ctx, s, false)
			if err != nil {
				return err
			}
			defer v.close()
			return a.within(ctx, v, args[0], func(m *checkpoint.Manifest, view *state.View) error {
				in := newInside(m, view.Summary())
				if o.json {
					return writeJSON(a.stdout, in)
				}
				most := attentionMost
				if o.all {
					most = len(in.Symbols)
				}
				_, err := fmt.Fprint(a.stdout, in.text(most))
				return err
			})
		},
	}
}

// within fetches a checkpoint, verified, and calls f with what is inside.
func (a *app) within(ctx context.Context, v *vault, name string, f func(*checkpoint.Manifest, *state.View) error) error {
	m, err := v.find(ctx, name)
	if err != nil {
		return err
	}
	dir, remove, err := scratch()
	if err != nil {
		return err
	}
	defer remove()
	dir = filepath.Join(dir, "state")
	err = a.showBytes(ctx, "fetching "+m.Ref.String(), func(p checkpoint.Progress) error { return v.store.Fetch(ctx, m, dir, vfs.Default, p) })
	if err != nil {
		return err
	}
	view, err := state.OpenView(state.Options{Dir: dir})
	if err != nil {
		return err
	}
	return errors.Join(f(m, view), view.Close())
}

func newInside(m *checkpoint.Manifest, s *state.Summary) *insideJSON {
	in := &insideJSON{Manifest: m, Settings: s.Settings, Windows: map[string]int64{}, Symbols: []symbolInside{}}
	for i := range s.Symbols {
		y := &s.Symbols[i]
		x := symbolInside{Symbol: y.Name, Newest: known(y.Newest), Watermark: known(y.Watermark), Watched: y.Watched, Stopped: y.Stopped, Era: y.Era, Former: y.Former, Sealed: known(y.Sealed), Applied: y.Applied, Intervals: y.Intervals, Windows: map[string]int64{}}
		if q := y.Repair; q != nil {
			x.Repair = &repairInside{q.From.Std(), q.To.Std(), q.First, q.Last, q.Whole}
		}
		for p, n := range y.Windows {
			x.Windows[p.String()] = n
			in.Windows[p.String()] += n
		}
		for _, g := range y.Gaps {
			x.Gaps = append(x.Gaps, gapInside{g.First, g.Last, g.Found.Std()})
		}
		in.Symbols = append(in.Symbols, x)
	}
	return in
}

// note tells which of those with one name it is.
func (x *symbolInside) note() string {
	switch {
	case x.Repair != nil && x.Repair.Whole:
		return fmt.Sprintf(" (repair %d)", x.Era)
	case x.Repair != nil:
		return fmt.Sprintf(" (repair %d, not whole)", x.Era)
	case x.Former:
		return fmt.Sprintf(" (series %d, ended)", x.Era)
	case x.Era > 0:
		return fmt.Sprintf(" (series %d)", x.Era)
	}
	return ""
}

// known gives a time, nil for none.
func known(t schema.Time) *time.Time {
	if t == schema.MinTime {
		return nil
	}
	s := t.Std()
	return &s
}

func (in *insideJSON) text(most int) string {
	var b strings.Builder
	m := in.Manifest
	fmt.Fprintf(&b, "checkpoint  %v of topic %s (id %s), partition %d\n", m.Ref, m.Topic, m.TopicID, m.Partition)
	fmt.Fprintf(&b, "position    %d, epoch %d, hash of the last record %s\n", m.Offset, m.Epoch, m.Hash)
	fmt.Fprintf(&b, "taken       %s by millrace %s, state format %d\n", timeText(&m.Taken), cmp.Or(m.Program, "?"), m.StateFormat)
	fmt.Fprintf(&b, "times       newest trade %s, watermark %s, newest record %s\n", timeText(m.Newest), timeText(m.Watermark), timeText(m.LogTime))
	fmt.Fprintf(&b, "size        %s in %s\n", byteText(m.Size), plural(len(m.Files), "file"))
	var per []string
	for _, p := range m.Periods {
		per = append(per, fmt.Sprintf("%s %d", p, in.Windows[p]))
	}
	fmt.Fprintf(&b, "windows     %s\n", cmp.Or(strings.Join(per, ", "), "none"))
	fmt.Fprintf(&b, "symbols     %d, %s\n", len(in.Symbols), plural(m.Gaps, "gap"))
	if len(in.Symbols) == 0 {
		return b.String()
	}
	b.WriteByte('\n')
	rows := [][]string{{"symbol", "newest trade", "watermark", "applied ids", "intervals", "gaps", "windows", "ids"}}
	for i := range in.Symbols[:min(most, len(in.Symbols))] {
		x := &in.Symbols[i]
		var windows int64
		for _, n := range x.Windows {
			windows += n
		}
		var ids []string
		for _, v := range x.Intervals[:min(3, len(x.Intervals))] {
			ids = append(ids, fmt.Sprintf("%d-%d", v[0], v[1]))
		}
		if len(x.Intervals) > 3 {
			ids = append(ids, "…")
		}
		if x.Stopped {
			ids = append(ids, "stopped: a new series of ids")
		}
		rows = append(rows, []string{clip(x.Symbol, 30) + x.note(), timeText(x.Newest), timeText(x.Watermark), fmt.Sprint(x.Applied), fmt.Sprint(len(x.Intervals)), fmt.Sprint(len(x.Gaps)), fmt.Sprint(windows), strings.Join(ids, " ")})
	}
	writeTable(&b, rows, "lllrrrrl")
	if n := len(in.Symbols) - most; n > 0 {
		fmt.Fprintf(&b, "… and %d more: see them with --all\n", n)
	}
	return b.String()
}
