//go:build synctests

package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"millrace/schema"
)

// listing is one made-up symbol: all its trades, numbered without a hole.
type listing struct {
	name   string
	trades []schema.Trade
	anchor *schema.Anchor // the trade before the first
}

// delivery is what a collector hands on at one moment.
type delivery struct {
	at     time.Duration // since the start
	symbol string
	trades []schema.Trade
	kind   deliveryKind
}

type deliveryKind uint8

const (
	live    deliveryKind = iota // from the stream
	missed                      // not seen, and noticed: the symbol is held until fetched
	fetched                     // what was missed, by REST
	blind                       // not seen, not noticed, and brought later all the same
)

// makeMarket makes the symbols' trades within length of the start.
func makeMarket(r *rand.Rand, start schema.Time, length time.Duration, symbols int, falling bool) []listing {
	var all []listing
	for i := range symbols {
		l := listing{name: fmt.Sprintf("S%d", i)}
		busy := []time.Duration{200 * time.Millisecond, time.Second, 4 * time.Second}[r.IntN(3)]
		id := []int64{0, 0, 1, 17, 1 << 40}[r.IntN(5)]
		at := start + schema.Time(r.Int64N(3_000_000))
		price := 100 + r.Int64N(100_000)
		if id > 0 && r.IntN(4) > 0 {
			before := at - schema.Time(r.Int64N(70_000_000))
			l.anchor = &schema.Anchor{Symbol: l.name, ID: id - 1, Time: before, Price: schema.Decimal{Mantissa: price, Scale: 2}, HasPrice: r.IntN(5) > 0}
		} else if id == 0 && r.IntN(2) == 0 {
			l.anchor = &schema.Anchor{Symbol: l.name, ID: -1, Time: at - schema.Time(r.Int64N(70_000_000))}
		}
		end := start + schema.Time(length.Microseconds())
		for at < end && len(l.trades) < 250 {
			price = max(1, price+r.Int64N(21)-10)
			qty := schema.Decimal{Mantissa: 1 + r.Int64N(100_000), Scale: uint8(r.IntN(6))}
			n := 1
			if r.IntN(6) == 0 { // a sweep: one aggregate
				n = 2 + r.IntN(4)
			}
			maker := r.IntN(2) == 0
			for range n {
				l.trades = append(l.trades, schema.Trade{ID: id, Last: id, Time: at, Price: schema.Decimal{Mantissa: price, Scale: 2}, Qty: qty, BuyerMaker: maker})
				id++
			}
			switch r.IntN(12) {
			case 0:
				at += schema.Time(r.Int64N(int64(8 * busy / time.Microsecond)))
			case 1, 2, 3: // in the same moment
			default:
				at += schema.Time(r.Int64N(int64(2 * busy / time.Microsecond)))
			}
			if r.IntN(60) == 0 {
				at += schema.Time(r.Int64N(75_000_000))
			}
			if falling && r.IntN(30) == 0 { // times fall a little as ids rise
				at = max(start, at-schema.Time(r.Int64N(300_000)))
			}
		}
		all = append(all, l)
	}
	return all
}

// troubles say how a collector's stream of one symbol differs from the market.
type troubles struct {
	swaps, misses, blinds, copies, lost, aggregates float64
}

// deliveries turns a symbol's trades into what one collector gets, and when.
func deliveries(r *rand.Rand, start schema.Time, l *listing, x troubles) []delivery {
	var out []delivery
	add := func(at time.Duration, kind deliveryKind, trades []schema.Trade) {
		out = append(out, delivery{max(at, 0), l.name, slices.Clone(trades), kind})
	}
	since := func(t schema.Time) time.Duration { return time.Duration(t-start) * time.Microsecond }
	for i := 0; i < len(l.trades); {
		t := l.trades[i]
		n := 1
		for i+n < len(l.trades) && l.trades[i+n].Time == t.Time && l.trades[i+n].Price == t.Price && l.trades[i+n].Qty == t.Qty && l.trades[i+n].BuyerMaker == t.BuyerMaker {
			n++
		}
		part := l.trades[i : i+n]
		i += n
		if n > 1 && r.Float64() < x.aggregates {
			part = []schema.Trade{aggregate(part)}
		}
		at := since(t.Time) + time.Duration(20+r.IntN(150))*time.Millisecond
		if r.Float64() < x.swaps {
			at += time.Duration(r.IntN(1500)) * time.Millisecond
		}
		later := at + time.Duration(1000+r.IntN(25_000))*time.Millisecond
		switch c := r.Float64(); {
		case c < x.lost:
		case c < x.lost+x.misses:
			add(at, missed, part)
			add(later, fetched, part)
		case c < x.lost+x.misses+x.blinds:
			add(later, blind, part)
		default:
			add(at, live, part)
		}
		if r.Float64() < x.copies {
			add(later, blind, part)
		}
	}
	return out
}

// aggregate makes one trade of several at one price and moment.
func aggregate(part []schema.Trade) schema.Trade {
	t := part[0]
	t.Last = part[len(part)-1].Last
	t.Qty.Mantissa *= int64(len(part))
	return t
}
