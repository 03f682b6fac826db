package processor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"millrace/internal/kafka"
	"millrace/processor/sink"
	"millrace/schema"
	"millrace/state"
)

// queueHigh is how many fetched records may wait for an owner before its
// partition's fetches are paused.
const queueHigh = 200_000

// owner is what a partition belongs to while this process has it assigned.
type owner struct {
	p         *Processor
	partition int32
	store     *state.Store
	boxes     []*sink.Mailbox
	cancel    context.CancelCauseFunc
	done      chan struct{}
	wake      chan struct{}
	tick      schema.Tick // the decoder's memory

	mu     sync.Mutex // guards what follows
	queue  [][]*kgo.Record
	queued int
	paused bool
	status PartitionStatus
}

// PartitionStatus is where a partition of this process stands.
type PartitionStatus struct {
	Partition int32
	Offset    int64            // next record to apply
	Sinks     map[string]int64 // by name: everything before it is there
	Counts    state.Counts
	Newest    schema.Time // newest applied trade time; schema.MinTime before the first
	Holes     int         // stretches of missing ids, gaps or too young to be one
}

// errStopped ends an owner whose partition is given up.
var errStopped = errors.New("partition given up")

// open opens the partition's store, makes sure that its log is still the one it
// stands for, and gives the offset to go on from.
func (p *Processor) open(ctx context.Context, partition int32) (*owner, error) {
	dir := state.PartitionDir(p.cfg.Dir, p.cfg.Topics.Ticks, partition)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("state of partition %d: %w", partition, err)
	}
	store, err := state.Open(state.Options{Dir: dir}, p.lineage.Ticks, partition)
	if err != nil {
		return nil, fmt.Errorf("state of partition %d: %w", partition, err)
	}
	if err := p.identify(ctx, store.Partition().Position()); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	if s := store.Partition().Settings(); s != nil && p.cfg.Check != nil {
		if err := p.cfg.Check(*s); err != nil {
			return nil, errors.Join(err, store.Close())
		}
	}
	o := &owner{p: p, partition: partition, store: store, wake: make(chan struct{}, 1), done: make(chan struct{})}
	o.status = PartitionStatus{Partition: partition, Offset: store.Partition().Position().Offset, Sinks: map[string]int64{}, Newest: schema.MinTime}
	return o, nil
}

// identify reads the record before the position again. Another record there
// means that the log was rewritten (an unclean election, a restored snapshot):
// nothing that was computed from it can be trusted.
func (p *Processor) identify(ctx context.Context, pos state.Position) error {
	if pos.Offset == 0 {
		return nil
	}
	rec, err := kafka.Read(ctx, p.client, p.cfg.Topics.Ticks, p.lineage.Ticks, pos.Partition, pos.Offset-1)
	switch {
	case errors.Is(err, kafka.ErrOffset):
		start, end, err2 := p.bounds(ctx, pos.Partition)
		if err2 != nil {
			return err2
		}
		if start >= pos.Offset {
			p.log.Warn("retention has passed the state: what lies between is a gap", "partition", pos.Partition, "state", pos.Offset, "log begins", start)
			return nil
		}
		return fmt.Errorf("%s/%d ends at %d, the state stands at %d: the log has lost records that were applied; restore it, or move %s away to begin from what it has",
			p.cfg.Topics.Ticks, pos.Partition, end, pos.Offset, state.PartitionDir(p.cfg.Dir, p.cfg.Topics.Ticks, pos.Partition))
	case err != nil:
		return fmt.Errorf("check the log of partition %d: %w", pos.Partition, err)
	case rec == nil || rec.Offset != pos.Offset-1:
		return nil // taken by retention in this moment
	case kafka.Hash(rec) != pos.Hash:
		return fmt.Errorf("%s/%d holds another record at %d than the one that was applied: the log was rewritten; restore it, or move %s away to begin from what it has",
			p.cfg.Topics.Ticks, pos.Partition, pos.Offset-1, state.PartitionDir(p.cfg.Dir, p.cfg.Topics.Ticks, pos.Partition))
	}
	return nil
}

// start sets the owner and its sinks going.
func (o *owner) start(ctx context.Context) {
	ctx, o.cancel = context.WithCancelCause(ctx)
	go func() {
		defer close(o.done)
		err := o.run(ctx)
		if err != nil && !errors.Is(context.Cause(ctx), errStopped) {
			o.p.fail(fmt.Errorf("partition %d: %w", o.partition, err))
		}
	}()
}

// run applies what is queued until ctx ends, then waits for the sinks and
// closes the store.
func (o *owner) run(ctx context.Context) (err error) {
	group, sinks := errgroup.WithContext(ctx)
	defer func() {
		o.cancel(errStopped)
		err = errors.Join(err, group.Wait(), o.store.Close())
	}()
	for _, s := range o.sinks() {
		group.Go(func() error { return s(sinks) })
	}
	for {
		if err := o.gather(ctx); err != nil {
			return nil
		}
		recs := o.take()
		if len(recs) == 0 {
			continue
		}
		if err := o.microBatch(ctx, recs); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// gather waits for records and, with a micro-batch interval, for more of them.
func (o *owner) gather(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-o.wake:
	}
	if o.p.cfg.MicroBatch == 0 {
		return nil
	}
	t := time.NewTimer(o.p.cfg.MicroBatch)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// put queues fetched records. It never waits; it says whether the queue is full.
func (o *owner) put(recs []*kgo.Record) (full bool) {
	o.mu.Lock()
	o.queue = append(o.queue, recs)
	o.queued += len(recs)
	full = o.queued >= queueHigh && !o.paused
	o.paused = o.paused || full
	o.mu.Unlock()
	o.kick()
	return full
}

func (o *owner) kick() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take gives the records of one micro-batch.
func (o *owner) take() []*kgo.Record {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		return nil
	}
	recs := o.queue[0]
	if len(recs) > o.p.cfg.MaxRecords {
		recs, o.queue[0] = recs[:o.p.cfg.MaxRecords], recs[o.p.cfg.MaxRecords:]
	} else {
		o.queue = o.queue[1:]
		for len(o.queue) > 0 && len(recs)+len(o.queue[0]) <= o.p.cfg.MaxRecords {
			recs = append(recs[:len(recs):len(recs)], o.queue[0]...)
			o.queue = o.queue[1:]
		}
	}
	o.queued -= len(recs)
	if len(o.queue) > 0 {
		o.kick()
	}
	if o.paused && o.queued < queueHigh/2 {
		o.paused = false
		o.p.client.ResumeFetchPartitions(map[string][]int32{o.p.cfg.Topics.Ticks: {o.partition}})
	}
	return recs
}

// microBatch is the way of a tick through the processor.
func (o *owner) microBatch(ctx context.Context, recs []*kgo.Record) error {
	part := o.store.Partition()
	taken := time.Now()
	var oldest schema.Time
	for _, r := range recs {
		if r.Offset < part.Position().Offset {
			continue // fetched again after a rebalance
		}
		err := o.tick.Decode(r.Value)
		if err == nil && o.tick.Kind == schema.KindTrades && oldest == 0 {
			oldest = o.tick.Batch.Received
		}
		part.Apply(state.Record{Offset: r.Offset, Epoch: r.LeaderEpoch, Hash: kafka.Hash(r), Appended: schema.FromStd(r.Timestamp)}, &o.tick, err)
	}
	if refused := part.TakeRefusals(); len(refused) > 0 {
		letters := deadLetters(o.p.cfg.Topics.Dead(), part.Position(), refused, func(off int64) []byte { return valueAt(recs, off) })
		if err := produce(ctx, o.p.client, letters); err != nil {
			return fmt.Errorf("write dead letters: %w", err)
		}
		for i := range refused {
			o.p.log.Warn("refused a tick; it stands in the dead letters", "partition", o.partition, "offset", refused[i].Offset, "reason", refused[i].Reason, "why", refused[i].Text)
			if i == 9 {
				o.p.log.Warn("refused more ticks", "partition", o.partition, "more", len(refused)-10)
				break
			}
		}
	}
	changes, err := o.store.Commit()
	if err != nil {
		return err
	}
	committed := schema.FromStd(time.Now())
	for i := range changes.Candles {
		changes.Candles[i].Committed = committed
	}
	for _, b := range o.boxes {
		b.Offer(changes)
	}
	if o.p.cfg.Published != nil && len(changes.Candles) > 0 {
		o.p.cfg.Published(changes.Candles)
	}
	o.p.stages.Taken.since(oldest, schema.FromStd(taken))
	o.p.stages.Committed.Observe(time.Since(taken))
	o.mu.Lock()
	o.status.Offset = changes.Position.Offset
	o.status.Counts = part.Counts()
	o.status.Holes = part.Holes()
	o.status.Newest = changes.Newest
	o.mu.Unlock()
	last := recs[len(recs)-1]
	o.p.client.MarkCommitRecords(last)
	return nil
}

func valueAt(recs []*kgo.Record, offset int64) []byte {
	for _, r := range recs {
		if r.Offset == offset {
			return r.Value
		}
	}
	return nil
}

// sinks gives the partition's sinks, each ready to run.
func (o *owner) sinks() []func(context.Context) error {
	box := func() *sink.Mailbox {
		b := sink.NewMailbox()
		o.boxes = append(o.boxes, b)
		b.Offer(&state.Changes{Position: o.store.Partition().Position()})
		return b
	}
	p := o.p
	topic := &sink.Topic{
		Client: p.client, Reader: p.reader, Candles: p.cfg.Topics.Candles, Gaps: p.cfg.Topics.Gaps(), Store: o.store, Mailbox: box(),
		TopicID: p.lineage.Ticks, Partition: o.partition, Writer: p.writer, Every: p.cfg.CandlesEvery, Log: p.log, Hooks: o.hooks("candles", &p.stages.Candles),
	}
	list := []func(context.Context) error{topic.Run}
	if p.db != nil {
		s := &sink.SQL{
			DB: p.db, Store: o.store, Mailbox: box(), TopicID: p.lineage.Ticks, Partition: o.partition, Writer: p.writer,
			Every: p.cfg.SQLEvery, Heartbeat: sqlHeartbeat, Log: p.log, Hooks: o.hooks("sql", &p.stages.SQL),
		}
		list = append(list, s.Run)
	}
	return list
}

// sqlHeartbeat is how often an idle database is asked whether it was set back.
const sqlHeartbeat = 5 * time.Second

func (o *owner) hooks(name string, latency *stage) sink.Hooks {
	return sink.Hooks{
		Progress: func(offset int64) {
			o.mu.Lock()
			o.status.Sinks[name] = offset
			o.mu.Unlock()
		},
		Written: func(candles []schema.Candle, _ time.Duration) {
			now := schema.FromStd(time.Now())
			for i := range candles {
				latency.since(candles[i].Received, now)
			}
		},
	}
}
