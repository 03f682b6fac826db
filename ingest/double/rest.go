package double

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"millrace/ingest/binance"
	"millrace/schema"
)

// handler serves what the real one has under /ws, /stream and /api/v3.
func (d *Double) handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	stream := func(w http.ResponseWriter, r *http.Request) { d.serveStream(ctx, w, r) }
	mux.HandleFunc("GET /ws", stream)
	mux.HandleFunc("GET /ws/", stream)
	mux.HandleFunc("GET /stream", stream)
	for path, fn := range map[string]func(*call){
		"ping":             func(c *call) { c.body = append(c.body, "{}"...) },
		"time":             d.serveTime,
		"exchangeInfo":     d.serveInfo,
		"trades":           d.serveTrades,
		"historicalTrades": d.serveHistory,
		"aggTrades":        d.serveAggs,
		"klines":           d.serveKlines,
		"ticker/price":     d.servePrice,
	} {
		mux.HandleFunc("GET /api/v3/"+path, func(w http.ResponseWriter, r *http.Request) {
			c := &call{query: r.URL.Query(), micros: strings.EqualFold(r.Header.Get("X-MBX-TIME-UNIT"), "MICROSECOND")}
			fn(c)
			c.write(w)
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !d.enter() {
			http.Error(w, "closing", http.StatusServiceUnavailable)
			return
		}
		defer d.active.Done()
		mux.ServeHTTP(w, r)
	})
}

// call is one REST call on its way.
type call struct {
	query  url.Values
	micros bool
	body   []byte
	failed bool
}

func (c *call) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	if c.failed {
		w.WriteHeader(http.StatusBadRequest)
	}
	_, _ = w.Write(c.body) // a client that left has nobody to be told
}

// fail answers with one of Binance's errors.
func (c *call) fail(code int, msg string) {
	if c.failed {
		return
	}
	c.failed = true
	text, _ := json.Marshal(msg) // a string always can be
	c.body = append(append(append(strconv.AppendInt(append(c.body[:0], `{"code":`...), int64(code), 10), `,"msg":`...), text...), '}')
}

func (c *call) needs(name string) string {
	v := c.query.Get(name)
	if v == "" {
		c.fail(-1102, "Mandatory parameter '"+name+"' was not sent, was empty/null, or malformed.")
	}
	return v
}

// number reads an optional integer; fallback if it was not sent.
func (c *call) number(name string, fallback int64) int64 {
	v := c.query.Get(name)
	if v == "" {
		return fallback
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		c.fail(-1100, "Illegal characters found in parameter '"+name+"'; legal range is '^[0-9]{1,20}$'.")
		return fallback
	}
	return n
}

// limit is 500 by default and at most 1,000, as nearly everywhere.
func (c *call) limit() int { return int(max(1, min(c.number("limit", 500), binance.MaxPage))) }

// moment reads an optional time in either unit; −1 if it was not sent.
func (c *call) moment(name string) schema.Time {
	n := c.number(name, -1)
	if n < 0 {
		return -1
	}
	t, ok := binance.ParseTime(n)
	if !ok {
		return schema.MaxTime
	}
	return t
}

func (c *call) appendTime(t schema.Time) { c.body = appendTime(c.body, t, c.micros) }

func (c *call) text(s string) { c.body = append(c.body, s...) }

func (c *call) integer(n int64) { c.body = strconv.AppendInt(c.body, n, 10) }

// tape finds the symbol's tape, or fails.
func (d *Double) tape(c *call, aggregates bool) tape {
	symbol := c.needs("symbol")
	if c.failed {
		return nil
	}
	t := d.market.tape(symbol, aggregates)
	if t == nil {
		c.fail(-1121, "Invalid symbol.")
	}
	return t
}

func (d *Double) serveTime(c *call) {
	c.text(`{"serverTime":`)
	c.appendTime(d.market.now())
	c.text(`}`)
}

func (d *Double) serveInfo(c *call) {
	wanted := d.market.symbols()
	if one := c.query.Get("symbol"); one != "" {
		wanted = []string{one}
	} else if list := c.query.Get("symbols"); list != "" {
		wanted = nil // the market's own list is not to be written into
		if json.Unmarshal([]byte(list), &wanted) != nil {
			c.fail(-1100, "Illegal characters found in parameter 'symbols'; legal range is an array.")
			return
		}
	}
	c.text(`{"timezone":"UTC","serverTime":`)
	c.appendTime(d.market.now())
	c.text(`,"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":6000},` +
		`{"rateLimitType":"RAW_REQUESTS","interval":"MINUTE","intervalNum":5,"limit":300000}],"exchangeFilters":[],"symbols":[`)
	for i, s := range wanted {
		if d.market.tape(s, false) == nil {
			c.fail(-1121, "Invalid symbol.")
			return
		}
		if i > 0 {
			c.text(",")
		}
		base, quote := assets(s)
		c.text(`{"symbol":"`)
		c.body = appendText(c.body, s)
		c.text(`","status":"TRADING","baseAsset":"`)
		c.body = appendText(c.body, base)
		c.text(`","baseAssetPrecision":8,"quoteAsset":"`)
		c.body = appendText(c.body, quote)
		c.text(`","quotePrecision":8,"quoteAssetPrecision":8,"isSpotTradingAllowed":true,"filters":[],"permissions":[],"permissionSets":[["SPOT"]]}`)
	}
	c.text(`]}`)
}

// assets cuts a symbol into base and quote.
func assets(symbol string) (base, quote string) {
	for _, q := range [...]string{"USDT", "USDC", "FDUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "USD"} {
		if b, ok := strings.CutSuffix(symbol, q); ok && b != "" {
			return b, q
		}
	}
	return symbol, ""
}

func (d *Double) serveTrades(c *call) {
	t := d.tape(c, false)
	if n := c.limit(); !c.failed {
		first, next := t.span()
		c.trades(t.read(max(first, next-int64(n)), n))
	}
}

func (d *Double) serveHistory(c *call) {
	t := d.tape(c, false)
	n, from := c.limit(), c.number("fromId", -1)
	if c.failed {
		return
	}
	if first, next := t.span(); from < 0 {
		from = max(first, next-int64(n))
	}
	c.trades(t.read(from, n))
}

func (c *call) trades(rows []schema.Trade) {
	c.text("[")
	for i := range rows {
		t := &rows[i]
		if i > 0 {
			c.text(",")
		}
		quote, _ := schema.Product(t.Price, t.Qty)
		c.text(`{"id":`)
		c.integer(t.ID)
		c.text(`,"price":"`)
		c.body = appendDecimal(c.body, t.Price)
		c.text(`","qty":"`)
		c.body = appendDecimal(c.body, t.Qty)
		c.text(`","quoteQty":"`)
		c.body = appendSum(c.body, quote)
		c.text(`","time":`)
		c.appendTime(t.Time)
		c.text(`,"isBuyerMaker":`)
		c.body = strconv.AppendBool(c.body, t.BuyerMaker)
		c.text(`,"isBestMatch":true}`)
	}
	c.text("]")
}

func (d *Double) serveAggs(c *call) {
	t := d.tape(c, true)
	n, from := c.limit(), c.number("fromId", -1)
	start, end := c.moment("startTime"), c.moment("endTime")
	if from >= 0 && (start >= 0 || end >= 0) {
		c.fail(-1128, "Combination of optional parameters invalid.")
	}
	if c.failed {
		return
	}
	first, next := t.span()
	switch {
	case from >= 0:
	case start >= 0:
		from = t.find(start)
	case end >= 0:
		next = t.find(end + 1)
		from = next - int64(n)
	default:
		from = next - int64(n)
	}
	from = max(from, first)
	c.text("[")
	for i, a := range t.read(from, n) {
		if end >= 0 && a.Time > end {
			break
		}
		if i > 0 {
			c.text(",")
		}
		c.text(`{"a":`)
		c.integer(from + int64(i))
		c.text(`,"p":"`)
		c.body = appendDecimal(c.body, a.Price)
		c.text(`","q":"`)
		c.body = appendDecimal(c.body, a.Qty)
		c.text(`","f":`)
		c.integer(a.ID)
		c.text(`,"l":`)
		c.integer(a.Last)
		c.text(`,"T":`)
		c.appendTime(a.Time)
		c.text(`,"m":`)
		c.body = strconv.AppendBool(c.body, a.BuyerMaker)
		c.text(`,"M":true}`)
	}
	c.text("]")
}

func (d *Double) servePrice(c *call) {
	one := c.query.Get("symbol")
	wanted := []string{one}
	if list := c.query.Get("symbols"); one == "" && list != "" {
		if json.Unmarshal([]byte(list), &wanted) != nil {
			c.fail(-1100, "Illegal characters found in parameter 'symbols'; legal range is an array.")
			return
		}
	} else if one == "" {
		wanted = d.market.symbols()
	}
	if one == "" {
		c.text("[")
	}
	written := 0
	for _, s := range wanted {
		t := d.market.tape(s, false)
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
	if one == "" {
		c.text("]")
	} else if written == 0 {
		c.text("{}")
	}
}
