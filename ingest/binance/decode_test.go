package binance

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/schema"
)

// recordedFrames calls fn with every websocket frame under ingest/testdata.
func recordedFrames(t testing.TB, fn func(frame []byte)) {
	lines := func(path string, line func([]byte)) {
		f, err := os.Open(filepath.Join("..", "testdata", path))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		s := bufio.NewScanner(f)
		if strings.HasSuffix(path, ".gz") {
			z, err := gzip.NewReader(f)
			if err != nil {
				t.Fatal(err)
			}
			s = bufio.NewScanner(z)
		}
		s.Buffer(nil, 8<<20)
		for s.Scan() {
			line(s.Bytes())
		}
		if s.Err() != nil {
			t.Fatal(s.Err())
		}
	}
	for _, p := range []string{"btcusdt-spot-2024-08-08/frames.gz", "ethusdt-spot-2024-08-08/frames-1.gz", "ethusdt-spot-2024-08-08/frames-2.gz"} {
		lines(p, func(l []byte) { fn(l[bytes.IndexByte(l, ' ')+1:]) })
	}
	lines("captures/spot-2021-10-12.jsonl.gz", func(l []byte) {
		var c struct{ T, Data string }
		if err := json.Unmarshal(l, &c); err != nil {
			t.Fatal(err)
		}
		if c.T == "recv" {
			fn([]byte(c.Data))
		}
	})
	lines("captures/klines-with-an-empty-minute.jsonl", func(l []byte) {
		if i := bytes.Index(l, []byte(": {")); i > 0 {
			fn(l[i+2:])
		}
	})
}

const goodTrade = `{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782135,"m":false,"M":true}`

func TestDecodeForms(t *testing.T) {
	want := schema.Trade{ID: 12345, Last: 12345, Time: 1672515782135000, Price: schema.Decimal{Mantissa: 1, Scale: 3}, Qty: schema.Decimal{Mantissa: 100}}
	for name, frame := range map[string]string{
		"raw":            goodTrade,
		"combined":       `{"stream":"bnbbtc@trade","data":` + goodTrade + `}`,
		"data first":     `{"data":` + goodTrade + `,"stream":"bnbbtc@trade"}`,
		"M before m":     `{"M":true,"m":false,"T":1672515782135,"q":"100","p":"0.001","t":12345,"s":"BNBBTC","E":1672515782136,"e":"trade"}`,
		"microseconds":   `{"e":"trade","E":1672515782136000,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782135000,"m":false,"M":true}`,
		"white space":    " \t\r\n{ \"e\" : \"trade\" , \"E\":1672515782136 ,\"s\":\"BNBBTC\",\"t\": 12345\n,\"p\":\"0.001\",\"q\":\"100\",\"T\":1672515782135,\"m\":false}\n",
		"escapes":        `{"\u0065":"tr\u0061de","E":1672515782136,"s":"\u0042NBBTC","t":12345,"p":"0\u002e001","q":"100","T":1672515782135,"m":false}`,
		"unknown keys":   `{"e":"trade","z":{"m":true,"t":[1,{"t":"x\"}"}]},"E":1672515782136,"nq":"1","st":1,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782135,"b":88,"a":50,"m":false,"":null}`,
		"zeros":          `{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.00100000","q":"100.00000000","T":1672515782135,"m":false,"M":true}`,
		"market class":   `{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782135,"m":false,"X":"MARKET"}`,
		"outer ignored":  `{"stream":"x","t":9,"m":true,"data":` + goodTrade + `,"p":"7"}`,
		"last one wins":  `{"e":"trade","E":1672515782136,"s":"BNBBTC","t":1,"t":12345,"p":"0.001","q":"100","T":1672515782135,"m":true,"m":false}`,
		"names the like": `{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782135,"m":false,"DATA":{"e":"x"},"Stream":3}`,
	} {
		var d Decoder
		var ev Event
		if err := d.Decode([]byte(frame), &ev); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if ev.Kind != Trade || ev.Trade != want || string(ev.Symbol) != "BNBBTC" || ev.EventTime != 1672515782136000 {
			t.Errorf("%s: %+v of %s", name, ev, ev.Symbol)
		}
	}
}

func TestDecodeOtherKinds(t *testing.T) {
	for _, c := range []struct {
		frame string
		kind  Kind
		check func(*Event) bool
	}{
		{`{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":7,"p":"0.001","q":"100","f":100,"l":105,"T":1672515782136,"m":true,"M":true}`, AggTrade,
			func(e *Event) bool {
				return e.AggID == 7 && e.Trade.ID == 100 && e.Trade.Last == 105 && e.Trade.BuyerMaker
			}},
		{`{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":7,"p":"0","q":"0","f":-1,"l":-1,"T":1672515782136,"m":true,"M":true}`, VoidAgg,
			func(e *Event) bool { return e.AggID == 7 }},
		{`{"e":"trade","E":1,"T":1672515782136,"s":"BTCUSDT","t":9,"p":"0","q":"5","X":"INSURANCE_FUND","m":true}`, Trade,
			func(e *Event) bool { return e.Trade.Void }},
		{`{"e":"serverShutdown","E":1770123456789}`, Shutdown, func(e *Event) bool { return e.EventTime == 1770123456789000 }},
		{`{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}`, Shutdown, func(e *Event) bool { return e.EventTime == 1770123456789000 }},
		{`{"result":null,"id":1}`, Answer, func(e *Event) bool { return string(e.ID) == "1" }},
		{`{"id":"a-7","result":["btcusdt@trade"]}`, Answer, func(e *Event) bool { return string(e.ID) == `"a-7"` }},
		{`{"error":{"code":2,"msg":"Invalid request: invalid stream"},"id":2}`, Refusal,
			func(e *Event) bool {
				return e.Code == 2 && string(e.Message) == "Invalid request: invalid stream" && string(e.ID) == "2"
			}},
		{`{"id":null,"error":{"msg":"missing field \u0060method\u0060","code":2}}`, Refusal,
			func(e *Event) bool { return string(e.Message) == "missing field `method`" && string(e.ID) == "null" }},
		{`{"code": 0, "msg": "Unknown property","id": 5}`, Refusal, func(e *Event) bool { return e.Code == 0 && string(e.ID) == "5" }},
		{`{"error":"gone","id":5}`, Refusal, func(e *Event) bool { return string(e.ID) == "5" }},
		{`{"u":400900217,"s":"BNBUSDT","b":"25.3","B":"31.2","a":"25.3","A":"40.6"}`, Other, nil},
		{`{"stream":"btcusdt@depth5","data":{"lastUpdateId":160,"bids":[["0.0024","10"]],"asks":[]}}`, Other, nil},
		{`[{"e":"24hrMiniTicker","E":1672515782136}]`, Other, nil},
		{`{"stream":"!miniTicker@arr","data":[{"e":"trade"}]}`, Other, nil},
		{`{}`, Other, nil},
	} {
		var d Decoder
		var ev Event
		if err := d.Decode([]byte(c.frame), &ev); err != nil {
			t.Errorf("%s: %v", c.frame, err)
		} else if ev.Kind != c.kind || c.check != nil && !c.check(&ev) {
			t.Errorf("%s: %+v", c.frame, ev)
		}
	}
}

func TestDecodeRefusesFrames(t *testing.T) {
	deep := strings.Repeat(`[`, 200) + strings.Repeat(`]`, 200)
	for _, frame := range []string{
		``, ` `, `null`, `1`, `"x"`, `{`, `{"e"`, `{"e":`, `{"e":"trade`, `{"e":"trade"`, goodTrade + `x`, goodTrade + `{}`,
		`{"e":"trade",}`, `{,}`, `{"e" "trade"}`, `{e:1}`, `{"t":01}`, `{"t":1.}`, `{"t":.5}`, `{"t":+1}`, `{"t":1e}`, `{"t":-}`, `{"t":tru}`,
		`{"t":"\x"}`, `{"t":"\u12g4"}`, "{\"t\":\"a\nb\"}", `{"z":[1 2]}`, `{"z":[1,]}`, `{"z":{"a":1,}}`, `{"z":` + deep + `}`,
		`{"stream":"a","data":{"e":"trade"`, "\xef\xbb\xbf{}",
	} {
		var d Decoder
		var ev Event
		if err := d.Decode([]byte(frame), &ev); !errors.Is(err, ErrFrame) {
			t.Errorf("%.60s: %v", frame, err)
		}
		if json.Valid([]byte(frame)) && frame != "null" && frame != "1" && frame != `"x"` && !strings.Contains(frame, "[[[[") {
			t.Errorf("%.60s: the test calls wrong what encoding/json calls right", frame)
		}
	}
	// What the error shows stays short, whatever comes.
	var d Decoder
	var ev Event
	err := d.Decode([]byte(`{"e":"`+strings.Repeat("a", 1<<20)), &ev)
	if err == nil || len(err.Error()) > 400 {
		t.Errorf("%d bytes of error", len(err.Error()))
	}
}

func TestDecodeRefusesTrades(t *testing.T) {
	big := strings.Replace(goodTrade, `"0.001"`, `"99999999999999999999.5"`, 1)
	for _, c := range []struct {
		from, to string
		symbol   string
		id       int64
		is       error
	}{
		{`"p":"0.001"`, `"p":"99999999999999999999.5"`, "BNBBTC", 12345, schema.ErrOverflow},
		{`"p":"0.001"`, `"p":"0.0000000000001"`, "BNBBTC", 12345, schema.ErrOverflow},
		{`"p":"0.001"`, `"p":0.001`, "BNBBTC", 12345, ErrField},
		{`"p":"0.001"`, `"p":"-1"`, "BNBBTC", 12345, schema.ErrDecimalSyntax},
		{`"p":"0.001"`, `"p":"1e3"`, "BNBBTC", 12345, schema.ErrDecimalSyntax},
		{`"p":"0.001"`, `"p":"` + strings.Repeat("1", 5000) + `"`, "BNBBTC", 12345, schema.ErrDecimalSyntax},
		{`"p":"0.001"`, `"p":"0"`, "BNBBTC", 12345, schema.ErrTrade},
		{`"p":"0.001",`, ``, "BNBBTC", 12345, ErrField},
		{`"p":"0.001"`, `"P":"0.001"`, "BNBBTC", 12345, ErrField},
		{`"q":"100"`, `"q":"0.00000000"`, "BNBBTC", 12345, schema.ErrTrade},
		{`"q":"100"`, `"q":null`, "BNBBTC", 12345, ErrField},
		{`"t":12345`, `"t":"12345"`, "BNBBTC", -1, ErrField},
		{`"t":12345`, `"t":12345.0`, "BNBBTC", -1, ErrField},
		{`"t":12345`, `"t":-5`, "BNBBTC", -1, schema.ErrTrade},
		{`"t":12345`, `"t":9223372036854775808`, "BNBBTC", -1, ErrField},
		{`"t":12345`, `"t":9223372036854775807`, "BNBBTC", 9223372036854775807, schema.ErrTrade},
		{`"T":1672515782135`, `"T":16725157821350000`, "BNBBTC", 12345, ErrField},
		{`"T":1672515782135`, `"T":0`, "BNBBTC", 12345, schema.ErrTrade},
		{`"T":1672515782135`, `"T":1.6725157821e12`, "BNBBTC", 12345, ErrField},
		{`"E":1672515782136,`, ``, "BNBBTC", 12345, ErrField},
		{`"m":false`, `"m":0`, "BNBBTC", 12345, ErrField},
		{`"m":false,`, ``, "BNBBTC", 12345, ErrField},
		{`"s":"BNBBTC"`, `"s":""`, "", 12345, schema.ErrSymbol},
		{`"s":"BNBBTC"`, `"s":"A|B"`, "", 12345, schema.ErrSymbol},
		{`"s":"BNBBTC"`, `"s":"A\u0000"`, "", 12345, schema.ErrSymbol},
		{`"s":"BNBBTC"`, "\"s\":\"A\xff\"", "", 12345, schema.ErrSymbol},
		{`"s":"BNBBTC"`, `"s":["BNBBTC"]`, "", 12345, ErrField},
		{`"s":"BNBBTC",`, ``, "", 12345, ErrField},
	} {
		var d Decoder
		var ev Event
		frame := strings.Replace(goodTrade, c.from, c.to, 1)
		if frame == goodTrade {
			t.Fatalf("%s is not there", c.from)
		}
		err := d.Decode([]byte(frame), &ev)
		var te *TradeError
		if !errors.As(err, &te) || !errors.Is(err, c.is) || te.Symbol != c.symbol || te.ID != c.id {
			t.Errorf("%.60s: %v", c.to, err)
		} else if len(err.Error()) > 300 {
			t.Errorf("%.60s: %d bytes of error", c.to, len(err.Error()))
		}
	}
	var d Decoder
	var ev Event
	if err := d.Decode([]byte(big), &ev); err == nil || !strings.Contains(err.Error(), "trade 12345 of BNBBTC") {
		t.Error(err)
	}
	agg := `{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":7,"p":"1","q":"1","f":105,"l":100,"T":1672515782136,"m":true}`
	var te *TradeError
	if err := d.Decode([]byte(agg), &ev); !errors.As(err, &te) || te.ID != 105 {
		t.Error(err)
	}
}

func TestDecodeSymbolsBeyondASCII(t *testing.T) {
	var d Decoder
	var ev Event
	for _, s := range []string{"这是测试币456", `\u8fd9是\u6d4b试币456`} {
		if err := d.Decode([]byte(strings.Replace(goodTrade, "BNBBTC", s, 1)), &ev); err != nil || string(ev.Symbol) != "这是测试币456" {
			t.Errorf("%s: %q %v", s, ev.Symbol, err)
		}
	}
}

// otherOrder is a frame that the fast way leaves to the scanner.
const otherOrder = `{"data":` + goodTrade + `,"stream":"bnbbtc@trade"}`

func TestDecodeAllocatesNothing(t *testing.T) {
	var d Decoder
	var ev Event
	for _, s := range []string{newTrade, otherOrder} {
		frame := []byte(s)
		if n := testing.AllocsPerRun(1000, func() {
			if d.Decode(frame, &ev) != nil {
				t.Fatal("refused")
			}
		}); n != 0 {
			t.Errorf("%v allocations for %s", n, s)
		}
	}
}

func benchmarkDecode(b *testing.B, frame []byte) {
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	var d Decoder
	var ev Event
	for b.Loop() {
		if err := d.Decode(frame, &ev); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B)           { benchmarkDecode(b, []byte(newTrade)) }
func BenchmarkDecodeOtherOrder(b *testing.B) { benchmarkDecode(b, []byte(otherOrder)) }
