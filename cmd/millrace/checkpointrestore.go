package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"millrace/processor"
	"millrace/schema"
	"millrace/state/checkpoint"
)

// restoreOptions are what is asked of a restore.
type restoreOptions struct {
	at        string
	offset    int64
	partition int32
	dry, json bool
}

func (a *app) checkpointRestore() command {
	var o restoreOptions
	return command{
		use:   "restore [CHECKPOINT]",
		short: "put checkpoints in the place of the state, after saying what that means",
		long: "Says for each partition, without touching a thing: YES or NO, from which checkpoint, how many records would be replayed and how long that takes, which windows would be partial because the log no longer reaches back, and why other checkpoints are refused. " +
			"Then, without --dry-run, downloads and verifies them and puts them in the place of the state in --data, whose old one is set aside. The processor must not be running; started again, it goes on from there.",
		example: "millrace checkpoint restore --dry-run\n" +
			"millrace checkpoint restore --at 2024-08-08T12:00:00Z\n" +
			"millrace checkpoint restore 0/184467-3f9a",
		groups: checkpointGroups, leave: checkpointLeave, args: 1,
		own: func(f *pflag.FlagSet) {
			f.StringVar(&o.at, "at", "", "the newest that holds no trade after this `TIME`")
			f.Int64Var(&o.offset, "offset", 0, "the newest that stands at or before this `OFFSET`; needs --partition")
			f.Int32Var(&o.partition, "partition", -1, "only this `PARTITION`")
			f.BoolVar(&o.dry, "dry-run", false, "only say")
			jsonFlag(f, &o.json)
		},
		run: func(ctx context.Context, s *settings, args []string) error { return a.restore(ctx, s, &o, args) },
	}
}

// want turns what was asked into what is wanted of each partition.
func (o *restoreOptions) want(args []string) (w checkpoint.Want, err error) {
	if o.at != "" {
		if w.At, err = parseMoment(o.at); err != nil {
			return w, usagef("--at: %w", err)
		}
	}
	if o.offset < 0 || o.offset > 0 && o.partition < 0 {
		return w, usagef("--offset: offsets count in one partition: name it with --partition")
	}
	w.Offset = o.offset
	if len(args) > 0 {
		if o.at != "" || o.offset > 0 || o.partition >= 0 {
			return w, usagef("a checkpoint that is named needs no --at, --offset or --partition")
		}
		w.Name = args[0]
	}
	return w, nil
}

func (a *app) restore(ctx context.Context, s *settings, o *restoreOptions, args []string) error {
	w, err := o.want(args)
	if err != nil {
		return err
	}
	v, err := openVault(ctx, s, !o.dry)
	if err != nil {
		return err
	}
	defer v.close()
	plans, err := v.plans(ctx, w, o.partition)
	if err != nil {
		return err
	}
	var rows []*planJSON
	impossible := 0
	for _, p := range plans {
		rows = append(rows, newPlanJSON(p))
		if p.Checkpoint == nil {
			impossible++
		}
	}
	if !o.json {
		var b strings.Builder
		for _, r := range rows {
			r.write(&b, time.Now())
		}
		if _, err := fmt.Fprint(a.stdout, b.String()); err != nil {
			return err
		}
	}
	if !o.dry && impossible < len(plans) {
		err = a.doRestore(ctx, v, plans, rows, o.json)
	}
	if o.json {
		err = cmp.Or(writeJSON(a.stdout, rows), err)
	}
	if err == nil && impossible > 0 {
		err = &classed{exitNotWhole, fmt.Errorf("%d of %s can't be restored", impossible, plural(len(plans), "partition"))}
	}
	return err
}

// plans makes a plan of each partition that is meant.
func (v *vault) plans(ctx context.Context, w checkpoint.Want, only int32) ([]*processor.Plan, error) {
	logs, err := v.logs(ctx)
	if err != nil {
		return nil, err
	}
	if w.Name != "" {
		m, err := v.find(ctx, w.Name)
		if err != nil {
			return nil, err
		}
		w.Name, logs = m.Ref.String(), []checkpoint.Log{m.Log()}
	}
	var plans []*processor.Plan
	for _, l := range logs {
		if only >= 0 && l.Partition != only {
			continue
		}
		w.Log = l
		p, err := processor.PlanRestore(ctx, v.store, v.log, v.says, stateDir(v.s), w)
		if err != nil {
			return nil, err
		}
		plans = append(plans, p)
	}
	if len(plans) == 0 {
		return nil, fmt.Errorf("%s has no checkpoint of partition %d", v.store.Name(), only)
	}
	return plans, nil
}

func (a *app) doRestore(ctx context.Context, v *vault, plans []*processor.Plan, rows []*planJSON, quiet bool) error {
	for i, p := range plans {
		if p.Checkpoint == nil {
			continue
		}
		began := time.Now()
		var m *checkpoint.Manifest
		var refused []checkpoint.Refusal
		var aside string
		work := func(progress checkpoint.Progress) (err error) {
			m, refused, aside, err = p.Restore(ctx, v.store, progress)
			return err
		}
		var err error
		if quiet {
			err = work(nil)
		} else {
			err = a.showBytes(ctx, fmt.Sprintf("partition %d", p.Log.Partition), work)
		}
		if err != nil {
			return err
		}
		rows[i].Restored, rows[i].Aside = m.Ref.String(), aside
		rows[i].setRefused(refused)
		if quiet {
			continue
		}
		if m.Ref.String() != p.Checkpoint.Ref.String() {
			for _, r := range rows[i].Refused {
				fmt.Fprintf(a.stdout, "partition %d: refused %s: %s\n", p.Log.Partition, r.Checkpoint, r.Why)
			}
		}
		fmt.Fprintf(a.stdout, "partition %d: restored %v, %s verified, in %s", p.Log.Partition, m.Ref, byteText(m.Size), short(time.Since(began)))
		if aside != "" {
			fmt.Fprintf(a.stdout, "; the old state is in %s", aside)
		}
		fmt.Fprintln(a.stdout)
	}
	return nil
}

// planJSON is a plan as it is told.
type planJSON struct {
	Partition  int32          `json:"partition"`
	Possible   bool           `json:"possible"`
	Checkpoint string         `json:"checkpoint,omitempty"`
	Taken      *time.Time     `json:"taken,omitempty"`
	Newest     *time.Time     `json:"newest,omitempty"`
	Offset     int64          `json:"offset"`
	Size       int64          `json:"size"`
	Now        string         `json:"now"` // what stands in the folder
	LogSays    string         `json:"log,omitempty"`
	LogStart   int64          `json:"log_start"`
	LogEnd     int64          `json:"log_end"`
	Replay     int64          `json:"replay"`
	Rate       float64        `json:"rate,omitempty"` // records a second
	Seconds    float64        `json:"seconds,omitempty"`
	Lost       int64          `json:"lost"` // records that the log no longer has
	LostFrom   *time.Time     `json:"lost_from,omitempty"`
	LostTo     *time.Time     `json:"lost_to,omitempty"`
	Partial    map[string]int `json:"partial,omitempty"` // windows of a symbol, by period
	Refused    []refusalJSON  `json:"refused,omitempty"`
	Restored   string         `json:"restored,omitempty"`
	Aside      string         `json:"old_state,omitempty"`

	periods []string
}

type refusalJSON struct {
	Checkpoint string `json:"checkpoint"`
	Why        string `json:"why"`
}

func newPlanJSON(p *processor.Plan) *planJSON {
	j := &planJSON{Partition: p.Log.Partition, Now: p.Now, LogSays: p.LogSays, LogStart: p.Start, LogEnd: p.End}
	j.setRefused(p.Refused)
	m := p.Checkpoint
	if m == nil {
		return j
	}
	j.Possible, j.Checkpoint, j.Taken, j.Newest, j.Offset, j.Size = true, m.Ref.String(), &m.Taken, m.Newest, m.Offset, m.Size
	j.Replay, j.Rate, j.Seconds, j.Lost, j.periods = p.Replay, p.Rate, p.Takes().Seconds(), p.Lost, m.Periods
	if p.Lost == 0 {
		return j
	}
	j.LostFrom, j.LostTo, j.Partial = known(p.LostFrom), known(p.LostTo), map[string]int{}
	for _, name := range m.Periods {
		if per, err := schema.ParsePeriod(name); err == nil {
			j.Partial[name] = p.Partial(schema.Calendar{}, per)
		}
	}
	return j
}

func (j *planJSON) setRefused(all []checkpoint.Refusal) {
	j.Refused = nil
	for _, r := range all {
		j.Refused = append(j.Refused, refusalJSON{r.Ref.String(), oneLine(fmt.Errorf("%s", r.Why))})
	}
}

// refusedMost is how many refusals are told in words.
const refusedMost = 5

func (j *planJSON) write(b *strings.Builder, now time.Time) {
	answer := "NO"
	if j.Possible {
		answer = "YES"
	}
	fmt.Fprintf(b, "partition %d: %s\n", j.Partition, answer)
	line := func(what, format string, args ...any) {
		fmt.Fprintf(b, "  %-8s %s\n", what, fmt.Sprintf(format, args...))
	}
	if j.Possible {
		line("from", "%s, taken %s ago, newest trade %s, %s", j.Checkpoint, ago(now, j.Taken), timeText(j.Newest), byteText(j.Size))
	}
	line("now", "%s", j.Now)
	switch {
	case !j.Possible && j.LogSays == "":
		line("without", "it comes back from the log, which has %d to %d", j.LogStart, j.LogEnd)
	case j.LogSays != "":
		line("replay", "not known: the log can't be asked, and the processor will compare: %s", j.LogSays)
	case j.Seconds > 0:
		line("replay", "%s, about %s at the %.0f a second that were measured", plural(j.Replay-j.Lost, "record"), short(time.Duration(j.Seconds*float64(time.Second))), j.Rate)
	default:
		line("replay", "%s", plural(j.Replay-j.Lost, "record"))
	}
	switch {
	case !j.Possible || j.LogSays != "":
	case j.Lost == 0:
		line("partial", "none: the log reaches back to %d", j.LogStart)
	default:
		var parts []string
		for _, p := range j.periods {
			parts = append(parts, fmt.Sprintf("%s %d", p, j.Partial[p]))
		}
		line("partial", "windows from %s to %s may lack trades until these are fetched again: the log begins at %d, %s after the checkpoint are gone; a symbol has %s of them",
			timeText(j.LostFrom), timeText(j.LostTo), j.LogStart, plural(j.Lost, "record"), strings.Join(parts, ", "))
	}
	refused := slices.Clone(j.Refused)
	for _, r := range refused[:min(len(refused), refusedMost)] {
		line("refused", "%s: %s", r.Checkpoint, clip(r.Why, 300))
	}
	if n := len(refused) - refusedMost; n > 0 {
		line("", "and %d more", n)
	}
}
