package double

import (
	"strings"
)

func (d *Double) serveTime(c *call) {
	c.text(`{"serverTime":`)
	c.appendTime(d.time())
	c.text(`}`)
}

func (d *Double) serveInfo(c *call) {
	wanted, _ := d.wanted(c)
	if c.failed {
		return
	}
	all := c.query.Get("symbol") == "" && c.query.Get("symbols") == ""
	c.text(`{"timezone":"UTC","serverTime":`)
	c.appendTime(d.time())
	c.text(`,"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":`)
	c.integer(d.cfg.Limits.Weight)
	c.text(`},{"rateLimitType":"RAW_REQUESTS","interval":"MINUTE","intervalNum":5,"limit":300000}],"exchangeFilters":[],"symbols":[`)
	written := 0
	for _, s := range wanted {
		status := d.status(s)
		if status == "" {
			if all {
				continue
			}
			c.fail(-1121, "Invalid symbol.")
			return
		}
		if written > 0 {
			c.text(",")
		}
		written++
		base, quote := assets(s)
		c.text(`{"symbol":"`)
		c.body = appendText(c.body, s)
		c.text(`","status":"` + status + `","baseAsset":"`)
		c.body = appendText(c.body, base)
		c.text(`","baseAssetPrecision":8,"quoteAsset":"`)
		c.body = appendText(c.body, quote)
		c.text(`","quotePrecision":8,"quoteAssetPrecision":8,"isSpotTradingAllowed":true,"filters":[],"permissions":[],"permissionSets":[["SPOT"]]}`)
	}
	c.text(`]}`)
}

// status gives a symbol's status of the moment, "" where it is not listed.
func (d *Double) status(symbol string) string {
	if d.market.tape(symbol, false) == nil {
		return ""
	}
	if h := d.market.hours(symbol); h != nil {
		return h.status(d.market.now())
	}
	return trading
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
