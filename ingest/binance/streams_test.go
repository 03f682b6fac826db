package binance

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

func TestSubscribeKeepsTheBounds(t *testing.T) {
	for _, c := range []struct {
		n      int
		format string
		frames int
	}{{1, "S%dUSDT", 0}, {200, "S%dUSDT", 0}, {201, "S%dUSDT", 1}, {1024, "S%dUSDT", 4}, {1024, "这是测试币%dUSDT", 8}} {
		var symbols []string
		want := map[string]bool{}
		for i := range c.n {
			symbols = append(symbols, fmt.Sprintf(c.format, i))
			want[strings.ToLower(symbols[i])+"@trade"] = true
		}
		s, err := subscribe("wss://host:9443", symbols, "@trade", true)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(s.url)
		if err != nil || len(s.url) > urlBytes+100 || u.Path != "/stream" || u.Query().Get("timeUnit") != "MICROSECOND" {
			t.Fatalf("%d: url of %d bytes: %v", c.n, len(s.url), err)
		}
		for i := range len(s.url) {
			if s.url[i] >= 0x80 {
				t.Fatalf("the url is not encoded: %.200s", s.url)
			}
		}
		names := strings.Split(u.Query().Get("streams"), "/")
		if len(names) > urlStreams {
			t.Errorf("%d streams in the url", len(names))
		}
		for i, f := range s.frames {
			var m struct {
				Method string
				Params []string
				ID     int
			}
			if err := json.Unmarshal(f, &m); err != nil || m.Method != "SUBSCRIBE" || m.ID != i+1 || len(f) >= 4096 || len(m.Params) == 0 {
				t.Fatalf("frame of %d bytes: %v %.100s", len(f), err, f)
			}
			names = append(names, m.Params...)
		}
		for _, n := range names {
			if !want[n] {
				t.Errorf("%q is asked for twice or never wanted", n)
			}
			delete(want, n)
		}
		if len(want) != 0 {
			t.Errorf("%d streams are not asked for", len(want))
		}
		if len(s.frames) != c.frames {
			t.Errorf("%d of %s: %d frames", c.n, c.format, len(s.frames))
		}
	}
	if s, _ := subscribe("ws://h", []string{"A"}, "@aggTrade", false); s.url != "ws://h/stream?streams=a@aggTrade" {
		t.Error(s.url)
	}
}
