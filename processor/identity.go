package processor

import (
	"context"
	"fmt"

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
// hash, or why not.
func (p *Processor) holds(ctx context.Context, partition int32, offset int64, hash uint64) (held bool, why string, err error) {
	return p.theLog().Holds(ctx, partition, offset, hash)
}

// bounds gives the first offset of a partition's log and the one behind its last.
func (p *Processor) bounds(ctx context.Context, partition int32) (start, end int64, err error) {
	return p.theLog().Bounds(ctx, partition)
}

func (p *Processor) theLog() *Log {
	return &Log{Asker: p.asker, Topic: p.cfg.Topics.Ticks, ID: p.lineage.Ticks}
}
