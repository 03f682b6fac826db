package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"

	"millrace/schema"
)

// Kline is one of Binance's candles.
type Kline struct {
	Start                                  schema.Time
	Open, High, Low, Close                 schema.Decimal
	Volume, Quote, TakerVolume, TakerQuote schema.Sum
	Trades                                 int64
}

// Source is where our candles are read: those of a series that start in
// [from, to), the oldest first, at most limit.
type Source interface {
	Candles(ctx context.Context, symbol string, period schema.Period, from, to schema.Time, limit int) ([]schema.Candle, error)
}

const (
	// page is how many candles are read at once.
	page = 5000
	// maxFindings bounds what a report lists; it counts all.
	maxFindings = 1000
)

// Compare compares each of klines, in any order, with our candle of the same
// start. Between the first and the last of them, our candles with trades that
// no kline stands for are findings too.
func Compare(ctx context.Context, db Source, symbol string, period schema.Period, klines []Kline) (Report, error) {
	r := Report{Symbol: symbol, Period: period.String(), Klines: len(klines)}
	if len(klines) == 0 {
		return r, errors.New("audit: there are no klines to compare with")
	}
	klines = slices.Clone(klines)
	slices.SortFunc(klines, func(a, b Kline) int { return cmp.Compare(a.Start, b.Start) })
	for i := 1; i < len(klines); i++ {
		if klines[i].Start == klines[i-1].Start {
			return r, fmt.Errorf("audit: two klines start at %v", klines[i].Start)
		}
	}
	next, to := klines[0].Start, klines[len(klines)-1].Start+schema.Millisecond
	for {
		ours, err := db.Candles(ctx, symbol, period, next, to, page)
		if err != nil {
			return r, fmt.Errorf("audit: %w", err)
		}
		for i := range ours {
			c := &ours[i]
			for len(klines) > 0 && klines[0].Start < c.Start {
				r.absent(&klines[0])
				klines = klines[1:]
			}
			if len(klines) > 0 && klines[0].Start == c.Start {
				r.both(c, &klines[0])
				klines = klines[1:]
			} else {
				r.extra(c)
			}
		}
		if len(ours) < page {
			break
		}
		next = ours[len(ours)-1].Start + schema.Millisecond
	}
	for i := range klines {
		r.absent(&klines[i])
	}
	return r, nil
}

// both counts a window that both sides have.
func (r *Report) both(c *schema.Candle, k *Kline) {
	d := differences(c, k)
	if len(d) == 0 {
		r.Equal++
	}
	if c.Status == schema.Final {
		r.Final++
	}
	if len(d) > 0 || c.Status != schema.Final {
		r.add(Finding{Start: c.Start.Std(), Kind: Differs, Status: c.Status.String(), Missing: c.Missing, Differences: d})
	}
}

func (r *Report) absent(k *Kline) {
	r.Absent++
	r.add(Finding{Start: k.Start.Std(), Kind: Absent})
}

// extra: a window without trades that Binance leaves out is no finding, its
// klines of seconds and its oldest ones have such holes.
func (r *Report) extra(c *schema.Candle) {
	if c.Trades > 0 {
		r.Extra++
		r.add(Finding{Start: c.Start.Std(), Kind: Extra, Status: c.Status.String(), Missing: c.Missing})
	}
}

func (r *Report) add(f Finding) {
	if len(r.Findings) < maxFindings {
		r.Findings = append(r.Findings, f)
	}
	r.Found++
}

// differences names the figures that are not equal, by the names of our columns.
func differences(c *schema.Candle, k *Kline) []Difference {
	return Differences(&c.Figures, &schema.Figures{
		First: c.First, Last: c.Last, // a kline has no ids
		Open: k.Open, High: k.High, Low: k.Low, Close: k.Close, Volume: k.Volume, Quote: k.Quote, Trades: k.Trades, TakerVolume: k.TakerVolume, TakerQuote: k.TakerQuote,
	})
}

// Differences names the figures of ours that are not theirs, by the names of our
// columns.
func Differences(ours, theirs *schema.Figures) []Difference {
	var d []Difference
	sum := func(figure string, a, b schema.Sum) {
		if a.Cmp(b) != 0 {
			d = append(d, Difference{figure, a.String(), b.String(), minus(a, b)})
		}
	}
	dec := func(figure string, a, b schema.Decimal) {
		sum(figure, schema.SumOf(a), schema.SumOf(b))
	}
	number := func(figure string, a, b int64) {
		if a != b {
			d = append(d, Difference{figure, strconv.FormatInt(a, 10), strconv.FormatInt(b, 10), fmt.Sprintf("%+d", a-b)})
		}
	}
	dec("open", ours.Open, theirs.Open)
	dec("high", ours.High, theirs.High)
	dec("low", ours.Low, theirs.Low)
	dec("close", ours.Close, theirs.Close)
	sum("volume", ours.Volume, theirs.Volume)
	sum("quote_volume", ours.Quote, theirs.Quote)
	number("trades", ours.Trades, theirs.Trades)
	sum("taker_buy_volume", ours.TakerVolume, theirs.TakerVolume)
	sum("taker_buy_quote_volume", ours.TakerQuote, theirs.TakerQuote)
	number("first_trade_id", ours.First, theirs.First)
	number("last_trade_id", ours.Last, theirs.Last)
	return d
}

// minus gives a - b with its sign. A Sum has none, so it is done in big.Rat,
// which is exact.
func minus(a, b schema.Sum) string {
	rat := func(s schema.Sum) *big.Rat {
		m := new(big.Int).SetUint64(s.Hi)
		m.Add(m.Lsh(m, 64), new(big.Int).SetUint64(s.Lo))
		return new(big.Rat).SetFrac(m, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(s.Scale)), nil))
	}
	d := new(big.Rat).Sub(rat(a), rat(b))
	digits, _ := d.FloatPrec() // as many decimals as it takes
	if d.Sign() > 0 {
		return "+" + d.FloatString(digits)
	}
	return d.FloatString(digits)
}
