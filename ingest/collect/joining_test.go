package collect

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"millrace/ingest"
	"millrace/ingest/binance"
	"millrace/schema"
)

// speaks waits until a mark in the log promises a time, and tells whether it
// speaks for the symbol: whether its ingestor watches it and does not except it.
func (b *bench) speaks(symbol string, w schema.Time) (speaks bool) {
	b.Helper()
	b.until("a mark promises that much", func() bool {
		ok := false
		for _, part := range b.log() {
			watched := false
			for i := range part {
				switch x := &part[i].tick; {
				case x.Kind == schema.KindWatch && x.Watch.Symbol == symbol:
					watched = x.Watch.On
				case x.Kind == schema.KindMark && watched && x.Mark.W >= w:
					ok, speaks = true, !slices.Contains(x.Mark.Excepted, symbol)
				}
			}
		}
		return ok
	})
	return speaks
}

// TestAJoiningSymbolIsNotPromised: a symbol joins a group whose connection has
// stood for long. That connection does not bring it, so whatever is learned of
// its ids meanwhile, no mark speaks for it before one that does has taken over.
func TestAJoiningSymbolIsNotPromised(t *testing.T) {
	t.Parallel()
	b := newEmptyBench(t)
	rest := newAway(t)
	client, err := binance.NewClient(rest.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	live, g := b.mended(ctx, client, []string{"OLDUSDT"})
	const sec = schema.Second
	begun := schema.Time(1700000001_000000)
	trade := func(symbol string, id int64, at schema.Time) {
		t.Helper()
		one, _ := schema.ParseDecimal([]byte("1"))
		x := schema.Trade{ID: id, Last: id, Price: one, Qty: one, Time: at}
		if err := g.Trade([]byte(symbol), &x, schema.FromStd(time.Now())); err != nil {
			t.Fatal(err)
		}
	}
	trade("OLDUSDT", 10, begun+sec/2)
	g.Progress(begun + sec)
	if !b.speaks("OLDUSDT", begun+sec) {
		t.Fatal("no mark speaks for the group's own symbol")
	}

	m := &market{statuses: map[string]schema.TradingStatus{}}
	fresh, list := live.prepare([]string{"NEWUSDT"}, standing{last: map[string]ingest.Last{"NEWUSDT": {ID: 4, Time: begun}}}, m)
	if err := g.join(maps.Clone(fresh), list); err != nil {
		t.Fatal(err)
	}
	g.mu.Lock()
	g.stood = time.Now().Add(-time.Hour)
	g.mu.Unlock()
	if wanted := live.doubtful(time.Now(), true); wanted["NEWUSDT"] != nil || wanted["OLDUSDT"] == nil {
		t.Errorf("the last ids are asked of %v", sortedKeys(wanted))
	}
	// The exchange says that nothing is missing, and the connection that will
	// take over brings the next one.
	g.told("NEWUSDT", 4, time.Now())
	trade("NEWUSDT", 5, begun+sec+sec/2)
	g.Progress(begun + 2*sec)
	if b.speaks("NEWUSDT", begun+2*sec) {
		t.Error("a mark speaks for a symbol that no connection in force brings")
	}
	if s := live.Status().Symbols; len(s) != 2 || s[0].Symbol != "NEWUSDT" || !s[0].Held || s[1].Held {
		t.Errorf("%+v", s)
	}
	g.hooks().Renewed(binance.Session{Symbols: []string{"NEWUSDT", "OLDUSDT"}}, "symbols changed")
	g.Progress(begun + 3*sec)
	if !b.speaks("NEWUSDT", begun+3*sec) {
		t.Error("no mark speaks for it after a connection that brings it has taken over")
	}
}
