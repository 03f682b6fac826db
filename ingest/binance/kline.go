package binance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"millrace/schema"
)

// Kline is one of Binance's own candles.
type Kline struct {
	Start, CloseTime        schema.Time // the close time is the last moment within
	Open, High, Low, Close  schema.Decimal
	Volume, Quote           schema.Sum
	Trades                  int64
	TakerVolume, TakerQuote schema.Sum
}

// Diff names the figures in which o differs from k, with both values; "" where
// all nine and the start are equal.
func (k *Kline) Diff(o *Kline) string {
	var b strings.Builder
	differ := func(name string, equal bool, have, other any) {
		if !equal {
			if b.Len() > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s %v and %v", name, have, other)
		}
	}
	differ("start", k.Start == o.Start, k.Start, o.Start)
	differ("open", k.Open.Cmp(o.Open) == 0, k.Open, o.Open)
	differ("high", k.High.Cmp(o.High) == 0, k.High, o.High)
	differ("low", k.Low.Cmp(o.Low) == 0, k.Low, o.Low)
	differ("close", k.Close.Cmp(o.Close) == 0, k.Close, o.Close)
	differ("volume", k.Volume.Cmp(o.Volume) == 0, k.Volume, o.Volume)
	differ("quote volume", k.Quote.Cmp(o.Quote) == 0, k.Quote, o.Quote)
	differ("trades", k.Trades == o.Trades, k.Trades, o.Trades)
	differ("taker buy volume", k.TakerVolume.Cmp(o.TakerVolume) == 0, k.TakerVolume, o.TakerVolume)
	differ("taker buy quote volume", k.TakerQuote.Cmp(o.TakerQuote) == 0, k.TakerQuote, o.TakerQuote)
	return b.String()
}

// KlineColumns is the number of columns of a kline, in dumps and in REST alike.
const KlineColumns = 12

// ParseKline reads the twelve columns of a kline: open time, open, high, low,
// close, volume, close time, quote volume, trades, taker buy base, taker buy
// quote, and one to ignore.
func ParseKline(cols [][]byte) (k Kline, err error) {
	if len(cols) != KlineColumns {
		return k, fmt.Errorf("kline: %d columns, wanted %d", len(cols), KlineColumns)
	}
	integer := func(name string, col int) (v int64) {
		if err == nil {
			if v, err = strconv.ParseInt(string(cols[col]), 10, 64); err != nil {
				err = fmt.Errorf("kline: %s %.40q is no integer", name, cols[col])
			}
		}
		return v
	}
	moment := func(name string, col int) schema.Time {
		v := integer(name, col)
		t, ok := ParseTime(v)
		if err == nil && !ok {
			err = fmt.Errorf("kline: %s %d is not plausible", name, v)
		}
		return t
	}
	price := func(name string, col int) (d schema.Decimal) {
		if err == nil {
			if d, err = schema.ParseDecimal(cols[col]); err != nil {
				err = fmt.Errorf("kline: %s: %w", name, err)
			}
		}
		return d
	}
	sum := func(name string, col int) (s schema.Sum) {
		if err == nil {
			if s, err = schema.ParseSum(cols[col]); err != nil {
				err = fmt.Errorf("kline: %s: %w", name, err)
			}
		}
		return s
	}
	k = Kline{
		Start: moment("open time", 0), Open: price("open", 1), High: price("high", 2), Low: price("low", 3), Close: price("close", 4),
		Volume: sum("volume", 5), CloseTime: moment("close time", 6), Quote: sum("quote volume", 7), Trades: integer("trades", 8),
		TakerVolume: sum("taker buy volume", 9), TakerQuote: sum("taker buy quote volume", 10),
	}
	if err == nil && (k.CloseTime < k.Start || k.Trades < 0) {
		err = fmt.Errorf("kline: from %v to %v with %d trades", k.Start, k.CloseTime, k.Trades)
	}
	return k, err
}

// ReadKlines reads a REST answer: an array of arrays of twelve.
func ReadKlines(r io.Reader) ([]Kline, error) {
	var rows [][]json.RawMessage
	if err := json.NewDecoder(r).Decode(&rows); err != nil {
		return nil, fmt.Errorf("klines: %w", err)
	}
	return klines(rows)
}

func klines(rows [][]json.RawMessage) ([]Kline, error) {
	all := make([]Kline, 0, len(rows))
	var cols [][]byte
	for i, row := range rows {
		cols = cols[:0]
		for _, c := range row {
			// Figures of any precision are strings; only times and counts are
			// numbers. Neither has an escape.
			cols = append(cols, bytes.Trim(c, `"`))
		}
		k, err := ParseKline(cols)
		if err != nil {
			return nil, fmt.Errorf("row %d: %w", i+1, err)
		}
		all = append(all, k)
	}
	return all, nil
}

// Klines asks for the candles that start in [from, to], up to MaxPage.
func (c *Client) Klines(ctx context.Context, symbol string, p schema.Period, from, to schema.Time) ([]Kline, error) {
	q := pageQuery(symbol, MaxPage)
	q.Set("interval", p.String())
	q.Set("startTime", strconv.FormatInt(from.Millis(), 10))
	q.Set("endTime", strconv.FormatInt(to.Millis(), 10))
	return c.klines(ctx, q)
}

func (c *Client) klines(ctx context.Context, q url.Values) ([]Kline, error) {
	const path = "/api/v3/klines"
	var rows [][]json.RawMessage
	if _, err := c.get(ctx, request{path: path, query: q, weight: 2, priority: PriorityHistory, limit: maxPageBody}, &rows); err != nil {
		return nil, err
	}
	all, err := klines(rows)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", path, err)
	}
	return all, nil
}
