package double

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"millrace/schema"
)

// quiet is a market in which nothing happens while a test looks.
func quiet(flat bool) Config {
	return Config{Synthetic: Synthetic{Symbols: 2}, FlatErrors: flat, Now: func() schema.Time { return origin + 5*schema.Minute }}
}

func TestControlAnswersVerbatim(t *testing.T) {
	const invalid = `{"error":{"code":2,"msg":"Invalid request: invalid stream"},"id":2}`
	const idError = `{"error":{"code":2,"msg":"Invalid request: request ID must be an unsigned integer"},"id":null}`
	d := start(t, quiet(false))
	// Five messages a second are allowed: each group has a connection of its own.
	for _, group := range [][][2]string{
		{
			{`{ "method": "SUBSCRIBE",   "params": ["btcusdt@aggTrade", "btcusdt@depth"], "id": 1 }`, `{"result":null,"id":1}`},
			{`{ "method": "UNSUBSCRIBE", "params": ["btcusdt@depth"], "id": 312 }`, `{"result":null,"id":312}`},
			{`{ "method": "LIST_SUBSCRIPTIONS", "id": 3 }`, `{"result":["btcusdt@aggTrade"],"id":3}`},
			{`{ "method": "SET_PROPERTY", "params": ["combined", true], "id": 5 }`, `{"result":null,"id":5}`},
			{`{ "method": "GET_PROPERTY", "params": ["combined"], "id": 2 }`, `{"result":true,"id":2}`},
		}, {
			{`{"id":2,"method":"GET_PROPERTY","params":["combined"]}`, `{"result":false,"id":2}`},
			{`{"method":"SUBSCRIBE","params":["nosuch@trade","btcusdt@trade","btcusdt@trade"],"id":"a1"}`, `{"result":null,"id":"a1"}`},
			{`{"method":"LIST_SUBSCRIPTIONS","id":null}`, `{"result":["nosuch@trade","btcusdt@trade"],"id":null}`},
			{`{"method":"UNSUBSCRIBE","params":["never@trade"],"id":-7}`, `{"result":null,"id":-7}`},
			{`{"method":"LIST_SUBSCRIPTIONS"}`, `{"result":["nosuch@trade","btcusdt@trade"],"id":null}`},
		}, {
			{`{"method":"SUBSCRIBE","params":["btcusdt"],"id":2}`, invalid},
			{`{"method":"SUBSCRIBE","params":[],"id":2}`, invalid},
			{`{"method":"SUBSCRIBE","id":2}`, invalid},
			{`{"method":"SUBSCRIBE","params":[7],"id":2}`, invalid},
			{`{"method":"SUBSCRIBE","params":"btcusdt@trade","id":2}`, invalid},
		}, {
			{`{"method":"LIST_SUBSCRIPTIONS","id":1.5}`, idError},
			{`{"method":"LIST_SUBSCRIPTIONS","id":"` + strings.Repeat("a", 37) + `"}`, idError},
			{`{"method":"LIST_SUBSCRIPTIONS","id":[1]}`, idError},
			{`{"params":["btcusdt@trade"]}`, "{\"error\":{\"code\":2,\"msg\":\"Invalid request: missing field `method`\"},\"id\":null}"},
			{`{"method":"JUMP","id":9}`, "{\"error\":{\"code\":2,\"msg\":\"Invalid request: unknown variant `JUMP`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY` at line 1 column 16\"},\"id\":9}"},
		}, {
			{`{"method":"SET_PROPERTY","params":["combined",1],"id":5}`, `{"error":{"code":1,"msg":"Invalid value type: expected Boolean"},"id":5}`},
			{`{"method":"SET_PROPERTY","params":["speed",true],"id":5}`, `{"error":{"code":0,"msg":"Unknown property"},"id":5}`},
			{`{"method":"GET_PROPERTY","params":[true],"id":5}`, `{"error":{"code":2,"msg":"Invalid request: property name must be a string"},"id":5}`},
			{`{"method":"GET_PROPERTY","params":["combined",true],"id":5}`, `{"error":{"code":2,"msg":"Invalid request: too many parameters"},"id":5}`},
			{"{\n\"method\":oops}", `{"error":{"code":3,"msg":"Invalid JSON: expected value at line 2 column 10"},"id":null}`},
		},
	} {
		ws := dial(t, d, "/ws")
		for _, c := range group {
			if got := say(t, ws, c[0]); got != c[1] {
				t.Errorf("%s\n got %s\nwant %s", c[0], got, c[1])
			}
		}
		_ = ws.CloseNow()
	}
	if got := say(t, dial(t, d, "/stream"), `{"method":"GET_PROPERTY","params":["combined"],"id":1}`); got != `{"result":true,"id":1}` {
		t.Error(got)
	}
	flat := start(t, quiet(true))
	ws := dial(t, flat, "/ws")
	if got := say(t, ws, `{"id":7}`); got != "{\"code\":2,\"msg\":\"Invalid request: missing field `method` at line 1 column 8\",\"id\":7}" {
		t.Error(got)
	}
}

func TestTooManySubscriptions(t *testing.T) {
	d := start(t, quiet(false))
	var names []string
	for i := range 1020 {
		names = append(names, fmt.Sprintf("s%d@trade", i))
	}
	ws := dial(t, d, "/stream?streams="+strings.Join(names, "/"))
	if got := say(t, ws, `{"method":"SUBSCRIBE","params":["a@trade","b@trade","c@trade","d@trade","e@trade"],"id":19}`); got != `{"error":{"code":4,"msg":"Too many subscriptions"},"id":19}` {
		t.Error(got)
	}
	if got := say(t, ws, `{"method":"SUBSCRIBE","params":["a@trade","b@trade","c@trade","d@trade"],"id":20}`); got != `{"result":null,"id":20}` {
		t.Error(got)
	}
}

// closing reads until the connection ends, and gives the close code.
func closing(t *testing.T, ws *websocket.Conn) websocket.StatusCode {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		if _, _, err := ws.Read(ctx); err != nil {
			if ctx.Err() != nil {
				t.Fatal("the connection was not closed")
			}
			return websocket.CloseStatus(err)
		}
	}
}

func TestCarelessClientsAreClosed(t *testing.T) {
	d := start(t, quiet(false))
	ws := dial(t, d, "/ws")
	for range 12 {
		if ws.Write(context.Background(), websocket.MessageText, []byte(`{"method":"LIST_SUBSCRIPTIONS","id":1}`)) != nil {
			break
		}
	}
	if code := closing(t, ws); code != websocket.StatusPolicyViolation {
		t.Errorf("too many messages: close code %d", code)
	}
	ws = dial(t, d, "/ws")
	if err := ws.Write(context.Background(), websocket.MessageText, []byte(`{"id":1,"x":"`+strings.Repeat("x", maxControl)+`"}`)); err != nil {
		t.Fatal(err)
	}
	if code := closing(t, ws); code != illegalStatus {
		t.Errorf("a large message: close code %d", code)
	}
}

func TestPongIsDemanded(t *testing.T) {
	cfg := quiet(false)
	cfg.PingEvery, cfg.PongTimeout = 20*time.Millisecond, 100*time.Millisecond
	d := start(t, cfg)
	base, _ := d.URLs()
	for _, answers := range []bool{true, false} {
		pings := make(chan struct{}, 100)
		ws, _, err := websocket.Dial(context.Background(), base+"/ws", &websocket.DialOptions{OnPingReceived: func(context.Context, []byte) bool {
			pings <- struct{}{}
			return answers
		}})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { _, _, _ = ws.Read(context.Background()); close(ended) }()
		// One ping is answered or not; the fifth within a second is too much
		// from the client, so only few are looked at.
		<-pings
		if answers {
			<-pings
		} else {
			await(t, "the server to give up", ended)
		}
		_ = ws.CloseNow()
		<-ended
	}
}

func TestBadStreamPaths(t *testing.T) {
	d := start(t, quiet(false))
	_, rest := d.URLs()
	for path, want := range map[string]int{"/ws/btcusdt": 400, "/stream?streams=a@trade/b": 400, "/ws/btcusdt@trade": 426, "/nothing": 404, "/api/v3/nothing": 404} {
		resp, err := http.Get(rest + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}

func TestFormsOfATrade(t *testing.T) {
	e := event{symbol: "BNBBTC", e: 1672515782136000, trade: schema.Trade{ID: 12345, Last: 12350, Time: 1672515782136789,
		Price: schema.Decimal{Mantissa: 1, Scale: 3}, Qty: schema.Decimal{Mantissa: 100}, BuyerMaker: true}}
	for want, got := range map[string][]byte{
		`{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.00100000","q":"100.00000000","T":1672515782136,"m":true,"M":true}`:                                        appendEvent(nil, &e, false, false),
		`{"stream":"bnbbtc@trade","data":{"e":"trade","E":1672515782136000,"s":"BNBBTC","t":12345,"p":"0.00100000","q":"100.00000000","T":1672515782136789,"m":true,"M":true}}`: appendEvent(nil, &e, true, true),
		`{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":7,"p":"0.00100000","q":"100.00000000","f":12345,"l":12350,"T":1672515782136,"m":true,"M":true}`:                     appendEvent(nil, &event{symbol: e.symbol, e: e.e, trade: e.trade, aggregate: true, aggID: 7}, false, false),
		`0.00000001|12345678.90000000|0.00000000|0.12345678|9223372036854775807|0.1234567891`: []byte(strings.Join([]string{
			string(appendDecimal(nil, schema.Decimal{Mantissa: 1, Scale: 8})), string(appendDecimal(nil, schema.Decimal{Mantissa: 123456789, Scale: 1})),
			string(appendDecimal(nil, schema.Decimal{})), string(appendDecimal(nil, schema.Decimal{Mantissa: 12345678, Scale: 8})),
			string(appendDecimal(nil, schema.Decimal{Mantissa: 1<<63 - 1})), string(appendDecimal(nil, schema.Decimal{Mantissa: 1234567891, Scale: 10}))}, "|")),
	} {
		if string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
