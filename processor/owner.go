package processor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"millrace/internal/failpoint"
	"millrace/internal/kafka"
	"millrace/processor/sink"
	"millrace/schema"
	"millrace/state"
)

// The steps at which a process may die.
var (
	atDecode      = failpoint.New("processor.decode")
	atApplied     = failpoint.New("processor.applied")
	atLetters     = failpoint.New("processor.letters")
	atLettersSent = failpoint.New("processor.letters-sent")
	atOffered     = failpoint.New("processor.offered")
)

// owner is what a partition belongs to while this process has it assigned.
type owner struct {
	p         *Processor
	partition int32
	store     *state.Store
	boxes     []*sink.Mailbox
	cancel    context.CancelCauseFunc
	done      chan struct{}
	wake      chan struct{}
	tick      schema.Tick          // the decoder's memory
	forgetAt  schema.Time          // the applied time at which the store is made to forget again
	partial   bool                 // the database lacks what neither the state nor the log has
	taker     *taker               // nil without a store for checkpoints
	alarmed   map[string]time.Time // when it was said of a symbol that it stands still

	mu     sync.Mutex // guards what follows
	queue  [][]*kgo.Record
	queued int
	paused bool
	status PartitionStatus
	busy   time.Duration // spent in micro-batches
}

// PartitionStatus is where a partition of this process stands.
type PartitionStatus struct {
	Partition int32
	Offset    int64            // next record to apply
	Sinks     map[string]int64 // by name: everything before it is there
	Counts    state.Counts
	Newest    schema.Time // newest applied trade time; schema.MinTime before the first
	Holes     int         // stretches of missing ids, gaps or too young to be one
	// Checkpointed is where the newest checkpoint stands that this process has
	// taken or restored; 0 before the first.
	Checkpointed int64
}

// errStopped ends an owner whose partition is given up.
var errStopped = errors.New("partition given up")

// open opens the partition's store, makes sure that its log is still the one it
// stands for, and gives the offset to go on from.
func (p *Processor) open(ctx context.Context, partition int32) (*owner, error) {
	dir := state.PartitionDir(p.cfg.Dir, p.cfg.Topics.Ticks, partition)
	store, found, err := p.find(ctx, dir, partition)
	if err != nil {
		return nil, err
	}
	if s := store.Partition().Settings(); s != nil && p.cfg.Check != nil {
		if err := p.cfg.Check(*s); err != nil {
			return nil, errors.Join(err, store.Close())
		}
	}
	store, partial, err := p.remember(ctx, dir, store)
	if err != nil {
		return nil, err
	}
	if err := p.assume(ctx, store); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	o := &owner{p: p, partition: partition, store: store, partial: partial, forgetAt: schema.MinTime, wake: make(chan struct{}, 1), done: make(chan struct{})}
	o.status = PartitionStatus{Partition: partition, Offset: store.Partition().Position().Offset, Sinks: map[string]int64{}, Newest: schema.MinTime, Checkpointed: found.restored}
	if p.cfg.Checkpoints != nil {
		o.taker = newTaker(o, dir, found.distrust)
	}
	return o, nil
}

// assume gives a state that begins behind the log's first record the settings
// that this one told: without any, all would be refused.
func (p *Processor) assume(ctx context.Context, store *state.Store) error {
	part := store.Partition()
	if part.Settings() != nil {
		return nil
	}
	start, _, err := p.bounds(ctx, part.Position().Partition)
	if err != nil || start == 0 {
		return err
	}
	p.log.Warn("the log no longer says with which settings it began; going by those of the other partitions, or of this program",
		"partition", part.Position().Partition, "log begins", start)
	part.Assume(&p.lineage.Settings)
	return nil
}

func (p *Processor) openStore(dir string, partition int32) (*state.Store, error) {
	complain := func(what string) {
		p.log.Error("state: the disk or Pebble fails", "partition", partition, "dir", dir, "what", what)
	}
	store, err := state.Open(state.Options{Dir: dir, FS: p.cfg.FS, Complain: complain}, p.lineage.Ticks, partition)
	if errors.Is(err, state.ErrLineage) {
		return nil, fmt.Errorf("state of partition %d: %w: topic %s was made anew since; move %s away to begin with the new one", partition, err, p.cfg.Topics.Ticks, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("state of partition %d: %w", partition, err)
	}
	return store, nil
}

// start sets the owner and its sinks going.
func (o *owner) start(ctx context.Context) {
	ctx, o.cancel = context.WithCancelCause(ctx)
	go func() {
		defer close(o.done)
		if err := o.run(ctx); err != nil {
			o.p.fail(fmt.Errorf("partition %d: %w", o.partition, err))
		}
	}()
}

// run applies what is queued until ctx ends or a sink fails for good, then waits
// for the sinks and closes the store.
func (o *owner) run(life context.Context) (err error) {
	group, ctx := errgroup.WithContext(life)
	defer func() {
		asked := life.Err() != nil
		o.cancel(errStopped)
		if err = errors.Join(group.Wait(), err); err == nil && o.taker != nil {
			o.taker.last()
		}
		if err = errors.Join(err, o.store.Close()); err != nil && asked {
			o.p.log.Warn("something failed while a partition was given up; the log gives back what it cost", "partition", o.partition, "err", err)
			err = nil
		}
	}()
	for _, s := range o.sinks() {
		group.Go(func() error { return s(ctx) })
	}
	if o.taker != nil {
		group.Go(func() error { o.taker.run(ctx); return nil })
	}
	for o.gather(ctx) == nil {
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
	return nil
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

// put queues fetched records, and pauses the partition if they are many. It
// never waits.
func (o *owner) put(recs []*kgo.Record) {
	o.mu.Lock()
	o.queue = append(o.queue, recs)
	o.queued += len(recs)
	if o.queued >= o.p.queueHigh && !o.paused {
		o.paused = true
		o.p.client.PauseFetchPartitions(o.fetched())
	}
	o.mu.Unlock()
	o.kick()
}

// fetched names the partition as the client wants it.
func (o *owner) fetched() map[string][]int32 {
	return map[string][]int32{o.p.cfg.Topics.Ticks: {o.partition}}
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
		recs = recs[:len(recs):len(recs)]
		for len(o.queue) > 0 && len(recs)+len(o.queue[0]) <= o.p.cfg.MaxRecords {
			recs = append(recs, o.queue[0]...)
			o.queue = o.queue[1:]
		}
	}
	o.queued -= len(recs)
	if len(o.queue) > 0 {
		o.kick()
	}
	if o.paused && o.queued < o.p.queueHigh/2 {
		o.paused = false
		o.p.client.ResumeFetchPartitions(o.fetched())
	}
	return recs
}

// microBatch is the way of a tick through the processor.
func (o *owner) microBatch(ctx context.Context, recs []*kgo.Record) error {
	atDecode.Hit()
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
		if part.Refused() >= maxLetters {
			if err := o.bury(ctx, recs); err != nil {
				return err
			}
		}
	}
	atApplied.Hit()
	if err := o.bury(ctx, recs); err != nil {
		return err
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
	atOffered.Hit()
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
	o.busy += time.Since(taken)
	o.mu.Unlock()
	last := recs[len(recs)-1]
	o.p.client.MarkCommitRecords(last)
	return o.forget(changes.Newest)
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
	holds := func(ctx context.Context, offset int64, hash uint64) (bool, string, error) {
		return p.holds(ctx, o.partition, offset, hash)
	}
	topic := &sink.Topic{
		Client: p.client, Reader: p.reader, Candles: p.cfg.Topics.Candles, Gaps: p.cfg.Topics.Gaps(), Store: o.store, Mailbox: box(),
		TopicID: p.lineage.Ticks, Partition: o.partition, Writer: p.writer, Every: p.cfg.CandlesEvery, Holds: holds, Log: p.log, Hooks: o.hooks("candles", &p.stages.Candles),
	}
	list := []func(context.Context) error{topic.Run}
	if p.db != nil {
		s := &sink.SQL{
			DB: p.db, Store: o.store, Mailbox: box(), TopicID: p.lineage.Ticks, Partition: o.partition, Writer: p.writer,
			Every: p.cfg.SQLEvery, Heartbeat: p.heartbeat, Holds: holds, Partial: o.partial, Log: p.log, Hooks: o.hooks("sql", &p.stages.SQL),
		}
		list = append(list, s.Run)
	}
	return list
}

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
