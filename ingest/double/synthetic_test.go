package double

import (
	"context"
	"testing"
	"time"

	"millrace/ingest/binance"
	"millrace/schema"
)

func TestSyntheticIsOneMarketHoweverItIsRead(t *testing.T) {
	market := Synthetic{Seed: 7, Symbols: 30, Rate: 300}
	from := origin + 400*schema.Day + 12345678
	span := 3 * 1024 * schema.Second // three cycles
	total := 0
	counts := map[string]int{}
	for i, c := range newCoins(market) {
		again := newCoins(market)[i]
		tape := coinTape{coin: c, aggregates: false, until: schema.MaxTime}
		id := tape.find(from)
		all := coinTape{coin: c, aggregates: false, until: from + span}.read(id, 1<<30)
		if len(all) == 0 {
			t.Fatalf("%s has no trade in three cycles", c.symbol)
		}
		for k := range all {
			tr := &all[k]
			if err := tr.Validate(); err != nil {
				t.Fatal(err)
			}
			if tr.ID != id+int64(k) || tr.Time < from || tr.Time >= from+span || k > 0 && tr.Time < all[k-1].Time {
				t.Fatalf("%s: %d-th trade from %d: %+v", c.symbol, k, id, tr)
			}
		}
		if first, before := all[0], (coinTape{coin: c, aggregates: false, until: schema.MaxTime}).read(id-1, 1); before[0].Time >= from || first.ID != before[0].ID+1 {
			t.Fatalf("%s: %+v is before %+v", c.symbol, before, first)
		}
		// Any range of ids gives the same rows, also from another start.
		for k := 0; k < len(all); k += 1 + len(all)/50 {
			n := min(37, len(all)-k)
			same(t, c.symbol, coinTape{coin: again, aggregates: false, until: schema.MaxTime}.read(all[k].ID, n), all[k:k+n])
			if found := (coinTape{coin: again, aggregates: false, until: schema.MaxTime}).find(all[k].Time); found > all[k].ID || found < all[k].ID-100 {
				t.Fatalf("%s: find gave %d for trade %d", c.symbol, found, all[k].ID)
			}
		}
		// The aggregates stand for the same trades.
		aggs := coinTape{coin: c, aggregates: true, until: from + span}
		orders := aggs.read(aggs.find(from), 1<<30)
		at := 0
		for _, a := range orders {
			sum := schema.Decimal{Scale: c.qtyScale}
			for id := a.ID; id <= a.Last; id++ {
				if tr := all[at]; tr.ID != id || tr.Time != a.Time || tr.Price != a.Price || tr.BuyerMaker != a.BuyerMaker {
					t.Fatalf("%s: %+v is not of %+v", c.symbol, tr, a)
				}
				sum.Mantissa += all[at].Qty.Mantissa
				at++
			}
			if sum != a.Qty {
				t.Fatalf("%s: %v is not the sum %v", c.symbol, a.Qty, sum)
			}
		}
		if at != len(all) {
			t.Fatalf("%s: %d trades in aggregates, %d trades", c.symbol, at, len(all))
		}
		counts[c.symbol] = len(all)
		total += len(all)
	}
	seconds := float64(span) / float64(schema.Second)
	if rate := float64(total) / seconds; rate < 270 || rate > 330 {
		t.Errorf("%v trades a second, wanted 300", rate)
	}
	if counts["BTCUSDT"] < 3*counts["BNBUSDT"] || counts["BTCUSDT"] < 1000*counts["M0030USDT"] {
		t.Errorf("popularity is not uneven: %v", counts)
	}
	// Another seed is another market.
	a, b := newCoin("A", 1, 1e6), newCoin("A", 2, 1e6)
	if a.price(from, 0) == b.price(from, 0) && a.orders == b.orders {
		t.Error("the seed does nothing")
	}
}

func TestSyntheticHasBurstsAndQuietSeconds(t *testing.T) {
	c := newCoin("BTCUSDT", 1, 50*1e6)
	low, high := 1<<30, 0
	for s := int64(0); s < cycle; s++ {
		n := len(c.second(nil, s, false))
		low, high = min(low, n), max(high, n)
	}
	if high < 4*50 || low > 60 {
		t.Errorf("seconds have from %d to %d trades", low, high)
	}
	q := newCoin("QUIET", 1, 1)
	if q.fills[cycle] == 0 || q.orders[cycle] != 1 {
		t.Errorf("the quietest has %d orders a cycle", q.orders[cycle])
	}
	lo, hi := int64(1<<62), int64(0)
	for at := origin; at < origin+30*schema.Day; at += schema.Hour {
		p := c.price(at, uint64(at)).Mantissa
		lo, hi = min(lo, p), max(hi, p)
	}
	if lo < c.base*92/100 || hi > c.base*108/100 || hi-lo < c.base/100 {
		t.Errorf("the price went from %d to %d around %d", lo, hi, c.base)
	}
}

func TestSecondStartGoesOnWhereTheFirstWas(t *testing.T) {
	market := Synthetic{Seed: 3, Symbols: 4, Rate: 2000}
	var last int64 = -1
	var lastTime schema.Time
	for run := range 2 {
		ctx, cancel := context.WithCancel(context.Background())
		d, err := New(Config{Synthetic: market})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Listen(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- d.Run(ctx) }()
		out := newCollector(1000)
		stop := collect(t, d, binance.Config{Symbols: d.Symbols()}, out)
		await(t, "the trades", out.enough)
		stop()
		got := out.of("BTCUSDT")
		same(t, "a run", got, trim(d.Truth("BTCUSDT", got[0].Time, got[len(got)-1].Time+1), got[0].ID, got[len(got)-1].ID))
		if out.late != 0 || len(out.refused) != 0 {
			t.Errorf("%d trades behind the promised time, %v refused", out.late, out.refused)
		}
		if run == 1 {
			// What lay between the two runs can be asked for by id: no hole.
			_, rest := d.URLs()
			client, err := binance.NewClient(rest, "")
			if err != nil {
				t.Fatal(err)
			}
			for want := last + 1; want < got[0].ID; {
				p, err := client.HistoricalTrades(ctx, "BTCUSDT", want, 1000)
				if err != nil {
					t.Fatal(err)
				}
				if p.FirstRow != want || p.Trades[0].Time < lastTime {
					t.Fatalf("asked for %d, got %d", want, p.FirstRow)
				}
				want = p.LastRow + 1
			}
			client.Close()
		}
		last, lastTime = got[len(got)-1].ID, schema.FromMillis(got[len(got)-1].Time.Millis())
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
}

// trim cuts trades to a range of ids: many may share the edges' times.
func trim(trades []schema.Trade, from, to int64) []schema.Trade {
	for len(trades) > 0 && trades[0].ID < from {
		trades = trades[1:]
	}
	for len(trades) > 0 && trades[len(trades)-1].ID > to {
		trades = trades[:len(trades)-1]
	}
	return trades
}

func TestExchangeTimeNeverRunsAhead(t *testing.T) {
	// The margin is just above what E lies behind T: every wrong word on the
	// time would show.
	d := start(t, Config{Synthetic: Synthetic{Seed: 1, Symbols: 3, Rate: 20_000}})
	out := newCollector(20_000)
	collect(t, d, binance.Config{Symbols: d.Symbols(), Margin: 3 * time.Millisecond, PingEvery: 250 * time.Millisecond}, out)
	await(t, "the trades", out.enough)
	out.mu.Lock()
	defer out.mu.Unlock()
	if out.late != 0 {
		t.Errorf("%d trades behind the promised time", out.late)
	}
}
