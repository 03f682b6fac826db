package binance

import (
	"context"
	"fmt"
	"net/url"
	"strconv"

	"millrace/schema"
)

// Page is one answer of trades or aggregates, in the order of ids.
type Page struct {
	Trades []schema.Trade
	// Refused are rows that are trades but cannot be used.
	Refused []*TradeError
	// FirstRow and LastRow are the ids of the first and last row of any sort:
	// trade ids, or the aggregates' own; −1 where the page is empty. The server
	// may skip forward, so the caller compares FirstRow with what it asked for.
	FirstRow, LastRow int64
	// Voids is the number of aggregates that stand for no trade.
	Voids int
	// Reply tells when the answer came.
	Reply Reply
}

// restTrade is a row of trades and historicalTrades.
type restTrade struct {
	ID           *int64 `json:"id"`
	Price        string `json:"price"`
	Qty          string `json:"qty"`
	Time         int64  `json:"time"`
	IsBuyerMaker *bool  `json:"isBuyerMaker"`
}

// restAgg is a row of aggTrades. Both cases of a key are declared, for
// encoding/json would else take M for m.
type restAgg struct {
	A *int64 `json:"a"`
	P string `json:"p"`
	Q string `json:"q"`
	F *int64 `json:"f"`
	L *int64 `json:"l"`
	T int64  `json:"T"`
	M *bool  `json:"m"`
	// The other cases.
	UpperA any `json:"A"`
	UpperP any `json:"P"`
	UpperQ any `json:"Q"`
	UpperF any `json:"F"`
	UpperL any `json:"L"`
	LowerT any `json:"t"`
	UpperM any `json:"M"`
}

// HistoricalTrades asks for trades from an id on, up to MaxPage.
func (c *Client) HistoricalTrades(ctx context.Context, symbol string, fromID int64, limit int) (*Page, error) {
	q := pageQuery(symbol, limit)
	q.Set("fromId", strconv.FormatInt(fromID, 10))
	return c.trades(ctx, "/api/v3/historicalTrades", symbol, q)
}

// RecentTrades asks for the newest trades.
func (c *Client) RecentTrades(ctx context.Context, symbol string, limit int) (*Page, error) {
	return c.trades(ctx, "/api/v3/trades", symbol, pageQuery(symbol, limit))
}

func pageQuery(symbol string, limit int) url.Values {
	return url.Values{"symbol": {symbol}, "limit": {strconv.Itoa(max(1, min(limit, MaxPage)))}}
}

func (c *Client) trades(ctx context.Context, path, symbol string, q url.Values) (*Page, error) {
	var rows []restTrade
	a, err := c.get(ctx, request{path: path, query: q, weight: 25, priority: PriorityFill, limit: maxPageBody}, &rows)
	if err != nil {
		return nil, err
	}
	p := &Page{FirstRow: -1, LastRow: -1, Reply: a}
	for _, r := range rows {
		if r.ID == nil || r.IsBuyerMaker == nil {
			return nil, fmt.Errorf("get %s: %w: a row without id or isBuyerMaker", path, ErrField)
		}
		p.row(*r.ID)
		p.add(symbol, *r.ID, *r.ID, r.Price, r.Qty, r.Time, *r.IsBuyerMaker)
	}
	return p, nil
}

// AggTrades asks for aggregates from an aggregate's id on, up to MaxPage.
func (c *Client) AggTrades(ctx context.Context, symbol string, fromAgg int64, limit int) (*Page, error) {
	q := pageQuery(symbol, limit)
	q.Set("fromId", strconv.FormatInt(fromAgg, 10))
	return c.aggs(ctx, symbol, q)
}

// AggTradesSince asks for the aggregates with T at or after from, up to
// MaxPage. It is the way to find the ids at a moment.
func (c *Client) AggTradesSince(ctx context.Context, symbol string, from schema.Time, limit int) (*Page, error) {
	q := pageQuery(symbol, limit)
	q.Set("startTime", strconv.FormatInt(from.Millis(), 10))
	return c.aggs(ctx, symbol, q)
}

// AggTradesUntil asks for the newest aggregates with T at or before until, up
// to MaxPage. Their order is that of the ids too. Times are cut to the
// millisecond.
func (c *Client) AggTradesUntil(ctx context.Context, symbol string, until schema.Time, limit int) (*Page, error) {
	q := pageQuery(symbol, limit)
	q.Set("endTime", strconv.FormatInt(until.Millis(), 10))
	return c.aggs(ctx, symbol, q)
}

// AggTradesBetween asks for the oldest aggregates with T in [from, to], up to
// MaxPage. Where there are more, AggTrades goes on at LastRow + 1: several can
// have one T, so a time would not do. Times are cut to the millisecond.
func (c *Client) AggTradesBetween(ctx context.Context, symbol string, from, to schema.Time, limit int) (*Page, error) {
	q := pageQuery(symbol, limit)
	q.Set("startTime", strconv.FormatInt(from.Millis(), 10))
	q.Set("endTime", strconv.FormatInt(to.Millis(), 10))
	return c.aggs(ctx, symbol, q)
}

func (c *Client) aggs(ctx context.Context, symbol string, q url.Values) (*Page, error) {
	const path = "/api/v3/aggTrades"
	var rows []restAgg
	a, err := c.get(ctx, request{path: path, query: q, weight: 4, priority: PriorityFill, limit: maxPageBody}, &rows)
	if err != nil {
		return nil, err
	}
	p := &Page{FirstRow: -1, LastRow: -1, Reply: a}
	for _, r := range rows {
		if r.A == nil || r.F == nil || r.L == nil || r.M == nil {
			return nil, fmt.Errorf("get %s: %w: a row without a, f, l or m", path, ErrField)
		}
		p.row(*r.A)
		if *r.F == -1 && *r.L == -1 {
			p.Voids++
			continue
		}
		p.add(symbol, *r.F, *r.L, r.P, r.Q, r.T, *r.M)
	}
	return p, nil
}

func (p *Page) row(id int64) {
	if p.FirstRow < 0 {
		p.FirstRow = id
	}
	p.LastRow = id
}

func (p *Page) add(symbol string, first, last int64, price, qty string, figure int64, maker bool) {
	t := schema.Trade{ID: first, Last: last, BuyerMaker: maker}
	var ok bool
	t.Time, ok = ParseTime(figure)
	var err error
	if !ok {
		err = fmt.Errorf("%w: time %d is not plausible", ErrField, figure)
	}
	if err == nil {
		t.Price, err = schema.ParseDecimal([]byte(price))
	}
	if err == nil {
		t.Qty, err = schema.ParseDecimal([]byte(qty))
	}
	if err == nil {
		err = t.Validate()
	}
	if err != nil {
		p.Refused = append(p.Refused, &TradeError{Symbol: symbol, ID: first, Err: err})
		return
	}
	p.Trades = append(p.Trades, t)
}
