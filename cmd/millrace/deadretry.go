package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/schema"
)

func (a *app) deadRetry() command {
	var o struct {
		deadFilter
		all, wait, dry, json bool
		patience             time.Duration
	}
	return command{
		use:   "retry [LETTER…]",
		short: "send what was refused to ticks again",
		long: "Sends the refused trades, or the refused record, to ticks again: those of the letters that are named, of a filter, or all. " +
			"It is safe: a trade that has been counted meanwhile is a copy. What still can't be used is refused again, in a letter of its own; the old letter stays. " +
			"With --wait it says what became of it, and ends with code 3 if any was refused again.",
		example: "millrace dead retry 2/118 --wait\nmillrace dead retry --reason future --since 24h --dry-run",
		groups:  lookGroups, leave: lookLeave, args: 1000,
		own: func(f *pflag.FlagSet) {
			o.flags(f)
			f.BoolVar(&o.all, "all", false, "all letters")
			f.BoolVar(&o.dry, "dry-run", false, "say what would be sent, and send nothing")
			f.BoolVar(&o.wait, "wait", false, "wait until processors have come to it, and say what became of it")
			f.DurationVar(&o.patience, "patience", time.Minute, "how long to wait, as a `DURATION`")
			jsonFlag(f, &o.json)
		},
		run: func(ctx context.Context, s *settings, args []string) error {
			if err := o.check(time.Now()); err != nil {
				return err
			}
			filtered := o.reason != "" || o.symbol != "" || o.since != ""
			if given := len(args) > 0; given == (filtered || o.all) {
				return usagef("wanted either names of letters, or a filter (--reason, --symbol, --since), or --all")
			}
			m, err := openMorgue(ctx, s)
			if err != nil {
				return err
			}
			defer m.client.Close()
			r := &retried{Reasons: map[string]int64{}, Skipped: map[string]int64{}, Again: []*letter{}, DryRun: o.dry}
			before, err := m.ends(ctx)
			if err != nil {
				return err
			}
			err = a.showCount(ctx, "sending again", func(progress func(done, total int64)) error {
				if len(args) == 0 {
					return m.each(ctx, &o.deadFilter, progress, func(x *letter) error { return m.again(ctx, x, r) })
				}
				for i, name := range args {
					x, err := m.find(ctx, name)
					if err == nil {
						err = m.again(ctx, x, r)
					}
					if err != nil {
						return err
					}
					progress(int64(i+1), int64(len(args)))
				}
				return nil
			})
			err = errors.Join(err, m.flush(ctx, r))
			if err == nil && o.wait && !o.dry && r.Sent > 0 {
				err = m.became(ctx, r, before, o.patience)
			}
			if o.json {
				if e := writeJSON(a.stdout, r); err == nil {
					err = e
				}
			} else if _, e := io.WriteString(a.stdout, r.text()); err == nil {
				err = e
			}
			if err == nil && len(r.Again) > 0 {
				err = &classed{exitNotWhole, fmt.Errorf("%s refused again", plural(len(r.Again), "record"))}
			}
			return err
		},
	}
}

// retried is what was sent again and what became of it.
type retried struct {
	DryRun  bool             `json:"dry_run"`
	Sent    int64            `json:"sent"`
	Reasons map[string]int64 `json:"reasons"`           // of what was sent
	Skipped map[string]int64 `json:"skipped"`           // why it can't be sent, and how many
	Waited  bool             `json:"waited"`            // what follows is known
	Applied int64            `json:"applied"`           // or a copy of what was applied
	Again   []*letter        `json:"refused_again"`     // the new letters
	Until   map[int32]int64  `json:"offsets,omitempty"` // behind what was sent, by partition of ticks

	pending []*kgo.Record
	placed  map[[2]int64]bool // partition and offset of what was sent
}

// retryAtOnce is how many records wait for one acknowledgement.
const retryAtOnce = 500

// again sends what a letter holds.
func (m *morgue) again(ctx context.Context, x *letter, r *retried) error {
	rec, why, err := m.original(ctx, x)
	if err != nil {
		return err
	}
	if why != "" {
		r.Skipped[why]++
		return nil
	}
	r.Sent++
	r.Reasons[x.Reason]++
	if r.DryRun {
		return nil
	}
	if r.pending = append(r.pending, rec); len(r.pending) >= retryAtOnce {
		return m.flush(ctx, r)
	}
	return nil
}

// original gives the record to send, or why there is none.
func (m *morgue) original(ctx context.Context, x *letter) (*kgo.Record, string, error) {
	value := x.rec.Value
	if x.kind == 0 && x.Offset != nil && x.TopicID == fmt.Sprintf("%x", m.log.Ticks) {
		// Of a long record the letter has the beginning only.
		was, err := kafka.Read(ctx, m.client, m.log.Topic(), m.log.Ticks, x.Partition, *x.Offset)
		if err != nil && !errors.Is(err, kafka.ErrOffset) {
			return nil, "", err
		}
		if err == nil && was != nil && was.Offset == *x.Offset {
			value = was.Value
		}
	}
	var tick schema.Tick
	if err := tick.Decode(value); err != nil {
		if x.Offset == nil {
			return nil, "it is what an ingestor received, and no record", nil
		}
		return nil, "this program can't read it either", nil
	}
	rec := &kgo.Record{Topic: m.log.Topic(), Partition: x.Partition, Value: value}
	switch tick.Kind {
	case schema.KindSettings:
		return nil, "settings are changed by millrace settings", nil
	case schema.KindMark: // it went to this partition
		if x.Partition < 0 || x.Partition >= m.log.Partitions {
			return nil, "it is of a partition that the log doesn't have", nil
		}
	default:
		symbol := symbolOf(&tick)
		rec.Key, rec.Partition = []byte(symbol), schema.Partition(symbol, m.log.Partitions)
	}
	return rec, "", nil
}

// flush sends what waits, and waits for the acknowledgements.
func (m *morgue) flush(ctx context.Context, r *retried) error {
	if len(r.pending) == 0 {
		return nil
	}
	if err := m.client.ProduceSync(ctx, r.pending...).FirstErr(); err != nil {
		return fmt.Errorf("send to %s: %w; what was sent twice is a copy: run the command again", m.log.Topic(), err)
	}
	if r.Until == nil {
		r.Until, r.placed = map[int32]int64{}, map[[2]int64]bool{}
	}
	for _, rec := range r.pending {
		r.Until[rec.Partition] = max(r.Until[rec.Partition], rec.Offset+1)
		r.placed[[2]int64{int64(rec.Partition), rec.Offset}] = true
	}
	r.pending = nil
	return nil
}

// became waits until the processors' group has passed what was sent, and looks
// for new letters of it.
func (m *morgue) became(ctx context.Context, r *retried, before map[int32]int64, patience time.Duration) error {
	bound, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	group := "millrace-" + m.log.Topic()
	admin := kadm.NewClient(m.client)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		passed, err := admin.FetchOffsets(bound, group)
		if err != nil && bound.Err() == nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return fmt.Errorf("ask where group %s stands: %w", group, err)
		}
		behind := 0
		for p, until := range r.Until {
			if at, ok := passed.Lookup(m.log.Topic(), p); !ok || at.At < until {
				behind++
			}
		}
		if err == nil && behind == 0 {
			break
		}
		select {
		case <-tick.C:
		case <-bound.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return awayf("sent, but in %v no processor of group %s has come to it in %s: see that one runs, then millrace dead list", patience, group, plural(behind, "partition"))
		}
	}
	after, err := m.ends(ctx)
	if err != nil {
		return err
	}
	r.Waited, r.Applied = true, int64(len(r.placed))
	var t schema.Tick
	refused := map[[2]int64]bool{}
	for _, p := range sortedParts(after) {
		err := kafka.Scan(ctx, m.client, m.topic, m.log.Dead, p, before[p], after[p], func(rec *kgo.Record) error {
			x := newLetter(rec, &t)
			if x.Offset == nil || x.TopicID != fmt.Sprintf("%x", m.log.Ticks) {
				return nil
			}
			at := [2]int64{int64(x.Partition), *x.Offset}
			if !r.placed[at] || refused[at] {
				return nil
			}
			refused[at] = true
			x.rec = nil
			r.Again = append(r.Again, x)
			r.Applied--
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *retried) text() string {
	var b strings.Builder
	what := "sent again"
	if r.DryRun {
		what = "would be sent again"
	}
	fmt.Fprintf(&b, "%s %s", plural(r.Sent, "record"), what)
	if r.Sent > 0 {
		fmt.Fprintf(&b, ": %s", counts(r.Reasons))
	}
	b.WriteByte('\n')
	for why, n := range r.Skipped {
		fmt.Fprintf(&b, "%s not sent: %s\n", plural(n, "letter"), why)
	}
	if !r.Waited {
		return b.String()
	}
	fmt.Fprintf(&b, "%d applied, or a copy of what was; %d refused again\n", r.Applied, len(r.Again))
	for _, x := range r.Again[:min(len(r.Again), attentionMost)] {
		fmt.Fprintf(&b, "  %s  %s  %s: %s\n", x.ID, cmp.Or(clip(x.Symbol, 30), "-"), clip(x.Reason, 20), clip(x.Text, 120))
	}
	return b.String()
}

func countBar(what string, n, total int64, took time.Duration) string {
	line := fmt.Sprintf("%s · %d of %d", what, n, total)
	if s := took.Seconds(); s > 0.5 && n > 0 {
		line += fmt.Sprintf(" · %.0f/s · %v left", float64(n)/s, time.Duration(float64(took)/float64(n)*float64(total-n)).Round(time.Second))
	}
	return line
}
