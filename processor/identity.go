package processor

import (
	"context"
	"errors"
	"fmt"

	"millrace/internal/kafka"
	"millrace/state"
)

// identify reads the record before the position again. Another record there
// means that the log was rewritten (an unclean election, a restored snapshot):
// nothing that was computed from it can be trusted.
func (p *Processor) identify(ctx context.Context, pos state.Position) error {
	held, why, err := p.holds(ctx, pos.Partition, pos.Offset, pos.Hash)
	if err != nil {
		return fmt.Errorf("check the log of partition %d: %w", pos.Partition, err)
	}
	if !held {
		return fmt.Errorf("state of partition %d stands at %d, but %s; restore the log, or move %s away to begin from what it has",
			pos.Partition, pos.Offset, why, state.PartitionDir(p.cfg.Dir, p.cfg.Topics.Ticks, pos.Partition))
	}
	return nil
}

// holds tells whether the log still has, before an offset, the record of a
// hash, or why not. What retention has taken is believed.
func (p *Processor) holds(ctx context.Context, partition int32, offset int64, hash uint64) (held bool, why string, err error) {
	if offset == 0 {
		return true, "", nil
	}
	topic := p.cfg.Topics.Ticks
	rec, err := kafka.Read(ctx, p.asker, topic, p.lineage.Ticks, partition, offset-1)
	if err != nil && !errors.Is(err, kafka.ErrOffset) {
		return false, "", err
	}
	if err != nil || rec == nil || rec.Offset != offset-1 {
		start, end, err := p.bounds(ctx, partition)
		if err != nil {
			return false, "", err
		}
		if end < offset {
			return false, fmt.Sprintf("%s/%d ends at %d: it has lost records that were applied", topic, partition, end), nil
		}
		if start < offset {
			return false, fmt.Sprintf("%s/%d has no record at %d any more", topic, partition, offset-1), nil
		}
		return true, "", nil
	}
	if kafka.Hash(rec) != hash {
		return false, fmt.Sprintf("%s/%d holds another record at %d than the one that was applied: it was rewritten", topic, partition, offset-1), nil
	}
	return true, "", nil
}
