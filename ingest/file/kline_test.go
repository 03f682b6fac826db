package file

import (
	"strings"
	"testing"

	"millrace/schema"
)

const official = "../testdata/btcusdt-spot-2024-08-08/klines_5m.csv"

func TestKlinesForms(t *testing.T) {
	real, err := ReadKlines(official)
	if err != nil || len(real) != 1 {
		t.Fatal(real, err)
	}
	k := real[0]
	if k.Start != schema.FromMillis(1723161300000) || k.CloseTime != schema.FromMillis(1723161599999) || k.Trades != 8863 ||
		k.Low.String() != "61583.22" || k.Quote.String() != "12304668.0254055" || k.TakerQuote.String() != "5563967.3332507" {
		t.Errorf("%+v", k)
	}
	const row = "1735689600000000,4.15,4.16,4.14,4.15,539.23,1735693199999999,2240.39,13,401.82,1669.98,0"
	const header = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"
	const json = ` [[1735689600000,"4.15","4.16","4.14","4.15","539.23",1735693199999,"2240.39",13,"401.82","1669.98","0"],
		[1735693200000,"4.15","4.15","4.15","4.15","0.00000000",1735696799999,"0.00000000",0,"0.00000000","0.00000000","0"]]`
	for name, data := range map[string][]byte{"a.csv": []byte(row + "\n" + row), "b.csv": []byte(header + row + "\r\n" + row + "\r\n"),
		"c.zip": zipped("x.csv", header+row+"\n"+row+"\n"), "d.csv.gz": gz(row + "\n" + row), "e.json": []byte(json), "f.json.gz": gz("\n\t" + json)} {
		all, err := ReadKlines(write(t, name, data))
		if err != nil || len(all) != 2 || all[0].Start != 1735689600000000 || all[0].Volume.String() != "539.23" || all[0].Trades != 13 {
			t.Errorf("%s: %+v %v", name, all, err)
		}
	}
}

func TestKlinesRefuses(t *testing.T) {
	for data, says := range map[string]string{
		"":      "EOF",
		"1,2,3": "line 1: bad line: kline: 3 columns",
		"1735689600000,4.15,4.16,4.14,x,539.23,1735693199999,2240.39,13,401.82,1669.98,0":     "close: not a decimal",
		"1735689600000,4.15,4.16,4.14,4.15,539.23,1735693199999,2240.39,1.5,401.82,1669.98,0": "trades",
		"1735689600000,4.15,4.16,4.14,4.15,539.23,1635693199999,2240.39,13,401.82,1669.98,0":  "kline: from",
		"-5,4.15,4.16,4.14,4.15,539.23,1635693199999,2240.39,13,401.82,1669.98,0":             "not plausible",
		"[[1735689600000,\"4.15\"]]": "row 1: kline: 2 columns",
		"[{}]":                       "klines",
		"[[1":                        "klines",
		"open_time,open\n":           "no kline",
	} {
		if all, err := ReadKlines(write(t, "k", []byte(data))); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v %v", data, all, err)
		}
	}
}
