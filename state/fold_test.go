package state

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/schema"
)

// entry is one record of a made-up log.
type entry struct {
	at   schema.Time
	body any // schema control record, or batch
}

type batch struct {
	symbol string
	trades []schema.Trade
	repair uint8
}

func (e entry) tick(t testing.TB) *schema.Tick {
	t.Helper()
	var value []byte
	var err error
	if b, ok := e.body.(batch); ok {
		var n int
		if value, n = schema.AppendRepaired(nil, b.symbol, b.trades, e.at, 0, b.repair); n != len(b.trades) {
			t.Fatalf("batch of %d trades took %d", len(b.trades), n)
		}
	} else if value, err = schema.AppendControl(nil, e.body); err != nil {
		t.Fatal(err)
	}
	tick := new(schema.Tick)
	if err := tick.Decode(value); err != nil {
		t.Fatal(err)
	}
	return tick
}

// t0 is a minute before a day's end, so that runs cross it.
const t0 = schema.Time(1723161540000000)

// market is the truth behind a log: all trades of a symbol, ids from first.
type market struct {
	symbol string
	trades []schema.Trade
	era    uint8
	repair bool
}

func makeMarket(r *rand.Rand, symbol string) market {
	m := market{symbol: symbol}
	at := t0 + schema.Time(r.Int64N(5_000_000))
	id := int64(r.IntN(3)) * 1000
	back := r.IntN(3) == 0
	for range 20 + r.IntN(200) {
		switch r.IntN(10) {
		case 0:
			at += schema.Time(r.Int64N(150_000_000))
		case 1, 2, 3:
			at += schema.Time(r.Int64N(3_000_000))
		case 4, 5, 6:
			at += schema.Time(r.Int64N(300_000))
		}
		price := schema.Decimal{Mantissa: 1 + r.Int64N(1000), Scale: uint8(r.IntN(3))}
		qty := schema.Decimal{Mantissa: 1 + r.Int64N(1000), Scale: uint8(r.IntN(4))}
		at := at
		if back && r.IntN(4) == 0 { // ids rise, times fall
			at -= schema.Time(r.Int64N(200_000))
		}
		tr := schema.Trade{ID: id, Last: id, Time: at, Price: price, Qty: qty, BuyerMaker: r.IntN(2) == 0}
		if n := len(m.trades); n > 0 && r.IntN(3) == 0 { // one taker order: an aggregate may stand for it
			tr.Time, tr.Price, tr.BuyerMaker = m.trades[n-1].Time, m.trades[n-1].Price, m.trades[n-1].BuyerMaker
		}
		m.trades = append(m.trades, tr)
		id++
	}
	return m
}

// makeLog writes markets into a log as one or two ingestors would, with holes,
// copies, late fills, marks and what else the world does.
func makeLog(r *rand.Rand, markets []market) []entry { return makeLogOf(r, markets, nil) }

func makeLogOf(r *rand.Rand, markets []market, do func(*schema.Settings)) []entry {
	settings := schema.Settings{Periods: []schema.Period{schema.P1s, schema.P1m, schema.P5m, schema.P1h}, EmptySeconds: r.IntN(2) == 0}
	if r.IntN(3) == 0 {
		settings.Periods = []schema.Period{schema.P1m, schema.P3m}
	}
	if do != nil {
		do(&settings)
	}
	settings.EnsureDefaults()
	type item struct {
		t  schema.Time
		to entry
	}
	var items []item
	for _, m := range markets {
		var lost [3]int // each loses its own stretch
		for i := range lost {
			lost[i] = r.IntN(len(m.trades) * 2)
		}
		before := schema.Anchor{Symbol: m.symbol, ID: m.trades[0].ID - 1, Time: m.trades[0].Time - schema.Time(r.Int64N(100_000_000)), Price: m.trades[0].Price}
		for g := range 1 + r.IntN(2) {
			name := fmt.Sprint("ingestor", g)
			first := m.trades[0]
			items = append(items, item{first.Time, entry{body: schema.Watch{Symbol: m.symbol, Ingestor: name, On: true, From: first.Time, Status: 1}}})
			if r.IntN(2) == 0 && first.ID > 0 {
				a := before
				a.HasPrice = r.IntN(4) > 0
				items = append(items, item{first.Time - 1, entry{body: a}})
			}
			delay := schema.Time(r.Int64N(1_000_000))
			for i := 0; i < len(m.trades); {
				n := min(1+r.IntN(4), len(m.trades)-i)
				late := delay + schema.Time(r.Int64N(400_000))
				if i <= lost[g] && lost[g] < i+n+5 {
					if r.IntN(3) == 0 && g == 0 {
						i += n // lost for ever by this one
						continue
					}
					late += schema.Time(r.Int64N(20_000_000))
				}
				ts := slices.Clone(m.trades[i : i+n])
				items = append(items, item{ts[n-1].Time + late, entry{body: batch{m.symbol, ts, 0}}})
				if r.IntN(10) == 0 {
					items = append(items, item{ts[n-1].Time + late + schema.Time(r.Int64N(9_000_000)), entry{body: batch{m.symbol, ts, 0}}})
				}
				if r.IntN(10) == 0 { // an aggregate, which may straddle what is applied
					a, qty := ts[0], schema.SumOf(ts[0].Qty)
					for _, x := range m.trades[i+1:] {
						if x.Time != a.Time || x.Price != a.Price || x.BuyerMaker != a.BuyerMaker {
							break
						}
						a.Last = x.ID
						qty, _ = qty.Add(schema.SumOf(x.Qty))
					}
					a.Qty = schema.Decimal{Mantissa: int64(qty.Lo), Scale: qty.Scale}
					items = append(items, item{ts[0].Time + late - schema.Time(r.Int64N(400_000)), entry{body: batch{m.symbol, []schema.Trade{a}, 0}}})
				}
				i += n
			}
			end := m.trades[len(m.trades)-1].Time
			for w := first.Time; w < end; w += schema.Time(1 + r.Int64N(4_000_000)) {
				mark := schema.Mark{Ingestor: name, W: w - delay}
				if r.IntN(5) == 0 {
					mark.Excepted = []string{m.symbol}
				}
				items = append(items, item{w + 500_000, entry{body: mark}})
			}
		}
	}
	slices.SortStableFunc(items, func(a, b item) int {
		switch {
		case a.t < b.t:
			return -1
		case a.t > b.t:
			return 1
		}
		return 0
	})
	log := []entry{{t0, settings}}
	at := t0
	for _, it := range items {
		at = max(at, it.t)
		it.to.at = at
		log = append(log, it.to)
	}
	// Periods are switched on and off in mid-window.
	s, i := settings, 1
	for range r.IntN(4) {
		s.Revision++
		s.Periods = slices.Clone(s.Periods)
		p := []schema.Period{schema.P15m, schema.P1m, schema.P1s, schema.P3m}[r.IntN(4)]
		if k := slices.Index(s.Periods, p); k < 0 {
			s.Periods = append(s.Periods, p)
			slices.Sort(s.Periods)
		} else {
			s.Periods = slices.Delete(s.Periods, k, k+1)
		}
		if s.Validate() != nil {
			break
		}
		i += r.IntN(len(log) - i)
		log = slices.Insert(log, i, entry{log[i].at, s})
		i++
	}
	return log
}

type harness struct {
	testing.TB
	fs   *vfs.MemFS
	s    *Store
	seen map[string]schema.Candle // what a sink would keep
	gaps map[string]schema.GapSet
	dead []Refusal
}

func (h *harness) open() {
	h.Helper()
	var err error
	if h.s, err = Open(Options{Dir: "state", FS: h.fs}, [16]byte{1}, 0); err != nil {
		h.Fatal(err)
	}
}

func key(c *schema.Candle) string {
	return string(schema.AppendCandleKey(nil, c.Symbol, c.Period, c.Start))
}

// take does what every sink does: strictly higher wins.
func (h *harness) take(c *Changes) {
	put := func(n *schema.Candle) bool {
		o, ok := h.seen[key(n)]
		if ok && o.Status == schema.Final && n.Version.Era() == o.Version.Era() && (n.Status != schema.Final || n.Figures != o.Figures) && n.Version >= o.Version {
			h.Fatalf("final candle %s changed:\n %+v\n %+v", key(n), o, *n)
		}
		if !ok || n.Version > o.Version {
			n := *n
			n.Received = 0
			h.seen[key(&n)] = n
		}
		return true
	}
	for i := range c.Runs {
		c.Runs[i].Expand(c.Calendar, put)
	}
	for i := range c.Candles {
		put(&c.Candles[i])
	}
	for _, g := range c.Gaps {
		h.gaps[g.Symbol] = g
	}
}

func (h *harness) commit() {
	h.Helper()
	c, err := h.s.Commit()
	if err != nil {
		h.Fatal(err)
	}
	h.take(c)
	if c.Reread {
		h.reread()
	}
}

// reread does what a sink does that has lost its mail.
func (h *harness) reread() {
	h.Helper()
	v, err := h.s.View()
	if err == nil {
		err = errors.Join(v.Since(0, 50, func(c *Changes) error { h.take(c); return nil }), v.Close())
	}
	if err != nil {
		h.Fatal(err)
	}
}

// play applies a log, committing as cut says, closing and opening again as
// reopen says.
func play(t testing.TB, log []entry, cut, reopen func(int) bool) *harness {
	h := &harness{TB: t, fs: vfs.NewMem(), seen: map[string]schema.Candle{}, gaps: map[string]schema.GapSet{}}
	h.open()
	for i, e := range log {
		h.s.Partition().Apply(Record{Offset: int64(i), Hash: uint64(i), Appended: e.at}, e.tick(t), nil)
		h.dead = append(h.dead, h.s.Partition().TakeRefusals()...)
		if cut(i) || i == len(log)-1 {
			h.commit()
			if reopen(i) {
				if err := h.s.Close(); err != nil {
					t.Fatal(err)
				}
				h.open()
			}
		}
	}
	return h
}

// rows gives every row of the store.
func (h *harness) rows() map[string]string {
	m := map[string]string{}
	err := scan(h.s.db, nil, []byte{0xff}, func(k, v []byte) error { m[string(k)] = string(v); return nil })
	if err != nil {
		h.Fatal(err)
	}
	return m
}

// view gives all that the committed state publishes, and checks that each
// candle is found alone too.
func (h *harness) view(after int64) map[string]schema.Candle {
	h.Helper()
	v, err := h.s.View()
	if err != nil {
		h.Fatal(err)
	}
	defer v.Close()
	all := map[string]schema.Candle{}
	err = v.Since(after, 50, func(c *Changes) error {
		put := func(n *schema.Candle) bool {
			if _, ok := all[key(n)]; ok {
				h.Fatalf("%s came twice", key(n))
			}
			all[key(n)] = *n
			one, ok, err := v.Candle(n.Symbol, n.Period, n.Start)
			if err != nil || !ok || one != *n {
				h.Fatalf("candle %s alone: %+v, %v, %v; wanted %+v", key(n), one, ok, err, *n)
			}
			return true
		}
		for i := range c.Runs {
			c.Runs[i].Expand(c.Calendar, put)
		}
		for i := range c.Candles {
			put(&c.Candles[i])
		}
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
	return all
}

func never(int) bool  { return false }
func always(int) bool { return true }

func TestStateIsAFunctionOfTheLog(t *testing.T) {
	for seed := range seeds(t, 15) {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		var markets []market
		for i := range 1 + r.IntN(2) {
			markets = append(markets, makeMarket(r, fmt.Sprint("SYM", i)))
		}
		log := makeLog(r, markets)
		name := fmt.Sprintf("seed %d (%d records)", seed, len(log))
		one := cutAnyhow(t, name, r, log)
		oracle(t, name, one, log, markets)
		closeStore(t, one)
	}
}

// seeds gives how many are tried: thousands by hand, MILLRACE_SEEDS.
func seeds(t testing.TB, n int) int {
	t.Helper()
	if more, err := strconv.Atoi(os.Getenv("MILLRACE_SEEDS")); err == nil {
		return more
	}
	return n
}

// cutAnyhow plays a log in several ways, which must end alike, and gives one.
func cutAnyhow(t *testing.T, name string, r *rand.Rand, log []entry) *harness {
	t.Helper()
	one := play(t, log, always, never)
	ref := one.rows()
	{
		for k, how := range []struct{ cut, reopen func(int) bool }{
			{never, never},
			{func(int) bool { return r.IntN(9) == 0 }, func(int) bool { return r.IntN(4) == 0 }},
			{always, func(int) bool { return r.IntN(40) == 0 }},
		} {
			h := play(t, log, how.cut, how.reopen)
			if got := h.rows(); !maps.Equal(got, ref) {
				t.Fatalf("%s, way %d: state differs: %s", name, k, diff(got, ref))
			}
			check(t, name, h)
			closeStore(t, h)
		}
	}
	check(t, name, one)
	return one
}

// closeStore closes the harness's store; the checker must find nothing.
func closeStore(t testing.TB, h *harness) {
	t.Helper()
	v, err := h.s.View()
	if err == nil {
		err = errors.Join(v.Check(), v.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
}

func diff(got, want map[string]string) string {
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if got[k] != want[k] {
			return fmt.Sprintf("key %q:\n got %x\nwant %x", k, got[k], want[k])
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			return fmt.Sprintf("key %q is too much", k)
		}
	}
	return "none"
}

// kept reports whether the candle's window is of a period that is switched on
// and has been since before it.
func (h *harness) kept(c *schema.Candle) bool {
	y := h.s.p.symbols[c.Symbol]
	for _, y := range slices.Concat(y.book.former, y.book.repairs, []*symbol{y}) {
		for _, r := range y.series {
			if r.period == c.Period && y.published(h.s.p.cal, r, c.Start) {
				return true
			}
		}
	}
	return false
}

// check holds a sink that followed the changes against the state.
func check(t testing.TB, name string, h *harness) {
	t.Helper()
	all := h.view(0)
	for k, c := range all {
		c.Received = 0
		if got, ok := h.seen[k]; !ok || got != c {
			t.Fatalf("%s: a sink that followed has %+v of %s, state has %+v", name, got, k, c)
		}
	}
	for k, c := range h.seen {
		if _, ok := all[k]; !ok && h.kept(&c) {
			t.Fatalf("%s: a sink that followed has %s, state doesn't publish it: %+v", name, k, c)
		}
	}
}
