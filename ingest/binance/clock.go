package binance

import (
	"context"
	"time"

	"millrace/schema"
)

// maxCarry is how long a clock found steady is carried on by the local one
// while the server does not tell the time.
const maxCarry = time.Minute

// serverClock knows moments at or before the server's present time. It asks
// each time: a server that replays a recording has a time that runs faster,
// slower or not at all. Only where the last two answers lie apart by what the
// local clock measured between them may the local clock stand in for one that
// fails to come.
type serverClock struct {
	ask    func(context.Context) (schema.Time, error)
	steady time.Duration // how far answers and local clock may differ

	last   schema.Time
	at     time.Time // local, when last had come
	proven bool
}

// now gives a moment at or before the server's present; 0 if none is known.
func (c *serverClock) now(ctx context.Context) schema.Time {
	if c.ask == nil {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s, err := c.ask(ctx)
	return c.learn(s, err, time.Now())
}

// learn takes the answer that came at the local moment at.
func (c *serverClock) learn(s schema.Time, err error, at time.Time) schema.Time {
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
