package binance

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"millrace/schema"
)

func exchangeOf(t *testing.T) (*ExchangeInfo, []Ticker24h) {
	t.Helper()
	info := &ExchangeInfo{}
	var tickers []Ticker24h
	for _, x := range []struct{ base, quote, status, volume string }{
		{"BTC", "USDT", "TRADING", "100000000000000000.00000001"}, // a float would take these two for equal
		{"ETH", "USDT", "TRADING", "100000000000000000.00000002"},
		{"BNB", "USDT", "HALT", "5"},
		{"ADA", "USDT", "BREAK", "5"},
		{"ETHUP", "USDT", "CANCEL_ONLY", "900"},
		{"OLD", "USDT", "BREAK", "0"},
		{"ODD", "USDT", "PRE_TRADING", "999999999999999999"},
		{"ETH", "BTC", "TRADING", "9999999999999999999"},
		{"BNB", "BTC", "END_OF_DAY", "7"},
		{"LTC", "BTC", "TRADING", ""},
		{"测试", "EUR", "TRADING", "1"},
	} {
		symbol := x.base + x.quote
		info.Symbols = append(info.Symbols, SymbolInfo{Symbol: symbol, Status: x.status, Base: x.base, Quote: x.quote})
		if x.volume == "" {
			continue
		}
		v, err := schema.ParseSum([]byte(x.volume))
		if err != nil {
			t.Fatal(err)
		}
		tickers = append(tickers, Ticker24h{Symbol: symbol, QuoteVolume: v})
	}
	return info, tickers
}

func TestSelectionChooses(t *testing.T) {
	info, tickers := exchangeOf(t)
	for items, want := range map[string]string{
		"BTCUSDT":                    "BTCUSDT",
		"ethusdt, BTCUSDT ,BTCUSDT":  "BTCUSDT ETHUSDT",
		"ODDUSDT":                    "ODDUSDT", // named: its status does not matter
		"*BTC":                       "BNBBTC ETHBTC LTCBTC",
		"BNB*,ETH*":                  "BNBBTC BNBUSDT ETHBTC ETHUPUSDT ETHUSDT",
		"*USDT":                      "ADAUSDT BNBUSDT BTCUSDT ETHUPUSDT ETHUSDT OLDUSDT",
		"*usdt,-*UPUSDT,!OLDUSDT":    "ADAUSDT BNBUSDT BTCUSDT ETHUSDT",
		"-ETHBTC,*ETH*":              "ETHUPUSDT ETHUSDT",
		"BTCUSDT,ETHUSDT,-BTC*":      "ETHUSDT",
		"BTCUSDT,-GONE":              "BTCUSDT",
		"top:1:USDT":                 "ETHUSDT",
		"top:4:usdt":                 "ADAUSDT BTCUSDT ETHUPUSDT ETHUSDT", // of equals the first by name
		"top:99:USDT":                "ADAUSDT BNBUSDT BTCUSDT ETHUPUSDT ETHUSDT",
		"top:2":                      "BTCUSDT ETHUSDT", // most symbols are quoted in USDT
		"top:5:*BTC":                 "BNBBTC ETHBTC",
		"top:5:BNB*":                 "BNBBTC", // one of each: BTC is before USDT
		"TOP:2:USDT,-ETH*":           "ADAUSDT BTCUSDT",
		"top:1:USDT,top:1:BTC,测试EUR": "ETHBTC ETHUSDT 测试EUR",
	} {
		s, err := ParseSelection(strings.Split(items, ","))
		if err != nil {
			t.Errorf("%s: %v", items, err)
			continue
		}
		got, err := s.Choose(info, tickers)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %v %v, wanted %s", items, got, err, want)
		}
		if s.NeedsTickers() != strings.Contains(strings.ToLower(items), "top:") {
			t.Errorf("%s: needs tickers: %v", items, s.NeedsTickers())
		}
		plain, ok := s.Plain()
		if ok == strings.ContainsAny(items, "*-!:") || ok && !slices.Equal(plain, got) {
			t.Errorf("%s: plain %v %v", items, plain, ok)
		}
	}
}

func TestSelectionRefuses(t *testing.T) {
	info, tickers := exchangeOf(t)
	for items, says := range map[string]string{
		"":                          "item \"\"",
		"BTCUSDT,":                  "item \"\"",
		"-BTCUSDT":                  "nothing to collect",
		"top:0":                     "no number",
		"top:x:USDT":                "no number",
		"top:100001":                "no number",
		"top:":                      "no number",
		"top:3:":                    "item",
		"top:3:A:B":                 "colon",
		"-top:3":                    "cannot be excluded",
		"BTC USDT":                  "item",
		"BTC|USDT*":                 "item",
		"-":                         "item",
		"BTCUSTD":                   "did you mean BTCUSDT?",
		"NOTHINGLIKETHIS":           "unknown to the exchange: NOTHINGLIKETHIS",
		"NOPE,BTCUSDT,BTCUSTD,GONE": "unknown to the exchange: BTCUSTD (did you mean BTCUSDT?), GONE, NOPE",
		"*DOGE":                     "none of the exchange's match, of 11",
		"top:3:DOGE":                "none of the exchange's match, of 11",
		"BTCUSDT,-*":                "none of the exchange's match, of 11",
		"?TCUSDT":                   `holds '?'; allowed are`,
		"BTC/USDT":                  `holds '/'; allowed are`,
		"*USDT,[BTC":                `holds '['; allowed are`,
		"-$*":                       `holds '$'; allowed are`,
		"top:3:U$D":                 `holds '$'; allowed are`,
	} {
		s, err := ParseSelection(strings.Split(items, ","))
		if err == nil {
			_, err = s.Choose(info, tickers)
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, wanted %q", items, err, says)
		}
	}
	if _, err := ParseSelection(nil); err == nil {
		t.Error("an empty selection was accepted")
	}
}

// A name that is gone leaves the others what they are, and what fits nothing is
// told.
func TestSelectionInPart(t *testing.T) {
	info, tickers := exchangeOf(t)
	s, err := ParseSelection([]string{"gone", "BTCUSDT", "nope*", "*USDC", "top:1:eur", "top:2:DOGE", "LOST"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Choose(info, tickers)
	var unknown *UnknownError
	if !errors.As(err, &unknown) || strings.Join(unknown.Names, " ") != "GONE LOST" || !slices.Contains(got, "BTCUSDT") {
		t.Errorf("%v %v", got, err)
	}
	if idle := strings.Join(s.Idle(info, tickers), " "); idle != "NOPE* *USDC TOP:2:DOGE" {
		t.Errorf("idle: %s", idle)
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "", true}, {"**", "X", true}, {"AB", "AB", true}, {"AB", "ABC", false}, {"A*A", "A", false}, {"A*A", "AA", true},
		{"*AB*AB", "AB", false}, {"*AB*AB", "ABXAB", true}, {"A*B*C", "AXBXC", true}, {"A*B*C", "ACXB", false}, {"A*BC*C", "ABC", false},
		{strings.Repeat("*A", 30) + "B", strings.Repeat("A", 5000), false},
	} {
		if got := matches(c.pattern, c.text); got != c.want {
			t.Errorf("%.20s %.20s: %v", c.pattern, c.text, got)
		}
	}
}
