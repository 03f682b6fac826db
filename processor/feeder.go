package processor

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// feeder fetches the partitions that this process applies, each from where its
// state stands. Its client is no member of the group: a partition is fetched once
// its state is open, however long that takes, and the others go on meanwhile.
//
// Only the polling goroutine adds and removes partitions, between two polls. So
// no records of a partition's former fetch can come to its next queue, of which
// those in between would be missing.
type feeder struct {
	client *kgo.Client
	topic  string
	// high is how many fetched records may wait in a queue before its
	// partition's fetches are paused.
	high  int
	ended chan struct{} // closed when run has returned

	queues map[int32]*queue // the polling goroutine's

	mu   sync.Mutex // guards what follows
	asks []ask
	stop context.CancelFunc // ends the poll at hand
}

// ask is a change of what is fetched.
type ask struct {
	q    *queue
	from int64 // below 0: no more
	done chan struct{}
}

func newFeeder(client *kgo.Client, topic string, high int) *feeder {
	return &feeder{client: client, topic: topic, high: high, ended: make(chan struct{}), queues: map[int32]*queue{}, stop: func() {}}
}

// add has a queue fed from an offset.
func (f *feeder) add(q *queue, from int64) { f.ask(ask{q: q, from: from}) }

// remove ends what add began. Nothing is put into the queue afterwards.
func (f *feeder) remove(q *queue) { f.ask(ask{q: q, from: -1}) }

func (f *feeder) ask(a ask) {
	a.done = make(chan struct{})
	f.mu.Lock()
	f.asks = append(f.asks, a)
	f.stop()
	f.mu.Unlock()
	select {
	case <-a.done:
	case <-f.ended:
	}
}

// answer does what was asked, and gives the context of the next poll.
func (f *feeder) answer(ctx context.Context) (context.Context, context.CancelFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.asks {
		at := a.q.fetched()
		if f.queues[a.q.partition] == a.q {
			delete(f.queues, a.q.partition)
			f.client.RemoveConsumePartitions(at)
		}
		if a.from >= 0 {
			f.queues[a.q.partition] = a.q
			f.client.ResumeFetchPartitions(at) // a queue of before may have paused it
			f.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{f.topic: {a.q.partition: kgo.NewOffset().At(a.from)}})
		}
		close(a.done)
	}
	f.asks = nil
	ctx, cancel := context.WithCancel(ctx)
	f.stop = cancel
	return ctx, cancel
}

// run hands what is fetched to the queues until ctx ends. It never waits for
// one. judge tells what it can't go on after.
func (f *feeder) run(ctx context.Context, judge func(kgo.FetchError) error) error {
	defer close(f.ended)
	for ctx.Err() == nil {
		bound, cancel := f.answer(ctx)
		fetches := f.client.PollFetches(bound)
		cancel()
		if fetches.IsClientClosed() {
			return nil
		}
		for _, e := range fetches.Errors() {
			err := judge(e)
			if err == nil {
				continue
			}
			if q := f.queues[e.Partition]; q != nil && e.Topic == f.topic && q.spare(err) {
				continue
			}
			return err
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if q := f.queues[p.Partition]; q != nil && len(p.Records) > 0 {
				q.put(p.Records, p.HighWatermark)
			}
		})
	}
	return nil
}
