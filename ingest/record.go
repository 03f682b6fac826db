package ingest

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/failpoint"
	"millrace/schema"
)

// The steps at which a process may die.
var (
	atSend         = failpoint.New("ingest.send")
	atAcknowledged = failpoint.New("ingest.acknowledged")
	atControl      = failpoint.New("ingest.control")
)

// record is one on its way to Kafka. Its memory is used again once it is
// acknowledged: kgo touches neither record nor value after its promise.
type record struct {
	kgo.Record
	in       *Ingestor
	lane     *lane
	gen      uint8
	trades   int
	mark     bool
	filled   bool        // its trades were fetched: their latency is not the collector's
	received schema.Time // of the first trade
	sent     int64       // by the clock of waiting
	done     func(*kgo.Record, error)
}

func (i *Ingestor) newRecord() *record {
	r := &record{in: i}
	r.done = func(_ *kgo.Record, err error) { i.acked(r, err) }
	return r
}

// next gives a record for a lane, with no value yet.
func (i *Ingestor) next(l *lane, topic string, key []byte) *record {
	r := i.pool.Get().(*record)
	r.Topic, r.Partition, r.Key, r.lane = topic, l.partition, key, l
	return r
}

// send hands r to Kafka and blocks while too much is on its way. The caller
// holds the stream's lock: records of a symbol stay in order.
func (i *Ingestor) send(r *record) {
	r.gen = r.lane.gen
	r.lane.onWay[r.gen].Add(1)
	i.waiting.sent(r)
	atSend.Hit()
	i.produce(context.Background(), &r.Record, r.done)
}

// acked is called by the client for each record. One that failed stays on its
// way for ever, so that no mark follows it.
func (i *Ingestor) acked(r *record, err error) {
	if err != nil {
		hint := ""
		if errors.Is(err, kgo.ErrClientClosed) {
			hint = ": closed before it was acknowledged"
		}
		i.fail(fmt.Errorf("ingest: write to %s/%d%s: %w; it and what followed may be missing in the log", r.Topic, r.Partition, hint, err))
		return
	}
	atAcknowledged.Hit()
	i.counts.acked(r, i.cfg.Now)
	i.waiting.acked(r)
	l, gen := r.lane, r.gen
	value := r.Value[:0]
	if cap(value) > keepBuffer {
		value = nil
	}
	r.Record, r.lane, r.trades, r.mark, r.filled, r.received = kgo.Record{Value: value}, nil, 0, false, false, 0
	i.pool.Put(r)
	if l.onWay[gen].Add(-1) > 0 {
		return
	}
	if l.marking.Load() {
		signal(i.acks)
	}
	if l.ending.Load() {
		signal(l.acks)
	}
}
