package processor

import (
	"time"

	"millrace/internal/latency"
	"millrace/schema"
)

// Stages are the latencies of the processor's part of a tick's way.
type Stages struct {
	Taken     stage // ingestor's receipt → taken by the owner, per micro-batch, of its first tick
	Committed stage // taken → committed
	Candles   stage // ingestor's receipt of a candle's newest tick → acknowledged on candles
	Flushed   stage // a flush of candles taken from the mailbox → acknowledged, and committed where there are transactions
	SQL       stage // ingestor's receipt of a candle's newest tick → committed in the database
}

type stage struct{ latency.Histogram }

// since observes the time from a receipt to now; nothing where the receipt is
// not known.
func (s *stage) since(received, now schema.Time) {
	if received != 0 {
		s.Observe(time.Duration(now-received) * time.Microsecond)
	}
}
