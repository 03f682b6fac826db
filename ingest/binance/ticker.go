package binance

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"

	"millrace/schema"
)

// Ticker24h is what a symbol did in the last 24 hours.
type Ticker24h struct {
	Symbol string
	// FirstID and LastID are the ids of its first and last trade within, −1
	// where there was none.
	FirstID, LastID int64
	Count           int64
	LastPrice       schema.Decimal
	// QuoteVolume is in the symbol's quote asset. Some assets are worth so
	// little that a day's sum goes beyond what a Decimal holds.
	QuoteVolume schema.Sum
	CloseTime   schema.Time
}

// restTicker is a row of ticker/24hr. None of its keys differ only in case.
type restTicker struct {
	Symbol      string `json:"symbol"`
	FirstID     *int64 `json:"firstId"`
	LastID      *int64 `json:"lastId"`
	Count       *int64 `json:"count"`
	LastPrice   string `json:"lastPrice"`
	QuoteVolume string `json:"quoteVolume"`
	CloseTime   int64  `json:"closeTime"`
}

// maxTickerList is the most symbols that are asked for by name. More of them
// weigh as much as all, and their names make a URL that servers refuse.
const maxTickerList = 100

// Tickers24h asks for the given symbols, or for all. One unknown symbol fails
// the whole call (code −1121) where up to a hundred are given; of more, those
// that the exchange has are in the answer.
func (c *Client) Tickers24h(ctx context.Context, symbols ...string) ([]Ticker24h, error) {
	const path = "/api/v3/ticker/24hr"
	symbols = slices.Compact(slices.Sorted(slices.Values(symbols)))
	q := url.Values{"type": {"MINI"}} // all that is read here, in half the bytes
	weight := TickerWeight(len(symbols))
	if n := len(symbols); n > 0 && n <= maxTickerList {
		list, err := json.Marshal(symbols)
		if err != nil {
			return nil, fmt.Errorf("symbols: %w", err)
		}
		q.Set("symbols", string(list))
	}
	var rows []restTicker
	if _, err := c.get(ctx, request{path: path, query: q, weight: weight, limit: maxTickerBody}, &rows); err != nil {
		return nil, err
	}
	all := make([]Ticker24h, 0, len(rows))
	for _, r := range rows {
		if len(symbols) > 0 {
			if _, asked := slices.BinarySearch(symbols, r.Symbol); !asked {
				continue
			}
		}
		t, err := r.ticker()
		if err != nil {
			return nil, fmt.Errorf("get %s: %w", path, err)
		}
		all = append(all, t)
	}
	return all, nil
}

// TickerWeight is what a call of Tickers24h for n symbols weighs, 0 being all.
func TickerWeight(n int) int64 {
	switch {
	case n == 0 || n > maxTickerList:
		return 80
	case n > 20:
		return 40
	}
	return 2
}

func (r *restTicker) ticker() (t Ticker24h, err error) {
	if err := schema.ValidateSymbol(r.Symbol); err != nil {
		return t, err
	}
	if r.FirstID == nil || r.LastID == nil || r.Count == nil {
		return t, fmt.Errorf("%w: %s without firstId, lastId or count", ErrField, r.Symbol)
	}
	t = Ticker24h{Symbol: r.Symbol, FirstID: *r.FirstID, LastID: *r.LastID, Count: *r.Count}
	if t.FirstID < -1 || t.LastID < t.FirstID || t.Count < 0 {
		return t, fmt.Errorf("%w: %s has %d trades from %d to %d", ErrField, r.Symbol, t.Count, t.FirstID, t.LastID)
	}
	if t.LastPrice, err = schema.ParseDecimal([]byte(r.LastPrice)); err != nil {
		return t, fmt.Errorf("last price of %s: %w", r.Symbol, err)
	}
	if t.QuoteVolume, err = schema.ParseSum([]byte(r.QuoteVolume)); err != nil {
		return t, fmt.Errorf("quote volume of %s: %w", r.Symbol, err)
	}
	var ok bool
	if t.CloseTime, ok = ParseTime(r.CloseTime); !ok {
		return t, fmt.Errorf("%w: close time %d of %s is not plausible", ErrField, r.CloseTime, r.Symbol)
	}
	return t, nil
}
