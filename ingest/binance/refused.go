package binance

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"millrace/schema"
)

// garbageMost is how many frames of a connection may be refused before one is
// of use: more show that it is not what was asked for. Each becomes a dead
// letter.
const garbageMost = 100

// UselessError reports a connection that brought frames and none of use.
type UselessError struct {
	URL    string
	Frames int
	Asked  string // what was asked for
	Came   string // what came last
	Why    error  // why that was refused
}

func (e *UselessError) Error() string {
	return fmt.Sprintf("all of the first %d frames from %s were refused: %s was asked for, %s came (%v): set --streams to what that server sends, or --binance-ws to one that sends it",
		e.Frames, e.URL, e.Asked, e.Came, e.Why)
}

func (e *UselessError) Unwrap() error { return e.Why }

// refuse hands over a frame that cannot be used. Where none could be since the
// connection was made, it ends; for good, if none could since the start.
func (c *conn) refuse(received schema.Time, why error) error {
	c.handing.Store(true)
	err := c.out.Refused(c.buf, received, why)
	c.handing.Store(false)
	if err != nil {
		return fatal{fmt.Errorf("hand over what was refused: %w", err)}
	}
	c.source.counts.refused.Add(1)
	if c.refused++; c.useful || c.refused < garbageMost {
		return nil
	}
	err = &UselessError{URL: c.url, Frames: c.refused, Asked: c.asked(), Came: c.came(), Why: why}
	if c.source.useful.Load() {
		return err
	}
	return fatal{err}
}

// use notes that a frame was of use.
func (c *conn) use() {
	if !c.useful {
		c.useful = true
		c.source.useful.Store(true)
	}
}

func (c *conn) asked() string {
	switch {
	case c.cfg.sbe():
		return "SBE"
	case c.cfg.Aggregates:
		return "aggregate trades in JSON"
	}
	return "trades in JSON"
}

// came says what the newest frame was.
func (c *conn) came() string {
	switch {
	case !c.text:
		return "binary frames"
	case c.ev.Kind == Trade:
		return "trades in JSON"
	case c.ev.Kind == AggTrade:
		return "aggregate trades in JSON"
	}
	return "text of another kind"
}

// lately counts the frames of the last while, for who asks whether refusals
// prevail. It is moved on by the frames themselves.
type lately struct {
	next atomic.Int64 // when it is moved on

	mu        sync.Mutex // guards what follows
	last, now reach
}

// reach is what had come at a time.
type reach struct{ frames, refused int64 }

// windowStep is how often the window is moved on; it reaches back one to two.
const windowStep = 5 * time.Second

// move is called for each frame, before it is counted.
func (c *counts) move(received schema.Time) {
	if int64(received) < c.lately.next.Load() {
		return
	}
	w := &c.lately
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last, w.now = w.now, reach{c.frames.Load(), c.refused.Load()}
	if int64(received)-w.next.Load() > windowStep.Microseconds() { // nothing came for long
		w.last = w.now
	}
	w.next.Store(int64(received) + windowStep.Microseconds())
}

// recent gives what came within the last one to two steps. What is older than
// that, since nothing came after it, is none of it.
func (c *counts) recent(now schema.Time) (frames, refused int64) {
	w := &c.lately
	w.mu.Lock()
	defer w.mu.Unlock()
	if int64(now)-c.last.Load() > 2*windowStep.Microseconds() {
		return 0, 0
	}
	return c.frames.Load() - w.last.frames, c.refused.Load() - w.last.refused
}
