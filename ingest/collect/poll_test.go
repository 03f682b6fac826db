package collect

import (
	"testing"
	"time"

	"millrace/ingest/binance"
	"millrace/ingest/double"
	"millrace/schema"
	"millrace/schema/schemapb"
)

func polling(l *Live) { l.Poll = true }

// promised gives the newest mark's time in the log, and how many records of
// trades there are by their source.
func promised(log [][]record) (w schema.Time, from map[schema.Source]int) {
	w, from = schema.MinTime, map[schema.Source]int{}
	for _, part := range log {
		for i := range part {
			switch x := &part[i].tick; x.Kind {
			case schema.KindMark:
				w = max(w, x.Mark.W)
			case schema.KindTrades:
				from[x.Batch.Source]++
			}
		}
	}
	return w, from
}

// polled is a double whose faults begin with it: nobody subscribes.
func polled(faults ...double.Fault) double.Config {
	cfg := faulty(150, 12, faults...)
	cfg.WaitFor = nil
	return cfg
}

// TestPolled: no websocket; REST fails and limits again and again. The log has
// every trade since the hour's start, no mark promised one that was missing, and
// time goes on.
func TestPolled(t *testing.T) {
	t.Parallel()
	b := newBench(t, polled(
		double.Fault{Kind: "rest-5xx", At: 3 * time.Second, For: 500 * time.Millisecond, Every: 2 * time.Second, Times: 3},
		double.Fault{Kind: "rest-5xx", At: 9 * time.Second, For: 4 * time.Second},
		double.Fault{Kind: "rest-429", At: 16 * time.Second, For: 4 * time.Second},
	))
	c := b.collect(polling)
	b.until("the faults are over", func() bool {
		n, all := b.double.Counters(), c.Status().Connections
		return n.Faults["rest-5xx"] == 4 && n.Faults["rest-429"] == 1 &&
			all[0].Losses > 0 && all[0].Up && time.Since(all[0].Since) > 2*time.Second
	})
	b.settled(c)
	c.stop()
	b.whole(b.log())
	b.kept(b.log(), false)
	b.within()
	n := b.double.Counters()
	if n.Attempts != 0 || n.TooMany != 0 || n.Banned != 0 {
		t.Errorf("%+v", n)
	}
	w, from := promised(b.log())
	if len(from) != 1 || from[schemapb.Source_SOURCE_REST] == 0 {
		t.Errorf("sources %v", from)
	}
	newest := schema.Time(0)
	for _, s := range tell(b.log()) {
		newest = max(newest, s.newest)
	}
	if newest-w > 15*schema.Second {
		t.Errorf("time is promised up to %v, the newest trade is of %v", w, newest)
	}
}

// TestPolledAfterARestart: a second collector goes on at the log's end.
func TestPolledAfterARestart(t *testing.T) {
	t.Parallel()
	b := newBench(t, double.Config{Synthetic: recent(150, 30), VoidAggs: 7})
	for range 3 {
		c := b.collect(polling)
		b.settled(c)
		before := c.Trades()
		b.until("trades come", func() bool { return c.Trades() > before+500 })
		c.stop()
	}
	log := b.log()
	b.whole(log)
	if n := b.kept(log, false); n < 3 {
		t.Errorf("%d marks", n)
	}
	b.within()
}

// TestPolledSymbolsComeAndGo: a delisted symbol does not keep the others from
// being polled, and a new one is polled too.
func TestPolledSymbolsComeAndGo(t *testing.T) {
	t.Parallel()
	b := newBench(t, polled(
		double.Fault{Kind: "delist", At: 24 * time.Second, Market: true, Symbols: []string{"ETHUSDT"}},
		double.Fault{Kind: "list", At: 16 * time.Second, Market: true, Symbols: []string{"BTCUSDT"}}))
	c := b.collect(polling, func(l *Live) {
		l.RefreshEvery = 3 * time.Second
		l.Select = selected(t, "*")
	})
	has := func(name string) bool {
		for _, s := range c.Status().Symbols {
			if s.Symbol == name {
				return true
			}
		}
		return false
	}
	b.until("one has come and one has gone", func() bool { return has("BTCUSDT") && !has("ETHUSDT") })
	before := c.Trades()
	b.until("trades come on", func() bool { return c.Trades() > before+1000 })
	b.until("nothing is missing", func() bool {
		for _, s := range c.Status().Symbols {
			if len(s.Holes) > 0 || s.Held {
				return false
			}
		}
		return true
	})
	c.stop()
	b.kept(b.log(), false)
}

// Rounds are paced by what they weigh, and leave room for history.
func TestPollPause(t *testing.T) {
	for _, c := range []struct {
		questions, trades, most int64
		history                 bool
		want                    time.Duration
	}{
		{3, 4, 3000, false, time.Second},
		{3, 80, 3000, false, 1844 * time.Millisecond},
		{3, 80, 3000, true, 2766 * time.Millisecond},
		{80, 0, 3000, false, 3200 * time.Millisecond},
		{51, 2000, 3000, true, 68366 * time.Millisecond},
		{51, 2000, 6000, false, 22788 * time.Millisecond},
	} {
		if got := pollPause(c.questions, c.trades, c.most, c.history); got.Truncate(time.Millisecond) != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// grow takes in what lies behind the last id told, and nothing else.
func TestGrow(t *testing.T) {
	agg := func(first, last int64) schema.Trade { return schema.Trade{ID: first, Last: last} }
	for _, c := range []struct {
		name    string
		missing bool // ids 10 to 14 are
		page    []schema.Trade
		next    int64
		holes   int64
	}{
		{"as far as told", true, []schema.Trade{agg(8, 11), agg(12, 14)}, 15, 5},
		{"further", true, []schema.Trade{agg(10, 14), agg(15, 15), agg(16, 19)}, 20, 10},
		{"an aggregate over the end", true, []schema.Trade{agg(10, 12), agg(13, 17), agg(18, 18)}, 19, 9},
		{"a jump", true, []schema.Trade{agg(10, 14), agg(16, 19)}, 15, 5},
		{"nothing missing, the next", false, []schema.Trade{agg(12, 14), agg(15, 16)}, 17, 2},
		{"nothing missing, over the end", false, []schema.Trade{agg(12, 15), agg(16, 16)}, 15, 0},
		{"what lies before", false, []schema.Trade{agg(3, 4), agg(5, 5)}, 15, 0},
	} {
		y := newSeries("A")
		y.next = 15
		now := time.Now()
		if c.missing {
			y.next = 10
			y.end(14, now, true)
		}
		y.grow(c.page, now)
		missing := y.holes.missing(0, 100)
		left := int64(0)
		for _, h := range y.holes {
			if h.whole.routine {
				left += h.whole.left
			}
		}
		if y.next != c.next || missing != c.holes || left != missing {
			t.Errorf("%s: next %d, %d ids in holes of %d, want %d and %d", c.name, y.next, missing, left, c.next, c.holes)
		}
	}
}

func selected(t *testing.T, items ...string) binance.Selection {
	t.Helper()
	s, err := binance.ParseSelection(items)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
