package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schema"
)

// settings gives the settings with which the partitions of `ticks` begin, and
// writes them into those that nothing was ever written to; where none has
// settings, s. made says that this call made the topic, and so need not wait
// for another to write.
func (e *ensurer) settings(ctx context.Context, l *Lineage, s schema.Settings, made bool) (schema.Settings, bool, error) {
	if !made {
		if err := e.wait(ctx); err != nil {
			return s, false, err
		}
	}
	s, known, err := e.first(ctx, l, s)
	if err != nil {
		return s, false, err
	}
	empty, err := e.empty(ctx)
	if err != nil || len(empty) == 0 {
		return s, known, err
	}
	value, err := schema.AppendControl(nil, s)
	if err != nil {
		return s, false, fmt.Errorf("kafka: write settings: %w", err)
	}
	for _, p := range empty {
		rec := &kgo.Record{Topic: e.topics.Ticks, Partition: p, Value: value}
		if err := e.client.ProduceSync(ctx, rec).FirstErr(); err != nil {
			return s, false, fmt.Errorf("kafka: write the settings into %s/%d: %w", e.topics.Ticks, p, err)
		}
	}
	return e.first(ctx, l, s)
}

// wait gives another role that made the topic a moment to write its settings.
func (e *ensurer) wait(ctx context.Context) error {
	deadline, cancel := context.WithTimeout(ctx, settingsWait)
	defer cancel()
	for {
		empty, err := e.empty(ctx)
		if err != nil || len(empty) == 0 {
			return err
		}
		if !pause(deadline, 50*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}

// empty names the partitions that nothing was ever written to.
func (e *ensurer) empty(ctx context.Context) ([]int32, error) {
	ends, err := e.admin.ListEndOffsets(ctx, e.topics.Ticks)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("kafka: ask for the ends of %s: %w", e.topics.Ticks, err)
	}
	var empty []int32
	for _, o := range ends.Offsets().Sorted() {
		if o.At == 0 { // then the start is 0 too
			empty = append(empty, o.Partition)
		}
	}
	return empty, nil
}

// first reads the record with which each partition begins. Where those are
// settings of different revisions, it gives the newest.
func (e *ensurer) first(ctx context.Context, l *Lineage, s schema.Settings) (_ schema.Settings, known bool, _ error) {
	starts, err := e.admin.ListStartOffsets(ctx, e.topics.Ticks)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return s, false, fmt.Errorf("kafka: ask for the starts of %s: %w", e.topics.Ticks, err)
	}
	var tick schema.Tick
	var from int32
	for _, o := range starts.Offsets().Sorted() {
		rec, err := Read(ctx, e.client, e.topics.Ticks, l.Ticks, o.Partition, o.At)
		if err != nil {
			return s, false, err
		}
		if rec == nil {
			continue
		}
		err = tick.Decode(rec.Value)
		if err == nil && tick.Kind == schema.KindSettings {
			got := tick.Settings
			if got.Partitions != l.Partitions {
				return s, false, fmt.Errorf("kafka: topic %s has %d partitions, but its log was begun with %d: partitions were added, which moves symbols; name a new topic",
					e.topics.Ticks, l.Partitions, got.Partitions)
			}
			if known && got.Revision != s.Revision {
				// Retention has left one partition with a later record than the
				// other, or whoever changes them has not come to both. The newest
				// are those that were asked for last.
				if got.Revision > s.Revision {
					s, from = got, o.Partition
				}
				continue
			}
			if d := got.Diff(&s); known && d != "" {
				return s, false, fmt.Errorf("kafka: topic %s: partitions %d and %d begin with different settings: %s; name another topic", e.topics.Ticks, o.Partition, from, d)
			}
			s, known, from = got, true, o.Partition
			continue
		}
		if errors.Is(err, schema.ErrNewer) {
			return s, false, fmt.Errorf("kafka: topic %s, partition %d: %w", e.topics.Ticks, o.Partition, err)
		}
		if rec.Offset == 0 { // retention has taken nothing: it was never ours
			if err == nil {
				err = fmt.Errorf("the first record is of kind %d", tick.Kind)
			}
			return s, false, fmt.Errorf("kafka: topic %s: partition %d does not begin with the settings of a log: %w; name another topic", e.topics.Ticks, o.Partition, err)
		}
	}
	return s, known, nil
}
