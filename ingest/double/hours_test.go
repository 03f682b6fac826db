package double

import (
	"testing"

	"millrace/schema"
)

func TestHours(t *testing.T) {
	at := func(n int) schema.Time { return origin + schema.Time(n)*schema.Second }
	h := newHours()
	h.listed, h.delisted = at(100), at(1000)
	h.stretches = []stretch{
		{at(300), at(400), broken}, {at(200), at(210), halted}, {at(350), at(500), broken}, {at(600), at(620), cancelOnly}, {at(700), at(2000), broken},
	}
	h.settle()
	for n, want := range map[int]string{99: "", 100: trading, 205: halted, 210: trading, 320: broken, 499: broken, 500: trading, 610: cancelOnly, 999: broken, 1000: ""} {
		if got := h.status(at(n)); got != want {
			t.Errorf("status at %d: %q, wanted %q", n, got, want)
		}
	}
	for own, want := range map[int]int{0: 100, 199: 299, 200: 500, 399: 699} {
		if got := h.toMarket(at(own)); got != at(want) {
			t.Errorf("own %d is %v, wanted %v", own, got, at(want))
		}
		if got := h.toOwn(at(want)); got != at(own) {
			t.Errorf("market %d is %v, wanted %v", want, got, at(own))
		}
	}
	if h.toMarket(at(400)) != schema.MaxTime || h.toOwn(at(5000)) != at(400) || h.toOwn(at(450)) != at(200) || h.toOwn(at(50)) != at(0) {
		t.Error("the edges are wrong")
	}
	for _, c := range []struct {
		from, to int
		want     bool
	}{{300, 500, true}, {299, 500, false}, {300, 501, false}, {0, 100, true}, {0, 101, false}, {990, 9999, true}, {600, 620, false}} {
		if got := h.within(at(c.from), at(c.to), broken); got != c.want {
			t.Errorf("%d to %d in a break: %v", c.from, c.to, got)
		}
	}
	if !h.within(at(600), at(620), broken, cancelOnly) {
		t.Error("cancel-only is not within")
	}
	all := newHours()
	if all.settle(); all.status(at(0)) != trading || all.toOwn(at(77)) != at(77) || all.toMarket(at(77)) != at(77) || len(all.closed) != 0 {
		t.Errorf("%+v", all)
	}
}

// A symbol with a break has the same trades, later: no id is left out, and the
// aggregates are still made of them.
func TestBreakShiftsTrades(t *testing.T) {
	day := origin + 300*schema.Day
	plain, c := newCoin("BTCUSDT", 3, 5e6), newCoin("BTCUSDT", 3, 5e6)
	c.hours.stretches = []stretch{{day, day + 100*schema.Second, broken}, {day + 200*schema.Second, day + 200*schema.Second + 777_777, broken}}
	c.hours.settle()
	from, to := day-50*schema.Second, day+400*schema.Second
	tape := coinTape{coin: c, until: to}
	first, next := tape.find(from), tape.next()
	rows := tape.read(first, int(next-first))
	was := coinTape{coin: plain, until: schema.MaxTime}.read(first, len(rows))
	if len(rows) < 500 {
		t.Fatalf("%d trades", len(rows))
	}
	for i := range rows {
		r, w := rows[i], was[i]
		if c.hours.within(r.Time, r.Time+1, broken) || r.ID != first+int64(i) || r.Price != w.Price || r.Time != c.hours.toMarket(w.Time) || i > 0 && r.Time < rows[i-1].Time {
			t.Fatalf("%+v, without breaks %+v", r, w)
		}
		if found := tape.find(r.Time); rows[found-first].Time != r.Time {
			t.Fatalf("find gave %d for %+v", found, r)
		}
	}
	if at := tape.find(day + 50*schema.Second); rows[at-first].Time < day+100*schema.Second || rows[at-first-1].Time >= day {
		t.Errorf("the first trade behind the break is %+v", rows[at-first])
	}
	k := newCursor(c, false, from)
	for i := range rows {
		if *k.row() != rows[i] {
			t.Fatalf("the cursor gives %+v, wanted %+v", *k.row(), rows[i])
		}
		k.advance()
	}
}

// Ids that begin anew are those from 0 on; what was before can't be asked for,
// and is in the market's own account all the same.
func TestIDsBeginAnew(t *testing.T) {
	at := origin + 300*schema.Day + 333_333
	c, plain := newCoin("BTCUSDT", 3, 5e6), newCoin("BTCUSDT", 3, 5e6)
	c.anew.at = at
	c.begin()
	from, to := at-50*schema.Second, at+50*schema.Second
	for _, aggregates := range []bool{false, true} {
		was := coinTape{coin: plain, aggregates: aggregates, until: to}
		raw := coinTape{coin: c, aggregates: aggregates, until: to, raw: true}
		tape := coinTape{coin: c, aggregates: aggregates, until: to}
		first, base := was.find(from), was.find(at)
		if raw.find(from) != first || raw.next() != was.next() || tape.find(from) != 0 || tape.next() != was.next()-base || base == 0 {
			t.Fatalf("found %d, %d, %d, %d; base %d", raw.find(from), raw.next(), tape.find(from), tape.next(), base)
		}
		rows, all, plain := tape.read(0, 10_000), raw.read(first, 10_000), was.read(first, 10_000)
		old := coinTape{coin: c, aggregates: aggregates, until: at}
		if before := old.read(first, 10_000); len(before)+len(rows) != len(plain) || len(all) != len(plain) || len(rows) < 50 {
			t.Fatalf("%d before and %d after of %d", len(before), len(rows), len(plain))
		}
		for i, w := range plain {
			if k := i - int(base-first); k >= 0 {
				over := c.anew.trades
				if w.ID -= over; k == 0 && w.ID != 0 {
					t.Fatalf("begins with %+v", w)
				}
				if w.Last -= over; rows[k] != w {
					t.Fatalf("%+v, wanted %+v", rows[k], w)
				}
			}
			if all[i] != w {
				t.Fatalf("%+v, wanted %+v", all[i], w)
			}
		}
	}
}
