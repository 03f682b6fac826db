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

// owner is what a partition belongs to while this process has it assigned. Its
// state is opened by its own goroutine: the others don't wait for it.
type owner struct {
	p         *Processor
	partition int32
	store     *state.Store
	boxes     []*sink.Mailbox
	cancel    context.CancelCauseFunc
	done      chan struct{}
	q         *queue
	pending   []*kgo.Record        // applied by a standby, not committed: their dead letters are to be written
	tick      schema.Tick          // the decoder's memory
	forgetAt  schema.Time          // the applied time at which the store is made to forget again
	partial   bool                 // the database lacks what neither the state nor the log has
	taker     *taker               // nil without a store for checkpoints
	door      door                 // through which others look at the store
	alarmed   map[string]time.Time // when it was said of a symbol that it stands still

	mu     sync.Mutex // guards what follows
	opened bool
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

// open opens the partition's store, or takes that of the standby which this
// process had, makes sure that its log is still the one it stands for, and has it
// fetched from there.
func (o *owner) open(ctx context.Context, heir *standby) (err error) {
	p, dir := o.p, state.PartitionDir(o.p.cfg.Dir, o.p.cfg.Topics.Ticks, o.partition)
	defer func() {
		if err != nil && o.q != nil {
			p.feed.remove(o.q)
		}
	}()
	var store *state.Store
	var f found
	if heir != nil {
		if store, f, err = o.inherit(ctx, heir); err != nil {
			return err
		}
	}
	warm := store != nil
	if store == nil {
		if store, f, err = p.openChecked(ctx, dir, o.partition); err != nil {
			return err
		}
	}
	same := store
	if store, o.partial, err = p.remember(ctx, dir, store); err != nil {
		return err
	}
	if store != same && o.q != nil {
		p.feed.remove(o.q)
		o.q, o.pending = nil, nil
	}
	from := store.Partition().Position().Offset
	if o.q == nil {
		if err = p.assume(ctx, store); err == nil {
			from, err = p.feedFrom(ctx, store)
		}
		if err != nil {
			return errors.Join(err, store.Close())
		}
		o.q = newQueue(p.feed, o.partition, false)
		p.feed.add(o.q, from)
	}
	o.store = store
	if p.cfg.Checkpoints != nil {
		o.taker = newTaker(o, dir, f.distrust)
	}
	p.log.Info("partition assigned", "partition", o.partition, "offset", from, "kept warm", warm)
	o.mu.Lock()
	o.opened = true
	o.status.Offset, o.status.Checkpointed = from, f.restored
	o.mu.Unlock()
	return nil
}

// openChecked opens a partition's state, however it is found, and holds its
// settings against this program's.
func (p *Processor) openChecked(ctx context.Context, dir string, partition int32) (*state.Store, found, error) {
	store, f, err := p.find(ctx, dir, partition)
	if err != nil {
		return nil, f, err
	}
	if s := store.Partition().Settings(); s != nil && p.cfg.Check != nil && !p.lineage.Known {
		if err := p.cfg.Check(*s); err != nil {
			return nil, f, errors.Join(err, store.Close())
		}
	}
	return store, f, nil
}

// feedFrom gives the offset from which a state goes on.
func (p *Processor) feedFrom(ctx context.Context, store *state.Store) (int64, error) {
	pos := store.Partition().Position()
	start, _, err := p.bounds(ctx, pos.Partition)
	if err == nil && start > pos.Offset {
		p.log.Warn("the log begins behind what was applied", "partition", pos.Partition, "state", pos.Offset, "log begins", start)
	}
	return max(pos.Offset, start), err
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
	if was, ok := p.lineage.At(part.Position().Partition, start-1); ok && p.lineage.Changed() {
		p.log.Info("the log no longer holds the settings in force where it begins; they stand in the topic of gaps",
			"partition", part.Position().Partition, "log begins", start, "revision", was.Settings.Revision)
		part.Assume(&was.Settings)
		return nil
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
	store, err := state.Open(state.Options{Dir: dir, FS: p.cfg.FS, Complain: complain, Fatal: p.cfg.Fatal, Program: p.cfg.Program}, p.lineage.Ticks, partition)
	if errors.Is(err, state.ErrLineage) {
		return nil, fmt.Errorf("state of partition %d: %w: topic %s was made anew since; move %s away to begin with the new one", partition, err, p.cfg.Topics.Ticks, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("state of partition %d: %w", partition, err)
	}
	return store, nil
}

// newOwner makes a partition's owner and sets it going. heir may be nil.
func (p *Processor) newOwner(partition int32, heir *standby) *owner {
	o := &owner{p: p, partition: partition, forgetAt: schema.MinTime, done: make(chan struct{})}
	o.status = PartitionStatus{Partition: partition, Sinks: map[string]int64{}, Newest: schema.MinTime}
	var ctx context.Context
	ctx, o.cancel = context.WithCancelCause(p.ctx)
	p.alive.Go(func() {
		defer close(o.done)
		if err := o.open(ctx, heir); err != nil {
			if ctx.Err() == nil {
				p.fail(err)
			}
			return
		}
		if err := o.run(ctx); err != nil {
			p.fail(fmt.Errorf("partition %d: %w", partition, err))
		}
	})
	return o
}

// run applies what is queued until ctx ends or a sink fails for good, then waits
// for the sinks and closes the store.
func (o *owner) run(life context.Context) (err error) {
	group, ctx := errgroup.WithContext(life)
	defer func() {
		asked := life.Err() != nil
		o.cancel(errStopped)
		o.p.feed.remove(o.q)
		if err = errors.Join(group.Wait(), err); err == nil && o.taker != nil {
			o.taker.last()
		}
		o.door.shut()
		if err = errors.Join(err, o.store.Close()); err != nil && asked {
			o.p.log.Warn("something failed while a partition was given up; the log gives back what it cost", "partition", o.partition, "err", err)
			err = nil
		}
	}()
	if len(o.pending) > 0 {
		if err := o.settle(ctx, o.pending, time.Now(), 0); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		o.pending = nil
	}
	for _, s := range o.sinks() {
		group.Go(func() error { return s(ctx) })
	}
	if o.taker != nil {
		group.Go(func() error { o.taker.run(ctx); return nil })
	}
	for o.gather(ctx) == nil {
		recs := o.q.take(o.p.cfg.MaxRecords)
		for len(recs) > 0 {
			n, err := o.p.turn(o.store, recs)
			if err == nil {
				err = o.microBatch(ctx, recs[:n])
			}
			if err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			recs = recs[n:]
		}
	}
	return nil
}

// gather waits for records and, with a micro-batch interval, for more of them.
func (o *owner) gather(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-o.q.wake:
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

// microBatch is the way of a tick through the processor.
func (o *owner) microBatch(ctx context.Context, recs []*kgo.Record) error {
	atDecode.Hit()
	part := o.store.Partition()
	taken := time.Now()
	var oldest schema.Time
	for rest := recs; len(rest) > 0; {
		rest = rest[apply(part, &o.tick, rest, &oldest):]
		if part.Refused() >= maxLetters {
			if err := o.bury(ctx, recs); err != nil {
				return err
			}
		}
	}
	atApplied.Hit()
	return o.settle(ctx, recs, taken, oldest)
}

// apply applies records, until so much is refused that it must be dealt with
// first, and gives how many. oldest is when their first trade was received, if it
// was 0.
func apply(part *state.Partition, tick *schema.Tick, recs []*kgo.Record, oldest *schema.Time) int {
	for i, r := range recs {
		if r.Offset < part.Position().Offset {
			continue // fetched again
		}
		err := tick.Decode(r.Value)
		if err == nil && tick.Kind == schema.KindTrades && *oldest == 0 {
			*oldest = tick.Batch.Received
		}
		part.Apply(state.Record{Offset: r.Offset, Epoch: r.LeaderEpoch, Hash: kafka.Hash(r), Appended: schema.FromStd(r.Timestamp)}, tick, err)
		if part.Refused() >= maxLetters {
			return i + 1
		}
	}
	return len(recs)
}

// settle makes what was applied lasting: dead letters, then the commit, then the sinks.
func (o *owner) settle(ctx context.Context, recs []*kgo.Record, taken time.Time, oldest schema.Time) error {
	part := o.store.Partition()
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
		Client: p.client, Transactions: p.transactions(o.partition), Reader: p.reader, Candles: p.cfg.Topics.Candles, Gaps: p.cfg.Topics.Gaps(), Store: o.store, Mailbox: box(),
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
		Written: func(candles []schema.Candle, took time.Duration) {
			if name == "candles" {
				o.p.stages.Flushed.Observe(took)
			}
			now := schema.FromStd(time.Now())
			for i := range candles {
				latency.since(candles[i].Received, now)
			}
		},
	}
}
