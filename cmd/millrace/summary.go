package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/processor"
	"millrace/schema"
)

// summary is what `dev --until-done` says at its end.
type summary struct {
	Ticks       int64            `json:"ticks"`
	Duplicates  int64            `json:"duplicates"`
	Candles     map[string]int64 `json:"candles"` // in the SQL store, by status
	OpenGaps    int64            `json:"open_gaps"`
	DeadLetters int64            `json:"dead_letters"` // of this run
	Took        time.Duration    `json:"took_ns"`
	Stages      []stageRow       `json:"stages"`
}

func (d *dev) topicDead() string {
	t := d.s.topics()
	return t.Dead()
}

// ends gives the offset behind the last record of each partition.
func (d *dev) ends(ctx context.Context, topic string) (map[int32]int64, error) {
	list, err := kadm.NewClient(d.client).ListEndOffsets(ctx, topic)
	if err == nil {
		err = list.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask where %s ends: %w", topic, err)
	}
	ends := map[int32]int64{}
	list.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
	return ends, nil
}

func (d *dev) total(ctx context.Context, topic string) (n int64, err error) {
	ends, err := d.ends(ctx, topic)
	for _, e := range ends {
		n += e
	}
	return n, err
}

// finish waits until every sink has all that is in the log, and sums up.
func (d *dev) finish(ctx context.Context) (*summary, error) {
	if err := d.settle(ctx); err != nil {
		return nil, err
	}
	if d.holes() > 0 {
		// A hole is a gap once the log's time has passed it by a while, and the
		// log's time is told by its records.
		if err := d.age(ctx); err != nil {
			return nil, err
		}
		if err := d.settle(ctx); err != nil {
			return nil, err
		}
	}
	s := &summary{Candles: map[string]int64{}, Took: time.Since(d.began), Stages: d.frame().Stages}
	for _, p := range d.proc.Status() {
		s.Ticks += p.Counts.Trades
		s.Duplicates += p.Counts.Duplicates
	}
	totals, err := d.proc.DB().Totals(ctx)
	if err != nil {
		return nil, err
	}
	for status, n := range totals.Candles {
		s.Candles[status.String()] = n
	}
	s.OpenGaps = totals.OpenGaps
	dead, err := d.total(ctx, d.topicDead())
	s.DeadLetters = dead - d.dead
	return s, err
}

// settle waits until the processor's sinks and the bridge have everything.
func (d *dev) settle(ctx context.Context) error {
	ends, err := d.ends(ctx, d.s.Log.Ticks)
	if err != nil {
		return err
	}
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for !settled(d.proc.Status(), ends) {
		select {
		case <-t.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if ends, err = d.ends(ctx, d.s.Log.Candles); err != nil {
		return err
	}
	return d.bridge.CaughtUp(ctx, ends)
}

func settled(status []processor.PartitionStatus, ends map[int32]int64) bool {
	for partition, end := range ends {
		ready := false
		for _, s := range status {
			ready = ready || s.Partition == partition && s.Offset >= end && s.Sinks["candles"] >= end && s.Sinks["sql"] >= end
		}
		if !ready {
			return false
		}
	}
	return true
}

func (d *dev) holes() int {
	n := 0
	for _, s := range d.proc.Status() {
		n += s.Holes
	}
	return n
}

// age writes a mark of nobody into each partition once a hole is old enough.
func (d *dev) age(ctx context.Context) error {
	lineage := d.proc.Lineage()
	wait := time.NewTimer(time.Duration(lineage.Settings.GapAfter+schema.Second/10) * time.Microsecond)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	value, err := schema.AppendControl(nil, schema.Mark{Ingestor: "dev"})
	if err != nil {
		return err
	}
	var recs []*kgo.Record
	for p := range lineage.Partitions {
		recs = append(recs, &kgo.Record{Topic: d.s.Log.Ticks, Partition: p, Value: value})
	}
	return d.client.ProduceSync(ctx, recs...).FirstErr()
}

// report prints the summary. It is an error where something is not whole.
func (s *summary) report(out io.Writer, asJSON bool) error {
	var err error
	if asJSON {
		err = writeJSON(out, s)
	} else {
		_, err = fmt.Fprintf(out, "%s, %s, in %s\ncandles: %d final, %d closed, %d holed, %d live\n%s open, %s\n",
			plural(s.Ticks, "tick"), plural(s.Duplicates, "duplicate"), short(s.Took),
			s.Candles["final"], s.Candles["closed"], s.Candles["holed"], s.Candles["live"],
			plural(s.OpenGaps, "gap"), plural(s.DeadLetters, "dead letter"))
		for _, line := range stageLines(s.Stages) {
			if err == nil {
				_, err = fmt.Fprintln(out, line)
			}
		}
	}
	if err == nil && (s.OpenGaps > 0 || s.DeadLetters > 0) {
		err = &classed{exitNotWhole, fmt.Errorf("not whole: %s open, %s", plural(s.OpenGaps, "gap"), plural(s.DeadLetters, "dead letter"))}
	}
	return err
}
