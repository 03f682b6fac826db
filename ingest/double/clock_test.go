package double

import (
	"testing"

	"millrace/ingest/binance"
	"millrace/schema"
)

func TestClock(t *testing.T) {
	at := func(n float64) schema.Time { return origin + schema.Time(n*1e6) }
	wall := at(10_000)
	c := clock{wall: func() schema.Time { return wall }, start: at(1000), until: at(2000), pace: 100}
	see := func(gone, want float64) {
		t.Helper()
		wall = at(10_000 + gone)
		if got := c.now(); got != at(want) {
			t.Errorf("after %v s it is %v, wanted %v", gone, got, at(want))
		}
	}
	see(5, 1000) // it has not begun
	wall = at(10_000)
	c.begin()
	see(0, 1000)
	see(1, 1100)
	see(10, 2000)
	see(13, 2003) // behind the end as fast as the wall
	c.until = 0
	see(80, 9000)
	see(100, 10_100) // never ahead of the wall
	c = clock{wall: func() schema.Time { return wall }, pace: 1}
	see(77, 10_077)
}

func TestMarketInThePastComesToItsEnd(t *testing.T) {
	from := origin + 200*schema.Day
	until := from + 5*schema.Minute
	d := start(t, Config{Synthetic: Synthetic{Seed: 9, Symbols: 5, Rate: 20, Start: from, Until: until, Pace: 400}, WaitFor: []string{"BTCUSDT"}})
	if now := d.market.now(); now != from {
		t.Fatalf("before it begins it is %v", now)
	}
	want := d.Truth("BTCUSDT", from, schema.MaxTime)
	if last := want[len(want)-1]; last.Time >= until || last.Time < until-10*schema.Second {
		t.Fatalf("the last trade is %+v", last)
	}
	out := newCollector(1 << 30)
	collect(t, d, binance.Config{Symbols: d.Symbols()}, out)
	await(t, "the end of the market", d.Done())
	eventually(t, "the last trade", func() bool {
		got := out.of("BTCUSDT")
		return len(got) > 0 && got[len(got)-1].ID == want[len(want)-1].ID
	})
	got := out.of("BTCUSDT")
	same(t, "BTCUSDT", got, want[len(want)-len(got):])
	if len(got) < len(want)*9/10 {
		t.Errorf("%d of %d trades came", len(got), len(want))
	}
	// REST goes on, and so does the time, which nothing contradicts.
	c := restOf(t, d)
	before, err := c.ServerTime(t.Context())
	if err != nil || before < until || before > until+schema.Minute {
		t.Fatalf("%v %v", before, err)
	}
	eventually(t, "the time to go on", func() bool {
		now, err := c.ServerTime(t.Context())
		return err == nil && now >= before+20*schema.Millisecond
	})
	p, err := c.RecentTrades(t.Context(), "BTCUSDT", 3)
	if err != nil || p.LastRow != want[len(want)-1].ID {
		t.Errorf("%+v %v", p, err)
	}
}
