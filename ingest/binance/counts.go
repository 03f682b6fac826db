package binance

import (
	"sync/atomic"
	"time"

	"millrace/internal/latency"
	"millrace/schema"
)

// Counts is what a source's connections have brought since it was made.
type Counts struct {
	Frames, Bytes int64
	Refused       int64 // of the frames
	// Recent and RecentRefused are of the last 5 to 10 s.
	Recent, RecentRefused int64
	// Last is when the newest frame was received, by the local clock; 0 before
	// the first.
	Last schema.Time
	// Lag is from a trade's event time E, when the exchange sent it, to its
	// receipt here, by the local clock put right by SetOffset. With a REST
	// client nothing is counted before that.
	Lag latency.Snapshot
}

type counts struct {
	frames, bytes, last, refused atomic.Int64

	lately lately

	offset atomic.Int64 // of the local clock against the exchange's, µs
	known  atomic.Bool  // that is; without a REST client the local clock is taken
	hist   latency.Histogram
}

func (c *counts) frame(n int, received schema.Time) {
	c.move(received)
	c.frames.Add(1)
	c.bytes.Add(int64(n))
	c.last.Store(int64(received))
}

func (c *counts) lag(e, received schema.Time) {
	if !c.known.Load() { // the two clocks may be hours apart
		return
	}
	c.hist.Observe(time.Duration(int64(received-e)+c.offset.Load()) * time.Microsecond)
}

// Counts gives what was brought so far. It is not of one moment.
func (s *Source) Counts() Counts {
	c := &s.counts
	n := Counts{Frames: c.frames.Load(), Bytes: c.bytes.Load(), Refused: c.refused.Load(), Last: schema.Time(c.last.Load()), Lag: c.hist.Snapshot()}
	n.Recent, n.RecentRefused = c.recent(schema.FromStd(time.Now()))
	return n
}

// SetOffset says by how much the exchange's clock is ahead of the local one.
func (s *Source) SetOffset(d time.Duration) {
	s.counts.offset.Store(d.Microseconds())
	s.counts.known.Store(true)
}
