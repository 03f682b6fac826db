package processor

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// queue holds what was fetched of a partition until whoever applies it takes it.
// It outlives a change of hands: an owner goes on with that of a standby.
type queue struct {
	feed      *feeder
	partition int32
	wake      chan struct{}

	mu      sync.Mutex // guards what follows
	recs    [][]*kgo.Record
	n       int
	paused  bool
	end     int64 // of the log, as of the last fetch
	lenient bool  // what can't be fetched is err, and not the end of the processor
	err     error
}

func newQueue(f *feeder, partition int32, lenient bool) *queue {
	return &queue{feed: f, partition: partition, wake: make(chan struct{}, 1), lenient: lenient}
}

// put queues fetched records, and pauses the partition if they are many. It
// never waits.
func (q *queue) put(recs []*kgo.Record, end int64) {
	q.mu.Lock()
	q.recs = append(q.recs, recs)
	q.n += len(recs)
	q.end = max(end, recs[len(recs)-1].Offset+1)
	if q.n >= q.feed.high && !q.paused {
		q.paused = true
		q.feed.client.PauseFetchPartitions(q.fetched())
	}
	q.mu.Unlock()
	q.kick()
}

// fetched names the partition as the client wants it.
func (q *queue) fetched() map[string][]int32 { return map[string][]int32{q.feed.topic: {q.partition}} }

func (q *queue) kick() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take gives the records of one micro-batch, at most so many.
func (q *queue) take(most int) []*kgo.Record {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.recs) == 0 {
		return nil
	}
	recs := q.recs[0]
	if len(recs) > most {
		recs, q.recs[0] = recs[:most], recs[most:]
	} else {
		q.recs = q.recs[1:]
		recs = recs[:len(recs):len(recs)]
		for len(q.recs) > 0 && len(recs)+len(q.recs[0]) <= most {
			recs = append(recs, q.recs[0]...)
			q.recs = q.recs[1:]
		}
	}
	q.n -= len(recs)
	if len(q.recs) > 0 {
		q.kick()
	}
	if q.paused && q.n < q.feed.high/2 {
		q.paused = false
		q.feed.client.ResumeFetchPartitions(q.fetched())
	}
	return recs
}

// back puts records that were taken in front again.
func (q *queue) back(recs []*kgo.Record) {
	if len(recs) == 0 {
		return
	}
	q.mu.Lock()
	q.recs = append([][]*kgo.Record{recs}, q.recs...)
	q.n += len(recs)
	q.mu.Unlock()
	q.kick()
}

// strict makes what can't be fetched the processor's end from now on, and gives
// what could not be fetched before.
func (q *queue) strict() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lenient = false
	return q.err
}

// spare takes an error as the queue's own, if it is lenient.
func (q *queue) spare(err error) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.lenient && q.err == nil {
		q.err = err
		q.kick()
	}
	return q.lenient
}

func (q *queue) failed() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

func (q *queue) logEnd() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.end
}
