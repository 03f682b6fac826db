// Command gobinance is go-binance against a server that speaks Binance's
// protocol. It plays what the test in ../../foreign_test.go tells of, and prints
// one line of JSON for each thing that it saw.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/adshao/go-binance/v2"
	"github.com/gorilla/websocket"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := play(ctx, os.Args[1], os.Args[2], strings.ToUpper(os.Args[3]), strings.ToUpper(os.Args[4]), os.Args[5]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var printing sync.Mutex // lines come from several goroutines

func told(step string, more map[string]any) {
	printing.Lock()
	defer printing.Unlock()
	line := map[string]any{"step": step}
	for k, v := range more {
		line[k] = v
	}
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		panic(err)
	}
}

func message(event any) { told("message", map[string]any{"event": event}) }

func play(ctx context.Context, base, closing, a, b, rest string) error {
	binance.BaseWsMainURL = base + "/ws"
	binance.BaseCombinedMainURL = base + "/stream?streams="
	binance.BaseAPIMainURL = rest
	for _, part := range []struct {
		name string
		play func() error
	}{
		{"streams", func() error { return streams(ctx, a, b) }},
		{"control", func() error { return control(base+"/ws/"+strings.ToLower(a)+"@trade", a, b) }},
		{"careless", func() error { return careless(base + "/ws") }},
		{"shutdown", func() error { return shutdown(closing + "/stream?streams=" + strings.ToLower(a) + "@trade") }},
		{"rest", func() error { return calls(ctx, a) }},
	} {
		if err := part.play(); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// streams takes events by each of the library's four ways.
func streams(ctx context.Context, a, b string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	count := make(chan struct{})
	seen := func(event any) {
		message(event)
		select {
		case count <- struct{}{}:
		case <-ctx.Done():
		}
	}
	failed := func(err error) { cancel(fmt.Errorf("told by the library: %w", err)) }
	var all []func() (chan struct{}, chan struct{}, error)
	all = append(all,
		func() (chan struct{}, chan struct{}, error) {
			return binance.WsTradeServe(a, func(e *binance.WsTradeEvent) { seen(e) }, failed)
		},
		func() (chan struct{}, chan struct{}, error) {
			return binance.WsCombinedTradeServe([]string{a, b}, func(e *binance.WsCombinedTradeEvent) { seen(e) }, failed)
		},
		func() (chan struct{}, chan struct{}, error) {
			return binance.WsAggTradeServe(b, func(e *binance.WsAggTradeEvent) { seen(e) }, failed)
		},
		func() (chan struct{}, chan struct{}, error) {
			return binance.WsCombinedAggTradeServe([]string{a, b}, func(e *binance.WsAggTradeEvent) { seen(e) }, failed)
		})
	for _, serve := range all {
		done, stop, err := serve()
		if err != nil {
			return err
		}
		for range 20 {
			select {
			case <-count:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		close(stop)
		for ended := false; !ended; {
			select {
			case <-count:
			case <-done:
				ended = true
			}
		}
	}
	return nil
}

func open(url string) (*websocket.Conn, *int, error) {
	ws, err := binance.WsGetReadWriteConnection(&binance.WsConfig{Endpoint: url})
	if err != nil {
		return nil, nil, err
	}
	if err := ws.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, nil, err
	}
	pings, answer := 0, ws.PingHandler()
	ws.SetPingHandler(func(data string) error { pings++; return answer(data) })
	return ws, &pings, nil
}

// receive reads one message and gives its kind.
func receive(ws *websocket.Conn) (string, error) {
	kind, text, err := ws.ReadMessage()
	if err != nil {
		return "", err
	}
	if kind != websocket.TextMessage {
		return "", errors.New("a binary message")
	}
	message(json.RawMessage(text))
	var event struct {
		E    string `json:"e"`
		Time int64  `json:"E"` // else it would be taken for the other
		Data struct {
			E    string `json:"e"`
			Time int64  `json:"E"`
		} `json:"data"`
	}
	if err := json.Unmarshal(text, &event); err != nil {
		return "", err
	}
	return event.E + event.Data.E, nil
}

// control asks, and reads on until the server's pings have come.
func control(url, a, b string) error {
	ws, pings, err := open(url)
	if err != nil {
		return err
	}
	defer func() { _ = ws.Close() }() // it is of no more use
	for _, request := range []string{
		`{"method":"SUBSCRIBE","params":["` + strings.ToLower(b) + `@aggTrade"],"id":1}`,
		`{"method":"LIST_SUBSCRIPTIONS","id":2}`,
		`{"method":"UNSUBSCRIBE","params":["` + strings.ToLower(a) + `@trade"],"id":3}`,
		`{"method":"LIST_SUBSCRIPTIONS","id":"four"}`,
		`{"method":"JUMP","id":5}`,
	} {
		if err := ws.WriteMessage(websocket.TextMessage, []byte(request)); err != nil {
			return err
		}
		// Five messages a second are allowed, pongs among them.
		next := time.Now().Add(400 * time.Millisecond)
		for answered := false; !answered || time.Now().Before(next); {
			kind, err := receive(ws)
			if err != nil {
				return err
			}
			answered = answered || kind == ""
		}
	}
	ponged := false
	ws.SetPongHandler(func(string) error { ponged = true; return nil })
	if err := ws.WriteControl(websocket.PingMessage, []byte("x"), time.Now().Add(time.Second)); err != nil {
		return err
	}
	for *pings < 4 || !ponged {
		if _, err := receive(ws); err != nil {
			return err
		}
	}
	told("kept", map[string]any{"pings": *pings})
	return nil
}

func careless(url string) error {
	ws, _, err := open(url)
	if err != nil {
		return err
	}
	defer func() { _ = ws.Close() }() // it is of no more use
	for range 12 {
		if err := ws.WriteMessage(websocket.TextMessage, []byte(`{"method":"LIST_SUBSCRIPTIONS","id":6}`)); err != nil {
			break // it has closed already; the reader is told why
		}
	}
	return end(ws)
}

func shutdown(url string) error {
	ws, _, err := open(url)
	if err != nil {
		return err
	}
	defer func() { _ = ws.Close() }() // it is of no more use
	return end(ws)
}

// end reads until the server closes.
func end(ws *websocket.Conn) error {
	for {
		if _, err := receive(ws); err != nil {
			var closed *websocket.CloseError
			if !errors.As(err, &closed) {
				return err
			}
			told("close", map[string]any{"code": closed.Code, "reason": closed.Text})
			return nil
		}
	}
}

// calls asks REST.
func calls(ctx context.Context, a string) error {
	c := binance.NewClient("key", "")
	now, err := c.NewServerTimeService().Do(ctx)
	if err != nil {
		return fmt.Errorf("time: %w", err)
	}
	told("time", map[string]any{"event": now})
	info, err := c.NewExchangeInfoService().Do(ctx)
	if err != nil {
		return fmt.Errorf("exchangeInfo: %w", err)
	}
	told("info", map[string]any{"event": info})
	aggs, err := c.NewAggTradesService().Symbol(a).StartTime(now - 60_000).EndTime(now - 1000).Limit(50).Do(ctx)
	if err != nil {
		return fmt.Errorf("aggTrades: %w", err)
	}
	told("aggTrades", map[string]any{"event": aggs})
	if len(aggs) == 0 {
		return errors.New("no aggregates in a minute")
	}
	history, err := c.NewHistoricalTradesService().Symbol(a).FromID(aggs[0].FirstTradeID).Limit(50).Do(ctx)
	if err != nil {
		return fmt.Errorf("historicalTrades: %w", err)
	}
	told("trades", map[string]any{"event": history})
	klines, err := c.NewKlinesService().Symbol(a).Interval("1m").StartTime(now - 10*60_000).EndTime(now - 2*60_000).Limit(5).Do(ctx)
	if err != nil {
		return fmt.Errorf("klines: %w", err)
	}
	told("klines", map[string]any{"event": klines})
	_, err = c.NewKlinesService().Symbol("NOSUCH").Interval("1m").Do(ctx)
	told("refused", map[string]any{"reason": fmt.Sprint(err)})
	return nil
}
