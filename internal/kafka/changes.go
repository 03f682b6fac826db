package kafka

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/failpoint"
	"millrace/schema"
)

// Settings are changed by a record in each partition of `ticks`. So that nobody
// has to look for it in the log, and retention doesn't take the word of it, the
// compacted topic `gaps` keeps a copy under a key of its own, with the offset:
//
//	note in gaps, without an offset ─▶ record in ticks ─▶ note in gaps, with it
//
// Whoever dies between leaves a note without an offset. The next change goes on
// from it: the same record in the log twice is one.

// The steps at which a process may die.
var (
	atNote     = failpoint.New("settings.note")
	atRecord   = failpoint.New("settings.record")
	atRecorded = failpoint.New("settings.recorded")
	atNoted    = failpoint.New("settings.noted")
)

// Change is one revision of a partition's settings.
type Change struct {
	Settings schema.Settings
	// Offset is where their record stands in the log; −1 if it is not certain that
	// there is one.
	Offset int64
}

// changes reads the notes of all partitions and lets the newest have the last
// word.
func (e *ensurer) changes(ctx context.Context, l *Lineage) error {
	l.first, l.began = l.Settings, l.Known
	starts, err := e.admin.ListStartOffsets(ctx, l.gaps)
	if err == nil {
		err = starts.Error()
	}
	var ends kadm.ListedOffsets
	if err == nil {
		if ends, err = e.admin.ListEndOffsets(ctx, l.gaps); err == nil {
			err = ends.Error()
		}
	}
	if err != nil {
		return fmt.Errorf("kafka: ask for the offsets of %s: %w", l.gaps, err)
	}
	l.Changes = map[int32][]Change{}
	var tick schema.Tick
	for _, end := range ends.Offsets().Sorted() {
		start, _ := starts.Lookup(l.gaps, end.Partition)
		notes := map[uint32]Change{}
		err := Scan(ctx, e.client, l.gaps, l.Gaps, end.Partition, start.Offset, end.At, func(rec *kgo.Record) error {
			if !schema.IsSettingsKey(rec.Key) || header(rec, schema.HeaderTopicID) != hex.EncodeToString(l.Ticks[:]) {
				return nil // of another life of ticks
			}
			err := tick.Decode(rec.Value)
			if errors.Is(err, schema.ErrNewer) {
				return fmt.Errorf("kafka: topic %s, partition %d: %w", l.topic, end.Partition, err)
			}
			if err != nil || tick.Kind != schema.KindSettings {
				return nil // not ours; the log itself has the word
			}
			at, err := strconv.ParseInt(header(rec, schema.HeaderOffset), 10, 64)
			if err != nil {
				at = -1
			}
			if was, ok := notes[tick.Settings.Revision]; ok && at < 0 && was.Offset >= 0 {
				at = was.Offset // somebody began to write it again
			}
			notes[tick.Settings.Revision] = Change{tick.Settings, at}
			return nil
		})
		if err != nil {
			return err
		}
		for _, c := range notes {
			l.Changes[end.Partition] = append(l.Changes[end.Partition], c)
			if !l.Known || c.Settings.Revision > l.Settings.Revision {
				l.Settings, l.Known = c.Settings, true
			}
		}
		slices.SortFunc(l.Changes[end.Partition], func(a, b Change) int { return cmp.Compare(a.Settings.Revision, b.Settings.Revision) })
	}
	return nil
}

func header(rec *kgo.Record, key string) string {
	for _, h := range rec.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// At gives the settings in force at an offset of a partition; ok is false if
// nobody knows any more.
func (l *Lineage) At(partition int32, offset int64) (c Change, ok bool) {
	if l.began {
		c, ok = Change{l.first, 0}, true
	}
	for _, x := range l.Changes[partition] {
		if x.Offset >= 0 && x.Offset <= offset {
			c, ok = x, true
		}
	}
	return c, ok
}

// Changed reports whether the log's settings were ever changed.
func (l *Lineage) Changed() bool { return len(l.Changes) > 0 }

// Find is Ensure for who makes nothing: it gives the lineage of topics that are
// there.
func Find(ctx context.Context, client *kgo.Client, t Topics) (Lineage, error) {
	t.EnsureDefaults()
	if err := t.Validate(); err != nil {
		return Lineage{}, err
	}
	e := ensurer{client: client, admin: kadm.NewClient(client), topics: t}
	found, err := e.describe(ctx, t.all())
	if err != nil {
		return Lineage{}, err
	}
	for _, x := range t.all() {
		if len(found[x.name].Partitions) == 0 {
			return Lineage{}, fmt.Errorf("%w: there is no topic %s: name the log's with --ticks-topic and --candles-topic, or begin one with a role", ErrNoTopic, x.name)
		}
	}
	l := Lineage{
		Partitions: int32(len(found[t.Ticks].Partitions)), topic: t.Ticks, gaps: t.Gaps(),
		Ticks: TopicID(found[t.Ticks].ID), Candles: TopicID(found[t.Candles].ID),
		Dead: TopicID(found[t.Dead()].ID), Gaps: TopicID(found[t.Gaps()].ID),
	}
	s := schema.Settings{Partitions: l.Partitions}
	s.EnsureDefaults()
	if l.Settings, l.Known, err = e.first(ctx, &l, s); err != nil {
		return l, err
	}
	return l, e.changes(ctx, &l)
}

// ErrNoTopic reports a log that isn't there.
var ErrNoTopic = errors.New("no log")

// Behind names the partitions whose log doesn't hold s for certain.
func (l *Lineage) Behind(s *schema.Settings) []int32 {
	var behind []int32
	for p := range l.Partitions {
		if c, ok := l.At(p, 1<<62); !ok || c.Settings.Diff(s) != "" {
			behind = append(behind, p)
		}
	}
	return behind
}

// Change writes settings into partitions of the log, in force from there on, and
// tells of each where. Called again after it failed it completes what was begun.
func (l *Lineage) Change(ctx context.Context, client *kgo.Client, s schema.Settings, partitions []int32, tell func(partition int32, offset int64)) error {
	value, err := schema.AppendControl(nil, s)
	if err != nil {
		return fmt.Errorf("kafka: write settings: %w", err)
	}
	for _, p := range partitions {
		note := func(offset string) error {
			rec := &kgo.Record{Topic: l.gaps, Partition: p, Key: schema.SettingsKey(s.Revision), Value: value, Headers: []kgo.RecordHeader{
				{Key: schema.HeaderTopicID, Value: []byte(hex.EncodeToString(l.Ticks[:]))},
			}}
			if offset != "" {
				rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: schema.HeaderOffset, Value: []byte(offset)})
			}
			if err := client.ProduceSync(ctx, rec).FirstErr(); err != nil {
				return fmt.Errorf("kafka: note the settings in %s/%d: %w", l.gaps, p, err)
			}
			return nil
		}
		atNote.Hit()
		if err := note(""); err != nil {
			return err
		}
		atRecord.Hit()
		rec := &kgo.Record{Topic: l.topic, Partition: p, Value: value}
		if err := client.ProduceSync(ctx, rec).FirstErr(); err != nil {
			return fmt.Errorf("kafka: write the settings into %s/%d: %w", l.topic, p, err)
		}
		atRecorded.Hit()
		if err := note(strconv.FormatInt(rec.Offset, 10)); err != nil {
			return err
		}
		atNoted.Hit()
		tell(p, rec.Offset)
	}
	return nil
}
