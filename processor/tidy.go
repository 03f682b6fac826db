package processor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"millrace/internal/failpoint"
	"millrace/state"
)

// atDropped is where a process may die while it drops a folder.
var atDropped = failpoint.New("standby.dropped")

// leftFor is how long the state of a partition stays that this process neither
// owns nor stands by for. Until then it is there if the partition comes back; a
// day later most of it would be replayed anyway.
const leftFor = 24 * time.Hour

// droppedEnd marks a folder that is being removed.
const droppedEnd = ".dropped"

// tidy drops the state of partitions that have been others' for long. It counts
// while this process is in the group: one that was down owns nothing yet.
func (p *Processor) tidy(ctx context.Context) error {
	since := map[int32]time.Time{}
	t := time.NewTicker(p.leftFor / 24)
	defer t.Stop()
	for {
		if err := p.dropLeft(since, time.Now()); err != nil {
			p.log.Warn("could not drop the state of partitions that are others'; trying again", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// dropLeft drops what has been left for long enough. since is when that was seen
// first.
func (p *Processor) dropLeft(since map[int32]time.Time, now time.Time) error {
	names, err := p.cfg.FS.List(p.cfg.Dir)
	if err != nil {
		return fmt.Errorf("look into the data folder: %w", err)
	}
	for _, name := range names {
		whole := p.cfg.FS.PathJoin(p.cfg.Dir, name)
		if half, ok := strings.CutSuffix(name, droppedEnd); ok {
			if _, ok := state.PartitionOf(half, p.cfg.Topics.Ticks); ok {
				if err := p.cfg.FS.RemoveAll(whole); err != nil {
					return fmt.Errorf("remove %s: %w", whole, err)
				}
			}
			continue
		}
		partition, ok := state.PartitionOf(name, p.cfg.Topics.Ticks)
		if !ok {
			continue
		}
		left, err := p.setLeft(partition, whole, since, now)
		if err != nil || !left {
			if err != nil {
				return err
			}
			continue
		}
		p.log.Info("dropped the state of a partition that has long been another's", "partition", partition, "for", p.leftFor)
		if err := p.cfg.FS.RemoveAll(whole + droppedEnd); err != nil {
			return fmt.Errorf("remove %s: %w", whole, err)
		}
	}
	return nil
}

// setLeft renames a folder that has been left for long enough. The group can't
// give the partition to this process meanwhile.
func (p *Processor) setLeft(partition int32, dir string, since map[int32]time.Time, now time.Time) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.member || p.owners[partition] != nil || p.standbys[partition] != nil {
		delete(since, partition)
		return false, nil
	}
	first, ok := since[partition]
	if !ok {
		since[partition] = now
	}
	if !ok || now.Sub(first) < p.leftFor {
		return false, nil
	}
	delete(since, partition)
	if err := p.cfg.FS.Rename(dir, dir+droppedEnd); err != nil {
		return false, fmt.Errorf("set %s aside: %w", dir, err)
	}
	atDropped.Hit()
	return true, nil
}
