package main

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"millrace/ingest/binance"
)

// What each kind of stream makes of the settings, and what it refuses.
func TestStreams(t *testing.T) {
	t.Chdir(t.TempDir())
	const key = "vmPUZE6mv9SD5VNHvmPUZE6mv9SD5VNH"
	write(t, "key", key+"\n")
	write(t, "pem", "-----BEGIN PRIVATE KEY-----\n"+key+"\n")
	for _, c := range []struct {
		name string
		yaml []string
		want string // of an error, a part
		ws   string
		agg  bool
		key  string
		poll bool
	}{
		{name: "by default", ws: binance.DefaultWS},
		{name: "single trades", yaml: []string{"streams: trade", "binance-ws: ws://a:1"}, ws: "ws://a:1"},
		{name: "aggregates", yaml: []string{"streams: aggTrade"}, ws: binance.DefaultWS, agg: true},
		{name: "sbe", yaml: []string{"streams: sbe", "binance-api-key-file: key"}, ws: binance.DefaultSBE, key: key},
		{name: "sbe elsewhere", yaml: []string{"streams: sbe", "binance-api-key: " + key, "binance-ws: ws://a:1/sbe"}, ws: "ws://a:1/sbe", key: key},
		{name: "rest", yaml: []string{"streams: rest"}, ws: binance.DefaultWS, poll: true},
		{name: "sbe without a key", yaml: []string{"streams: sbe"}, want: "wants an API key"},
		{name: "a key for nothing", yaml: []string{"binance-api-key: " + key}, want: "only --streams sbe takes a key"},
		{name: "a key for rest", yaml: []string{"streams: rest", "binance-api-key-file: key"}, want: "only --streams sbe takes a key"},
		{name: "a private key", yaml: []string{"streams: sbe", "binance-api-key-file: pem"}, want: "not the private key"},
		{name: "a key of two words", yaml: []string{"streams: sbe", "binance-api-key: a " + key}, want: "more than one word"},
		{name: "a proxy without a host", yaml: []string{"binance-proxy: 'http://:x/y" + key + "'"}, want: "wanted http://"},
		{name: "a wrong server", yaml: []string{"binance-rest: 'http://a?" + key + "'"}, want: "wanted https://"},
	} {
		t.Run(c.name, func(t *testing.T) {
			write(t, "x.yaml", strings.Join(append(c.yaml, "symbols: ['BTC*', 'top:3:usdt', '-*UPUSDT', ethusdt]", "weight-share: 0.25", "margin: 7ms"), "\n"))
			s, err := load(table, nil, nil, "x.yaml")
			var got binance.Config
			poll := false
			if err == nil {
				live, done, lerr := s.live(slog.New(slog.DiscardHandler))
				if err = lerr; err == nil {
					defer done()
					got, poll = live.Source, live.Poll
				}
			}
			if c.want != "" {
				if err == nil || exitCode(err) != exitUsage || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), key) && !strings.Contains(c.name, "server") {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.WS != c.ws || got.Aggregates != c.agg || got.APIKey != c.key || poll != c.poll || got.Margin.Milliseconds() != 7 {
				t.Errorf("%+v, poll %v", got, poll)
			}
			if most := got.REST.Budget().Stats().Cap; most != 1500 {
				t.Errorf("a budget of %d a minute, want a quarter of 6000", most)
			}
		})
	}
}

// Where a proxy is set, websockets and REST both go by it, and no error shows
// its login.
func TestProxyIsSet(t *testing.T) {
	s := settings{Binance: binanceSettings{Streams: streamsTrade, REST: "http://127.0.0.1:1", WS: "ws://127.0.0.1:1", Proxy: "http://me:hunter2@127.0.0.1:1", Share: 0.5}}
	cfg, err := s.Binance.source(true, 0)
	if err != nil || cfg.Proxy != "http://me:hunter2@127.0.0.1:1" {
		t.Fatalf("proxy %q, %v", cfg.Proxy, err)
	}
	if _, err := cfg.REST.ServerTime(t.Context()); err == nil || !strings.Contains(err.Error(), "proxyconnect") && !strings.Contains(err.Error(), "refused") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("by a proxy that is not there: %v", err)
	}
	if text := fmt.Sprintf("%v %+v %#v", s.Binance, s.Binance, s.Binance); strings.Contains(text, "hunter2") {
		t.Errorf("settings show %s", text)
	}
}

// Files and days are asked for by name, live symbols by pattern too.
func TestPatternsAreForLiveSymbols(t *testing.T) {
	for _, item := range []string{"*USDT", "top:3", "TOP:3:USDT", "-BTCUSDT", "!BTCUSDT"} {
		code, _, stderr := runTest(t, nil, "replay", "--symbols", item, "--days", "2024-08-08")
		if code != exitUsage || !strings.Contains(stderr, "is a pattern, a rank or an exclusion") {
			t.Errorf("replay %s: code %d, %q", item, code, stderr)
		}
	}
	for _, c := range []struct{ args, want string }{
		{"ingest --symbols BTCUSDT --streams sbe", "wants an API key"},
		{"ingest --symbols -BTCUSDT", "nothing to collect"},
		{"dev --streams rest", "name one by --binance-ws or --binance-rest"},
		{"dev --binance-rest http://127.0.0.1:1 --symbols *USDT --binance-api-key hunter2", "only --streams sbe takes a key"},
	} {
		code, _, stderr := runTest(t, nil, strings.Fields(c.args)...)
		if code != exitUsage || !strings.Contains(stderr, c.want) || strings.Contains(stderr, "hunter2") {
			t.Errorf("%s: code %d, %q", c.args, code, stderr)
		}
	}
}
