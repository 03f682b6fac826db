package collect

import (
	"testing"
	"time"

	"millrace/ingest/double"
	"millrace/schema"
)

// TestLagIsMeasuredByTheExchangesClock: the two clocks are five seconds apart,
// and nobody asks for the status.
func TestLagIsMeasuredByTheExchangesClock(t *testing.T) {
	for name, apart := range map[string]time.Duration{"behind": -5 * time.Second, "ahead": 5 * time.Second} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, double.Config{
				Synthetic: double.Synthetic{Seed: 7, Symbols: 4, Rate: 200},
				Now:       func() schema.Time { return schema.FromStd(time.Now().Add(apart)) },
			})
			c := b.collect()
			// By the local clock alone a lag would be 0 or five seconds.
			b.until("lags are between nothing and a second", func() bool {
				for _, g := range c.all() {
					before := g.source.Counts().Lag
					b.until("trades come", func() bool { return g.source.Counts().Lag.Count >= before.Count+50 })
					after := g.source.Counts().Lag
					mean := (after.Sum - before.Sum) / time.Duration(after.Count-before.Count)
					return mean > 0 && mean < time.Second
				}
				return false
			})
			s := c.Status()
			if !s.OffsetKnown || (s.Offset-apart).Abs() > time.Second {
				t.Errorf("the exchange's clock is told to be %v ahead, it is %v", s.Offset, apart)
			}
			if !s.Begun {
				t.Error("all connections were made, and it isn't told")
			}
		})
	}
}

// TestHeldSymbolsTellSinceWhen: a lost connection holds all its symbols, until
// it is known what they missed.
func TestHeldSymbolsTellSinceWhen(t *testing.T) {
	b := newBench(t, double.Config{Synthetic: recent(100, 3)})
	c := b.collect()
	b.settled(c)
	for _, x := range c.Status().Symbols {
		if x.Held == x.Since.IsZero() {
			t.Errorf("%s is held: %v, since %v", x.Symbol, x.Held, x.Since)
		}
	}
	before := time.Now()
	b.double.Cut()
	b.until("every symbol is held", func() bool {
		for _, x := range c.Status().Symbols {
			if !x.Held {
				return false
			}
			if x.Since.Before(before) {
				t.Fatalf("%s is held since %v, the connection was lost at %v", x.Symbol, x.Since, before)
			}
		}
		return true
	})
	b.settled(c)
}
