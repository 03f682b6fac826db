package double

import (
	"encoding/json"
	"strings"
)

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
	c.text(`,"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":`)
	c.integer(d.cfg.Limits.Weight)
	c.text(`},{"rateLimitType":"RAW_REQUESTS","interval":"MINUTE","intervalNum":5,"limit":300000}],"exchangeFilters":[],"symbols":[`)
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
