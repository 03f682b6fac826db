package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"millrace/schema"
	"millrace/schema/schemapb"
)

// The rules, one story each. Times are seconds after t0, which is a minute's
// start; each record is appended 0.1 s after the newest time in it.

func sec(s float64) schema.Time { return t0 + schema.Time(s*1e6) }

// settled begins a story's log.
func settled(at float64, do func(*schema.Settings), periods ...schema.Period) entry {
	s := schema.Settings{Periods: periods}
	if do != nil {
		do(&s)
	}
	s.EnsureDefaults()
	return entry{sec(at), s}
}

// trade is a record of one trade at price 1 + its id.
func trade(id int64, at float64) entry { return late(at+0.1, id, at) }

// late is a trade that is appended at another time.
func late(appended float64, id int64, at float64) entry { return aggregate(appended, id, id, at) }

// aggregate stands for of the trades first to last.
func aggregate(appended float64, first, last int64, at float64) entry {
	return entry{sec(appended), batch{"S", []schema.Trade{{ID: first, Last: last, Time: sec(at),
		Price: schema.Decimal{Mantissa: 1 + first}, Qty: schema.Decimal{Mantissa: last - first + 1}}}, 0}}
}

func anchor(appended float64, id int64, at float64, price int64) entry {
	return entry{sec(appended), schema.Anchor{Symbol: "S", ID: id, Time: sec(at), Price: schema.Decimal{Mantissa: price}, HasPrice: price > 0}}
}

func watching(appended float64, who string, on bool, from float64, status schema.TradingStatus) entry {
	return entry{sec(appended), schema.Watch{Symbol: "S", Ingestor: who, On: on, From: sec(from), Status: status}}
}

func mark(who string, w float64, excepted ...string) entry {
	return entry{sec(w + 0.2), schema.Mark{Ingestor: who, W: sec(w), Excepted: excepted}}
}

// tell gives what a story comes to: what is published, the gaps and the dead
// letters, one a line.
func tell(t *testing.T, log []entry) []string {
	t.Helper()
	h := play(t, log, always, never)
	defer closeStore(t, h)
	check(t, "story", h)
	for _, how := range [][2]func(int) bool{{never, never}, {always, always}} {
		o := play(t, log, how[0], how[1])
		if got, want := o.rows(), h.rows(); diff(got, want) != "none" {
			t.Errorf("told otherwise, it ends otherwise: %s", diff(got, want))
		}
		check(t, "story told otherwise", o)
		closeStore(t, o)
	}
	var lines []string
	all := h.view(0)
	var list []schema.Candle
	for _, c := range all {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b schema.Candle) int {
		if a.Period != b.Period {
			return int(a.Period) - int(b.Period)
		}
		return int((a.Start - b.Start) / schema.Second)
	})
	for _, c := range list {
		line := fmt.Sprintf("%v@%d %v", c.Period, (c.Start-t0)/schema.Second, c.Status)
		if c.Trades > 0 {
			line += fmt.Sprintf(" %d-%d", c.First, c.Last)
		} else {
			line += fmt.Sprintf(" after %d", c.Version.N())
		}
		if c.Missing > 0 {
			line += fmt.Sprintf(" lacks %d", c.Missing)
		}
		lines = append(lines, line+" close "+c.Close.String())
	}
	if y := h.s.p.symbols["S"]; y != nil {
		for _, g := range y.gaps().Gaps {
			line := fmt.Sprintf("gap %d-%d", g.First, g.Last)
			if g.Filled != 0 {
				line += " filled"
			}
			lines = append(lines, line)
		}
	}
	for _, d := range h.dead {
		lines = append(lines, fmt.Sprintf("dead %d %v", d.Trade.ID, d.Reason))
	}
	return lines
}

type story struct {
	name string
	log  []entry
	want string
}

func run(t *testing.T, stories []story) {
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			got := tell(t, s.log)
			var want []string
			for l := range strings.SplitSeq(s.want, "\n") {
				if l = strings.TrimSpace(l); l != "" {
					want = append(want, l)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("came to\n\t\t%s\nwanted\n\t\t%s", strings.Join(got, "\n\t\t"), strings.Join(want, "\n\t\t"))
			}
		})
	}
}

const (
	trading = schemapb.TradingStatus_TRADING_STATUS_TRADING
	breakIn = schemapb.TradingStatus_TRADING_STATUS_BREAK
)

func TestAnchors(t *testing.T) {
	begin := settled(-200, nil, schema.P1m)
	run(t, []story{
		{"with a price: the first empty window has it and is proven", []entry{begin,
			anchor(-9, 9, -10, 7), trade(10, 65), trade(11, 125)}, `
			1m@0 final after 9 close 7
			1m@60 final 10-10 close 11
			1m@120 live 11-11 close 12`},
		{"without a price: proves the edge, gives no empties", []entry{begin,
			anchor(-9, 9, -10, 0), trade(10, 65), trade(11, 125)}, `
			1m@60 final 10-10 close 11
			1m@120 live 11-11 close 12`},
		{"the price comes later", []entry{begin,
			anchor(-9, 9, -10, 0), trade(10, 65), trade(11, 125), anchor(126, 9, -10, 7)}, `
			1m@0 final after 9 close 7
			1m@60 final 10-10 close 11
			1m@120 live 11-11 close 12`},
		{"in the window of the first trade: that one is not whole and not shown", []entry{begin,
			anchor(6, 9, 5, 7), trade(10, 6), trade(11, 65), trade(12, 125)}, `
			1m@60 final 11-11 close 12
			1m@120 live 12-12 close 13`},
		{"none: what there is is shown and not final", []entry{begin,
			trade(10, 6), trade(11, 65), trade(12, 125)}, `
			1m@0 live 10-10 close 11
			1m@60 final 11-11 close 12
			1m@120 live 12-12 close 13`},
		{"after the first trades: proves their edge", []entry{begin,
			trade(10, 6), trade(11, 65), trade(12, 125), anchor(126, 9, -1, 7)}, `
			1m@0 final 10-10 close 11
			1m@60 final 11-11 close 12
			1m@120 live 12-12 close 13`},
		{"an earlier one moves history back", []entry{begin,
			anchor(-9, 9, -10, 10), trade(10, 65), trade(11, 125),
			anchor(126, 4, -130, 3), late(127, 5, -100), late(128, 9, -10), late(129, 7, -20), late(130, 6, -30), late(131, 8, -15)}, `
			1m@-120 final 5-5 close 6
			1m@-60 final 6-9 close 10
			1m@0 final after 9 close 10
			1m@60 final 10-10 close 11
			1m@120 live 11-11 close 12
			gap 6-8 filled`},
		{"a later one changes nothing", []entry{begin,
			anchor(-9, 9, -10, 7), trade(10, 65), trade(11, 125), anchor(126, 10, 65, 8)}, `
			1m@0 final after 9 close 7
			1m@60 final 10-10 close 11
			1m@120 live 11-11 close 12`},
		{"id 0 needs none", []entry{begin, trade(0, 5), trade(1, 65)}, `
			1m@0 final 0-0 close 1
			1m@60 live 1-1 close 2`},
		{"before id 0 no trade had a price", []entry{begin, anchor(-9, -1, -10, 7), trade(0, 65), trade(1, 125)}, `
			1m@60 final 0-0 close 1
			1m@120 live 1-1 close 2`},
	})
}

func TestEmptyWindows(t *testing.T) {
	begin := settled(-200, nil, schema.P1m)
	run(t, []story{
		{"closed when the watermark passes them, final when the next trade proves them", []entry{begin,
			watching(0, "i", true, 0, trading), trade(0, 5), mark("i", 130), trade(1, 200)}, `
			1m@0 final 0-0 close 1
			1m@60 final after 0 close 1
			1m@120 final after 0 close 1
			1m@180 live 1-1 close 2`},
		{"only closed until then", []entry{begin,
			watching(0, "i", true, 0, trading), trade(0, 5), mark("i", 130)}, `
			1m@0 closed 0-0 close 1
			1m@60 closed after 0 close 1`},
		{"holed over missing ids", []entry{begin,
			watching(0, "i", true, 0, trading), trade(0, 5), mark("i", 190), trade(2, 200), trade(3, 260)}, `
			1m@0 closed 0-0 close 1
			1m@60 holed after 0 close 1
			1m@120 holed after 0 close 1
			1m@180 live 2-2 close 3
			1m@240 live 3-3 close 4
			gap 1-1`},
		{"a hole that is filled makes them final or gives them trades", []entry{begin,
			watching(0, "i", true, 0, trading), trade(0, 5), mark("i", 190), trade(2, 200), trade(3, 260), late(270, 1, 70)}, `
			1m@0 final 0-0 close 1
			1m@60 final 1-1 close 2
			1m@120 final after 1 close 2
			1m@180 final 2-2 close 3
			1m@240 live 3-3 close 4
			gap 1-1 filled`},
		{"none while nobody watches", []entry{begin,
			watching(0, "i", true, 0, trading), trade(0, 5), mark("i", 70), watching(71, "i", false, 71, 0), watching(190, "i", true, 190, trading), mark("i", 310)}, `
			1m@0 closed 0-0 close 1
			1m@240 closed after 0 close 1`},
		{"unless ids prove them", []entry{begin,
			watching(0, "i", true, 0, trading), trade(0, 5), mark("i", 70), watching(71, "i", false, 71, 0), trade(1, 200)}, `
			1m@0 final 0-0 close 1
			1m@60 final after 0 close 1
			1m@120 final after 0 close 1
			1m@180 live 1-1 close 2`},
		{"none in a break", []entry{begin,
			watching(0, "i", true, 0, trading), trade(0, 5), watching(70, "i", true, 70, breakIn), mark("i", 190),
			watching(200, "i", true, 200, trading), mark("i", 310)}, `
			1m@0 closed 0-0 close 1
			1m@240 closed after 0 close 1`},
		{"one of 1s only by setting", []entry{settled(-200, nil, schema.P1s, schema.P1m),
			watching(0, "i", true, 0, trading), trade(0, 5), trade(1, 8)}, `
			1s@5 final 0-0 close 1
			1s@8 live 1-1 close 2
			1m@0 live 0-1 close 2`},
		{"one of 1s", []entry{settled(-200, func(s *schema.Settings) { s.EmptySeconds = true }, schema.P1s, schema.P1m),
			watching(0, "i", true, 0, trading), trade(0, 5), trade(1, 8), mark("i", 10)}, `
			1s@5 final 0-0 close 1
			1s@6 final after 0 close 1
			1s@7 final after 0 close 1
			1s@8 closed 1-1 close 2
			1s@9 closed after 1 close 2
			1m@0 live 0-1 close 2`},
		{"a period switched on: from the newest applied time on, on the last trade's price", []entry{begin, anchor(-9, 9, -10, 50), watching(0, "i", true, 0, trading),
			trade(10, 5), trade(11, 130), settled(140, func(s *schema.Settings) { s.Revision = 2 }, schema.P1m, schema.P3m), mark("i", 725), trade(12, 730)}, `
			1m@0 final 10-10 close 11
			1m@60 final after 10 close 11
			1m@120 final 11-11 close 12
			1m@180 final after 11 close 12
			1m@240 final after 11 close 12
			1m@300 final after 11 close 12
			1m@360 final after 11 close 12
			1m@420 final after 11 close 12
			1m@480 final after 11 close 12
			1m@540 final after 11 close 12
			1m@600 final after 11 close 12
			1m@660 final after 11 close 12
			1m@720 live 12-12 close 13
			3m@240 final after 11 close 12
			3m@420 final after 11 close 12
			3m@600 live 12-12 close 13`},
	})
}

func TestWatermark(t *testing.T) {
	begin := settled(-200, nil, schema.P1m)
	run(t, []story{
		{"the lower promise of two counts", []entry{begin,
			watching(0, "a", true, 0, trading), watching(0, "b", true, 0, trading), trade(0, 5), mark("b", 58), mark("a", 65)}, `
			1m@0 live 0-0 close 1`},
		{"a dead one is not waited for", []entry{begin,
			watching(0, "a", true, 0, trading), watching(0, "b", true, 0, trading), trade(0, 5), mark("b", 58), mark("a", 75)}, `
			1m@0 closed 0-0 close 1`},
		{"one that stops watching is not waited for", []entry{begin,
			watching(0, "a", true, 0, trading), watching(0, "b", true, 0, trading), trade(0, 5), mark("b", 58), watching(59, "b", false, 59, 0), mark("a", 65)}, `
			1m@0 closed 0-0 close 1`},
		{"an excepted symbol is held where the promise before stood", []entry{begin,
			watching(0, "a", true, 0, trading), trade(0, 5), mark("a", 55), mark("a", 65, "S")}, `
			1m@0 live 0-0 close 1`},
		{"and let go with the next mark", []entry{begin,
			watching(0, "a", true, 0, trading), trade(0, 5), mark("a", 55), mark("a", 65, "S"), mark("a", 66)}, `
			1m@0 closed 0-0 close 1`},
		{"a promise that falls is not heard", []entry{begin,
			watching(0, "a", true, 0, trading), trade(0, 5), mark("a", 65), {sec(66), schema.Mark{Ingestor: "a", W: sec(50)}}, late(67, 1, 30)}, `
			1m@0 closed 0-1 close 2`},
		{"of somebody who watches nothing", []entry{begin, trade(0, 5), mark("a", 65)}, `
			1m@0 live 0-0 close 1`},
		{"from the future", []entry{begin,
			watching(0, "a", true, 0, trading), trade(0, 5), {sec(50), schema.Mark{Ingestor: "a", W: sec(61)}}}, `
			1m@0 live 0-0 close 1
			dead 0 future`},
	})
}

func TestRefusals(t *testing.T) {
	begin := settled(-200, nil, schema.P1s, schema.P1m)
	run(t, []story{
		{"an aggregate of which some trades are applied", []entry{begin,
			trade(0, 5), trade(1, 5.1), aggregate(6, 1, 3, 5.1), late(6, 2, 5.1), late(6, 3, 5.1), trade(4, 6)}, `
			1s@5 final 0-3 close 4
			1s@6 live 4-4 close 5
			1m@0 live 0-4 close 5
			dead 1 straddle`},
		{"an aggregate that covers a hole counts", []entry{begin,
			trade(0, 5), trade(4, 5.2), aggregate(6, 1, 3, 5.1), trade(5, 6)}, `
			1s@5 final 0-4 close 5
			1s@6 live 5-5 close 6
			1m@0 live 0-5 close 6`},
		{"a copy says nothing", []entry{begin, trade(0, 5), trade(0, 5), late(90, 0, 5)}, `
			1s@5 live 0-0 close 1
			1m@0 live 0-0 close 1`},
		{"a trade from the future", []entry{begin, trade(0, 5), late(6, 1, 16.1), late(7, 1, 16.1)}, `
			1s@5 final 0-0 close 1
			1s@16 live 1-1 close 2
			1m@0 live 0-1 close 2
			dead 1 future`},
		{"too late for a final window", []entry{begin, trade(0, 5), trade(1, 6.02), late(6.3, 2, 5.98), trade(3, 7)}, `
			1s@5 final 0-0 close 1
			1s@6 live 1-1 close 2
			1s@7 live 3-3 close 4
			1m@0 live 0-3 lacks 1 close 4
			dead 2 final`},
		{"an old id with a new time: the symbol stops", []entry{begin,
			trade(100, 5), trade(101, 6), late(70, 3, 69), late(71, 102, 70), trade(101, 6)}, `
			1s@5 live 100-100 close 101
			1s@6 live 101-101 close 102
			1m@0 live 100-101 close 102
			dead 3 series
			dead 102 series
			dead 101 series`},
		{"an old id within the bound fills a hole", []entry{begin,
			trade(100, 5), trade(101, 6), late(66, 3, 65)}, `
			1s@5 live 100-100 close 101
			1s@6 live 101-101 close 102
			1s@65 live 3-3 close 4
			1m@0 live 100-101 close 102
			1m@60 live 3-3 close 4`},
		{"before any settings", []entry{trade(0, 5), begin, trade(0, 5)}, `
			1s@5 live 0-0 close 1
			1m@0 live 0-0 close 1
			dead 0 unsettled`},
	})
}

// TestTimesFall: ids rise while times fall, within what reordering explains.
func TestTimesFall(t *testing.T) {
	begin := settled(-200, nil, schema.P1s)
	run(t, []story{
		{"not final while the trade behind the last is not there", []entry{begin,
			trade(0, 4.9), trade(1, 5.5), trade(3, 5.95), late(6.3, 2, 6.05), late(6.35, 4, 5.98), trade(5, 6.1)}, `
			1s@4 final 0-0 close 1
			1s@5 final 1-4 lacks 1 close 5
			1s@6 live 2-5 lacks 2 close 6`},
		{"its order within a window is that of ids", []entry{begin,
			trade(0, 5.5), trade(1, 5.4), trade(2, 5.45), trade(3, 6)}, `
			1s@5 final 0-2 close 3
			1s@6 live 3-3 close 4`},
	})
}

func TestGaps(t *testing.T) {
	begin := settled(-200, nil, schema.P1m)
	run(t, []story{
		{"not yet", []entry{begin, trade(0, 5), trade(5, 6), trade(6, 7.9)}, `
			1m@0 live 0-6 lacks 4 close 7`},
		{"after two seconds of the log's time", []entry{begin, trade(0, 5), trade(5, 6), trade(6, 8)}, `
			1m@0 live 0-6 lacks 4 close 7
			gap 1-4`},
		{"filled before that it never was one", []entry{begin, trade(0, 5), trade(2, 6), late(8, 1, 5.5), trade(3, 9)}, `
			1m@0 live 0-3 close 4`},
		{"split by a partial fill", []entry{begin, trade(0, 5), trade(6, 6), trade(7, 9), late(10, 3, 5.5)}, `
			1m@0 live 0-7 lacks 4 close 8
			gap 1-2
			gap 3-3 filled
			gap 4-5`},
		{"filled from both ends", []entry{begin, trade(0, 5), trade(6, 6), trade(7, 9), late(10, 1, 5.5), late(11, 2, 5.5), late(11, 5, 5.7), late(12, 3, 5.6), late(12, 4, 5.6)}, `
			1m@0 live 0-7 close 8
			gap 1-3 filled
			gap 4-5 filled`},
		{"two", []entry{begin, trade(0, 5), trade(2, 6), trade(4, 6), trade(5, 9)}, `
			1m@0 live 0-5 lacks 2 close 6
			gap 1-1
			gap 3-3`},
		{"nothing is missing before the first id", []entry{begin, trade(7, 5), trade(8, 9)}, `
			1m@0 live 7-8 close 9`},
	})
}
