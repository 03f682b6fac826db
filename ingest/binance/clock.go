package binance

import (
	"context"
	"sync"
	"time"

	"millrace/schema"
)

const (
	// maxCarry is how long a clock found steady is carried on by the local one
	// while the server does not tell the time.
	maxCarry = time.Minute
	// clockSteady is how far answers and the local clock may differ.
	clockSteady = 250 * time.Millisecond
	// clockEvery is the time between two questions.
	clockEvery = time.Second
	// clockWait bounds a wait for an answer.
	clockWait = 5 * time.Second
	// clockSamples is how many answers the offset is chosen from.
	clockSamples = 16
)

// carriedClock tells when the local clock may stand in for the server's. A
// server that replays a recording has a time that runs faster, slower or not at
// all. Only where the last two answers lie apart by what the local clock
// measured between them may it be carried on while an answer fails to come.
type carriedClock struct {
	steady time.Duration // how far answers and local clock may differ

	last   schema.Time
	at     time.Time // local, when last had come
	proven bool
}

// learn takes the answer that came at the local moment at.
func (c *carriedClock) learn(s schema.Time, err error, at time.Time) schema.Time {
	passed := at.Sub(c.at) // monotonic
	if err != nil {
		if !c.proven || passed > maxCarry {
			c.proven = false
			return 0
		}
		return c.last + schema.Time(passed.Microseconds())
	}
	off := time.Duration(s-c.last)*time.Microsecond - passed
	c.proven = c.last != 0 && passed < maxCarry && off.Abs() <= c.steady
	c.last, c.at = s, at
	return s
}

// ServerClock is the server's time for all who want to know it. It asks at most
// once a second, and once for all who wait. Any number of goroutines may use
// it.
type ServerClock struct {
	ask func(context.Context) (schema.Time, Reply, error)

	mu      sync.Mutex // guards what follows
	rules   carriedClock
	value   schema.Time // what the last question gave, 0 if nothing
	began   time.Time   // when that was asked
	asked   time.Time   // when the last question went, even if given up
	flight  chan struct{}
	samples [clockSamples]sample
	n       int  // samples taken since the clock ran steady
	steady  bool // the last two answers were: the samples tell the offset
}

// sample is one answer: the server said s in the middle of a trip.
type sample struct {
	s    schema.Time
	mid  time.Time
	trip time.Duration
}

func newServerClock(c *Client) *ServerClock {
	return &ServerClock{ask: c.serverTime, rules: carriedClock{steady: clockSteady}}
}

// Now gives a moment at or before the server's present; 0 if none is known. The
// moment may be some seconds old: what was once the server's time stays behind
// it for ever.
func (c *ServerClock) Now(ctx context.Context) schema.Time {
	return c.since(ctx, time.Now().Add(-clockEvery))
}

// Fresh gives the server's time, asked after Fresh was called. It may wait a
// second longer than Now. It is for who must know that something of his own lay
// before: that a stream was subscribed at that time already.
func (c *ServerClock) Fresh(ctx context.Context) schema.Time { return c.since(ctx, time.Now()) }

// since gives what a question gave that went at or after the local moment.
func (c *ServerClock) since(parent context.Context, from time.Time) schema.Time {
	ctx, cancel := context.WithTimeout(parent, clockWait)
	defer cancel()
	for {
		c.mu.Lock()
		if !c.began.IsZero() && !c.began.Before(from) {
			defer c.mu.Unlock()
			return c.value
		}
		if ctx.Err() != nil {
			c.mu.Unlock()
			return 0
		}
		flight := c.flight
		lead := flight == nil
		if lead {
			flight = make(chan struct{})
			c.flight = flight
		}
		next := c.asked.Add(clockEvery)
		c.mu.Unlock()
		if lead {
			c.lead(ctx, parent, next)
			continue
		}
		select {
		case <-flight:
		case <-ctx.Done():
		}
	}
}

// lead asks for all, not before next. Where the caller gives up first, one of
// the others takes over.
func (c *ServerClock) lead(ctx, caller context.Context, next time.Time) {
	var began time.Time
	var s schema.Time
	var a Reply
	var err error
	if reached(ctx, next) {
		began = time.Now()
		s, a, err = c.ask(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.flight)
	c.flight = nil
	if began.IsZero() {
		return
	}
	c.asked = began
	// That the caller gave up says nothing of the server. That it let clockWait
	// pass does.
	if err != nil && caller.Err() != nil {
		return
	}
	c.began = began
	c.value = c.rules.learn(s, err, time.Now())
	if err == nil {
		c.sample(s, a)
	}
}

// reached waits for the moment, and tells whether ctx still stands.
func reached(ctx context.Context, until time.Time) bool {
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func (c *ServerClock) sample(s schema.Time, a Reply) {
	if !c.rules.proven {
		c.n = 0 // what came before belongs to another course of time
	}
	trip := a.Received.Sub(a.Sent)
	c.samples[c.n%clockSamples] = sample{s, a.Sent.Add(trip / 2), trip}
	c.n++
	c.steady = c.rules.proven
}

// Offset tells how far the local clock is behind the server's, by the answer
// with the shortest trip of the last ones. It is not ok where the server's time
// does not run like the local one. That it doesn't answer any more changes
// nothing of how far the clocks are apart; the uncertainty grows.
func (c *ServerClock) Offset() (offset, uncertainty time.Duration, ok bool) {
	return c.offset(time.Now())
}

func (c *ServerClock) offset(now time.Time) (offset, uncertainty time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.steady {
		return 0, 0, false
	}
	best := c.samples[0]
	for _, s := range c.samples[1:min(c.n, clockSamples)] {
		if s.trip < best.trip {
			best = s
		}
	}
	// The local clock may have been set since. What passed is measured by the
	// monotonic one, which may be wrong by a ten-thousandth.
	age := now.Sub(best.mid)
	server := best.s.Std().Add(age)
	return server.Sub(now.Round(0)), best.trip/2 + time.Millisecond + age/10_000, true
}
