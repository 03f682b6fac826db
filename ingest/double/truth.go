package double

import (
	"math/big"
	"sort"
	"strings"
	"time"

	"millrace/schema"
)

// TruthCandle is a candle of what has been traded. Its keys are the columns of
// the SQL table; its numbers are exact.
type TruthCandle struct {
	Symbol              string `json:"symbol"`
	Period              string `json:"period"`
	StartTime           string `json:"start_time"` // RFC 3339
	Open                string `json:"open"`
	High                string `json:"high"`
	Low                 string `json:"low"`
	Close               string `json:"close"`
	Volume              string `json:"volume"`
	QuoteVolume         string `json:"quote_volume"`
	Trades              int64  `json:"trades"`
	TakerBuyVolume      string `json:"taker_buy_volume"`
	TakerBuyQuoteVolume string `json:"taker_buy_quote_volume"`
	FirstTradeID        int64  `json:"first_trade_id"` // −1 without a trade
	LastTradeID         int64  `json:"last_trade_id"`
}

// TruthCandles gives a symbol's candles whose windows lie wholly in from to to.
// They are made the slow, plain way, apart from the code that makes ours: big
// numbers, a calendar of time's, one trade after the other. A window without a
// trade repeats the close before it; one before the first trade, or wholly in a
// BREAK or outside the symbol's listing, is absent. A window of 3d starts where
// one starts that began on 1970-01-01. A large answer is better taken by
// EachTruthCandle.
func (d *Double) TruthCandles(symbol string, p schema.Period, from, to schema.Time) []TruthCandle {
	var all []TruthCandle
	_ = d.EachTruthCandle(symbol, p, from, to, func(c *TruthCandle) error { // the function gives none
		all = append(all, *c)
		return nil
	})
	return all
}

// EachTruthCandle calls fn with each of the candles, in their order, until it
// gives an error.
func (d *Double) EachTruthCandle(symbol string, p schema.Period, from, to schema.Time, fn func(*TruthCandle) error) error {
	m, ok := d.market.(interface {
		whole(symbol string, to schema.Time) tape
	})
	if !ok || !p.Valid() {
		return nil
	}
	t := m.whole(symbol, to)
	if t == nil {
		return nil
	}
	start := windowAt(p, from)
	if start < from {
		start = windowAfter(p, start)
	}
	h := d.market.hours(symbol)
	r := tapeReader{tape: t, id: t.find(start)}
	last := "" // the close before
	if first, _ := t.span(); r.id > first {
		if rows := t.read(r.id-1, 1); len(rows) > 0 {
			var price big.Int
			units(&price, rows[0].Price)
			last = plain(&price, 12)
		}
	}
	if last == "" { // there is nothing before its first trade
		rows := t.read(r.id, 1)
		if len(rows) == 0 {
			return nil
		}
		start = max(start, windowAt(p, rows[0].Time))
	}
	for end := windowAfter(p, start); end <= to; start, end = end, windowAfter(p, end) {
		s := newTruthSums()
		for tr := r.peek(); tr != nil && tr.Time < end; tr = r.peek() {
			s.add(tr)
			r.next()
		}
		if s.trades == 0 && (last == "" || h != nil && h.within(start, end, broken)) {
			continue
		}
		c := s.candle(last)
		c.Symbol, c.Period, c.StartTime = symbol, p.String(), start.String()
		last = c.Close
		if err := fn(&c); err != nil {
			return err
		}
	}
	return nil
}

// windowAt gives the start of the window that a time lies in.
func windowAt(p schema.Period, t schema.Time) schema.Time {
	at := t.Std()
	midnight := time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
	switch p {
	case schema.P1M:
		midnight = midnight.AddDate(0, 0, 1-at.Day())
	case schema.P1w:
		midnight = midnight.AddDate(0, 0, -(int(at.Weekday())+6)%7)
	case schema.P3d:
		midnight = midnight.AddDate(0, 0, -int(midnight.Unix()/86400)%3)
	case schema.P1d:
	default:
		return schema.FromStd(midnight.Add(at.Sub(midnight).Truncate(lengthOf(p))))
	}
	return schema.FromStd(midnight)
}

// windowAfter gives the start of the window behind the one that starts at t.
func windowAfter(p schema.Period, t schema.Time) schema.Time {
	at := t.Std()
	switch p {
	case schema.P1M:
		at = at.AddDate(0, 1, 0)
	case schema.P1w:
		at = at.AddDate(0, 0, 7)
	case schema.P3d:
		at = at.AddDate(0, 0, 3)
	case schema.P1d:
		at = at.AddDate(0, 0, 1)
	default:
		at = at.Add(lengthOf(p))
	}
	return schema.FromStd(at)
}

// lengthOf reads a period up to 12h as the duration it looks like.
func lengthOf(p schema.Period) time.Duration {
	d, _ := time.ParseDuration(p.String()) // 1s to 12h always can be
	return d
}

// truthSums are the figures of one window: prices and volumes in units of
// 10^-12, products of 10^-24. Trades come by their times; of a recording, whose
// times may contradict the ids, the ids decide which is first and last.
type truthSums struct {
	open, high, low, close             big.Int
	volume, quote, buyVolume, buyQuote big.Int
	trades, first, last                int64
	price, qty, product                big.Int // of the trade at hand
}

func newTruthSums() *truthSums { return &truthSums{first: -1, last: -1} }

func (s *truthSums) add(t *schema.Trade) {
	units(&s.price, t.Price)
	units(&s.qty, t.Qty)
	s.product.Mul(&s.price, &s.qty)
	if s.trades == 0 || t.ID < s.first {
		s.open.Set(&s.price)
		s.first = t.ID
	}
	if s.trades == 0 || t.ID > s.last {
		s.close.Set(&s.price)
		s.last = t.ID
	}
	if s.trades == 0 || s.price.Cmp(&s.high) > 0 {
		s.high.Set(&s.price)
	}
	if s.trades == 0 || s.price.Cmp(&s.low) < 0 {
		s.low.Set(&s.price)
	}
	s.trades++
	s.volume.Add(&s.volume, &s.qty)
	s.quote.Add(&s.quote, &s.product)
	if !t.BuyerMaker {
		s.buyVolume.Add(&s.buyVolume, &s.qty)
		s.buyQuote.Add(&s.buyQuote, &s.product)
	}
}

func (s *truthSums) candle(before string) TruthCandle {
	c := TruthCandle{
		Open: before, High: before, Low: before, Close: before,
		Volume: plain(&s.volume, 12), QuoteVolume: plain(&s.quote, 24),
		TakerBuyVolume: plain(&s.buyVolume, 12), TakerBuyQuoteVolume: plain(&s.buyQuote, 24),
		Trades: s.trades, FirstTradeID: s.first, LastTradeID: s.last,
	}
	if s.trades > 0 {
		c.Open, c.High, c.Low, c.Close = plain(&s.open, 12), plain(&s.high, 12), plain(&s.low, 12), plain(&s.close, 12)
	}
	return c
}

// units writes a number in units of 10^-12.
func units(dst *big.Int, d schema.Decimal) {
	unit := int64(1)
	for ; d.Scale < 12; d.Scale++ {
		unit *= 10
	}
	var u big.Int
	dst.Mul(dst.SetInt64(d.Mantissa), u.SetInt64(unit))
}

// plain writes a number of units of 10^-decimals, without zeros at its end.
func plain(n *big.Int, decimals int) string {
	s := n.String()
	if len(s) <= decimals {
		s = strings.Repeat("0", decimals+1-len(s)) + s
	}
	s = s[:len(s)-decimals] + "." + s[len(s)-decimals:]
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// byTime are trades in the order of their times, a tape by their places.
type byTime []schema.Trade

func (t byTime) span() (first, next int64) { return 0, int64(len(t)) }

func (t byTime) read(from int64, n int) []schema.Trade {
	return t[min(from, int64(len(t))):min(from+int64(n), int64(len(t)))]
}

func (t byTime) find(at schema.Time) int64 {
	return int64(sort.Search(len(t), func(i int) bool { return t[i].Time >= at }))
}

// tapeReader reads a tape row by row.
type tapeReader struct {
	tape tape
	id   int64
	page []schema.Trade
}

func (r *tapeReader) peek() *schema.Trade {
	if len(r.page) == 0 {
		if r.page = r.tape.read(r.id, 4096); len(r.page) == 0 {
			return nil
		}
	}
	return &r.page[0]
}

func (r *tapeReader) next() {
	r.id++
	r.page = r.page[1:]
}

// Span gives the market's first and last moments: of a recording those of its
// trades, of a synthetic market its settings', 0 where it has none.
func (d *Double) Span() (from, to schema.Time) {
	if m, ok := d.market.(*recorded); ok {
		for _, b := range m.books {
			for _, t := range b.all {
				if from == 0 || t.Time < from {
					from = t.Time
				}
				to = max(to, t.Time)
			}
		}
		return from, to
	}
	return d.cfg.Synthetic.Start, d.cfg.Synthetic.Until
}
