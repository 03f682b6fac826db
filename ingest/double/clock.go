package double

import (
	"sync/atomic"

	"millrace/schema"
)

// clock is the synthetic market's time. By default it is the wall's. With a
// start it lies in the past and runs pace times as fast:
//
//	start ──── pace × ────▶ until ── as fast as the wall ──▶
//
// It stands at start until run begins, goes on at the wall's own pace behind
// until, so that windows which end there can close, and never runs ahead of the
// wall.
type clock struct {
	wall         func() schema.Time
	start, until schema.Time // 0: none
	pace         float64
	began        atomic.Int64 // by the wall; 0 before
}

// begin starts it, once.
func (c *clock) begin() { c.began.CompareAndSwap(0, int64(c.wall())) }

func (c *clock) now() schema.Time {
	wall := c.wall()
	if c.start == 0 {
		return wall
	}
	began := schema.Time(c.began.Load())
	if began == 0 {
		return min(c.start, wall)
	}
	gone := wall - began
	t := c.start + schema.Time(float64(gone)*c.pace)
	if c.until != 0 && t > c.until {
		t = c.until + gone - schema.Time(float64(c.until-c.start)/c.pace)
	}
	return min(t, wall)
}
