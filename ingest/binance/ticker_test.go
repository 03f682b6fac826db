package binance

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"millrace/schema"
)

func TestTickers(t *testing.T) {
	ctx := context.Background()
	const row = `{"symbol":"%s","openPrice":"99.00000000","highPrice":"100.00000000","lowPrice":"0.10000000","lastPrice":"4.00000200","volume":"8913.30000000","quoteVolume":"%s","openTime":1499783499040,"closeTime":1499869899040,"firstId":%d,"lastId":%d,"count":%d}`
	body := "[" + strings.Join([]string{
		fmt.Sprintf(row, "BNBBTC", "15.30000000", 28385, 28460, 76),
		fmt.Sprintf(row, "USDTIDR", "9223372036854775808123.00000000", 5, 5, 1), // beyond a Decimal
		fmt.Sprintf(row, "NEW", "0.00000000", -1, -1, 0),                        // has not traded
	}, ",") + "]"
	h := hear(t, map[string]string{"/api/v3/ticker/24hr": body})
	all, err := h.Tickers24h(ctx)
	if err != nil || len(all) != 3 {
		t.Fatal(all, err)
	}
	want := Ticker24h{Symbol: "BNBBTC", FirstID: 28385, LastID: 28460, Count: 76, LastPrice: schema.Decimal{Mantissa: 4000002, Scale: 6},
		QuoteVolume: all[0].QuoteVolume, CloseTime: schema.FromMillis(1499869899040)}
	if all[0] != want || all[0].QuoteVolume.String() != "15.3" {
		t.Errorf("%+v", all[0])
	}
	if got := all[1].QuoteVolume.String(); got != "9223372036854775808123" {
		t.Error(got)
	}
	if all[2].FirstID != -1 || all[2].LastID != -1 || all[2].Count != 0 {
		t.Errorf("%+v", all[2])
	}

	many := []string{"NEW", "BNBBTC"}
	for i := range 120 {
		many = append(many, fmt.Sprintf("S%d", i))
	}
	some, err := h.Tickers24h(ctx, many...)
	if err != nil || len(some) != 2 || some[0].Symbol != "BNBBTC" || some[1].Symbol != "NEW" || strings.Contains(h.last(), "symbols") {
		t.Error(some, err, h.last())
	}
	for n, want := range map[int]int64{0: 80, 1: 2, 20: 2, 21: 40, 100: 40, 101: 80, 5000: 80} {
		if got := TickerWeight(n); got != want {
			t.Errorf("%d symbols weigh %d, wanted %d", n, got, want)
		}
	}

	good := fmt.Sprintf(row, "BNBBTC", "15.3", 1, 2, 2)
	for _, bad := range [][2]string{
		{`"BNBBTC"`, `""`}, {`"firstId":1`, `"x":1`}, {`"lastId":2`, `"lastId":0`}, {`"count":2`, `"count":-2`}, {`"count":2`, `"count":null`},
		{`"4.00000200"`, `"4,0"`}, {`"15.3"`, `"1e5"`}, {`"15.3"`, `"-1"`}, {`1499869899040`, `-1`}, {`"firstId":1`, `"firstId":-2`},
	} {
		b := strings.Replace(good, bad[0], bad[1], 1)
		if b == good {
			t.Fatalf("%v changes nothing", bad)
		}
		if _, err := hear(t, map[string]string{"/api/v3/ticker/24hr": "[" + b + "]"}).Tickers24h(ctx); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
	if _, err := hear(t, map[string]string{"/api/v3/ticker/24hr": "[" + strings.Repeat(" ", maxTickerBody) + "]"}).Tickers24h(ctx); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Error(err)
	}
}
