package double

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"millrace/ingest/binance"
	"millrace/schema"
)

// handler serves what the real one has under /ws, /stream and /api/v3, its
// SBE streams under /sbe and its dumps under /data.
func (d *Double) handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	stream := func(w http.ResponseWriter, r *http.Request) { d.serveStream(ctx, w, r) }
	for _, at := range [...]string{"", "/sbe"} {
		mux.HandleFunc("GET "+at+"/ws", stream)
		mux.HandleFunc("GET "+at+"/ws/", stream)
		mux.HandleFunc("GET "+at+"/stream", stream)
	}
	mux.HandleFunc("GET /double/counters", d.serveCounters)
	mux.HandleFunc("GET /data/spot/daily/{kind}/{symbol}/{file}", func(w http.ResponseWriter, r *http.Request) { d.serveDump(ctx, w, r) })
	for path, e := range d.endpoints() {
		mux.HandleFunc("GET /api/v3/"+path, func(w http.ResponseWriter, r *http.Request) { d.serveCall(w, r, path, e) })
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

// endpoint is one path of REST: what a call weighs and what answers it.
type endpoint struct {
	weigh func(url.Values) int64
	serve func(*call)
}

func (d *Double) endpoints() map[string]endpoint {
	flat := func(n int64) func(url.Values) int64 { return func(url.Values) int64 { return n } }
	return map[string]endpoint{
		"ping":             {flat(1), func(c *call) { c.text("{}") }},
		"time":             {flat(1), d.serveTime},
		"exchangeInfo":     {flat(20), d.serveInfo},
		"trades":           {flat(25), d.serveTrades},
		"historicalTrades": {flat(25), d.serveHistory},
		"aggTrades":        {flat(4), d.serveAggs},
		"klines":           {flat(2), d.serveKlines},
		"ticker/price":     {weighPrice, d.servePrice},
		"ticker/24hr":      {weighDay, d.serveDay},
	}
}

// serveCall charges a call and answers it.
func (d *Double) serveCall(w http.ResponseWriter, r *http.Request, path string, e endpoint) {
	c := &call{query: r.URL.Query(), micros: strings.EqualFold(r.Header.Get("X-MBX-TIME-UNIT"), "MICROSECOND")}
	weight := e.weigh(c.query)
	n := d.tally.called(path, weight)
	v := d.meter.charge(addressOf(r), weight, time.Now())
	w.Header().Set("X-MBX-USED-WEIGHT-1M", strconv.FormatInt(v.used, 10))
	w.Header().Set("X-MBX-USED-WEIGHT", strconv.FormatInt(v.used, 10))
	if v.status != http.StatusOK {
		v.refuse(c, d.cfg.Limits.Weight)
	} else if d.faults == nil || !d.faults.answer(c, r, path, n) {
		e.serve(c)
	}
	c.write(w)
}

// call is one REST call on its way.
type call struct {
	query  url.Values
	micros bool
	body   []byte
	failed bool
	status int           // of a failed one; 400 if 0
	wait   time.Duration // told in Retry-After; not if 0
}

func (c *call) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	if c.wait > 0 {
		w.Header().Set("Retry-After", seconds(c.wait))
	}
	if c.failed {
		if c.status == 0 {
			c.status = http.StatusBadRequest
		}
		w.WriteHeader(c.status)
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
	t := d.listed(symbol, aggregates)
	if t == nil {
		c.fail(-1121, "Invalid symbol.")
	}
	return t
}

// listed gives a symbol's tape, nil where it is not listed at the moment.
func (d *Double) listed(symbol string, aggregates bool) tape {
	if d.status(symbol) == "" {
		return nil
	}
	return d.market.tape(symbol, aggregates)
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
	first, next := t.span()
	if from < 0 {
		from = next - int64(n)
	}
	c.trades(t.read(max(from, first, d.kept(t)), n))
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
	voids := d.cfg.VoidAggs
	first, next := t.span()
	row, void := tail(next, int64(n), voids) // void: it begins with the void one behind row − 1
	switch {
	case from >= 0:
		row, void = rowOf(from, voids)
	case start >= 0:
		row, void = t.find(start), false
	case end >= 0:
		row, void = tail(t.find(end+1), int64(n), voids)
	}
	if oldest := max(first, d.kept(t)); row < oldest {
		row, void = oldest, false
	}
	c.text("[")
	written := 0
	if void && row <= next {
		c.voidAgg(aggIDOf(row-1, voids)+1, t.read(row-1, 1))
		written++
	}
	for i, a := range t.read(row, n) {
		if written == n || end >= 0 && a.Time > end {
			break
		}
		if written > 0 {
			c.text(",")
		}
		written++
		id := aggIDOf(row+int64(i), voids)
		c.text(`{"a":`)
		c.integer(id)
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
		if written < n && voidBehind(row+int64(i), voids) {
			c.text(",")
			c.voidAgg(id+1, []schema.Trade{a})
			written++
		}
	}
	c.text("]")
}

// kept gives the oldest row that is not yet beyond the retention.
func (d *Double) kept(t tape) int64 {
	if d.cfg.Retention == 0 {
		return 0
	}
	return t.find(d.market.now() - d.cfg.Retention)
}
