package collect

import (
	"strings"
	"testing"
	"time"

	"millrace/ingest/double"
	"millrace/schema"
)

// faulty is a double whose market, by which its faults go, begins once a
// collector has subscribed.
func faulty(rate float64, symbols int, faults ...double.Fault) double.Config {
	return double.Config{Synthetic: recent(rate, symbols), WaitFor: []string{"BTCUSDT"}, Faults: double.Scenario{Seed: 1, Faults: faults}}
}

// collectThrough runs a collector through the double's faults until each kind
// has begun as often as said, and checks the log.
func (b *bench) collectThrough(begun map[string]int64, tune ...func(*Live)) *collector {
	b.Helper()
	c := b.collect(tune...)
	b.until("the faults have begun", func() bool {
		n := b.double.Counters().Faults
		for kind, want := range begun {
			if n[kind] < want {
				return false
			}
		}
		return true
	})
	// What comes after the last of them shows what it left behind.
	before := c.Trades()
	b.until("trades come on", func() bool { return c.Trades() > before+200 })
	b.settled(c)
	c.stop()
	log := b.log()
	b.whole(log)
	_, lied := begun["drop"]
	if n := b.kept(log, lied); n == 0 {
		b.Error("no mark was written")
	}
	b.within()
	return c
}

// within checks that the double never saw more than Binance allows.
func (b *bench) within() {
	b.Helper()
	n := b.double.Counters()
	if n.WeightPeak > 3000 || n.MessagesPeak > 5 || n.AttemptsPeak > 150 || n.StreamsPeak > 1024 || n.Closes["Too many requests"] > 0 {
		b.Errorf("beyond what Binance allows: %+v", n)
	}
}

// TestIDsAreMissing: the stream leaves trades out, shuffles them, sends them
// twice and late.
func TestIDsAreMissing(t *testing.T) {
	t.Parallel()
	b := newBench(t, faulty(300, 8,
		double.Fault{Kind: "drop", At: 2 * time.Second, For: time.Second, Every: 2 * time.Second, Times: 3, Share: 0.1},
		double.Fault{Kind: "double", At: 2 * time.Second, For: 6 * time.Second, Share: 0.1},
		double.Fault{Kind: "reorder", At: 3 * time.Second, For: 2 * time.Second, Window: 8, Delay: 30 * time.Millisecond},
		double.Fault{Kind: "late", At: 4 * time.Second, For: 2 * time.Second, Share: 0.05, Delay: 100 * time.Millisecond},
	))
	c := b.collectThrough(map[string]int64{"drop": 3, "double": 1, "reorder": 1, "late": 1})
	copies := int64(0)
	for _, s := range c.Status().Symbols {
		copies += s.Copies
	}
	if copies == 0 {
		t.Error("no copy was seen")
	}
}

// TestAConnectionIsRenewedInTime: the server says that it will close, and closes
// what has become old. Another connection is there before, and nothing has to
// be fetched.
func TestAConnectionIsRenewedInTime(t *testing.T) {
	t.Parallel()
	b := newBench(t, faulty(300, 8,
		double.Fault{Kind: "shutdown", At: 4 * time.Second, Every: 5 * time.Second, Times: 2, Delay: 4 * time.Second},
		double.Fault{Kind: "age", Delay: 9 * time.Second},
	))
	c := b.collect(func(l *Live) { l.Source.MaxAge = 3 * time.Second })
	b.settled(c)
	filled := c.Status().Filled
	b.until("it was renewed", func() bool { return c.Status().Connections[0].Renews >= 4 })
	s := c.Status()
	if s.Connections[0].Losses != 0 || s.Filled != filled {
		t.Errorf("%d losses (%s), %d holes filled", s.Connections[0].Losses, s.Connections[0].Why, s.Filled-filled)
	}
	c.stop()
	log := b.log()
	b.whole(log)
	b.kept(log, false)
	b.within()
}

// TestASilentStream: one symbol's stream falls silent while all else goes on.
// The exchange's word on its last id tells, and another connection brings it.
func TestASilentStream(t *testing.T) {
	t.Parallel()
	b := newBench(t, faulty(300, 8, double.Fault{Kind: "stall", At: 4 * time.Second, Symbols: []string{"ETHUSDT"}}))
	c := b.collect(func(l *Live) { l.Log = quiet(b) })
	b.settled(c)
	next := func() int64 {
		for _, x := range c.Status().Symbols {
			if x.Symbol == "ETHUSDT" {
				return x.Next
			}
		}
		return 0
	}
	b.until("it fell silent", func() bool { return b.double.Counters().Faults["stall"] > 0 })
	silent := next()
	b.until("another connection brings it", func() bool { return c.Status().Connections[0].Renews > 0 && next() > silent+200 })
	b.settled(c)
	if x := c.Status().Connections[0]; x.Losses != 0 {
		t.Errorf("%d losses: %s", x.Losses, x.Why)
	}
	c.stop()
	b.whole(b.log())
	b.within()
}

// TestAHalfDeadConnection: it stays open and brings nothing, no pong either.
func TestAHalfDeadConnection(t *testing.T) {
	t.Parallel()
	b := newBench(t, faulty(300, 8, double.Fault{Kind: "half-dead", At: 4 * time.Second, For: 20 * time.Second}))
	c := b.collectThrough(map[string]int64{"half-dead": 1})
	if s := c.Status().Connections[0]; s.Losses == 0 {
		t.Error("nobody noticed")
	}
}

// TestRESTIsAway: holes appear while REST fails, is slow, limits and bans. They
// stay open until it answers, and are filled then; nothing is asked meanwhile.
func TestRESTIsAway(t *testing.T) {
	t.Parallel()
	b := newBench(t, faulty(300, 6,
		double.Fault{Kind: "drop", At: 3 * time.Second, For: 8 * time.Second, Share: 0.05},
		double.Fault{Kind: "rest-5xx", At: 3 * time.Second, For: 2 * time.Second},
		double.Fault{Kind: "rest-slow", At: 5 * time.Second, For: 2 * time.Second, Delay: 700 * time.Millisecond},
		double.Fault{Kind: "rest-429", At: 7 * time.Second, For: time.Second},
		double.Fault{Kind: "rest-ban", At: 10 * time.Second, For: 2 * time.Second},
	))
	b.collectThrough(map[string]int64{"drop": 1, "rest-5xx": 1, "rest-slow": 1, "rest-429": 1, "rest-ban": 1})
}

// TestAggregates: the streams of aggregates give the same, with fewer messages,
// and void ones in REST are passed over.
func TestAggregates(t *testing.T) {
	t.Parallel()
	cfg := faulty(300, 6,
		double.Fault{Kind: "drop", At: 2 * time.Second, For: 2 * time.Second, Share: 0.1},
		double.Fault{Kind: "cut", At: 5 * time.Second, Every: 2 * time.Second, Times: 2},
		double.Fault{Kind: "void-aggs", Behind: 20},
	)
	b := newBench(t, cfg)
	b.collectThrough(map[string]int64{"drop": 1, "cut": 2}, func(l *Live) { l.Source.Aggregates = true })
}

// TestSBE: so do the binary streams, where a frame brings several trades.
func TestSBE(t *testing.T) {
	t.Parallel()
	b := newBench(t, faulty(300, 6,
		double.Fault{Kind: "drop", At: 2 * time.Second, For: 2 * time.Second, Share: 0.1},
		double.Fault{Kind: "cut", At: 5 * time.Second, Every: 2 * time.Second, Times: 2},
	))
	b.collectThrough(map[string]int64{"drop": 1, "cut": 2}, func(l *Live) { l.Source.APIKey, l.Source.WS = "key", l.Source.WS+"/sbe" })
}

// TestRestart: a collector goes on where the log ends, whether it was stopped
// or not, and beside another.
func TestRestart(t *testing.T) {
	t.Parallel()
	b := newBench(t, double.Config{Synthetic: recent(200, 8)})
	first := b.collect()
	b.settled(first)
	second := b.collect()
	b.settled(second)
	first.stop()
	second.stop()
	before := time.Now()
	b.until("the market goes on", func() bool { return time.Since(before) > time.Second })
	stopped := tell(b.log())
	third := b.collect()
	b.settled(third)
	third.stop()
	log := b.log()
	b.whole(log)
	b.kept(log, false)
	for _, s := range third.Status().Symbols {
		if behind := s.Next - 1 - stopped[s.Symbol].max; s.Filled > behind {
			t.Errorf("%s: %d ids were fetched of %d behind the log's end: it did not go on there", s.Symbol, s.Filled, behind)
		}
	}
}

// TestSymbolsComeAndGo: the exchange lists one, has one rest, and drops one.
func TestSymbolsComeAndGo(t *testing.T) {
	t.Parallel()
	b := newBench(t, faulty(300, 8,
		double.Fault{Kind: "list", At: 12 * time.Second, Market: true, Symbols: []string{"SOLUSDT"}},
		double.Fault{Kind: "status", Status: "HALT", At: 20 * time.Second, For: 20 * time.Second, Market: true, Symbols: []string{"ETHUSDT"}},
		double.Fault{Kind: "status", Status: "BREAK", At: 20 * time.Second, For: 20 * time.Second, Market: true, Symbols: []string{"BNBUSDT"}},
		double.Fault{Kind: "delist", At: 44 * time.Second, Market: true, Symbols: []string{"XRPUSDT"}},
	))
	c := b.collect(everything(t), func(l *Live) { l.RefreshEvery = 300 * time.Millisecond })
	has := func(name string) bool {
		for _, s := range c.Status().Symbols {
			if s.Symbol == name {
				return true
			}
		}
		return false
	}
	b.until("the new symbol is collected", func() bool { return has("SOLUSDT") })
	b.until("the old one is not", func() bool { return !has("XRPUSDT") })
	before := c.Trades()
	b.until("the others go on", func() bool { return c.Trades() > before+300 })
	if s := c.Status().Connections[0]; s.Losses != 0 {
		t.Errorf("%d losses: %s", s.Losses, s.Why)
	}
	c.stop()
	log := b.log()
	b.kept(log, false)
	statuses := map[string][]string{}
	for _, part := range log {
		for i := range part {
			if x := &part[i].tick; x.Kind == schema.KindWatch {
				statuses[x.Watch.Symbol] = append(statuses[x.Watch.Symbol], x.Watch.Status.String())
			}
		}
	}
	for name, want := range map[string]string{"ETHUSDT": "TRADING_STATUS_HALT", "BNBUSDT": "TRADING_STATUS_BREAK", "XRPUSDT": "TRADING_STATUS_DELISTED"} {
		ok := false
		for _, s := range statuses[name] {
			ok = ok || s == want
		}
		if !ok {
			t.Errorf("%s: the log tells of %v, wanted %s", name, statuses[name], want)
		}
	}
}

// TestRESTNoLongerHasThem: a collector was away for longer than REST reaches
// back. What it gives begins with a later id than the one asked for: that is
// filled, and what lies before is never called filled, and holds up no mark.
func TestRESTNoLongerHasThem(t *testing.T) {
	t.Parallel()
	cfg := double.Config{Synthetic: recent(100, 4), Retention: 40 * schema.Second}
	cfg.Synthetic.Pace = 10
	cfg.Synthetic.Start = cal.Start(schema.P1h, cfg.Synthetic.Start) + 5*schema.Second
	b := newBench(t, cfg)
	first := b.collect()
	b.settled(first)
	first.stop()
	last := map[string]int64{}
	for _, s := range first.Status().Symbols {
		last[s.Symbol] = s.Next - 1
	}
	from := time.Now()
	b.until("the market goes on", func() bool { return time.Since(from) > 8*time.Second })
	second := b.collect(func(l *Live) { l.Log = quiet(b) })
	b.until("what can be had is there", func() bool {
		s := second.Status()
		ok := len(s.Symbols) == 4
		for _, x := range s.Symbols {
			ok = ok && len(x.Holes) == 1 && x.Holes[0].Why != "" && !x.Held
		}
		return ok
	})
	filled := second.Status().Filled
	second.stop()
	told := tell(b.log())
	for _, s := range second.Status().Symbols {
		h := s.Holes[0]
		if h.First != last[s.Symbol]+1 || !strings.HasSuffix(h.Why, ": "+NoDumps) {
			t.Errorf("%s: lacks %+v, was stopped at %d", s.Symbol, h, last[s.Symbol])
		}
		for id := h.First; id <= h.Last; id++ {
			if _, ok := told[s.Symbol].trades[id]; ok {
				t.Fatalf("%s: trade %d counts as missing and is in the log", s.Symbol, id)
			}
		}
		if s.Filled == 0 {
			t.Errorf("%s: nothing was filled", s.Symbol)
		}
	}
	if filled != 0 {
		t.Errorf("%d holes are called filled", filled)
	}
}
