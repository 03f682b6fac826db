package double

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/internal/testenv"
	"millrace/schema"
)

// seen is one line of what a foreign client prints.
type seen struct {
	Step   string          `json:"step"`
	Event  json.RawMessage `json:"event"`
	Code   int             `json:"code"`
	Reason string          `json:"reason"`
	Pings  int             `json:"pings"`
}

// wireTrade is a trade or an aggregate as a client decoded and printed it. What
// has another type there fails to be decoded here.
type wireTrade struct {
	Kind   string `json:"e"`
	E      int64  `json:"E"`
	Symbol string `json:"s"`
	ID     int64  `json:"t"`
	Agg    *int64 `json:"a"`
	P      string `json:"p"`
	Q      string `json:"q"`
	First  int64  `json:"f"`
	Last   int64  `json:"l"`
	T      int64  `json:"T"`
	Maker  *bool  `json:"m"`
	M      *bool  `json:"M"`
	Buyer  int64  `json:"b"` // go-binance still has the orders' ids: 0
}

// The double is for clients that others wrote. Each of these, with its own
// decoder, reads trades raw and combined, subscribes, lists, unsubscribes, asks
// for nonsense, is pinged and pings, is closed for talking too much, and hears
// of a shutdown. What they print is held against the market.
func TestForeignClients(t *testing.T) {
	script := func(name string) string { return filepath.Join("foreign", name) }
	for _, c := range []struct {
		name    string
		command func(t *testing.T, args ...string) *exec.Cmd
	}{
		{"node ws", func(t *testing.T, args ...string) *exec.Cmd { return testenv.Node(t, script("client.js"), args...) }},
		{"python websockets", func(t *testing.T, args ...string) *exec.Cmd {
			return testenv.Python(t, script("client.py"), args...)
		}},
		{"go-binance", goBinance},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			market := Synthetic{Seed: 9, Symbols: 2, Rate: 200}
			d := start(t, Config{Synthetic: market, PingEvery: 700 * time.Millisecond, PongTimeout: 5 * time.Second})
			going := start(t, Config{Synthetic: market, Faults: Scenario{Faults: []Fault{
				{Kind: "shutdown", At: 500 * time.Millisecond, Every: time.Second, Delay: 200 * time.Millisecond},
			}}})
			symbols := d.Symbols()
			ws, rest := d.URLs()
			closing, _ := going.URLs()
			cmd := c.command(t, ws, closing, strings.ToLower(symbols[0]), strings.ToLower(symbols[1]), rest)
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v\n%s\nits last words:\n%s", err, errs.Bytes(), out.Bytes()[max(0, out.Len()-2000):])
			}
			foreign{t, d, symbols}.check(out.Bytes(), c.name == "go-binance")
			if n := d.Counters().Closes[byNoPong]; n != 0 {
				t.Errorf("%d connections were closed for want of a pong", n)
			}
			if n := d.Counters().Closes[byRate]; n != 1 {
				t.Errorf("%d connections were closed for talking too much, wanted 1", n)
			}
		})
	}
}

// goBinance builds the client with its own modules. It alone asks REST.
func goBinance(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "gobinance")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", binary, ".")
	build.Dir = filepath.Join("foreign", "gobinance")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build go-binance's client: %v\n%s", err, out)
	}
	return exec.CommandContext(t.Context(), binary, args...)
}

// foreign checks what a client printed.
type foreign struct {
	*testing.T
	d       *Double
	symbols []string
}

func (f foreign) check(out []byte, library bool) {
	f.Helper()
	var answers, closes []string
	counts := map[string]int{}
	shutdown := false
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var line seen
		if err := dec.Decode(&line); err != nil {
			f.Fatal(err)
		}
		switch line.Step {
		case "message":
			var any struct {
				Stream string          `json:"stream"`
				Data   json.RawMessage `json:"data"`
				Kind   string          `json:"e"`
				Time   int64           `json:"E"`
			}
			if err := json.Unmarshal(line.Event, &any); err != nil {
				f.Fatalf("%s: %v", line.Event, err)
			}
			switch {
			case any.Stream == "!serverShutdown":
				shutdown = true
			case any.Stream != "":
				counts["combined"]++
				f.trade(any.Data, any.Stream)
			case any.Kind != "":
				counts[any.Kind]++
				f.trade(line.Event, "")
			default:
				answers = append(answers, string(line.Event))
			}
		case "close":
			closes = append(closes, fmt.Sprintf("%d %s", line.Code, line.Reason))
		case "kept":
			if line.Pings < 4 {
				f.Errorf("%d pings", line.Pings)
			}
			counts["kept"]++
		default:
			counts[line.Step]++
			f.called(line)
		}
	}
	wantCloses := []string{"1000 ", "1000 ", "1008 Too many requests", "1001 server shutdown"}
	wantCounts := map[string]int{"trade": 20, "aggTrade": 5, "combined": 20, "kept": 1}
	if library { // it closes what it opened itself, without a word
		wantCloses = wantCloses[2:]
		wantCounts = map[string]int{"trade": 20, "aggTrade": 40, "combined": 20, "kept": 1, "time": 1, "info": 1, "aggTrades": 1, "trades": 1, "klines": 1, "refused": 1}
	}
	if !slices.Equal(closes, wantCloses) {
		f.Errorf("closes %q, wanted %q", closes, wantCloses)
	}
	for kind, n := range wantCounts {
		if counts[kind] < n {
			f.Errorf("%d of %s, wanted %d", counts[kind], kind, n)
		}
	}
	if !shutdown {
		f.Error("no serverShutdown")
	}
	f.answers(answers)
}

// answers compares those to control messages, whatever the order of their keys.
func (f foreign) answers(got []string) {
	a, b := strings.ToLower(f.symbols[0])+"@trade", strings.ToLower(f.symbols[1])+"@aggTrade"
	want := []string{
		`{"id":1,"result":null}`,
		fmt.Sprintf(`{"id":2,"result":[%q,%q]}`, a, b),
		`{"id":3,"result":null}`,
		fmt.Sprintf(`{"id":"four","result":[%q]}`, b),
		`{"error":{"code":2,"msg":"Invalid request: unknown variant ` + "`JUMP`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`" + ` at line 1 column 16"},"id":5}`,
	}
	if len(got) < len(want) {
		f.Fatalf("%d answers", len(got))
	}
	for i := range got {
		w := `{"id":6,"result":[]}` // the careless one's, before it is closed
		if i < len(want) {
			w = want[i]
		}
		if g := canonical(f, got[i]); g != canonical(f, w) {
			f.Errorf("answer %d is %s, wanted %s", i, g, w)
		}
	}
}

func canonical(t foreign, text string) string {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if m, ok := v.(map[string]any); ok {
		if e, ok := m["error"].(map[string]any); ok {
			msg, _ := e["msg"].(string)
			e["msg"], _, _ = strings.Cut(msg, " at line") // each library spaces its JSON as it likes
		}
	}
	b, _ := json.Marshal(v) // what was JSON can be again
	return string(b)
}

// trade holds one event against the market.
func (f foreign) trade(text []byte, stream string) {
	var w wireTrade
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&w); err != nil {
		f.Fatalf("%s: %v", text, err)
	}
	if stream != "" && stream != strings.ToLower(w.Symbol)+"@"+w.Kind {
		f.Errorf("%s came by %s", text, stream)
	}
	if w.Maker == nil || w.M == nil || w.E < w.T || w.Agg == nil && w.Kind == "aggTrade" {
		f.Fatalf("%s lacks something", text)
	}
	first, last := w.ID, w.ID
	if w.Kind == "aggTrade" {
		first, last = w.First, w.Last
	}
	f.market(text, w.Symbol, first, last, w.T, w.P, w.Q, *w.Maker)
}

// market finds the trades of some ids and compares what they say together.
func (f foreign) market(text []byte, symbol string, first, last, ms int64, price, qty string, maker bool) {
	at := schema.Time(ms * 1000)
	sum, found := schema.Decimal{Scale: 8}, int64(0)
	for _, t := range f.d.Truth(symbol, at-schema.Second, at+2*schema.Second) {
		if t.ID < first || t.ID > last {
			continue
		}
		found++
		if text8(t.Price) != price || t.BuyerMaker != maker || t.ID == first && int64(t.Time)/1000 != ms {
			f.Errorf("%s, the market has %+v", text, t)
		}
		q, _ := t.Qty.Rescale(8)
		sum.Mantissa += q.Mantissa
	}
	if found != last-first+1 || text8(sum) != qty {
		f.Errorf("%s, the market has %d trades with a quantity of %s", text, found, text8(sum))
	}
}

func text8(d schema.Decimal) string { return string(appendDecimal(nil, d)) }

// called checks what a call of REST brought.
func (f foreign) called(line seen) {
	decode := func(v any) {
		if err := json.Unmarshal(line.Event, v); err != nil {
			f.Fatalf("%s: %v", line.Event, err)
		}
	}
	switch line.Step {
	case "time":
		var now int64
		decode(&now)
		if d := time.Since(time.UnixMilli(now)); d < 0 || d > time.Minute {
			f.Errorf("the time is %d", now)
		}
	case "info":
		var info struct {
			Symbols []struct{ Symbol, Status, BaseAsset, QuoteAsset string }
		}
		decode(&info)
		var names []string
		for _, s := range info.Symbols {
			names = append(names, s.Symbol)
			if s.Status != "TRADING" || s.BaseAsset+s.QuoteAsset != s.Symbol {
				f.Errorf("%+v", s)
			}
		}
		if !slices.Equal(names, f.symbols) {
			f.Errorf("symbols %q", names)
		}
	case "aggTrades":
		var rows []wireTrade
		decode(&rows)
		for _, w := range rows {
			f.market(line.Event, f.symbols[0], w.First, w.Last, w.T, w.P, w.Q, *w.Maker)
		}
		f.some(line, len(rows))
	case "trades":
		var rows []struct {
			ID           int64
			Price, Qty   string
			Time         int64
			IsBuyerMaker bool
		}
		decode(&rows)
		for _, r := range rows {
			f.market(line.Event, f.symbols[0], r.ID, r.ID, r.Time, r.Price, r.Qty, r.IsBuyerMaker)
		}
		f.some(line, len(rows))
	case "klines":
		f.klines(line)
	case "refused":
		if !strings.Contains(line.Reason, "-1121") || !strings.Contains(line.Reason, "Invalid symbol.") {
			f.Errorf("an unknown symbol is refused with %q", line.Reason)
		}
	default:
		f.Fatalf("step %q", line.Step)
	}
}

func (f foreign) some(line seen, n int) {
	if n == 0 {
		f.Errorf("%s brought nothing", line.Step)
	}
}

func (f foreign) klines(line seen) {
	var rows []struct {
		OpenTime, CloseTime                               int64
		Open, High, Low, Close, Volume, QuoteAssetVolume  string
		TradeNum                                          int64
		TakerBuyBaseAssetVolume, TakerBuyQuoteAssetVolume string
	}
	if err := json.Unmarshal(line.Event, &rows); err != nil {
		f.Fatal(err)
	}
	f.some(line, len(rows))
	number := func(s string) *big.Rat {
		r, ok := new(big.Rat).SetString(s)
		if !ok {
			f.Fatalf("%q is no number", s)
		}
		return r
	}
	for _, r := range rows {
		from := schema.Time(r.OpenTime * 1000)
		want := f.d.TruthCandles(f.symbols[0], schema.P1m, from, from+schema.Minute)
		if len(want) != 1 || r.CloseTime != r.OpenTime+59_999 {
			f.Fatalf("%+v, the market has %+v", r, want)
		}
		w := want[0]
		for _, pair := range [][2]string{
			{r.Open, w.Open}, {r.High, w.High}, {r.Low, w.Low}, {r.Close, w.Close}, {r.Volume, w.Volume},
			{r.QuoteAssetVolume, w.QuoteVolume}, {r.TakerBuyBaseAssetVolume, w.TakerBuyVolume}, {r.TakerBuyQuoteAssetVolume, w.TakerBuyQuoteVolume},
		} {
			if number(pair[0]).Cmp(number(pair[1])) != 0 {
				f.Errorf("%+v, the market has %+v", r, w)
				break
			}
		}
		if r.TradeNum != w.Trades {
			f.Errorf("%d trades, the market has %d", r.TradeNum, w.Trades)
		}
	}
}
