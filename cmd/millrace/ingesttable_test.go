package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"millrace/ingest"
	"millrace/ingest/binance"
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
		{Symbols: 1, Losses: 3, Why: "read: connection reset by \x1b[2Jpeer", WhyAt: statusTime.Add(-6 * time.Second), Lost: statusTime.Add(-6 * time.Second)},
	}
	c.Connections[0].Frames, c.Connections[0].Trades = 3000, 900
	c.Calls.Outcomes = [4]int64{binance.CallOK: 100, binance.CallRefused: 1, binance.CallLimited: 1, binance.CallFailed: 41}
	c.Calls.LastGood, c.Calls.FailingSince, c.Calls.Failing = statusTime.Add(-70*time.Second), statusTime.Add(-69*time.Second), 41
	c.Calls.LastErr, c.Calls.LastErrAt = "get /api/v3/time: http \x1b502", statusTime.Add(-time.Second)
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
	before.Connections = []connectionJSON{{Frames: 2000, Trades: 400}}
	want := `connection  up for  symbols  frames/s  trades/s  lag p50  lag p99  silence  losses  renewals  last reason
         0  2h0m0s        2       500       250        -        -        -       0         0  -
         1    down        1         -         -        -        -        -       3         0  6s ago: read: connection reset by ?[2Jpeer

gaps     2 open, 5 filled
weight   2900 of 3000 used in the last minute, 8 calls waiting (fill 1, history 7), 1 answer of 429, 0 of 418, blocked until 2026-05-01T12:01:00Z
REST     has failed since 11:58:51 (41 calls): get /api/v3/time: http ?502; 42 of 143 have failed since the start, the newest answer 1m10s ago
clock    the exchange's is 120ms behind
log      5000 ticks in 70 records acknowledged, p50 -, p99 -; 1 refused
symbols  3, of them 2 need attention:

symbol   status   held for  heard  missing ids  what
BBBUSDT  unknown     1m30s     2s           15  2 holes, ids 30 to 34: can't be had: too long for REST
… and 1 more: see them with --all
`
	if got := s.text(&before, 1); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if all := s.text(&before, 9); !strings.Contains(all, "CCCUSDT") || !strings.Contains(all, "held until it is known what was missed; silent") || strings.Contains(all, "--all") {
		t.Errorf("all of them:\n%s", all)
	}
	reasons := strings.Join(s.Reasons, "\n")
	if want := "connection 1 of 1 symbol does not stand: read: connection reset by \x1b[2Jpeer\nREST has failed since 11:58:51 (41 calls), so what is missed can't be fetched: get /api/v3/time: http \x1b502\nBBBUSDT has been held for 1m30s: 2 holes"; s.Ready || reasons != want {
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
	// well leaves nothing wrong but what a case puts there.
	well := func(c *statusCase) {
		c.OpenGaps, c.Connections, c.Symbols, c.Calls.FailingSince = 0, c.Connections[:1], c.Symbols[:1], time.Time{}
	}
	lost := func(c *statusCase, ago time.Duration) {
		well(c)
		c.Connections[0].Up, c.Connections[0].Lost, c.Connections[0].Why = false, statusTime.Add(-ago), "read: EOF"
	}
	for name, c := range map[string]struct {
		change func(*statusCase)
		want   string
	}{
		"a bad day":  {func(*statusCase) {}, "not all is well: 2 gaps open, 5 ids missing that can't be had now, connection 1 of 1 symbol does not stand: read: connection reset by ?[2Jpeer, 2 more"},
		"all well":   {well, ""},
		"held a bit": {func(c *statusCase) { held := c.Symbols[2:]; well(c); c.Symbols = held }, ""},
		"a gap":      {func(c *statusCase) { well(c); c.OpenGaps = 2 }, "not all is well: 2 gaps open"},
		"held long":  {func(c *statusCase) { held := c.Symbols; well(c); c.Symbols = held }, "not all is well: 5 ids missing that can't be had now, BBBUSDT has been held for 1m30s: 2 holes"},
		"a hole": {func(c *statusCase) { lacks := c.Symbols[1:2]; well(c); c.Symbols = lacks; c.Symbols[0].Held = false },
			"not all is well: 5 ids missing that can't be had now"},
		"beginning":     {func(c *statusCase) { *c = statusCase{} }, "not all is well: no connection has been made yet"},
		"waiting":       {func(c *statusCase) { *c = statusCase{}; c.Waiting = "ask: refused" }, "not all is well: no connection has been made yet, it is tried again and again: ask: refused"},
		"begun in part": {func(c *statusCase) { well(c); c.Begun = false }, "not all is well: not all connections have been made yet"},
		"just lost":     {func(c *statusCase) { lost(c, 5*time.Second) }, ""},
		"lost for long": {func(c *statusCase) { lost(c, 5001*time.Millisecond) }, "not all is well: connection 0 of 2 symbols does not stand: read: EOF"},
		"never stood":   {func(c *statusCase) { well(c); c.Connections[0].Up = false }, "not all is well: connection 0 of 2 symbols does not stand: it is being made"},
		"REST fails":    {func(c *statusCase) { well(c); c.Calls.FailingSince = statusTime.Add(-time.Minute) }, ""},
		"for long": {func(c *statusCase) { well(c); c.Calls.FailingSince = statusTime.Add(-13 * time.Hour) },
			"not all is well: REST has failed since 2026-04-30T23:00:00Z (41 calls), so what is missed can't be fetched: get /api/v3/time: http ?502"},
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

// TestStatusOfREST: what programs read of calls, and of a hole.
func TestStatusOfREST(t *testing.T) {
	day := badDay()
	day.Symbols[1].Holes[0].Trouble = "get /api/v3/aggTrades: http 502"
	day.Symbols[1].Holes[1].Why = "longer than 9 ids: " + collect.NoDumps
	s := day.status(t)
	r := &s.REST
	if r.Errors != 42 || r.Calls["ok"] != 100 || r.Calls["refused"] != 1 || r.Calls["limited"] != 1 || r.Calls["failed"] != 41 || r.Failing != 41 ||
		r.FailingSince == nil || r.LastSuccessAt == nil || r.LastErrorAt == nil || r.LastError == "" {
		t.Errorf("%+v", r)
	}
	holes := s.Symbols[1].Holes
	if holes[0].Reason != "" || holes[0].LastError != "get /api/v3/aggTrades: http 502" || holes[1].Reason != "longer than 9 ids: no dumps are set: name them by --binance-dumps" {
		t.Errorf("%+v", holes)
	}
	if c := s.Connections[1]; c.ReasonAt == nil || !c.ReasonAt.Equal(statusTime.Add(-6*time.Second)) || s.Connections[0].ReasonAt != nil {
		t.Errorf("%+v", s.Connections)
	}
	if text := s.text(s, 9); !strings.Contains(text, "2 holes, ids 30 to 34: can't be had: longer than 9 ids: no dumps") {
		t.Errorf("the hole that can't be had is not told:\n%s", text)
	}
	s.Symbols[1].Holes = holes[:1]
	if text := s.text(s, 9); !strings.Contains(text, "1 hole, ids 10 to 19: being fetched, last error: get /api/v3/aggTrades: http 502") {
		t.Errorf("the last error is not told:\n%s", text)
	}
}

// TestStatusOfPolling: there are no frames, but answers and trades.
func TestStatusOfPolling(t *testing.T) {
	day := badDay()
	day.Connections = []collect.ConnectionStatus{{Symbols: 3, Up: true, Since: statusTime.Add(-time.Hour), Polled: true, Answered: statusTime.Add(-1500 * time.Millisecond), Trades: 900}}
	s := day.status(t)
	before := *s
	before.Time = statusTime.Add(-2 * time.Second)
	before.Connections = []connectionJSON{{Trades: 800}}
	want := "         0  1h0m0s        3         -        50        -        -     1.5s       0         0  -\n"
	if got := s.text(&before, 9); !strings.Contains(got, want) {
		t.Errorf("no %q in\n%s", want, got)
	}
	if c := s.Connections[0]; !c.Polled || c.AnswerAt == nil || c.NewestAt != nil {
		t.Errorf("%+v", c)
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
