package collect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millrace/ingest/binance"
	"millrace/ingest/double"
	"millrace/schema/schemapb"
)

// marketOf gives a Live that would collect items of an exchange with these symbols,
// of which a request that names another one is refused as a whole.
func marketOf(t *testing.T, statuses map[string]string, items ...string) (l *Live, warnings *bytes.Buffer, calls *atomic.Int64) {
	t.Helper()
	calls = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		var names []string
		if one := r.URL.Query().Get("symbol"); one != "" {
			names = []string{one}
		} else if many := r.URL.Query().Get("symbols"); many != "" {
			if err := json.Unmarshal([]byte(many), &names); err != nil {
				t.Error(err)
			}
		} else {
			names = sortedKeys(statuses)
		}
		var info, day []string
		for _, name := range names {
			if statuses[name] == "" {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = fmt.Fprint(w, `{"code":-1121,"msg":"Invalid symbol."}`)
				return
			}
			info = append(info, fmt.Sprintf(`{"symbol":%q,"status":%q,"baseAsset":"A","quoteAsset":"USDT"}`, name, statuses[name]))
			day = append(day, fmt.Sprintf(`{"symbol":%q,"lastPrice":"1","quoteVolume":"1","count":1,"firstId":1,"lastId":1}`, name))
		}
		switch {
		case strings.HasSuffix(r.URL.Path, "exchangeInfo"):
			_, _ = fmt.Fprintf(w, `{"serverTime":1700000000000,"symbols":[%s]}`, strings.Join(info, ","))
		case r.URL.Query().Get("symbol") != "":
			_, _ = fmt.Fprint(w, day[0])
		default:
			_, _ = fmt.Fprintf(w, "[%s]", strings.Join(day, ","))
		}
	}))
	t.Cleanup(s.Close)
	client, err := binance.NewClient(s.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	chosen, err := binance.ParseSelection(items)
	if err != nil {
		t.Fatal(err)
	}
	warnings = new(bytes.Buffer)
	return &Live{Source: binance.Config{REST: client}, Select: chosen,
		Log: slog.New(slog.NewTextHandler(warnings, &slog.HandlerOptions{Level: slog.LevelWarn}))}, warnings, calls
}

func TestNamesThatTheExchangeDoesNotHave(t *testing.T) {
	l, _, calls := marketOf(t, map[string]string{"BTCUSDT": "TRADING", "ETHUSDT": "TRADING"}, "FOO", "BTCUSDT", "BAR", "ETHUSTD")
	_, err := l.market(t.Context())
	var unknown *binance.UnknownError
	if !errors.As(err, &unknown) || err.Error() != "symbols: unknown to the exchange: BAR, ETHUSTD (did you mean ETHUSDT?), FOO" {
		t.Errorf("%v", err)
	}
	if n := calls.Load(); n > 4 {
		t.Errorf("%d calls", n)
	}
}

func TestWhatBringsNothingIsTold(t *testing.T) {
	for items, want := range map[string][]string{
		"BTCUSDT":                 nil,
		"*":                       nil, // a pattern takes what rests without a word
		"BTCUSDT,OLDUSDT,WAITUSD": {`level=WARN msg="symbols are not traded now; they are watched, and collected once they are" symbols="[OLDUSDT BREAK WAITUSD PRE_TRADING]"`},
		"BTC*,NOPE*":              {`level=WARN msg="no symbol of the exchange matches now; one that is listed later will" items=[NOPE*]`},
	} {
		l, warnings, _ := marketOf(t, map[string]string{"BTCUSDT": "TRADING", "OLDUSDT": "BREAK", "WAITUSD": "PRE_TRADING"}, strings.Split(items, ",")...)
		m, err := l.market(t.Context())
		if err != nil {
			t.Errorf("%s: %v", items, err)
			continue
		}
		lines := slices.Collect(strings.Lines(warnings.String()))
		if len(lines) != len(want) {
			t.Errorf("%s: %q", items, lines)
		}
		for i := range min(len(lines), len(want)) {
			if !strings.Contains(lines[i], want[i]) {
				t.Errorf("%s: %q, wanted %q", items, lines[i], want[i])
			}
		}
		if slices.Contains(m.names, "OLDUSDT") != (items != "BTCUSDT" && items != "BTC*,NOPE*") || m.status("OLDUSDT") == schemapb.TradingStatus_TRADING_STATUS_TRADING {
			t.Errorf("%s: chosen are %v, OLDUSDT is %v", items, m.names, m.status("OLDUSDT"))
		}
	}
}

// TestANameVanishes: the exchange drops a symbol that was chosen by its name,
// and refuses from then on each request that names it. The others go on.
func TestANameVanishes(t *testing.T) {
	t.Parallel()
	b := newBench(t, faulty(300, 8,
		double.Fault{Kind: "delist", At: 12 * time.Second, Market: true, Symbols: []string{"XRPUSDT"}},
	))
	c := b.collect(func(l *Live) { l.RefreshEvery = 300 * time.Millisecond })
	has := func(name string) bool {
		return slices.ContainsFunc(c.Status().Symbols, func(s SymbolStatus) bool { return s.Symbol == name })
	}
	b.until("both are there", func() bool { return has("XRPUSDT") && has("ETHUSDT") })
	b.until("the one that vanished is not collected any more", func() bool { return !has("XRPUSDT") })
	before := c.Trades()
	b.until("the others go on", func() bool { return c.Trades() > before+300 })
	if s := c.Status().Connections[0]; s.Losses != 0 {
		t.Errorf("%d losses: %s", s.Losses, s.Why)
	}
	c.stop()
	b.kept(b.log(), false)
}

// TestTheOnlyNameVanishes: so does the only symbol of a connection, which needs
// one. The collector goes on, and tells that it is gone.
func TestTheOnlyNameVanishes(t *testing.T) {
	t.Parallel()
	b := newBench(t, faulty(50, 2, double.Fault{Kind: "delist", At: 12 * time.Second, Market: true, Symbols: []string{"BTCUSDT"}}))
	c := b.collect(func(l *Live) { l.RefreshEvery, l.Select = 300*time.Millisecond, selected(t, "BTCUSDT") })
	b.until("it is told as gone", func() bool {
		s := c.Status().Symbols
		return len(s) == 1 && s[0].Status == schemapb.TradingStatus_TRADING_STATUS_DELISTED
	})
	c.stop()
	b.kept(b.log(), false)
}

// TestAnAnswerWithoutSymbols: what stands before the exchange answers with
// nonsense for a while, in JSON. Nothing is dropped, and it is told.
func TestAnAnswerWithoutSymbols(t *testing.T) {
	t.Parallel()
	b := newBench(t, double.Config{Synthetic: recent(100, 6)})
	_, rest := b.double.URLs()
	there, err := url.Parse(rest)
	if err != nil {
		t.Fatal(err)
	}
	var answer atomic.Pointer[string]
	pass := httputil.NewSingleHostReverseProxy(there)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if text := answer.Load(); text != nil && strings.HasSuffix(r.URL.Path, "exchangeInfo") {
			_, _ = fmt.Fprint(w, *text)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	defer front.Close()
	log := &heard{}
	c := b.collect(func(l *Live) {
		l.RefreshEvery, l.Log = time.Second, log.log()
		if l.Source.REST, err = binance.NewClient(front.URL, ""); err != nil {
			t.Fatal(err)
		}
	})
	b.settled(c)
	for text, told := range map[string]string{
		`{}`: "it has no symbols",
		`{"serverTime":1,"symbols":[{"symbol":"BTCUSDT","status":"TRADING"},{"symbol":"ETHUSDT","status":"TRADING"}]}`: "lacks 4 of the 6 that are collected",
	} {
		answer.Store(&text)
		b.until(told, func() bool { return log.count(told) > 0 })
		answer.Store(nil)
		if s := c.Status(); len(s.Symbols) != 6 {
			t.Errorf("%s: %d symbols are left", text, len(s.Symbols))
		}
	}
	if n := log.count("gone"); n > 0 {
		t.Errorf("%d symbols are told as gone", n)
	}
}
