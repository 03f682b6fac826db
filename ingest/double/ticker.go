package double

import (
	"encoding/json"
	"math/big"
	"net/url"
	"strconv"

	"millrace/schema"
)

// weighPrice is what ticker/price costs.
func weighPrice(q url.Values) int64 {
	if q.Get("symbol") != "" {
		return 2
	}
	return 4
}

// weighDay is what ticker/24hr costs, by the number of symbols.
func weighDay(q url.Values) int64 {
	var list []string
	switch one := q.Get("symbol"); {
	case one != "":
		return 2
	case q.Get("symbols") == "" || json.Unmarshal([]byte(q.Get("symbols")), &list) != nil:
		return 80
	}
	switch n := len(list); {
	case n <= 20:
		return 2
	case n <= 100:
		return 40
	}
	return 80
}

// wanted reads symbol= or symbols=[…], or gives all. One symbol is answered by
// an object, the others by an array.
func (d *Double) wanted(c *call) (list []string, one bool) {
	if s := c.query.Get("symbol"); s != "" {
		return []string{s}, true
	}
	if text := c.query.Get("symbols"); text != "" {
		if json.Unmarshal([]byte(text), &list) != nil {
			c.fail(-1100, "Illegal characters found in parameter 'symbols'; legal range is an array.")
		}
		return list, false
	}
	for _, s := range d.market.symbols() {
		if d.status(s) != "" {
			list = append(list, s)
		}
	}
	return list, false
}

func (d *Double) servePrice(c *call) {
	wanted, one := d.wanted(c)
	if c.failed {
		return
	}
	if !one {
		c.text("[")
	}
	written := 0
	for _, s := range wanted {
		t := d.listed(s, false)
		if t == nil {
			c.fail(-1121, "Invalid symbol.")
			return
		}
		_, next := t.span()
		rows := t.read(next-1, 1)
		if len(rows) == 0 {
			continue // it has not traded yet
		}
		if written > 0 {
			c.text(",")
		}
		written++
		c.text(`{"symbol":"`)
		c.body = appendText(c.body, s)
		c.text(`","price":"`)
		c.body = appendDecimal(c.body, rows[0].Price)
		c.text(`"}`)
	}
	if !one {
		c.text("]")
	} else if written == 0 {
		c.text("{}")
	}
}

// exactRows are the trades that a ticker adds up one by one. What has more is
// sampled, where its market can be: a day of a busy symbol is millions, and all
// symbols are asked for at once.
const exactRows = 400

// samples are the orders looked at of a symbol that is sampled.
const samples = 64

// sampled is a tape whose rows can be looked at here and there.
type sampled interface {
	// sample gives n orders, spread evenly over a span of time.
	sample(from, to schema.Time, n int) []schema.Trade
}

// daySums are the figures of a rolling day.
type daySums struct {
	first, last     schema.Trade
	count           int64
	high, low       schema.Decimal
	volume, quote   *big.Int // with 8 and with 16 decimals
	openAt, closeAt schema.Time
}

// serveDay is ticker/24hr. Ids, count, times, open and last price are exact.
// The volumes, high and low are exact up to exactRows trades, and of a recording
// always; else they are those of a sample, scaled to the count. There is no book,
// and so no bid, ask or close of the day before.
func (d *Double) serveDay(c *call) {
	kind := c.query.Get("type")
	if kind == "" {
		kind = "FULL"
	}
	wanted, one := d.wanted(c)
	if kind != "FULL" && kind != "MINI" {
		c.fail(-1139, "Invalid 'type' parameter.")
	}
	if c.failed {
		return
	}
	now := d.market.now()
	if !one {
		c.text("[")
	}
	for i, s := range wanted {
		t := d.listed(s, false)
		if t == nil {
			c.fail(-1121, "Invalid symbol.")
			return
		}
		if i > 0 {
			c.text(",")
		}
		sums := dayOf(t, now)
		c.day(s, &sums, kind == "FULL")
	}
	if !one {
		c.text("]")
	}
}

// dayOf adds up what happened in the day before now.
func dayOf(t tape, now schema.Time) daySums {
	s := daySums{volume: new(big.Int), quote: new(big.Int), openAt: now - schema.Day, closeAt: now}
	first, next := t.span()
	from := max(t.find(s.openAt), first)
	s.count = next - from
	if s.count <= 0 {
		s.count = 0
		if rows := t.read(next-1, 1); len(rows) > 0 { // the price before holds
			s.first, s.last = rows[0], rows[0]
			s.high, s.low = rows[0].Price, rows[0].Price
		}
		s.first.ID, s.last.ID = -1, -1
		return s
	}
	s.first, s.last = t.read(from, 1)[0], t.read(next-1, 1)[0]
	s.high, s.low = s.first.Price, s.first.Price
	if sampler, ok := t.(sampled); ok && s.count > exactRows {
		rows, fills := sampler.sample(s.openAt, now, samples), int64(0)
		for i := range rows {
			s.add(&rows[i])
			fills += rows[i].Count()
		}
		for _, v := range [...]*big.Int{s.volume, s.quote} {
			v.Div(v.Mul(v, big.NewInt(s.count)), big.NewInt(max(fills, 1)))
		}
		return s
	}
	for id := from; id < next; {
		rows := t.read(id, 1000)
		if len(rows) == 0 {
			break
		}
		for i := range rows {
			s.add(&rows[i])
		}
		id = rows[len(rows)-1].ID + 1
	}
	return s
}

// add counts a trade. All decimals are brought to eight, products to sixteen.
func (s *daySums) add(t *schema.Trade) {
	if t.Price.Cmp(s.high) > 0 {
		s.high = t.Price
	}
	if t.Price.Cmp(s.low) < 0 {
		s.low = t.Price
	}
	p, _ := t.Price.Rescale(8)
	q, _ := t.Qty.Rescale(8)
	qty := big.NewInt(q.Mantissa)
	s.volume.Add(s.volume, qty)
	s.quote.Add(s.quote, qty.Mul(qty, big.NewInt(p.Mantissa)))
}

func (c *call) day(symbol string, s *daySums, full bool) {
	field := func(name string, value []byte) {
		c.text(`,"` + name + `":"`)
		c.body = append(append(c.body, value...), '"')
	}
	price := func(d schema.Decimal) []byte { return appendDecimal(nil, d) }
	quote := new(big.Int).Div(s.quote, big.NewInt(1e8))
	c.text(`{"symbol":"`)
	c.body = append(appendText(c.body, symbol), '"')
	if full {
		open, last := new(big.Rat), new(big.Rat)
		open.SetString(string(price(s.first.Price)))
		last.SetString(string(price(s.last.Price)))
		change := new(big.Rat).Sub(last, open)
		field("priceChange", []byte(change.FloatString(8)))
		percent := new(big.Rat)
		if open.Sign() > 0 {
			percent.Quo(change, open).Mul(percent, big.NewRat(100, 1))
		}
		field("priceChangePercent", []byte(percent.FloatString(3)))
		mean := new(big.Rat)
		if s.volume.Sign() > 0 {
			mean.SetFrac(quote, s.volume)
		}
		field("weightedAvgPrice", []byte(mean.FloatString(8)))
		field("lastQty", price(s.last.Qty))
	}
	field("openPrice", price(s.first.Price))
	field("highPrice", price(s.high))
	field("lowPrice", price(s.low))
	field("lastPrice", price(s.last.Price))
	field("volume", eight(s.volume))
	field("quoteVolume", eight(quote))
	c.text(`,"openTime":`)
	c.appendTime(s.openAt)
	c.text(`,"closeTime":`)
	c.appendTime(s.closeAt)
	c.text(`,"firstId":`)
	c.integer(s.first.ID)
	c.text(`,"lastId":`)
	c.integer(s.last.ID)
	c.text(`,"count":`)
	c.body = append(strconv.AppendInt(c.body, s.count, 10), '}')
}

// eight writes a number of hundred-millionths.
func eight(n *big.Int) []byte {
	return []byte(new(big.Rat).SetFrac(n, big.NewInt(1e8)).FloatString(8))
}
