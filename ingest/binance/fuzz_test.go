package binance

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzDecode: any bytes are read as the plain way reads them, in bounded
// memory, and no trade comes out that is not valid.
func FuzzDecode(f *testing.F) {
	agg := `{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":7,"p":"0.001","q":"100","f":100,"l":105,"T":1672515782136,"m":true,"M":true}`
	for _, s := range []string{newTrade, oldTrade, newAgg, goodTrade, `{"stream":"bnbbtc@trade","data":` + goodTrade + `}`, agg, strings.NewReplacer("0.001", "0", `"100"`, `"0"`, "100", "-1", "105", "-1").Replace(agg),
		`{"result":null,"id":"x"}`, `{"id":null,"error":{"msg":"missing field \u0060method\u0060","code":2}}`, `{"code": 0, "msg": "Unknown property","id": 5}`,
		`[1,{"a":"\ud83d\ude00"}]`, `{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}`, `{"data":[],"data":{"e":1e5}}`,
		strings.Replace(goodTrade, `"m"`, `"X":"INSURANCE_FUND","m"`, 1), strings.Replace(goodTrade, "BNBBTC", `\u8fd9\ud83d\ude00\ud800`, 1)} {
		f.Add([]byte(s))
	}
	var d Decoder // reused, as a connection does
	// One of each kind of recorded frame, but for the long ones.
	seen := map[string]bool{}
	recordedFrames(f, func(frame []byte) {
		var ev Event
		if len(frame) > 1000 || d.Decode(frame, &ev) != nil {
			return
		}
		if kind := string(ev.Stream); !seen[kind] {
			seen[kind] = true
			f.Add(bytes.Clone(frame))
		}
	})
	f.Fuzz(func(t *testing.T, frame []byte) {
		whole := bytes.Clone(frame)
		deep := bytes.Count(frame, []byte("["))+bytes.Count(frame, []byte("{")) > maxDepth
		if utf8.Valid(frame) && !deep {
			agreeJSON(t, &d, frame)
		} else {
			// encoding/json mends broken UTF-8 and takes any depth.
			agreeFast(t, frame)
			var ev Event
			if err := d.Decode(frame, &ev); err == nil && (!json.Valid(frame) || (ev.Kind == Trade || ev.Kind == AggTrade) && ev.Trade.Validate() != nil) {
				t.Fatalf("took %+v of %q", ev, frame)
			}
		}
		if cap(d.scratch) > 4*len(frame)+4096 && len(d.scratch) > len(frame) {
			t.Fatalf("%d bytes of scratch for a frame of %d", len(d.scratch), len(frame))
		}
		if !bytes.Equal(frame, whole) {
			t.Fatal("the frame was written to")
		}
	})
}

// FuzzSBE: any bytes are read as the plain way reads them, in memory bounded by
// the frame, whatever lengths it claims.
func FuzzSBE(f *testing.F) {
	for _, bend := range []func(*sbeFrame){
		func(*sbeFrame) {},
		func(s *sbeFrame) { s.version, s.blockTail, s.rowTail, s.tail = 2, 5, 3, 9 },
		func(s *sbeFrame) { s.rescale(-13, -16) },
		func(s *sbeFrame) { s.priceExp, s.qtyExp = 3, 10 },
		func(s *sbeFrame) { s.rows[0].id, s.rows[0].price = -1, 0 },
		func(s *sbeFrame) { s.rows[0].maker = 7 },
		func(s *sbeFrame) { s.symbol = "这是测试币456" },
		func(s *sbeFrame) { s.template = 10001 },
		func(s *sbeFrame) { s.transact /= 1000 },
	} {
		for _, n := range []int{1, 3} {
			s := goodSBE(n)
			bend(s)
			f.Add(s.bytes())
		}
	}
	f.Add(goodSBE(0).bytes())
	f.Fuzz(func(t *testing.T, frame []byte) {
		whole := bytes.Clone(frame)
		var d SBEDecoder
		agreeSBE(t, &d, frame)
		if cap(d.trades) > 2*len(frame)/25+8 {
			t.Fatalf("room for %d trades after a frame of %d bytes", cap(d.trades), len(frame))
		}
		if !bytes.Equal(frame, whole) {
			t.Fatal("the frame was written to")
		}
	})
}

// plainRows reports whether the rows of a page have each of the keys that mean
// something once, in its own case. encoding/json, which reads pages, takes
// other cases of a key for it where its own does not come.
func plainRows(body []byte, agg bool) bool {
	known := []string{"id", "price", "qty", "time", "isBuyerMaker"}
	if agg {
		known = []string{"a", "p", "q", "f", "l", "T", "m", "M"}
	}
	d := json.NewDecoder(bytes.NewReader(body))
	depth := 0
	seen := map[string]bool{}
	isKey := false
	for first := true; first || depth > 0; first = false {
		tok, err := d.Token()
		if err != nil {
			return false
		}
		switch v := tok.(type) {
		case json.Delim:
			switch v {
			case '{', '[':
				depth++
			default:
				depth--
			}
			if v == '[' && depth > 1 {
				return false // no row has an array
			}
			if v == '{' && depth == 2 {
				clear(seen)
			}
			isKey = depth == 2
			continue
		case string:
			if isKey && depth == 2 {
				exact := slices.Contains(known, v)
				like := slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(v, k) })
				if like && (!exact || seen[v]) {
					return false
				}
				seen[v] = true
			}
		}
		if depth == 2 {
			isKey = !isKey
		}
	}
	return true
}

// FuzzPages: any body is a page as the plain way reads it, or an error.
func FuzzPages(f *testing.F) {
	for path, agg := range map[string]bool{"rest/aggTrades_BTCUSDT_2020-01-02.json": true, "rest/trades_ETHBTC_2023-03-20.json": false} {
		var rows []json.RawMessage
		if err := json.Unmarshal([]byte(recorded(f, path)), &rows); err != nil {
			f.Fatal(err)
		}
		some, err := json.Marshal(rows[:3])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(some, agg)
	}
	f.Add([]byte(`[{"a":7,"p":"0","q":"0","f":-1,"l":-1,"T":1498793709153,"m":true,"M":true}]`), true)
	f.Add([]byte(`[{"id":1,"price":"99999999999999999999.5","qty":"1","time":1,"isBuyerMaker":false}]`), false)
	f.Add([]byte(`{"code":-1121,"msg":"Invalid symbol."}`), true)
	f.Fuzz(func(t *testing.T, body []byte, agg bool) {
		if utf8.Valid(body) {
			agreePage(t, body, agg)
		} else if p, err := readPage(t, body, agg); err == nil {
			for i := range p.Trades {
				if err := p.Trades[i].Validate(); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
