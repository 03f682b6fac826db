package state

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"millrace/schema"
)

// withEras puts into a log what operators may: a new series of the first
// market's symbol, repairs, a seal and what comes late behind it. It gives the
// markets of the eras, too.
func withEras(r *rand.Rand, log []entry, markets []market) ([]entry, []market) {
	m := markets[0]
	era, from := uint8(0), 0
	if r.IntN(2) == 0 {
		log, markets = withRepair(r, log, from, markets, m, &era)
	}
	if r.IntN(2) == 0 {
		m = makeMarket(r, m.symbol)
		shift := log[len(log)-1].at - m.trades[0].Time + 2*schema.Minute + schema.Time(r.Int64N(5_000_000))
		for i := range m.trades {
			m.trades[i].Time += shift
		}
		more := makeLog(r, []market{m})
		k := 0
		if r.IntN(2) == 0 { // some come before it is known
			k = r.IntN(len(more))
		}
		era++
		m.era = era
		for i, e := range more {
			if i == k {
				from = len(log) + 1
				log = append(log, entry{e.at, schema.NewSeries{Symbol: m.symbol, Era: era}})
				if r.IntN(2) == 0 { // it is fetched again
					log = append(log, again(r, m, e.at)...)
				}
			}
			if _, other := e.body.(schema.Settings); !other {
				log = append(log, e)
			}
			if r.IntN(20) == 0 { // a late one of the series before
				old := markets[0].trades[r.IntN(len(markets[0].trades))]
				log = append(log, entry{e.at, batch{m.symbol, []schema.Trade{old}, 0}})
			}
		}
		markets = append(markets, m)
	}
	if r.IntN(2) == 0 {
		log, markets = withRepair(r, log, from, markets, m, &era)
	}
	if r.IntN(2) == 0 {
		end := log[len(log)-1].at
		at := end
		for range 1 + r.IntN(2) { // the first may be too early
			log = append(log, entry{at + 20*schema.Hour, schema.Seal{Symbol: m.symbol, Before: end - schema.Time(r.Int64N(100_000_000))}})
			at += 10 * schema.Hour
		}
		for _, m := range markets {
			if !m.repair {
				log = append(log, again(r, m, at+20*schema.Hour)...)
			}
		}
	}
	return log, markets
}

// again is a market read once more, all of it.
func again(r *rand.Rand, m market, at schema.Time) (log []entry) {
	for ts := range slices.Chunk(m.trades, 1+r.IntN(20)) {
		log = append(log, entry{at, batch{m.symbol, ts, 0}})
	}
	return log
}

// withRepair puts a repair of a market into the log, of trades that tell
// otherwise than those before.
func withRepair(r *rand.Rand, log []entry, from int, markets []market, m market, era *uint8) ([]entry, []market) {
	n := len(m.trades)
	if n < 10 {
		return log, markets
	}
	i := r.IntN(n / 2)
	j := i + 2 + r.IntN(n-i-2)
	own := market{symbol: m.symbol, trades: slices.Clone(m.trades[i : j+1])}
	lo, hi := own.trades[0].Time+1, own.trades[len(own.trades)-1].Time
	if lo >= hi {
		return log, markets
	}
	for k := range own.trades {
		x := &own.trades[k]
		x.Qty.Mantissa++
		if x.Time = min(x.Time+schema.Time(r.Int64N(3_000_000)), hi-1); k == 0 || k == len(own.trades)-1 {
			x.Time = m.trades[i+k].Time
		}
	}
	*era++
	own.era, own.repair = *era, true
	at := from + r.IntN(len(log)-from)
	body := []any{schema.Repair{Symbol: m.symbol, Era: *era, From: lo, To: hi, First: own.trades[0].ID, Last: own.trades[len(own.trades)-1].ID}}
	for ts := range slices.Chunk(own.trades, 1+r.IntN(30)) {
		body = append(body, batch{m.symbol, ts, *era})
		if r.IntN(20) == 0 {
			body = append(body, batch{m.symbol, ts, *era})
		}
	}
	if r.IntN(5) == 0 {
		body = slices.Delete(body, len(body)/2, len(body)/2+1) // who wrote it was killed, and another begins
	}
	for _, b := range body {
		log = slices.Insert(log, at, entry{log[max(at-1, 0)].at, b})
		at++
		if r.IntN(3) == 0 && at < len(log) {
			at++
		}
	}
	return log, append(markets, own)
}

// TestErasOfASymbol has new series, repairs and seals come between all else.
func TestErasOfASymbol(t *testing.T) {
	met := map[string]int{}
	for seed := range seeds(t, 40) {
		r := rand.New(rand.NewPCG(uint64(seed), 11))
		markets := []market{makeMarket(r, "SYM")}
		settings := func(s *schema.Settings) { s.SealAfter = schema.Day }
		log, markets := withEras(r, makeLogOf(r, markets, settings), markets)
		name := fmt.Sprintf("seed %d (%d records)", seed, len(log))
		one := cutAnyhow(t, name, r, log)
		oracle(t, name, one, log, markets)
		for _, y := range one.s.p.shelved {
			met[strings.Fields(y.String() + " former")[1]]++
			if y.still() {
				met["shown or ended"]++
			}
		}
		for _, d := range one.dead {
			met[string(d.Reason)]++
		}
		closeStore(t, one)
	}
	for _, what := range []string{"former", "repair", "shown or ended", string(Sealed), string(Series), string(Unfit)} {
		if met[what] == 0 {
			t.Errorf("no log met %q: %v", what, met)
		}
	}
}
