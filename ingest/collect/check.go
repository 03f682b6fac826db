package collect

import (
	"context"
	"maps"
	"slices"
	"time"

	"millrace/ingest/binance"
)

const (
	// settleAfter is how long after a connection stood the exchange is asked for
	// the last ids: its REST side may lag behind its streams.
	settleAfter = time.Second
	// silentAtLeast is the shortest silence that is looked into.
	silentAtLeast = 3 * time.Second
	// stallGrace is how long an id that REST knows may still come by the stream.
	stallGrace = 2 * time.Second
	// renewEvery bounds how often silence asks for another connection.
	renewEvery = 15 * time.Second
	// checkWait bounds the questions for last ids.
	checkWait = 30 * time.Second
	// auditEvery is how often the last ids of all symbols are compared.
	auditEvery = time.Minute
)

// suspect is a symbol of which the exchange has told a last id that had not come.
type suspect struct {
	g    *group
	y    *series
	last int64
	at   time.Time
}

// check asks the exchange for the last ids of symbols: after a connection was
// lost, where a stream is silent against its own pace, and of all now and then.
func (l *Live) check(ctx context.Context) error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	audited := time.Now()
	var suspects []suspect
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		l.tellOffset()
		now := time.Now()
		suspects = l.stalled(suspects, now)
		full := now.Sub(audited) >= auditEvery
		wanted := l.doubtful(now, full)
		if full {
			audited = now
		}
		if len(wanted) == 0 {
			continue
		}
		bound, cancel := context.WithTimeout(binance.WithPriority(ctx, binance.PriorityFill), checkWait)
		lasts, _, err := l.lastIDs(bound, sortedKeys(wanted))
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				l.Log.Debug("ask for the last ids", "err", err)
			}
			l.pause(ctx, time.Second)
			continue
		}
		for name, g := range wanted {
			if last, ok := lasts[name]; ok {
				if s, ok := g.told(name, last, now); ok {
					suspects = append(suspects, s)
				}
			}
		}
	}
}

// doubtful gives the symbols whose last id must be asked for.
func (l *Live) doubtful(now time.Time, all bool) map[string]*group {
	wanted := map[string]*group{}
	for _, g := range l.all() {
		g.mu.Lock()
		if g.up && now.Sub(g.stood) >= settleAfter {
			for name, y := range g.series {
				silent := y.silent(now, silentAtLeast) && now.Sub(y.asked) > max(silentAtLeast, 10*y.pace)
				if !y.early && !y.awaits && (y.unproven || silent || all) {
					wanted[name] = g
					y.asked = now
				}
			}
		}
		g.mu.Unlock()
	}
	return wanted
}

// told takes the exchange's word on a symbol's last id, asked for at a moment.
// What it knows and a connection has not brought since before is missing where
// the connection is new; where it was there all the time it may still be on
// its way, and is a suspicion.
func (g *group) told(name string, last int64, asked time.Time) (suspect, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	y := g.series[name]
	if y == nil || y.early || !g.up || asked.Sub(g.stood) < settleAfter {
		return suspect{}, false
	}
	if !y.unproven {
		return suspect{g, y, last, time.Now()}, y.next >= 0 && last >= y.next
	}
	// The day's figures don't name a trade that is older than a day.
	if last = max(last, y.known); y.next >= 0 && last >= y.next {
		g.missed(y, last)
	}
	y.unproven = false
	g.keep(g.settle(y))
	return suspect{}, false
}

// missed opens a hole at the symbol's end. The caller holds mu.
func (g *group) missed(y *series, last int64) {
	y.open(y.next, last, time.Now(), 0)
	y.next = last + 1
	g.keep(g.hold(y))
	g.live.mend(g, y)
}

// stalled acts on suspicions that have not been cleared by the stream: what is
// missing is fetched, and another connection made.
func (l *Live) stalled(all []suspect, now time.Time) []suspect {
	return slices.DeleteFunc(all, func(s suspect) bool {
		if now.Sub(s.at) < stallGrace {
			return false
		}
		s.g.mu.Lock()
		defer s.g.mu.Unlock()
		if s.g.series[s.y.name] != s.y || s.y.next > s.last || !s.g.up {
			return true
		}
		s.g.missed(s.y, s.last)
		if now.Sub(s.g.renewed) > renewEvery {
			s.g.renewed = now
			s.g.source.Renew("the stream of " + s.y.name + " is silent")
		}
		return true
	})
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
