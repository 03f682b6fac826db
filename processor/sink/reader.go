package sink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/schema"
	"millrace/state"
)

// lookBack is how many of the last records of a partition of `candles` are read
// where a writer of the same log left its progress among them and knew of nothing
// higher in the topic: what a zombie wrote later is among them too. Otherwise all
// are read.
const lookBack = 200_000

// Reader reads `candles` for the owners of its partitions: what stands there on
// assignment, and what comes later. It owns a client of its own.
type Reader struct {
	Connect func(...kgo.Opt) (*kgo.Client, error)
	TopicID kafka.TopicID // of candles
	Asker   *kgo.Client   // consumes nothing, so that its requests wait for none

	mu     sync.Mutex // guards what follows
	client *kgo.Client
	tails  map[int32]*Tail
}

// Tail is what others and we ourselves write to a partition from now on.
type Tail struct {
	C      chan []*kgo.Record
	close  func()
	closed chan struct{}
}

// Close ends it.
func (t *Tail) Close() { t.close() }

// standing is what a partition of `candles` holds.
type standing struct {
	progress state.Position // of this log, by the highest header
	keys     map[string]found
	all      bool // nothing was left out
}

// Standing reads a partition up to its end, and gives what it holds and where it
// ends. All of it is read where the newest does not tell enough, or if asked for.
// shares says whether a progress is of the reader's own state's history.
func (r *Reader) Standing(ctx context.Context, topic string, partition int32, topicID [16]byte, shares func(state.Position) bool, all bool) (standing, int64, error) {
	s := standing{keys: map[string]found{}}
	start, end, err := kafka.Bounds(ctx, r.Asker, topic, partition)
	if err != nil {
		return s, 0, err
	}
	if err := r.decided(ctx, topic, partition, end); err != nil {
		return s, 0, err
	}
	from := start
	if !all {
		from = max(from, end-lookBack)
	}
	s.all = from == start
	known, err := r.read(ctx, topic, partition, from, end, topicID, shares, &s)
	if err == nil && !known && from > start {
		s.keys, s.all = map[string]found{}, true
		_, err = r.read(ctx, topic, partition, start, end, topicID, shares, &s)
	}
	return s, end, err
}

// decideTime is how long an open transaction of another writer is waited for at
// once; it lasts some milliseconds, if its writer lives.
const decideTime = time.Second

// decided waits until no transaction is open below an offset: what one commits
// would stand before what is read, and be missed.
func (r *Reader) decided(ctx context.Context, topic string, partition int32, end int64) error {
	bound, cancel := context.WithTimeout(ctx, decideTime)
	defer cancel()
	adm := kadm.NewClient(r.Asker)
	for {
		listed, err := adm.ListCommittedOffsets(ctx, topic)
		if err != nil {
			return fmt.Errorf("ask up to where transactions are decided: %w", err)
		}
		stable, _ := listed.Lookup(topic, partition)
		if stable.Err != nil || stable.Offset >= end {
			return stable.Err
		}
		if !sleep(bound, 10*time.Millisecond) {
			return fmt.Errorf("a transaction of another writer is open at %d, before the end at %d; waiting until it ends or the broker aborts it", stable.Offset, end)
		}
	}
}

// read goes through [from, end). known tells whether a writer of this log has
// left its progress there and knew of nothing higher than its state.
func (r *Reader) read(ctx context.Context, topic string, partition int32, from, end int64, topicID [16]byte, shares func(state.Position) bool, s *standing) (known bool, err error) {
	if from >= end {
		return true, nil
	}
	client, err := r.Connect(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(from)}}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.KeepControlRecords(), // a transaction's mark may be the last before the end
	)
	if err != nil {
		return false, err
	}
	defer client.Close()
	for next := from; next < end; {
		bound, cancel := context.WithTimeout(ctx, time.Second)
		fetches := client.PollFetches(bound)
		cancel()
		if err := ctx.Err(); err != nil {
			return known, err
		}
		if fetches.NumRecords() == 0 {
			// Compaction may have taken the very last offsets, and then no
			// record ever tells that the end is reached.
			rec, err := kafka.Read(ctx, r.Asker, topic, r.TopicID, partition, next)
			if err != nil {
				return known, err
			}
			if rec == nil || rec.Offset >= end {
				return known, nil
			}
			continue
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, rec := range p.Records {
				next = rec.Offset + 1
				if rec.Offset >= end {
					return
				}
				if rec.Attrs.IsControl() {
					continue
				}
				note(s.keys, rec)
				if p, mixed, ok := parseProgress(header(rec, schema.HeaderProgress), topicID, r.TopicID); ok {
					known = known || !mixed && shares(p)
					if p.Offset > s.progress.Offset {
						s.progress = p
					}
				}
			}
		})
	}
	return known, nil
}

// Progress gives what the last record of a partition says of this log; ok is
// false if it says nothing. Where candles come in transactions the last one is a
// transaction's mark: then it never does.
func (r *Reader) Progress(ctx context.Context, topic string, partition int32, topicID [16]byte) (p state.Position, ok bool, err error) {
	ends, err := kadm.NewClient(r.Asker).ListCommittedOffsets(ctx, topic)
	if err != nil {
		return p, false, fmt.Errorf("ask for the end: %w", err)
	}
	end, _ := ends.Lookup(topic, partition)
	if end.Err != nil || end.Offset == 0 {
		return p, false, end.Err
	}
	rec, err := kafka.Read(ctx, r.Asker, topic, r.TopicID, partition, end.Offset-1)
	if err != nil || rec == nil {
		return p, false, err
	}
	p, _, ok = parseProgress(header(rec, schema.HeaderProgress), topicID, r.TopicID)
	return p, ok, nil
}

// Follow begins to read a partition at an offset.
func (r *Reader) Follow(topic string, partition int32, from int64) *Tail {
	t := &Tail{C: make(chan []*kgo.Record, 1), closed: make(chan struct{})}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tails == nil {
		r.tails = map[int32]*Tail{}
	}
	r.tails[partition] = t
	client := r.client
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(from)}})
	t.close = func() {
		r.mu.Lock()
		if r.tails[partition] == t {
			delete(r.tails, partition)
			client.RemoveConsumePartitions(map[string][]int32{topic: {partition}})
		}
		r.mu.Unlock()
		close(t.closed)
	}
	return t
}

// Open makes the client that follows.
func (r *Reader) Open() (err error) {
	r.client, err = r.Connect(kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	return err
}

// Close closes the client.
func (r *Reader) Close() {
	if r.client != nil {
		r.client.Close()
	}
}

// errAnew: Kafka's client keeps to the topic that it knew; one of the same name
// gets none of its requests.
var errAnew = errors.New("the topic was deleted or made anew; start again: what it lacks is written from state")

// Run hands out what comes, until ctx ends.
func (r *Reader) Run(ctx context.Context) error {
	for {
		fetches := r.client.PollFetches(ctx)
		if ctx.Err() != nil || fetches.IsClientClosed() {
			return nil
		}
		for _, e := range fetches.Errors() {
			if errors.Is(e.Err, kerr.UnknownTopicID) {
				return fmt.Errorf("follow %s/%d: %w: %w", e.Topic, e.Partition, errAnew, e.Err)
			}
			if !sleep(ctx, 250*time.Millisecond) { // an error that lasts comes back at once
				return nil
			}
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			r.mu.Lock()
			t := r.tails[p.Partition]
			r.mu.Unlock()
			if t == nil || len(p.Records) == 0 {
				return
			}
			select {
			case t.C <- p.Records:
			case <-t.closed:
			case <-ctx.Done():
			}
		})
	}
}
