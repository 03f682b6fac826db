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

// erasLog is a log of a symbol with all that.
func erasLog(r *rand.Rand) ([]entry, []market) {
	markets := []market{makeMarket(r, "SYM")}
	return withEras(r, makeLogOf(r, markets, func(s *schema.Settings) { s.SealAfter = schema.Day }), markets)
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
		log, markets := erasLog(r)
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

// repairing has the trades of a story's repair, with another price.
func repairing(appended float64, era uint8, first int64, at ...float64) entry {
	b := batch{symbol: "S", repair: era}
	for i, x := range at {
		id := first + int64(i)
		b.trades = append(b.trades, schema.Trade{ID: id, Last: id, Time: sec(x), Price: schema.Decimal{Mantissa: 100 + id}, Qty: schema.Decimal{Mantissa: 1}})
	}
	return entry{sec(appended), b}
}

func TestErasTold(t *testing.T) {
	day := float64(24 * 3600)
	series := func(at float64, era uint8) entry { return entry{sec(at), schema.NewSeries{Symbol: "S", Era: era}} }
	repair := func(at float64, era uint8, from, to float64, first, last int64) entry {
		return entry{sec(at), schema.Repair{Symbol: "S", Era: era, From: sec(from), To: sec(to), First: first, Last: last}}
	}
	seal := func(at, before float64) entry { return entry{sec(at), schema.Seal{Symbol: "S", Before: sec(before)}} }
	begun := settled(0, nil, schema.P1m)
	run(t, []story{
		{"ids begin anew: nothing is counted until a record says so", []entry{
			begun, anchor(1, 9, 0, 7), trade(10, 61), trade(11, 130), watching(131, "g", true, 0, 1),
			trade(3, 200), trade(4, 260), mark("g", 300), series(301, 1), trade(3, 200), trade(4, 260), trade(5, 330),
		}, `1m@60 final 10-10 close 11
			1m@120 closed 11-11 close 12
			1m@180 live 3-3 close 4
			1m@240 final 4-4 close 5
			1m@300 live 5-5 close 6
			dead 3 series
			dead 4 series`},
		{"what is late of the series before, and its anchor, are refused", []entry{
			begun, trade(10, 61), trade(11, 130), series(140, 1), late(141, 12, 129), anchor(142, 11, 130, 5), anchor(142.5, -1, 100, 0), trade(0, 150), trade(1, 200), trade(2, 270),
		}, `1m@60 closed 10-10 close 11
			1m@120 closed 11-11 close 12
			1m@180 final 1-1 close 2
			1m@240 live 2-2 close 3
			dead 12 series
			dead 0 series`},
		{"an era must be higher", []entry{begun, trade(10, 61), series(70, 0), series(71, 2), series(72, 2), repair(73, 1, 0, 60, 1, 2), series(74, 3), trade(0, 130)},
			`1m@60 closed 10-10 close 11
			1m@120 live 0-0 close 1
			dead 0 unfit
			dead 0 unfit
			dead 0 unfit`},
		{"a repair shows when it is whole, and only the windows inside", []entry{
			settled(0, nil, schema.P1m, schema.P5m), trade(0, 10), trade(1, 70), trade(2, 130), trade(3, 190), trade(4, 310),
			repair(320, 1, 60, 180, 0, 3), repairing(321, 1, 2, 130, 200), repairing(322, 1, 0, 50, 75), trade(5, 330),
		}, `1m@0 final 0-0 close 1
			1m@60 final 1-1 close 101
			1m@120 final 2-2 close 102
			1m@180 final 3-3 close 4
			1m@240 final after 3 close 4
			1m@300 live 4-5 close 6
			5m@-240 final 0-0 close 1
			5m@60 live 1-5 close 6`},
		{"a repair that lacks a trade shows nothing", []entry{
			begun, trade(0, 10), trade(1, 70), trade(2, 130), trade(3, 190),
			repair(320, 1, 60, 180, 0, 3), repairing(321, 1, 2, 130, 200), repairing(322, 1, 0, 50), repairing(323, 2, 0, 50), repairing(324, 1, 7, 50),
		}, `1m@0 final 0-0 close 1
			1m@60 final 1-1 close 2
			1m@120 final 2-2 close 3
			1m@180 live 3-3 close 4
			dead 0 unfit
			dead 7 unfit`},
		{"a repair may find a window empty", []entry{
			begun, trade(0, 10), trade(1, 70), trade(2, 130), trade(3, 190),
			repair(320, 1, 60, 180, 0, 3), repairing(321, 1, 0, 50, 55, 130, 200),
		}, `1m@0 final 0-0 close 1
			1m@60 final after 1 close 101
			1m@120 final 2-2 close 102
			1m@180 live 3-3 close 4`},
		{"a sealed window takes nothing any more", []entry{
			settled(0, func(s *schema.Settings) { s.SealAfter = schema.Day }, schema.P1m), trade(0, 10), trade(2, 70), trade(5, 130), trade(6, 190),
			seal(day, 150), seal(day+200, 150), late(day+201, 1, 60), late(day+202, 3, 125), late(day+203, 4, 126),
		}, `1m@0 live 0-0 close 1
			1m@60 live 2-2 close 3
			1m@120 final 3-5 close 6
			1m@180 live 6-6 close 7
			gap 1-1
			gap 3-4 filled
			dead 0 unfit
			dead 1 sealed`},
	})
}

// TestSealedIsForgotten: windows that were never proven stay in memory and in
// the store; once they are sealed they are forgotten, and nothing else changes.
func TestSealedIsForgotten(t *testing.T) {
	log := []entry{settled(0, func(s *schema.Settings) { s.SealAfter = schema.Day }, schema.P1s, schema.P1m)}
	for i := range int64(200) { // every other id is missing
		log = append(log, trade(2*i, float64(i)))
	}
	end := int64(len(log))
	log = append(log, entry{sec(300 + 24*3600), schema.Seal{Symbol: "S", Before: sec(150)}})
	h := play(t, log[:end], never, never)
	if n, err := h.s.Forget(schema.MaxTime, end); n != 0 || err != nil {
		t.Fatalf("%d forgotten that may still change, %v", n, err)
	}
	h.s.p.Apply(Record{Offset: end, Appended: log[end].at}, log[end].tick(t), nil)
	h.commit()
	all := h.view(0)
	n, err := h.s.Forget(schema.MaxTime, end)
	if n != 149+1 || err != nil { // all but the last one of each period
		t.Fatalf("%d forgotten, %v", n, err)
	}
	left := h.view(0)
	if len(left) != len(all)-n {
		t.Errorf("%d of %d are left", len(left), len(all))
	}
	for k, c := range left {
		if all[k] != c {
			t.Errorf("%s was %+v, is %+v", k, all[k], c)
		}
	}
	closeStore(t, h)
	h.open()
	h.s.p.Apply(Record{Offset: end + 1, Appended: sec(301 + 24*3600)}, trade(301, 150.5).tick(t), nil)
	h.commit()
	if got := h.view(0); len(got) != len(left) || h.s.p.symbols["S"].series[0].kept != int64(200-149) {
		t.Errorf("%d of %d candles after a late one", len(got), len(left))
	}
	closeStore(t, h)
}
