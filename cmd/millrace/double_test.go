package main

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

const recording = `1723161300000000000 {"stream":"btcusdt@trade","data":{"e":"trade","E":1723161300001,"s":"BTCUSDT","t":7,"p":"61837.63","q":"0.1","T":1723161300000,"m":true,"M":true}}
1723161300500000000 {"stream":"btcusdt@trade","data":{"e":"trade","E":1723161300501,"s":"BTCUSDT","t":8,"p":"61837.64","q":"0.2","T":1723161300500,"m":false,"M":true}}
`

// A recording is played to whoever subscribes, and the command ends with it.
func TestDoublePlaysARecording(t *testing.T) {
	file := filepath.Join(t.TempDir(), "frames")
	write(t, file, recording)
	role := start(t, "double", "--from", file, "--speed", "0", "--until-done", "--listen", "127.0.0.1:0")
	ws := role.log.await(t, `binance-ws=(\S+)`)
	rest := role.log.await(t, `binance-rest=(\S+)`)
	resp, err := http.Get(rest + "/api/v3/ping")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(body) != "{}" {
		t.Errorf("ping answers %q, %v", body, err)
	}
	http.DefaultClient.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, ws+"/stream?streams=btcusdt@trade", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.CloseNow(); err != nil {
			t.Log(err) // the double has closed it before
		}
	}()
	for _, id := range []string{`"t":7,`, `"t":8,`} {
		_, frame, err := conn.Read(ctx)
		if err != nil || !strings.Contains(string(frame), id) {
			t.Fatalf("got %q, %v, want %s", frame, err, id)
		}
	}
	if code := <-role.code; code != exitOK {
		t.Errorf("exit code %d, want 0", code)
	} else {
		role.code <- code
	}
}

func TestDoubleStoppedBeforeItsEnd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "frames")
	write(t, file, recording)
	code, _, errs := runTest(t, nil, "double", "--from", file, "--until-done", "--for", "100ms", "--listen", "127.0.0.1:0")
	if code != exitInterrupted || !strings.HasSuffix(errs, "millrace double: stopped before it was done\n") {
		t.Errorf("exit code %d\n%s", code, errs)
	}
	code, _, errs = runTest(t, nil, "double", "--for", "100ms", "--listen", "127.0.0.1:0")
	if code != exitOK {
		t.Errorf("a market without end, ended by --for: exit code %d\n%s", code, errs)
	}
}

func TestDoubleWithWrongInput(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "text"), "hello\n")
	write(t, filepath.Join(dir, "wrong.yaml"), "seed: 1\nfaults:\n  - kind: cat\n")
	write(t, filepath.Join(dir, "frames"), recording)
	write(t, filepath.Join(dir, "nosuch.yaml"), "faults:\n  - {kind: stall, at: 1s, symbols: [NOSUCH]}\n")
	write(t, filepath.Join(dir, "times.yaml"), "faults:\n  - {kind: rest-ban, at: 1s}\n")
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no file", []string{"--from", filepath.Join(dir, "none")}, exitUsage, "millrace double: --from: open "},
		{"no recording", []string{"--from", filepath.Join(dir, "text")}, exitFailure, "line 1"},
		{"no scenario", []string{"--scenario", filepath.Join(dir, "none")}, exitUsage, "--scenario: "},
		{"wrong scenario", []string{"--scenario", filepath.Join(dir, "wrong.yaml")}, exitUsage, `wrong.yaml:3: unknown kind "cat"`},
		{"no such symbol", []string{"--wait-for", "NOSUCH"}, exitUsage, "symbol NOSUCH is not in the market, which has BTCUSDT, ETHUSDT, "},
		{"no such symbol in the recording", []string{"--from", filepath.Join(dir, "frames"), "--wait-for", "NOSUCH"}, exitUsage, "symbol NOSUCH is in none of the recordings: they hold [BTCUSDT]"},
		{"no such symbol in the scenario", []string{"--scenario", filepath.Join(dir, "nosuch.yaml")}, exitUsage, "stall: there is no symbol NOSUCH"},
		{"a scenario without a time", []string{"--scenario", filepath.Join(dir, "times.yaml")}, exitUsage, "needs for"},
		{"a start to come", []string{"--market-start", "2999-01-01"}, exitUsage, "the market's start 2999-01-01"},
		{"no date", []string{"--market-start", "yesterday"}, exitUsage, "is neither a date"},
		{"no past", []string{"--pace", "2"}, exitUsage, "only a market with a start in the past can have a pace"},
		{"paced recording", []string{"--from", filepath.Join(dir, "text"), "--pace", "2"}, exitUsage, "not of recordings"},
		{"end before start", []string{"--market-start", "2025-05-01", "--market-until", "2025-04-01"}, exitUsage, "is not behind its start"},
		{"no end", []string{"--until-done"}, exitUsage, "a made-up market has no end"},
	} {
		code, _, errs := runTest(t, nil, append([]string{"double", "--listen", "127.0.0.1:0"}, c.args...)...)
		if code != c.code || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: exit code %d, want %d with %q:\n%s", c.name, code, c.code, c.want, errs)
		}
	}
}

// A made-up market in the past ends the command with its own end.
func TestDoubleOfAPastMarketEnds(t *testing.T) {
	scenario := filepath.Join(t.TempDir(), "cut.yaml")
	write(t, scenario, "faults:\n  - {kind: cut, at: 10s, clock: market}\n")
	code, _, errs := runTest(t, nil, "double", "--market-start", "2025-05-01", "--market-until", "2025-05-01T00:01:00Z", "--pace", "300",
		"--scenario", scenario, "--until-done", "--listen", "127.0.0.1:0")
	if code != exitOK || !strings.Contains(errs, "the market is at its end") || !strings.Contains(errs, "msg=fault role=double kind=cut") || !strings.Contains(errs, "faults=map[cut:1]") {
		t.Errorf("exit code %d\n%s", code, errs)
	}
}

// The truth is printed in the columns of the SQL table, and is the same each
// time.
func TestDoubleTruth(t *testing.T) {
	args := []string{"double", "truth", "--seed", "7", "--market-start", "2025-05-01", "--market-until", "2025-05-01T02:00:00Z", "--market-symbols", "2", "--rate", "1"}
	code, out, errs := runTest(t, nil, append(args, "--periods", "1h,1m")...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != exitOK || errs != "" || len(lines) != 2*(120+2) {
		t.Fatalf("exit code %d, %d lines\n%s", code, len(lines), errs)
	}
	if !strings.HasPrefix(lines[0], `{"symbol":"BTCUSDT","period":"1m","start_time":"2025-05-01T00:00:00Z","open":"`) || !strings.Contains(lines[121], `"period":"1h"`) ||
		!strings.Contains(lines[122], `"symbol":"ETHUSDT"`) {
		t.Errorf("%s\n%s\n%s", lines[0], lines[121], lines[122])
	}
	_, part, _ := runTest(t, nil, append(args, "--periods", "1m", "--truth-symbols", "ethusdt", "--truth-from", "2025-05-01T01:00:00Z", "--truth-to", "2025-05-01T01:10:00Z")...)
	if want := strings.Join(lines[122+60:122+70], "\n") + "\n"; part != want {
		t.Errorf("got\n%swant\n%s", part, want)
	}
	for _, c := range []struct{ args, want string }{
		{"double truth", "wanted a span of time"},
		{"double lies", `unexpected argument "lies"`},
		{"double truth --periods 7m --truth-from 2025-05-01 --truth-to 2025-05-02", "--periods: "},
		{"double truth --truth-symbols NOSUCH --truth-from 2025-05-01 --truth-to 2025-05-02", "the market has no NOSUCH"},
		{"double truth --truth-from 2025-05-02 --truth-to 2025-05-01", "wanted a span of time"},
		{"double --periods 1m", "are for millrace double truth"},
	} {
		code, out, errs := runTest(t, nil, strings.Fields(c.args)...)
		if code != exitUsage || out != "" || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: exit code %d, wanted %q:\n%s%s", c.args, code, c.want, out, errs)
		}
	}
}
