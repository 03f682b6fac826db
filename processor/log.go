package processor

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/schema"
)

// Log is a topic of ticks as it is now, for questions.
type Log struct {
	Asker *kgo.Client // asks and reads single records; consumes nothing
	Topic string
	ID    kafka.TopicID
}

// Bounds gives the first offset of a partition's log and the one behind its last.
func (l *Log) Bounds(ctx context.Context, partition int32) (start, end int64, err error) {
	return kafka.Bounds(ctx, l.Asker, l.Topic, partition)
}

// Holds tells whether the log still has, before an offset, the record of a
// hash, or why not. What retention has taken is believed.
func (l *Log) Holds(ctx context.Context, partition int32, offset int64, hash uint64) (held bool, why string, err error) {
	if offset == 0 {
		return true, "", nil
	}
	rec, err := kafka.Read(ctx, l.Asker, l.Topic, l.ID, partition, offset-1)
	if err != nil && !errors.Is(err, kafka.ErrOffset) {
		return false, "", err
	}
	if err != nil || rec == nil || rec.Offset != offset-1 {
		start, end, err := l.Bounds(ctx, partition)
		if err != nil {
			return false, "", err
		}
		if end < offset {
			return false, fmt.Sprintf("%s/%d ends at %d: it has lost records that were applied", l.Topic, partition, end), nil
		}
		if start < offset {
			return false, fmt.Sprintf("%s/%d has no record at %d any more", l.Topic, partition, offset-1), nil
		}
		return true, "", nil
	}
	if kafka.Hash(rec) != hash {
		return false, fmt.Sprintf("%s/%d holds another record at %d than the one that was applied: it was rewritten", l.Topic, partition, offset-1), nil
	}
	return true, "", nil
}

// appended gives the append time of the first record at or after an offset; ok
// is false if there is none.
func (l *Log) appended(ctx context.Context, partition int32, offset int64) (t schema.Time, ok bool, err error) {
	rec, err := kafka.Read(ctx, l.Asker, l.Topic, l.ID, partition, offset)
	if err != nil || rec == nil {
		return 0, false, err
	}
	return schema.FromStd(rec.Timestamp), true, nil
}
