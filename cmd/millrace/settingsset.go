package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"millrace/internal/kafka"
	"millrace/schema"
)

func (a *app) settingsSet() command {
	var o struct{ json, dry bool }
	return command{
		use:   "set [NAME=VALUE…]",
		short: "change the settings in the log, in every partition",
		long: "Writes a record of settings into each partition of the log, in force from there on: running processors take it over as they reach it, roles that are started later compare theirs with it. " +
			"Says what each change means; with --dry-run it says that and writes nothing. Run again after it was stopped halfway it completes what was begun; without a setting it does only that.\n\n" +
			"Settings: " + strings.Join(changeable(), ", ") + ". The number of partitions can't be changed.",
		example: "millrace settings set periods=1m,5m,1h,1d --dry-run\nmillrace settings set alive-bound=20s gap-after=5s\nmillrace settings set format=2",
		groups:  lookGroups, leave: lookLeave, args: 100,
		own: func(f *pflag.FlagSet) {
			f.BoolVar(&o.dry, "dry-run", false, "say what it would mean, and write nothing")
			jsonFlag(f, &o.json)
		},
		run: func(ctx context.Context, s *settings, args []string) error {
			client, l, err := openLook(ctx, s, "settings")
			if err != nil {
				return err
			}
			defer client.Close()
			plan, to, err := planChange(&l, args)
			if err != nil {
				return err
			}
			plan.DryRun = o.dry
			if !o.json {
				if _, err := io.WriteString(a.stdout, plan.text()); err != nil {
					return err
				}
			}
			if !o.dry {
				err = l.Change(ctx, client, *to, plan.behind, func(partition int32, offset int64) {
					plan.Written = append(plan.Written, written{partition, offset})
					if !o.json {
						fmt.Fprintf(a.stdout, "partition %d: in force from offset %d\n", partition, offset)
					}
				})
			}
			if o.json {
				if e := writeJSON(a.stdout, plan); err == nil {
					err = e
				}
			}
			if n := len(plan.behind) - len(plan.Written); err != nil && n > 0 {
				return fmt.Errorf("%w; %s lack the change: run the command again", err, plural(n, "partition"))
			}
			return err
		},
	}
}

func changeable() []string {
	var names []string
	for _, n := range logSettingNames {
		if n.name != "partitions" {
			names = append(names, n.name)
		}
	}
	return names
}

// changePlan is what a change means and what became of it.
type changePlan struct {
	DryRun   bool              `json:"dry_run"`
	Revision uint32            `json:"revision"`
	Settings map[string]string `json:"settings"`
	Means    []string          `json:"means"`
	Behind   []int32           `json:"partitions"` // that lack it
	Written  []written         `json:"written"`
	behind   []int32
}

type written struct {
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
}

// planChange reads what is wanted and says what it means. What was begun before
// and is not whole is part of it.
func planChange(l *kafka.Lineage, args []string) (*changePlan, *schema.Settings, error) {
	if !l.Known {
		return nil, nil, usagef("retention has taken the record of the log's settings from every partition, so it can't be said what a change would change; begin a new log with the settings wanted, or change them within the retention of ticks next time")
	}
	was := l.Settings
	to := was
	to.Periods = slices.Clone(was.Periods)
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		i := slices.IndexFunc(logSettingNames, func(n struct {
			name  string
			field func(*schema.Settings) field
		}) bool {
			return n.name == name
		})
		switch {
		case i < 0:
			return nil, nil, usagef("%q is no setting of the log%s: there are %s", name, nearest(name, changeable()), strings.Join(changeable(), ", "))
		case !ok || value == "":
			return nil, nil, usagef("%s: wanted %s=VALUE", name, name)
		}
		if err := logSettingNames[i].field(&to).set([]string{value}); err != nil {
			return nil, nil, usagef("%s: %w", name, err)
		}
	}
	if err := to.Validate(); err != nil {
		return nil, nil, usagef("%w", err)
	}
	if err := allowed(&was, &to); err != nil {
		return nil, nil, err
	}
	plan := &changePlan{Means: meaning(&was, &to), Written: []written{}}
	if was.Diff(&to) != "" {
		to.Revision, to.Program = was.Revision+1, thisVersion().Version
	}
	plan.behind = l.Behind(&to)
	plan.Revision, plan.Settings, plan.Behind = to.Revision, valuesOf(&to), append([]int32{}, plan.behind...)
	return plan, &to, nil
}

// allowed refuses what a log can't take.
func allowed(was, to *schema.Settings) error {
	switch {
	case to.Format < was.Format:
		return usagef("format: the log has %d and may hold records of it; it can't go back to %d", was.Format, to.Format)
	case to.Arithmetic < was.Arithmetic:
		return usagef("arithmetic: the log has %d; it can't go back to %d", was.Arithmetic, to.Arithmetic)
	case to.ThreeDay != was.ThreeDay && slices.Contains(was.Periods, schema.P3d) && slices.Contains(to.Periods, schema.P3d):
		return usagef("three-day-anchor: candles of 3d are kept, and those of the old anchor would overlap those of the new; drop 3d from periods first, then set the anchor, then add 3d again")
	}
	return nil
}

// meaning says what each change does, a sentence each.
func meaning(was, to *schema.Settings) []string {
	means := []string{}
	say := func(format string, args ...any) { means = append(means, fmt.Sprintf(format, args...)) }
	for _, p := range to.Periods {
		if !slices.Contains(was.Periods, p) {
			say("periods: %v is new: of each symbol it has windows that start after the newest trade applied by then; earlier ones are not made", p)
		}
	}
	for _, p := range was.Periods {
		if !slices.Contains(to.Periods, p) {
			say("periods: %v is dropped: its windows leave the state and change no more, even those that are not final; what is in SQL, in the topic of candles and in NATS stays", p)
		}
	}
	if was.Periods[0] != to.Periods[0] {
		say("periods: trades are counted in %v, the smallest, instead of %v", to.Periods[0], was.Periods[0])
	}
	a, b := valuesOf(was), valuesOf(to)
	for _, x := range []struct{ name, means string }{
		{"three-day-anchor", "windows of 3d start there and every third day; none is kept now"},
		{"empty-seconds", "whether seconds without a trade are published, from there on and for windows that change later"},
		{"future-bound", "a trade or mark with a time further beyond its append time is refused, with a dead letter"},
		{"alive-bound", "an ingestor that is further behind the newest is not waited for before windows close"},
		{"gap-after", "ids that are missing for longer are a gap"},
		{"series-bound", "an old id with a time further beyond the newest stops its symbol, until a new series is begun"},
		{"seal-after", "windows that stay unproven for longer may be sealed"},
		{"arithmetic", "processors that don't know it stop at the record; each takes it up behind a synced commit"},
		{"format", "records of later kinds may follow; processors that don't know the format stop at the record, so upgrade all of them first, then the ingestors, then the bridges"},
	} {
		if a[x.name] != b[x.name] {
			say("%s: %s instead of %s: %s", x.name, b[x.name], a[x.name], x.means)
		}
	}
	return means
}

func (p *changePlan) text() string {
	var b strings.Builder
	for _, m := range p.Means {
		fmt.Fprintln(&b, m)
	}
	switch {
	case len(p.behind) == 0:
		fmt.Fprintf(&b, "nothing to change: all partitions have revision %d\n", p.Revision)
	case len(p.Means) == 0:
		fmt.Fprintf(&b, "revision %d is completed: %s lack it\n", p.Revision, plural(len(p.behind), "partition"))
	default:
		fmt.Fprintf(&b, "revision %d, into %s\n", p.Revision, plural(len(p.behind), "partition"))
	}
	if p.DryRun {
		b.WriteString("nothing was written: --dry-run\n")
	}
	return b.String()
}
