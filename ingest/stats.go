package ingest

import (
	"math/bits"
	"sync/atomic"
	"time"

	"millrace/schema"
)

// Stats is what was done since Open.
type Stats struct {
	Trades  int64 // acknowledged
	Records int64 // acknowledged, of all kinds
	Marks   int64 // acknowledged
	Bytes   int64 // of their values, before compression
	Refused int64 // handed to Refuse
	// Latency is from the receipt of a record's first trade to its
	// acknowledgement.
	Latency Latency
}

// Stats gives the counts of now. They are not of one moment.
func (i *Ingestor) Stats() Stats {
	c := &i.counts
	s := Stats{Trades: c.trades.Load(), Records: c.records.Load(), Marks: c.marks.Load(), Bytes: c.bytes.Load(), Refused: c.refused.Load()}
	for b := range s.Latency {
		s.Latency[b] = c.latency[b].Load()
	}
	return s
}

type counters struct {
	trades, records, marks, bytes, refused atomic.Int64
	latency                                [latencyBuckets]atomic.Int64
}

func (c *counters) acked(r *record, now func() schema.Time) {
	c.records.Add(1)
	c.bytes.Add(int64(len(r.Value)))
	if r.mark {
		c.marks.Add(1)
	}
	if r.trades == 0 {
		return
	}
	c.trades.Add(int64(r.trades))
	c.latency[bucket(now()-r.received)].Add(1)
}

// Buckets of latencies: four to each power of two, from 1 µs to over an hour.
const latencyBuckets = 128

// Latency counts records by how long they took, to within a quarter.
type Latency [latencyBuckets]int64

func bucket(t schema.Time) int {
	v := uint64(max(t, 0))
	if v < 4 {
		return int(v)
	}
	shift := bits.Len64(v) - 3
	return min(shift<<2+int(v>>shift), latencyBuckets-1)
}

// upper is the first latency beyond a bucket, in µs.
func upper(bucket int) int64 {
	if bucket < 4 {
		return int64(bucket) + 1
	}
	shift := bucket>>2 - 1
	return int64(bucket&3+5) << shift
}

// Quantile gives a latency that the share q of the records did not exceed; 0
// if there are none.
func (l *Latency) Quantile(q float64) time.Duration {
	var all, seen int64
	for _, n := range l {
		all += n
	}
	for b, n := range l {
		if seen += n; n > 0 && float64(seen) >= q*float64(all) {
			return time.Duration(upper(b)) * time.Microsecond
		}
	}
	return 0
}
