package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"millrace/ingest"
	"millrace/ingest/collect"
	"millrace/schema/schemapb"
)

// statusCase is a status of collecting at a fixed time.
type statusCase struct {
	collect.Status
}

var statusTime = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func (c *statusCase) status(t *testing.T) *ingestStatus {
	t.Helper()
	return statusFrom(&c.Status, ingest.Stats{Trades: 5000, Records: 70, Refused: 1}, statusTime)
}

func badDay() *statusCase {
	c := &statusCase{}
	c.Begun = true
	c.OpenGaps = 2
	c.Filled = 5
	c.Budget.Used, c.Budget.Cap, c.Budget.Waiting = 2900, 3000, [4]int{0, 7, 1, 0}
	c.Budget.Limited, c.Budget.BlockedUntil = 1, statusTime.Add(time.Minute)
	c.Offset, c.OffsetKnown = -120*time.Millisecond, true
	c.Connections = []collect.ConnectionStatus{
		{Symbols: 2, Up: true, Since: statusTime.Add(-2 * time.Hour)},
		{Symbols: 1, Losses: 3, Why: "read: connection reset by \x1b[2Jpeer"},
	}
	c.Connections[0].Frames = 3000
	c.Symbols = []collect.SymbolStatus{
		{Symbol: "AAAUSDT", Next: 7, Heard: statusTime.Add(-time.Second)},
		{Symbol: "BBBUSDT", Held: true, Since: statusTime.Add(-90 * time.Second), Heard: statusTime.Add(-2 * time.Second),
			Holes: []collect.HoleStatus{{First: 10, Last: 19, Since: statusTime}, {First: 30, Last: 34, Since: statusTime, Why: "too long for REST"}}},
		{Symbol: "CCCUSDT", Held: true, Since: statusTime.Add(-30 * time.Second), Silent: true},
	}
	return c
}

func TestStatusTables(t *testing.T) {
	s := badDay().status(t)
	before := *s
	before.Time = statusTime.Add(-2 * time.Second)
	before.Connections = []connectionJSON{{Frames: 2000}}
	want := `connection  up for  symbols  frames/s  lag p50  lag p99  silence  losses  renewals  last reason
         0  2h0m0s        2       500        -        -        -       0         0  -
         1    down        1         -        -        -        -       3         0  read: connection reset by ?[2Jpeer

gaps     2 open, 5 filled
weight   2900 of 3000 used in the last minute, 8 calls waiting (fill 1, history 7), 1 answer of 429, 0 of 418, blocked until 2026-05-01T12:01:00Z
clock    the exchange's is 120ms behind
log      5000 ticks in 70 records acknowledged, p50 -, p99 -; 1 refused
symbols  3, of them 2 need attention:

symbol   status   held for  heard  missing ids  what
BBBUSDT  unknown     1m30s     2s           15  2 holes, ids 30 to 34: too long for REST
… and 1 more: see them with --all
`
	if got := s.text(&before, 1); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if all := s.text(&before, 9); !strings.Contains(all, "CCCUSDT") || !strings.Contains(all, "held until it is known what was missed; silent") || strings.Contains(all, "--all") {
		t.Errorf("all of them:\n%s", all)
	}
	reasons := strings.Join(s.Reasons, "\n")
	if want := "connection 1 of 1 symbol does not stand: read: connection reset by \x1b[2Jpeer\nBBBUSDT has been held for 1m30s: 2 holes"; s.Ready || reasons != want {
		t.Errorf("reasons:\n%s\nwant:\n%s", reasons, want)
	}
}

// A symbol that isn't traded needs no attention, and is named.
func TestStatusOfRestingSymbols(t *testing.T) {
	c := badDay()
	c.Symbols = c.Symbols[:1]
	if got := c.status(t).text(c.status(t), 1); strings.Contains(got, "resting") {
		t.Errorf("got:\n%s", got)
	}
	c.Symbols[0].Status = schemapb.TradingStatus_TRADING_STATUS_BREAK
	if got := c.status(t).text(c.status(t), 1); !strings.HasSuffix(got, "\nresting  1 not traded now: AAAUSDT break\nsymbols  1, none needs attention\n") {
		t.Errorf("got:\n%s", got)
	}
}

func TestVerdict(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*statusCase)
		want   string
	}{
		"a bad day":  {func(*statusCase) {}, "not all is well: 2 gaps open, connection 1 of 1 symbol does not stand: read: connection reset by ?[2Jpeer, 1 more"},
		"all well":   {func(c *statusCase) { c.OpenGaps, c.Connections, c.Symbols = 0, c.Connections[:1], c.Symbols[:1] }, ""},
		"held a bit": {func(c *statusCase) { c.OpenGaps, c.Connections, c.Symbols = 0, c.Connections[:1], c.Symbols[2:] }, ""},
		"a gap":      {func(c *statusCase) { c.Connections, c.Symbols = c.Connections[:1], c.Symbols[:1] }, "not all is well: 2 gaps open"},
		"held long":  {func(c *statusCase) { c.OpenGaps, c.Connections = 0, c.Connections[:1] }, "not all is well: BBBUSDT has been held for 1m30s: 2 holes"},
		"beginning":  {func(c *statusCase) { *c = statusCase{}; c.Begun = false }, "not all is well: no connection has been made yet"},
		"begun in part": {func(c *statusCase) {
			c.OpenGaps, c.Connections, c.Symbols, c.Begun = 0, c.Connections[:1], nil, false
		}, "not all is well: not all connections have been made yet"},
	} {
		day := badDay()
		c.change(day)
		err := day.status(t).verdict()
		got, code := "", exitOK
		if err != nil {
			got, code = err.Error(), exitNotWhole
		}
		if got != c.want || exitCode(err) != code {
			t.Errorf("%s: %q, exit code %d, want %q", name, got, exitCode(err), c.want)
		}
	}
}

// Who answers something else is told from who doesn't answer.
func TestStatusOfAnother(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"no such page": http.NotFound,
		"no JSON":      func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"other JSON":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"a": 1}`) },
	} {
		s := httptest.NewServer(answer)
		code, out, errs := runTest(t, nil, "ingest", "status", "--url", strings.Replace(s.URL, "http://", "http://user:hidden@", 1))
		s.Close()
		if code != exitUsage || out != "" || !strings.HasPrefix(errs, "millrace ingest status: ask http://user:xxxxx@127.0.0.1:") || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: exit code %d\n%s%s", name, code, out, errs)
		}
	}
}

// A subcommand changes nothing of the command above it.
func TestIngestHelp(t *testing.T) {
	code, out, _ := runTest(t, nil, "ingest", "--help")
	for _, want := range []string{"\n  millrace ingest [SETTINGS]\n", "\n  status ", "\n  --symbols ", "/metrics"} {
		if code != exitOK || !strings.Contains(out, want) {
			t.Errorf("exit code %d, no %q in\n%s", code, want, out)
		}
	}
	for _, args := range [][]string{{"ingest", "status", "--help"}, {"help", "ingest", "status"}} {
		code, out, _ := runTest(t, nil, args...)
		for _, want := range []string{"\n  millrace ingest status [SETTINGS]\n", "\n  --url URL ", "\n  --http HOST:PORT "} {
			if code != exitOK || !strings.Contains(out, want) {
				t.Errorf("%v: exit code %d, no %q in\n%s", args, code, want, out)
			}
		}
	}
	if code, _, errs := runTest(t, nil, "ingest", "stauts"); code != exitUsage || errs != "millrace ingest: unexpected argument \"stauts\"\n" {
		t.Errorf("a word that is no command: exit code %d\n%s", code, errs)
	}
}
