package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"millrace/internal/kafka"
)

const (
	// drainWait bounds how long a bridge that is told to stop waits for what it
	// has sent to be confirmed. What is not will be sent again by the next.
	drainWait = 5 * time.Second
	// revokeWait bounds how long a rebalance waits for the same.
	revokeWait = 5 * time.Second
)

// errAnew reports that what a delivery stood on has changed: all is to be
// looked up again, and begun where the positions say.
var errAnew = errors.New("begin anew")

// delivery is one life of reading: one topic id, one client of Kafka.
type delivery struct {
	b     *Bridge
	admin *kgo.Client // the bridge's
	id    kadm.TopicID

	client   *kgo.Client
	assigned assigned
	recall   recall

	unsettled queue
	window    *semaphore.Weighted // of candles in flight
	commits   commits
}

// Run carries candles until ctx ends; then it confirms what it has sent, for a
// few seconds at most, and returns nil. NATS or Kafka being away is no error:
// it waits, and nothing is left out.
func (b *Bridge) Run(ctx context.Context) error {
	var pause pauser
	for {
		began := b.cfg.Now()
		err := b.consume(ctx)
		switch {
		case err == nil, ctx.Err() != nil && !errors.Is(err, errDenied):
			return nil
		case !errors.Is(err, errAnew):
			return b.denied.or(err)
		case b.cfg.Now().Sub(began) > time.Minute:
			pause.reset()
		}
		b.cfg.Log.Warn("the bridge looks up everything again", "err", err)
		if !pause.wait(ctx) {
			return nil
		}
	}
}

func (b *Bridge) consume(ctx context.Context) error {
	d := &delivery{b: b, admin: b.admin, window: semaphore.NewWeighted(int64(b.cfg.MaxInFlight))}
	var numbers []int32
	err := d.persist(ctx, "look for the topic", func(ctx context.Context) (err error) {
		d.id, numbers, err = b.topic(ctx)
		return err
	})
	if err != nil {
		return err
	}
	opts := []kgo.Opt{
		// Where the log has changed under a running client, too much rather
		// than too little.
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(500 * time.Millisecond),
		// A transaction's mark may be the last of the log: it is settled too.
		kgo.KeepControlRecords(),
	}
	if b.cfg.Group == "" {
		var from map[int32]int64
		err := d.persist(ctx, "begin", func(ctx context.Context) (err error) {
			from, err = d.assign(ctx, numbers)
			return err
		})
		if err != nil {
			return err
		}
		opts = append(opts, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{b.cfg.Topic: offsetsOf(from)}))
	} else {
		opts = append(opts, d.groupOptions()...)
	}
	if d.client, err = kafka.Connect(ctx, b.cfg.Kafka, opts...); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("%w: %w", errAnew, err)
	}
	defer d.client.Close()
	defer d.leave()
	return d.run(ctx)
}

// leave forgets the partitions: nothing more is settled.
func (d *delivery) leave() {
	for _, p := range d.assigned.all() {
		d.assigned.remove(p.number)
	}
}

// run reads, sends and settles until ctx ends or something must begin anew.
func (d *delivery) run(ctx context.Context) error {
	batches := make(chan *batch, 1)
	g, groupCtx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.fetch(groupCtx, batches) })
	g.Go(func() error {
		// The end of ctx reaches the sender as the end of batches; it then has
		// a while to settle.
		drainCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
		defer stop()
		defer context.AfterFunc(groupCtx, func() {
			wait := drainWait
			if ctx.Err() == nil {
				wait = 0 // the reader failed: nothing is worth waiting for
			}
			t := time.AfterFunc(wait, stop)
			context.AfterFunc(drainCtx, func() { t.Stop() })
		})()
		return d.deliver(drainCtx, batches)
	})
	err := g.Wait()
	if ctx.Err() == nil {
		return err
	}
	if n := len(d.unsettled.all()); n > 0 {
		d.b.cfg.Log.Warn("stopped before nats had confirmed all; the next start sends it again", "batches", n)
	}
	if errors.Is(err, errDenied) {
		return err
	}
	return nil
}

// persist tries f until it succeeds, ctx ends or the reason is one that does
// not pass.
func (d *delivery) persist(ctx context.Context, what string, f func(context.Context) error) error {
	var pause pauser
	for {
		tryCtx, cancel := context.WithTimeout(ctx, d.b.cfg.AnswerWait)
		err := f(tryCtx)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if denied := d.b.denied.or(nil); denied != nil || d.b.conn.IsClosed() {
			return d.b.denied.or(err)
		}
		d.b.cfg.Log.Warn("the bridge cannot go on yet: "+what, "err", err)
		if !pause.wait(ctx) {
			return context.Cause(ctx)
		}
	}
}

func offsetsOf(from map[int32]int64) map[int32]kgo.Offset {
	m := make(map[int32]kgo.Offset, len(from))
	for n, at := range from {
		m[n] = kgo.NewOffset().At(at)
	}
	return m
}

// groupOptions make the client a member of the group. Kafka shares out the
// partitions; where each begins is told by NATS, never by the group's commits.
func (d *delivery) groupOptions() []kgo.Opt {
	topic := d.b.cfg.Topic
	revoke := func(ctx context.Context, lost map[string][]int32, wait bool) {
		want := map[int32]int64{}
		for _, n := range lost[topic] {
			if p := d.assigned.get(n); p != nil {
				want[n] = p.fetched.Load()
			}
		}
		if wait {
			ctx, cancel := context.WithTimeout(ctx, revokeWait)
			defer cancel()
			if err := d.b.progress.wait(ctx, want); err != nil {
				d.b.cfg.Log.Warn("handed over partitions before nats had confirmed all; the next owner sends it again", "partitions", lost[topic])
			}
		}
		for _, n := range lost[topic] {
			d.assigned.remove(n)
			d.b.progress.drop(n)
		}
	}
	return []kgo.Opt{
		kgo.ConsumerGroup(d.b.cfg.Group),
		kgo.ConsumeTopics(topic),
		// Kafka's own 45 s would be a standstill of 45 s after a kill.
		kgo.SessionTimeout(10 * time.Second),
		kgo.HeartbeatInterval(2 * time.Second),
		kgo.RebalanceTimeout(20 * time.Second),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.DisableAutoCommit(),
		kgo.AdjustFetchOffsetsFn(func(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			numbers := make([]int32, 0, len(offsets[topic]))
			for n := range offsets[topic] {
				numbers = append(numbers, n)
			}
			if len(numbers) == 0 {
				return offsets, nil
			}
			var from map[int32]int64
			err := d.persist(ctx, "begin", func(ctx context.Context) (err error) {
				from, err = d.assign(ctx, numbers)
				return err
			})
			if err != nil {
				return nil, err
			}
			return map[string]map[int32]kgo.Offset{topic: offsetsOf(from)}, nil
		}),
		kgo.OnPartitionsRevoked(func(ctx context.Context, _ *kgo.Client, lost map[string][]int32) { revoke(ctx, lost, true) }),
		kgo.OnPartitionsLost(func(ctx context.Context, _ *kgo.Client, lost map[string][]int32) { revoke(ctx, lost, false) }),
	}
}

// fetch polls Kafka and hands on batches until ctx ends.
func (d *delivery) fetch(ctx context.Context, out chan<- *batch) error {
	defer close(out)
	for {
		fetches := d.client.PollRecords(ctx, d.b.cfg.BatchRecords)
		if ctx.Err() != nil {
			return nil
		}
		if err := d.faults(fetches); err != nil {
			return err
		}
		b := d.take(fetches)
		if b == nil {
			continue
		}
		select {
		case out <- b:
		case <-ctx.Done():
			return nil
		}
	}
}

// faults sorts what went wrong with a fetch. What passes by itself is not
// among it: the client tries that again.
func (d *delivery) faults(fetches kgo.Fetches) error {
	for _, f := range fetches {
		for _, t := range f.Topics {
			if t.Topic == d.b.cfg.Topic && t.TopicID != [16]byte{} && kadm.TopicID(t.TopicID) != d.id {
				return fmt.Errorf("%w: kafka: topic %s was deleted and made anew", errAnew, t.Topic)
			}
		}
	}
	var fatal error
	fetches.EachError(func(topic string, partition int32, err error) {
		var lost *kgo.ErrDataLoss
		var group *kgo.ErrGroupSession
		switch {
		case errors.As(err, &lost):
			d.b.cfg.Log.Warn("kafka lost records; what is there is sent again", "err", err)
		case errors.As(err, &group), kerr.IsRetriable(err):
			d.b.cfg.Log.Warn("kafka is not whole; waiting for it", "topic", topic, "partition", partition, "err", err)
		case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID), errors.Is(err, kerr.InconsistentTopicID):
			fatal = fmt.Errorf("%w: kafka: topic %s: %w", errAnew, topic, err)
		default:
			fatal = fmt.Errorf("kafka: read %s/%d: %w", topic, partition, err)
		}
	})
	return fatal
}

// commits are offsets for the group's lag displays.
type commits struct {
	last time.Time
	at   map[int32]kgo.EpochOffset
}

// commitEvery is often enough for a display.
const commitEvery = time.Second

// commit tells the group how far we are; nobody begins there. A failure shows
// as lag.
func (d *delivery) commit(run []*batch, now time.Time) {
	if d.b.cfg.Group == "" {
		return
	}
	c := &d.commits
	if c.at == nil {
		c.at = map[int32]kgo.EpochOffset{}
	}
	for _, b := range run {
		for _, e := range b.ends {
			c.at[e.part.number] = kgo.EpochOffset{Epoch: e.epoch, Offset: e.offset}
		}
	}
	if now.Sub(c.last) < commitEvery {
		return
	}
	c.last = now
	at := c.at
	c.at = nil
	d.client.CommitOffsets(context.Background(), map[string]map[int32]kgo.EpochOffset{d.b.cfg.Topic: at}, nil)
}
