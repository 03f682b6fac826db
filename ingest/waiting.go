package ingest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Waiting is what was handed to Kafka's client and is not acknowledged.
type Waiting struct {
	Trades, Records, Bytes int64
	// Oldest is how long the oldest record has waited; 0 if none waits. Where
	// acknowledgements come it is at most so long, and close to it.
	Oldest time.Duration
	// Silence is how long Kafka has acknowledged nothing while something waited.
	Silence time.Duration
	// Full says that sources are made to wait, since the buffer is nearly full.
	Full bool
	// Why is the last error of the connections to Kafka, if nothing was
	// acknowledged since.
	Why error
}

// waiting counts what is on its way. All of it is atomic, since Kafka's client
// acknowledges on a goroutine of its own and whoever looks must not wait for a
// stream that is blocked.
type waiting struct {
	begun                  time.Time // what times are counted from
	trades, records, bytes atomic.Int64
	recordsMost, bytesMost int64
	newest                 atomic.Int64 // when the newest acknowledgement came, or the first record after none waited
	why                    atomic.Pointer[error]
	partitions             []queue
}

// queue is what is on its way to one partition. Kafka's client acknowledges a
// partition's records in their order, so the oldest that waits was sent after
// the last that was acknowledged.
type queue struct {
	records atomic.Int64
	since   atomic.Int64 // when the last acknowledged one was sent, or the first after none waited
}

// recordBytes is what a record may need beside its value.
const recordBytes = 512

func newWaiting(cfg *Config) *waiting {
	// Sources wait at three quarters: the rest is for marks and watches, which
	// are written under locks.
	most := int64(cfg.BufferBytes) / 4 * 3
	return &waiting{begun: time.Now(), bytesMost: most, recordsMost: most / recordBytes, partitions: make([]queue, cfg.Partitions)}
}

func (w *waiting) now() int64 { return int64(time.Since(w.begun)) }

func (w *waiting) sent(r *record) {
	r.sent = w.now()
	// Whoever looks between the two must not find the time of long ago.
	q := &w.partitions[r.Partition]
	if q.records.Load() == 0 {
		q.since.Store(r.sent)
	}
	q.records.Add(1)
	if w.records.Load() == 0 {
		w.newest.Store(r.sent)
	}
	w.records.Add(1)
	w.trades.Add(int64(r.trades))
	w.bytes.Add(r.size())
}

func (w *waiting) acked(r *record) {
	w.newest.Store(w.now())
	if w.why.Load() != nil {
		w.why.Store(nil)
	}
	q := &w.partitions[r.Partition]
	q.since.Store(r.sent)
	q.records.Add(-1)
	w.records.Add(-1)
	w.trades.Add(-int64(r.trades))
	w.bytes.Add(-r.size())
}

func (r *record) size() int64 { return int64(len(r.Key) + len(r.Value)) }

func (w *waiting) full() bool {
	return w.records.Load() >= w.recordsMost || w.bytes.Load() >= w.bytesMost
}

func (w *waiting) stats() Waiting {
	now := w.now()
	s := Waiting{Trades: w.trades.Load(), Records: w.records.Load(), Bytes: w.bytes.Load(), Full: w.full()}
	if s.Records == 0 {
		return s
	}
	s.Silence = time.Duration(max(0, now-w.newest.Load()))
	for i := range w.partitions {
		if q := &w.partitions[i]; q.records.Load() > 0 {
			s.Oldest = max(s.Oldest, time.Duration(now-q.since.Load()))
		}
	}
	if why := w.why.Load(); why != nil {
		s.Why = *why
	}
	return s
}

// Room waits while so much is on its way to Kafka that the next record might
// have to wait: while Kafka is away, for as long as it is. Who holds a lock that
// others need calls it before taking that, so that they are not held up too. It
// returns at once when the end has begun.
func (i *Ingestor) Room() {
	if i.waiting.full() {
		i.awaitRoom()
	}
}

// roomEvery is how often a source that waits looks for room.
const roomEvery = 5 * time.Millisecond

func (i *Ingestor) awaitRoom() {
	t := time.NewTicker(roomEvery)
	defer t.Stop()
	for i.waiting.full() {
		select {
		case <-t.C:
		case <-i.ending:
			return
		case <-i.failed:
			return
		}
	}
}

// UnacknowledgedError reports an end for which Kafka did not acknowledge
// everything in time.
type UnacknowledgedError struct {
	Trades, Records int64 // that were not
	Brokers         []string
	Within          time.Duration
	Why             error // the last error of the connections, if there was one
}

func (e *UnacknowledgedError) Error() string {
	what, n := "trade", e.Trades
	if n == 0 {
		what, n = "record", e.Records
	}
	verb := "was"
	if n != 1 {
		what, verb = what+"s", "were"
	}
	text := fmt.Sprintf("ingest: %d %s %s not acknowledged by Kafka at %s within %v of the end and may be missing in the log", n, what, verb, strings.Join(e.Brokers, ","), e.Within)
	if e.Why != nil {
		text += ": " + e.Why.Error()
	}
	return text
}

func (i *Ingestor) unacknowledged() error {
	s := i.waiting.stats()
	return &UnacknowledgedError{Trades: s.Trades, Records: s.Records, Brokers: i.cfg.Kafka.Brokers, Within: i.cfg.CloseWait, Why: s.Why}
}

// listener hears from Kafka's client what is wrong with its connections: the
// records that wait say only that they do.
type listener struct{ w *waiting }

var _ interface {
	kgo.HookBrokerConnect
	kgo.HookBrokerE2E
} = listener{}

func (l listener) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	l.hear(err)
}

func (l listener) OnBrokerE2E(_ kgo.BrokerMetadata, _ int16, e kgo.BrokerE2E) { l.hear(e.Err()) }

func (l listener) hear(err error) {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, kgo.ErrClientClosed) {
		return
	}
	l.w.why.Store(&err)
}
