package double

import (
	"container/heap"
	"context"
	"sync/atomic"
	"time"

	"millrace/schema"
)

// delay is how long after its T a trade is sent: E = T + delay.
const delay = 2 * schema.Millisecond

// synthetic is the made market.
type synthetic struct {
	clock clock
	names []string
	coins map[string]*coin
	list  []*coin
	// sent is the time up to which every event has been queued; 0 before run.
	sent  atomic.Int64
	ended atomic.Bool // every event there will ever be has been queued
}

func newSynthetic(s Synthetic, wall func() schema.Time) *synthetic {
	m := &synthetic{clock: clock{wall: wall, start: s.Start, until: s.Until, pace: s.Pace}, coins: make(map[string]*coin), list: newCoins(s)}
	for _, c := range m.list {
		m.coins[c.symbol] = c
		m.names = append(m.names, c.symbol)
	}
	return m
}

func (m *synthetic) symbols() []string { return m.names }

// now never runs ahead of what was sent, however late run is.
func (m *synthetic) now() schema.Time {
	if t := m.sent.Load(); t != 0 && !m.ended.Load() {
		return schema.Time(t)
	}
	return m.clock.now()
}

// until is the first moment of which REST knows nothing yet.
func (m *synthetic) until() schema.Time {
	t := m.now() - delay + 1
	if m.clock.until != 0 {
		t = min(t, m.clock.until)
	}
	return t
}

func (m *synthetic) hours(symbol string) *hours {
	if c := m.coins[symbol]; c != nil {
		return &c.hours
	}
	return nil
}

func (m *synthetic) tape(symbol string, aggregates bool) tape {
	c := m.coins[symbol]
	if c == nil {
		return nil
	}
	return coinTape{coin: c, aggregates: aggregates, until: m.until()}
}

func (m *synthetic) truth(symbol string, from, to schema.Time) []schema.Trade {
	c := m.coins[symbol]
	if c == nil {
		return nil
	}
	if m.clock.until != 0 {
		to = min(to, m.clock.until)
	}
	t := coinTape{coin: c, until: to, raw: true}
	at := t.find(from)
	return t.read(at, int(t.next()-at))
}

// run sends each trade when its time comes, those of all symbols in the order
// of T, up to the market's end if it has one.
func (m *synthetic) run(ctx context.Context, emit func(*event)) error {
	m.clock.begin()
	start, until := m.clock.now(), m.clock.until
	if until == 0 {
		until = schema.MaxTime
	}
	m.sent.Store(int64(start))
	queue := make(cursors, 0, 2*len(m.list))
	for _, c := range m.list {
		for _, aggregates := range [...]bool{false, true} {
			queue = append(queue, newCursor(c, aggregates, start-delay+1))
		}
	}
	heap.Init(&queue)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	var ev event
	for {
		now := m.clock.now()
		for n := 0; queue[0].row().Time < until && queue[0].row().Time+delay <= now; n++ {
			if n%1024 == 1023 && ctx.Err() != nil {
				return ctx.Err()
			}
			c := queue[0]
			t := c.row()
			ev = event{symbol: c.coin.symbol, aggregate: c.aggregates, trade: *t, aggID: c.id - c.coin.over(t.Time, true), e: t.Time + delay, fills: c.fills()}
			// Events of one E may still follow: only what lies before is sent.
			m.advance(ev.e - 1)
			emit(&ev)
			c.advance()
			heap.Fix(&queue, 0)
		}
		m.advance(now)
		if now >= until+delay {
			m.ended.Store(true)
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// advance moves the market's time on, never back.
func (m *synthetic) advance(t schema.Time) {
	if int64(t) > m.sent.Load() {
		m.sent.Store(int64(t))
	}
}

// cursor walks along a coin's trades or orders.
type cursor struct {
	coin       *coin
	aggregates bool
	id         int64
	rows       []schema.Trade // of the second at hand, those still to come
	buf        []schema.Trade
	together   int // of rows, how many belong to the order whose fills were given
}

// newCursor stands at the first row with T ≥ from.
func newCursor(c *coin, aggregates bool, from schema.Time) *cursor {
	k := &cursor{coin: c, aggregates: aggregates}
	k.id = coinTape{coin: c, aggregates: aggregates, until: schema.MaxTime, raw: true}.find(from)
	k.fill()
	return k
}

func (c *cursor) row() *schema.Trade { return &c.rows[0] }

// fills gives those of an order with its first trade, nothing with the others.
func (c *cursor) fills() []schema.Trade {
	if c.aggregates || c.together > 0 {
		return nil
	}
	first := &c.rows[0]
	n := 1
	for n < len(c.rows) {
		t := &c.rows[n]
		if t.Time != first.Time || t.Price != first.Price || t.BuyerMaker != first.BuyerMaker {
			break
		}
		n++
	}
	c.together = n
	return c.rows[:n]
}

func (c *cursor) fill() {
	second := c.coin.secondOf(c.id, c.aggregates)
	c.buf = c.coin.second(c.buf[:0], second, c.aggregates)
	c.rows = c.buf[c.id-c.coin.before(second, c.aggregates):]
}

func (c *cursor) advance() {
	c.id++
	c.together = max(0, c.together-1)
	if c.rows = c.rows[1:]; len(c.rows) == 0 {
		c.fill()
	}
}

// cursors are a heap by time; at the same time trades come before the order
// they make up, and symbols in a fixed order.
type cursors []*cursor

func (h cursors) Len() int { return len(h) }
func (h cursors) Less(i, j int) bool {
	a, b := h[i], h[j]
	switch {
	case a.row().Time != b.row().Time:
		return a.row().Time < b.row().Time
	case a.coin != b.coin:
		return a.coin.symbol < b.coin.symbol
	}
	return !a.aggregates && b.aggregates
}
func (h cursors) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *cursors) Push(x any)   { *h = append(*h, x.(*cursor)) }
func (h *cursors) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// coinTape is a coin's trades, or orders, with T < until. Once ids have begun
// anew it has none of those before; with raw it has all, one after the other.
type coinTape struct {
	coin       *coin
	aggregates bool
	until      schema.Time
	raw        bool
}

// over gives how many are left out at the tape's beginning.
func (t coinTape) over() int64 {
	if t.raw {
		return 0
	}
	return t.coin.over(t.until-1, t.aggregates)
}

func (t coinTape) span() (first, next int64) { return 0, t.next() }

func (t coinTape) next() int64 { return t.at(t.until) }

func (t coinTape) find(at schema.Time) int64 { return t.at(min(at, t.until)) }

// at gives the first id with T ≥ at.
func (t coinTape) at(at schema.Time) int64 {
	if at <= origin {
		return 0
	}
	before := t.over()
	second := int64((t.coin.hours.toOwn(at) - origin) / schema.Second)
	id := t.coin.before(second, t.aggregates)
	for _, row := range t.coin.second(nil, second, t.aggregates) {
		if row.Time >= at {
			break
		}
		id++
	}
	return max(id-before, 0)
}

func (t coinTape) read(from int64, n int) []schema.Trade {
	before := t.over()
	id := before + max(from, 0)
	end := min(before+t.next(), id+int64(n))
	var rows, buf []schema.Trade
	for id < end {
		second := t.coin.secondOf(id, t.aggregates)
		buf = t.coin.second(buf[:0], second, t.aggregates)
		part := buf[id-t.coin.before(second, t.aggregates):]
		part = part[:min(int64(len(part)), end-id)]
		rows = append(rows, part...)
		id += int64(len(part))
	}
	return rows
}

// sample gives n orders, or fewer, spread evenly over a span of time: the same
// whenever the same span is asked for.
func (t coinTape) sample(from, to schema.Time, n int) []schema.Trade {
	before := func(at schema.Time) int64 {
		return t.coin.before(int64((t.coin.hours.toOwn(max(at, origin))-origin)/schema.Second), true)
	}
	first, last := before(from), before(min(to, t.until))
	rows := make([]schema.Trade, 0, n)
	for k := range int64(n) {
		id := first + (last-first)*k/int64(n)
		if id >= last {
			break
		}
		second := t.coin.secondOf(id, true)
		rows = append(rows, t.coin.order(second, id-t.coin.before(second, true)))
	}
	return rows
}

// whole gives all of a symbol's trades before a time, past or future.
func (m *synthetic) whole(symbol string, to schema.Time) tape {
	c := m.coins[symbol]
	if c == nil {
		return nil
	}
	if m.clock.until != 0 {
		to = min(to, m.clock.until)
	}
	return coinTape{coin: c, until: to, raw: true}
}
