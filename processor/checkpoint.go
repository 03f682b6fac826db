package processor

import (
	"context"
	"errors"
	"time"

	"millrace/state/checkpoint"
)

// taker takes the checkpoints of a partition beside its owner, who waits for
// one only when the partition is given up.
type taker struct {
	o *owner
	c *Checkpoints
	t checkpoint.Taker
	// full: the next one relies on nothing that is in the store, of which
	// something was found damaged.
	full   bool
	failed bool // the one before failed, which was said
}

func newTaker(o *owner, dir string, full bool) *taker {
	c := o.p.cfg.Checkpoints
	return &taker{o: o, c: c, full: full,
		t: checkpoint.Taker{Store: c.Store, State: o.store, Topic: o.p.cfg.Topics.Ticks, Scratch: dir + ".copy", FS: o.p.cfg.FS, Program: c.Program, Rate: o.rate}}
}

// rate gives how many records a second the owner applies, of the time it is at it.
func (o *owner) rate() float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.busy < time.Millisecond {
		return 0
	}
	return float64(o.status.Counts.Records) / o.busy.Seconds()
}

// run takes one every so often, each partition at its own moment.
func (t *taker) run(ctx context.Context) {
	first := time.NewTimer(t.c.Every * time.Duration(1+t.o.partition%8) / 8)
	defer first.Stop()
	select {
	case <-ctx.Done():
		return
	case <-first.C:
	}
	tick := time.NewTicker(t.c.Every)
	defer tick.Stop()
	for {
		t.take(ctx)
		t.collect(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// last takes one of what a partition has when it is given up, so that whoever
// has it next need not replay. What can't be uploaded in time is left out.
func (t *taker) last() {
	ctx, cancel := context.WithTimeout(context.Background(), t.c.LastTime)
	defer cancel()
	t.take(ctx)
}

func (t *taker) take(ctx context.Context) {
	o := t.o
	m, cost, err := t.t.Take(ctx, t.full)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return
	case err != nil:
		o.p.log.Warn("no checkpoint: the one before stays the newest; trying again", "partition", o.partition, "store", t.c.Store.Name(), "in", t.c.Every, "err", err)
		t.failed = true
		return
	case t.failed:
		o.p.log.Info("checkpoints are taken again", "partition", o.partition)
	}
	t.failed, t.full = false, false
	o.mu.Lock()
	o.status.Checkpointed = m.Offset
	o.mu.Unlock()
	if !cost.Known {
		o.p.log.Debug("checkpoint", "partition", o.partition, "offset", m.Offset, "bytes", m.Size, "uploaded", cost.Bytes, "took", cost.Took, "copied in", cost.Copied)
	}
}

// collect removes the partition's checkpoints that need not be kept.
func (t *taker) collect(ctx context.Context) {
	c, err := t.c.Store.Collect(ctx, t.log(), t.c.Keep, false)
	if err != nil && ctx.Err() == nil {
		t.o.p.log.Warn("old checkpoints were not collected; they stay until the next time", "partition", t.o.partition, "store", t.c.Store.Name(), "err", err)
	}
	if len(c.Checkpoints) > 0 {
		t.o.p.log.Debug("checkpoints collected", "partition", t.o.partition, "checkpoints", len(c.Checkpoints), "files", c.Files, "bytes", c.Bytes, "kept", c.Kept)
	}
}

func (t *taker) log() checkpoint.Log { return t.o.p.logOf(t.o.partition) }

// logOf names a partition of this life of the topic in a store.
func (p *Processor) logOf(partition int32) checkpoint.Log {
	return checkpoint.Log{Topic: p.cfg.Topics.Ticks, TopicID: p.lineage.Ticks, Partition: partition}
}
