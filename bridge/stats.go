package bridge

import (
	"maps"
	"sync/atomic"

	"millrace/internal/latency"
)

// counters are what a bridge did since it was made.
type counters struct {
	records, published, acked         atomic.Int64
	written, repeated, deleted        atomic.Int64
	damaged, recalled, resent, rounds atomic.Int64
	received, committed               latency.Histogram
}

// Stats is a snapshot of a bridge's work since it was made.
type Stats struct {
	Records   int64 // read from Kafka
	Published int64 // messages on candles.<period>.<symbol>
	Acked     int64 // closed, holed and final candles that the stream acknowledged
	Recalled  int64 // of Acked: found in the stream after a start, not sent again
	Written   int64 // entries written into the bucket of newest candles
	Repeated  int64 // records not newer than one already sent, and so not sent
	Deleted   int64 // records without a value: a key's end, nothing to send
	Damaged   int64 // records that are no candle; the first hundred are in the log, then every thousandth
	Resent    int64 // messages sent again after a lost connection
	Rounds    int64 // confirmations

	Lag map[int32]int64 // records of each partition not settled yet

	// From the moment a tick was received, and from the processor's commit, to
	// the publish on the core subject.
	Received, Committed latency.Snapshot
}

// TotalLag is Lag over all partitions.
func (s Stats) TotalLag() int64 {
	var n int64
	for v := range maps.Values(s.Lag) {
		n += v
	}
	return n
}

// Stats may be called at any time, by any goroutine.
func (b *Bridge) Stats() Stats {
	c := &b.count
	return Stats{
		Records: c.records.Load(), Published: c.published.Load(), Acked: c.acked.Load(),
		Recalled: c.recalled.Load(), Written: c.written.Load(), Repeated: c.repeated.Load(),
		Deleted: c.deleted.Load(), Damaged: c.damaged.Load(), Resent: c.resent.Load(), Rounds: c.rounds.Load(),
		Lag:      b.progress.lag(),
		Received: c.received.Snapshot(), Committed: c.committed.Snapshot(),
	}
}
