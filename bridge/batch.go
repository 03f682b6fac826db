package bridge

import (
	"fmt"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/schema"
)

// message is a candle on its way.
type message struct {
	series *series
	window window
	id     string
	data   []byte // JSON
	// Received and committed are the candle's; 0 if unknown.
	received, committed schema.Time

	part  *partition
	final bool   // it goes into the stream too
	seq   uint64 // its sequence there, 0 until acknowledged
	ack   jetstream.PubAckFuture
}

// batch is what one poll of Kafka brought: it is sent, confirmed and settled
// as one.
type batch struct {
	messages []message
	ends     []end

	weight   int64 // in the window of what is in flight
	admitted bool
	sent     bool // once at least
}

// end is how far a batch takes a partition.
type end struct {
	part   *partition
	offset int64 // of the next record
	epoch  int32
	hash   uint64 // of the record before
}

// seriesKey finds a series.
type seriesKey struct {
	symbol string
	period schema.Period
}

// take makes a batch of what was fetched; nil if there is nothing of ours.
func (d *delivery) take(fetches kgo.Fetches) *batch {
	out := &batch{}
	var buf []byte
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		part := d.assigned.get(f.Partition)
		if part == nil || len(f.Records) == 0 {
			return // handed to another bridge meanwhile; it begins at the position
		}
		d.b.progress.setEnd(f.Partition, f.HighWatermark)
		for _, rec := range f.Records {
			if rec.Attrs.IsControl() {
				continue
			}
			d.b.count.records.Add(1)
			var m message
			var ok bool
			if m, buf, ok = d.read(part, rec, buf); ok {
				out.messages = append(out.messages, m)
			}
		}
		last := f.Records[len(f.Records)-1]
		part.fetched.Store(last.Offset + 1)
		// The hash of a mark is compared with nothing: kafka.Read passes it over.
		out.ends = append(out.ends, end{part, last.Offset + 1, last.LeaderEpoch, kafka.Hash(last)})
	})
	if len(out.ends) == 0 {
		return nil
	}
	out.weight = int64(max(len(out.messages), 1))
	return out
}

// read makes a message of a record, its JSON behind buf. It is false for what
// is not to be sent: a damaged record, a deletion, or what is not newer than
// what was sent before.
func (d *delivery) read(part *partition, rec *kgo.Record, buf []byte) (m message, _ []byte, ok bool) {
	count := &d.b.count
	if rec.Value == nil {
		count.deleted.Add(1)
		return m, buf, false
	}
	c, err := schema.DecodeCandle(rec.Value)
	if err == nil {
		err = checkKey(rec.Key, &c)
	}
	if err != nil {
		// A topic full of them must not fill the disk with lines.
		if n := count.damaged.Add(1); n <= 100 || n%1000 == 0 {
			d.b.cfg.Log.Error("a record on the topic of candles is none and is passed over",
				"topic", rec.Topic, "partition", rec.Partition, "offset", rec.Offset, "damaged", n, "err", err)
		}
		return m, buf, false
	}
	key := seriesKey{c.Symbol, c.Period}
	s := part.series[key]
	if s == nil {
		s = newSeries(c.Symbol, c.Period)
		part.series[key] = s
	}
	w := window{c.Start, c.Version}
	if !s.fresh(w) {
		count.repeated.Add(1)
		return m, buf, false
	}
	buf, data := render(&c, buf)
	m = message{
		series: s, window: w, id: s.messageID(w), data: data, part: part,
		received: c.Received, committed: c.Committed, final: c.Status >= schema.Closed,
	}
	return m, buf, true
}

// checkKey holds the key against the value: compaction goes by the key, so a
// wrong one would put a candle in another's place.
func checkKey(key []byte, c *schema.Candle) error {
	var buf [schema.MaxSymbol + 32]byte
	if want := schema.AppendCandleKey(buf[:0], c.Symbol, c.Period, c.Start); string(key) != string(want) {
		return fmt.Errorf("%w: its key is %s, its value says %s", schema.ErrCandle, strconv.QuoteToASCII(string(key[:min(len(key), 200)])), want)
	}
	return nil
}

// jsonBlock is how much memory is taken at once for the JSON of candles, which
// has about 500 bytes each.
const jsonBlock = 32 << 10

// render writes the JSON behind buf, which is only ever appended to: the
// messages before keep their parts of it.
func render(c *schema.Candle, buf []byte) (rest, data []byte) {
	if cap(buf)-len(buf) < 1024 {
		buf = make([]byte, 0, jsonBlock)
	}
	at := len(buf)
	buf = c.AppendJSON(buf)
	return buf, buf[at:len(buf):len(buf)]
}

// queue is the batches that were read and are not settled, in order.
type queue struct {
	mu   sync.Mutex
	list []*batch
}

func (q *queue) push(b *batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append(q.list, b)
}

// pop takes the first n away.
func (q *queue) pop(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append(q.list[:0:0], q.list[n:]...)
}

// all gives those that are there now.
func (q *queue) all() []*batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]*batch(nil), q.list...)
}
