package binance

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"millrace/schema"
)

// A connection that brings frames and none of use is a wrong setting: it ends
// the source, after as many dead letters as that takes and no more.
func TestAConnectionOfNoUseEndsTheSource(t *testing.T) {
	sbe := func(ws *websocket.Conn) error {
		return ws.Write(context.Background(), websocket.MessageBinary, []byte("\x12\x00\x10\x27binary"))
	}
	json := func(ws *websocket.Conn) error {
		return ws.Write(context.Background(), websocket.MessageText, []byte(tradeOf("AB", 1, 1700000000000, 1700000000000)))
	}
	for name, c := range map[string]struct {
		cfg  Config
		send func(*websocket.Conn) error
		says string
	}{
		"JSON where SBE was asked for":       {Config{APIKey: "k"}, json, "SBE was asked for, trades in JSON came"},
		"SBE where JSON was asked for":       {Config{}, sbe, "trades in JSON was asked for, binary frames came"},
		"trades where aggregates were asked": {Config{Aggregates: true}, json, "aggregate trades in JSON was asked for, trades in JSON came"},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.WS = script(t, func(_ int, ws *websocket.Conn, _ *http.Request) {
				for c.send(ws) == nil {
				}
			})
			c.cfg.Symbols = []string{"AB"}
			out := newNotes()
			ended, _ := run(t, c.cfg, out)
			err := wait(t, ended)
			var useless *UselessError
			if !errors.As(err, &useless) || useless.Frames != garbageMost || useless.URL != c.cfg.WS || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "--streams") {
				t.Errorf("it ended with %v", err)
			}
			refused := 0
			for _, l := range out.until(t, garbageMost) {
				if strings.HasPrefix(l, "refused") {
					refused++
				}
			}
			if refused != garbageMost {
				t.Errorf("%d dead letters, want %d", refused, garbageMost)
			}
		})
	}
}

// A source that has been of use goes on: what it refuses is counted, and a later
// connection of no use is given up for the next.
func TestASourceThatWasOfUseGoesOn(t *testing.T) {
	stay := make(chan struct{})
	url := script(t, func(n int, ws *websocket.Conn, _ *http.Request) {
		if n != 2 {
			send(ws, tradeOf("AB", int64(n), 1700000000000, 1700000000000))
		}
		for range 150 {
			send(ws, "garbage")
		}
		switch n {
		case 1: // 150 are no reason to give it up
			send(ws, tradeOf("AB", 100, 1700000000000, 1700000000000))
			_ = ws.Close(websocket.StatusNormalClosure, "") // a bare cut may take the last frame with it
		case 2:
			listen(ws) // it is the client who ends it
		default:
			<-stay
		}
	})
	defer close(stay)
	cfg := Config{WS: url, Symbols: []string{"AB"}, MinPause: time.Millisecond, MaxPause: 2 * time.Millisecond}
	failed := make(chan error, 100)
	cfg.Hooks.Failed = func(err error, _ time.Duration) { failed <- err }
	cfg.Hooks.Disconnected = cfg.Hooks.Failed
	out := newNotes()
	s, err := NewSource(cfg, out)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	lines := out.until(t, 1+150+1+garbageMost+1+150)
	cancel()
	if err := wait(t, ended); err != nil {
		t.Error(err)
	}
	var trades []string
	for _, l := range lines {
		if strings.HasPrefix(l, "trade") {
			trades = append(trades, l)
		}
	}
	if got := strings.Join(trades, ", "); got != "trade AB 1, trade AB 100, trade AB 3" {
		t.Errorf("trades: %s", got)
	}
	if n := s.Counts(); n.Refused != 150+garbageMost+150 || 2*n.RecentRefused < n.Recent || n.Recent < n.RecentRefused {
		t.Errorf("counts: %+v", n)
	}
	given := false
	for len(failed) > 0 {
		var useless *UselessError
		given = errors.As(<-failed, &useless) || given
	}
	if !given {
		t.Error("the connection of no use was not given up for that")
	}
}

// What prevails is told of the last seconds alone.
func TestRecentCounts(t *testing.T) {
	const second = schema.Time(1e6)
	var c counts
	at := 1_700_000_000 * second
	bring := func(frames, refused int) {
		for n := range frames {
			c.frame(10, at)
			if n < refused {
				c.refused.Add(1)
			}
		}
	}
	recent := func(frames, refused int64) {
		t.Helper()
		if f, r := c.recent(at); f != frames || r != refused {
			t.Errorf("%d of %d frames, want %d of %d", r, f, refused, frames)
		}
	}
	recent(0, 0)
	bring(10, 10)
	recent(10, 10)
	at += 4 * second
	bring(10, 0)
	recent(20, 10)
	at += 2 * second // a step has passed: the one before it still counts
	bring(1, 0)
	recent(21, 10)
	at += 6 * second
	bring(1, 0)
	recent(2, 0)
	at += 4 * second
	recent(2, 0)
	at += 7 * second // nothing came
	recent(0, 0)
	bring(3, 1)
	recent(3, 1)
}
