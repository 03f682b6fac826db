package ingest

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"millrace/internal/latency"
	"millrace/schema"
)

// Stats is what was done since Open.
type Stats struct {
	Trades  int64 // acknowledged
	Records int64 // acknowledged, of all kinds
	Marks   int64 // acknowledged
	Bytes   int64 // of their values, before compression
	Refused int64 // handed to Refuse
	// Reasons are those of what was refused; their numbers add up to Refused.
	Reasons map[string]int64
	Waiting Waiting
	// Latency is from the receipt of a record's first trade to its
	// acknowledgement, of trades that were not fetched by Fill.
	Latency latency.Snapshot
}

// Stats gives the counts of now. They are not of one moment.
func (i *Ingestor) Stats() Stats {
	c := &i.counts
	return Stats{
		Trades: c.trades.Load(), Records: c.records.Load(), Marks: c.marks.Load(),
		Bytes: c.bytes.Load(), Refused: c.refused.Load(), Latency: c.latency.Snapshot(),
		Reasons: c.reasonsNow(), Waiting: i.waiting.stats(),
	}
}

type counters struct {
	trades, records, marks, bytes, refused atomic.Int64

	latency latency.Histogram

	mu      sync.Mutex // guards what follows
	reasons map[string]int64
}

// reasonsMost bounds the reasons that are told apart; the rest is counted as
// others. The sources know some few words.
const reasonsMost = 20

func (c *counters) refuse(reason string) {
	c.refused.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reasons == nil {
		c.reasons = map[string]int64{}
	}
	if _, known := c.reasons[reason]; !known && len(c.reasons) >= reasonsMost {
		reason = "other"
	}
	c.reasons[reason]++
}

func (c *counters) reasonsNow() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.reasons)
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
	if r.filled {
		return
	}
	c.latency.Observe(time.Duration(now()-r.received) * time.Microsecond)
}
