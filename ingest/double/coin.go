package double

import (
	"fmt"
	"sort"

	"millrace/schema"
)

// origin is when the synthetic market began. A symbol's first id, 0, comes
// soon after.
const origin = schema.Time(1704067200) * schema.Second // 2024-01-01

// The number of orders in a second follows a pattern of cycle seconds that
// repeats for ever, so that the number of ids before any moment is known
// without counting: whole cycles times a cycle's total, plus a prefix sum.
// What the orders are differs from second to second.
const cycle = 1024

// coin is one symbol of the synthetic market. All of it is fixed by newCoin;
// every method is pure. Its seconds are those of its own clock: see hours.
//
//	second ──▶ orders (each a price, a time, a side) ──▶ fills (trades)
//
// An order is an aggregate trade, its fills are the trades.
type coin struct {
	symbol     string
	seed       uint64
	base       int64 // the middle price, in ticks
	priceScale uint8
	qtyScale   uint8
	orders     [cycle + 1]int64 // before each second of the cycle
	fills      [cycle + 1]int64
	hours      hours // when it has market data
	anew       anew
}

// anew is when a symbol's ids began anew, and how many there had been. The zero
// value is never.
type anew struct {
	at             schema.Time
	orders, trades int64
}

// begin counts the ids before they begin anew.
func (c *coin) begin() {
	if c.anew.at != 0 {
		c.anew.orders = coinTape{coin: c, aggregates: true, raw: true}.at(c.anew.at)
		c.anew.trades = coinTape{coin: c, raw: true}.at(c.anew.at)
	}
}

// over gives how many ids lie before those of a moment.
func (c *coin) over(at schema.Time, aggregates bool) int64 {
	switch {
	case c.anew.at == 0 || at < c.anew.at:
		return 0
	case aggregates:
		return c.anew.orders
	}
	return c.anew.trades
}

// The random numbers of a coin, kept apart by what they are for.
const (
	forCount = iota + 1
	forFills
	forTime
	forPrice
	forQty
	forSide
	forWalk
	forBase
)

// mix is a hash of three numbers: SplitMix64's finish over each in turn.
func mix(a, b, c uint64) uint64 {
	h := a
	for _, v := range [...]uint64{b, c} {
		h += v*0x9e3779b97f4a7c15 + 0x9e3779b97f4a7c15
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

func (c *coin) random(what, a, b uint64) uint64 { return mix(c.seed^what<<56, a, b) }

// newCoin lays a symbol out. rate is its trades per million seconds.
func newCoin(symbol string, seed uint64, rate int64) *coin {
	c := &coin{symbol: symbol, seed: seed, hours: newHours()}
	for i := range len(symbol) {
		c.seed = mix(c.seed, uint64(symbol[i]), uint64(i))
	}
	r := c.random(forBase, 0, 0)
	c.base = 20_000 + int64(r%980_000)
	c.priceScale = uint8(2 + r>>32%4)
	c.qtyScale = uint8(1 + r>>40%3)
	orders := rate * 4 / 7 // an order has 1.75 fills in the mean
	for k := range cycle {
		n := c.count(uint64(k), orders)
		c.orders[k+1] = c.orders[k] + n
		c.fills[k+1] = c.fills[k]
		for i := range n {
			c.fills[k+1] += c.fillsOf(uint64(k), uint64(i))
		}
	}
	if c.orders[cycle] == 0 { // the quietest still trade once a cycle
		for k := int(c.random(forCount, cycle, 0) % cycle); k < cycle; k++ {
			c.orders[k+1] = 1
			c.fills[k+1] = c.fillsOf(uint64(k), 0)
			if k > 0 && c.orders[k] == 1 {
				c.fills[k+1] = c.fills[k]
			}
		}
	}
	return c
}

// count gives the orders in second k of the cycle: one second in 32 is a burst
// of eight times the rate, the others make room for it.
func (c *coin) count(k uint64, orders int64) int64 {
	r := c.random(forCount, k, 0)
	x := orders * 24 / 31
	if r>>40%32 == 0 {
		x = orders * 8
	}
	n := x / 1e6
	if int64(r%1e6) < x%1e6 {
		n++
	}
	return n
}

// fillsOf gives the number of trades of the i-th order in second k.
func (c *coin) fillsOf(k, i uint64) int64 {
	switch c.random(forFills, k, i) % 16 {
	case 10, 11, 12:
		return 2
	case 13, 14:
		return 3
	case 15:
		return 6
	}
	return 1
}

// before gives the number of trades, or of orders, before a second.
func (c *coin) before(second int64, aggregates bool) int64 {
	sums := &c.fills
	if aggregates {
		sums = &c.orders
	}
	if second <= 0 {
		return 0
	}
	return second/cycle*sums[cycle] + sums[second%cycle]
}

// secondOf gives the second in which an id lies.
func (c *coin) secondOf(id int64, aggregates bool) int64 {
	sums := &c.fills
	if aggregates {
		sums = &c.orders
	}
	rest := id % sums[cycle]
	k := sort.Search(cycle, func(k int) bool { return sums[k+1] > rest })
	return id/sums[cycle]*cycle + int64(k)
}

// second appends what happens in one second: its orders, or their fills.
func (c *coin) second(dst []schema.Trade, second int64, aggregates bool) []schema.Trade {
	k := second % cycle
	n := c.orders[k+1] - c.orders[k]
	id := c.before(second, false)
	for i := range n {
		if aggregates {
			order := c.order(second, i)
			before := c.over(order.Time, false)
			order.ID += id - before
			order.Last += id - before
			id = order.Last + 1 + before
			dst = append(dst, order)
			continue
		}
		t := c.bare(second, i)
		before := c.over(t.Time, false)
		for f := range c.fillsOf(uint64(k), uint64(i)) {
			t.ID, t.Last = id-before, id-before
			t.Qty = c.qty(second, i, f)
			dst = append(dst, t)
			id++
		}
	}
	return dst
}

// bare gives what the fills of a second's i-th order have in common.
func (c *coin) bare(second, i int64) schema.Trade {
	k := second % cycle
	n := c.orders[k+1] - c.orders[k]
	at := origin + schema.Time(second)*schema.Second + schema.Time((i*1e6+int64(c.random(forTime, uint64(second), uint64(i))%1e6))/n)
	return schema.Trade{
		Time:       c.hours.toMarket(at),
		Price:      c.price(at, c.random(forPrice, uint64(second), uint64(i))),
		BuyerMaker: c.random(forSide, uint64(second), uint64(i))%2 == 0,
	}
}

// qty gives the quantity of an order's f-th fill: small ones are many, large
// ones few.
func (c *coin) qty(second, i, f int64) schema.Decimal {
	r := c.random(forQty, uint64(second), uint64(i)<<8|uint64(f))
	return schema.Decimal{Mantissa: 1 + int64(r%10_000)*int64(r>>32%100)/100, Scale: c.qtyScale}
}

// order gives a second's i-th order, its ids counted from its first fill.
func (c *coin) order(second, i int64) schema.Trade {
	t := c.bare(second, i)
	t.Last = c.fillsOf(uint64(second%cycle), uint64(i)) - 1
	t.Qty.Scale = c.qtyScale
	for f := range t.Last + 1 {
		t.Qty.Mantissa += c.qty(second, i, f).Mantissa
	}
	return t
}

// price is a walk within 7.5 % of the middle: three waves of chance laid over
// one another, and a few ticks of noise.
func (c *coin) price(at schema.Time, r uint64) schema.Decimal {
	ppm := (50_000*c.wave(0, at, 6*schema.Hour) + 20_000*c.wave(1, at, 20*schema.Minute) + 4_000*c.wave(2, at, 45*schema.Second)) / 1_000_000
	return schema.Decimal{Mantissa: c.base + c.base*ppm/1_000_000 + int64(r%5) - 2, Scale: c.priceScale}
}

// wave is a figure within ±1,000,000 that goes in straight lines from chance
// to chance.
func (c *coin) wave(which uint64, at, length schema.Time) int64 {
	point := func(i schema.Time) int64 { return int64(c.random(forWalk, which, uint64(i))%2_000_001) - 1_000_000 }
	i := at / length
	from, to := point(i), point(i+1)
	return from + (to-from)*int64(at%length)/int64(length)
}

// names are the most popular symbols first.
var names = [...]string{"BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT", "DOGEUSDT", "ETHBTC", "ADAUSDT", "AVAXUSDT", "LINKUSDT",
	"SUIUSDT", "LTCUSDT", "DOTUSDT", "TRXUSDT", "BNBBTC", "UNIUSDT", "AAVEUSDT", "ATOMUSDT", "XRPETH", "LTCBTC"}

func nameOf(rank int) string {
	if rank < len(names) {
		return names[rank]
	}
	return fmt.Sprintf("M%04dUSDT", rank+1)
}

// newCoins lays out the market: popularity falls with the rank (Zipf), and the
// last tenth is quieter still, fifty times.
func newCoins(s Synthetic) []*coin {
	weights := make([]int64, s.Symbols)
	total := int64(0)
	for i := range weights {
		weights[i] = 1_000_000_000 / int64(i+1)
		if s.Symbols >= 10 && i >= s.Symbols-s.Symbols/10 {
			weights[i] /= 50
		}
		total += weights[i]
	}
	perMillion := int64(s.Rate * 1e6)
	coins := make([]*coin, s.Symbols)
	for i := range coins {
		// The whole first, then the rest: a million a second times a weight of
		// a billion would not fit.
		rate := perMillion/total*weights[i] + perMillion%total/1000*weights[i]/(total/1000+1)
		coins[i] = newCoin(nameOf(i), s.Seed, rate)
	}
	return coins
}
