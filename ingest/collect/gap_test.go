package collect

import (
	"log/slog"
	"testing"
	"time"

	"millrace/ingest/binance"
	"millrace/ingest/double"
	"millrace/schema"
)

// recent is a market that begins a few minutes into an hour that has passed,
// and goes on faster than the wall until it has caught up or the test ends.
func recent(rate float64, symbols int) double.Synthetic {
	now := schema.FromStd(time.Now())
	start := cal.Start(schema.P1h, now-3*schema.Hour) + 2*schema.Minute
	return double.Synthetic{Seed: 7, Symbols: symbols, Rate: rate, Start: start, Pace: 4}
}

// settled waits until each symbol is whole up to what the market has now.
func (b *bench) settled(c *collector) {
	b.Helper()
	defer func() {
		if !b.Failed() {
			return
		}
		s := c.Status()
		b.Logf("budget %+v", s.Budget)
		for _, x := range s.Symbols {
			if len(x.Holes) > 0 || x.Held {
				b.Logf("%+v", x)
			}
		}
	}()
	b.until("every symbol is whole", func() bool {
		s := c.Status()
		ok := len(s.Symbols) == len(b.double.Symbols())
		for _, x := range s.Symbols {
			ok = ok && x.Next > 0 && len(x.Holes) == 0 && !x.Held
		}
		return ok
	})
}

func (b *bench) until(what string, ok func() bool) {
	b.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(time.Minute); !ok(); {
		select {
		case <-tick.C:
		case <-end:
			b.Fatalf("not within a minute: %s", what)
		}
	}
}

// TestLostConnections: the network fails again and again; the log has every
// trade since the hour's start, and no mark promised one that was missing.
func TestLostConnections(t *testing.T) {
	t.Parallel()
	b := newBench(t, double.Config{Synthetic: recent(150, 12)})
	c := b.collect()
	b.settled(c)
	for range 6 {
		b.until("the connection stands", func() bool { return c.Status().Connections[0].Up })
		before := c.Trades()
		b.double.Cut()
		b.until("trades come again", func() bool { return c.Trades() > before+100 })
	}
	b.settled(c)
	c.stop()
	log := b.log()
	b.whole(log)
	if n := b.kept(log, false); n < 10 {
		t.Errorf("%d marks", n)
	}
	if s := c.Status(); s.Connections[0].Losses < 6 || s.Filled < 12 {
		t.Errorf("%d losses, %d filled", s.Connections[0].Losses, s.Filled)
	}
}

// everything selects all symbols by a pattern.
func everything(t *testing.T) func(*Live) {
	return func(l *Live) {
		all, err := binance.ParseSelection([]string{"*"})
		if err != nil {
			t.Fatal(err)
		}
		l.Select = all
	}
}

func quiet(b *bench) *slog.Logger {
	return slog.New(slog.NewTextHandler(b.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}
