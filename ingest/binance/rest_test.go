package binance

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace/schema"
)

// serve gives a client of a server that answers every call alike.
func serve(t *testing.T, status int, header http.Header, body string) *Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for k, v := range header {
			w.Header()[k] = v
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(s.Close)
	c, err := NewClient(s.URL+"/", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func recorded(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRealPages(t *testing.T) {
	ctx := context.Background()
	p, err := serve(t, 200, nil, recorded(t, "rest/aggTrades_BTCUSDT_2020-01-02.json")).AggTrades(ctx, "BTCUSDT", 202790190, 1000)
	if err != nil {
		t.Fatal(err)
	}
	want := schema.Trade{ID: 222825297, Last: 222825297, Time: schema.FromMillis(1577977823305), Price: schema.Decimal{Mantissa: 713989, Scale: 2}, Qty: schema.Decimal{Mantissa: 67023, Scale: 6}}
	if len(p.Trades) != 1000 || p.Trades[0] != want || p.FirstRow != 202790190 || p.LastRow != p.FirstRow+999 || len(p.Refused) != 0 || p.Voids != 0 {
		t.Errorf("%d trades, %+v, rows %d to %d", len(p.Trades), p.Trades[0], p.FirstRow, p.LastRow)
	}
	makers := 0
	for i, tr := range p.Trades {
		if i > 0 && tr.ID != p.Trades[i-1].Last+1 {
			t.Fatalf("hole before %d", tr.ID)
		}
		if tr.BuyerMaker {
			makers++
		}
	}
	if makers == 0 || makers == 1000 { // M is true in every row
		t.Errorf("the buyer is maker in %d of 1000", makers)
	}

	p, err = serve(t, 200, nil, recorded(t, "rest/trades_ETHBTC_2023-03-20.json")).RecentTrades(ctx, "ETHBTC", 1000)
	if err != nil {
		t.Fatal(err)
	}
	want = schema.Trade{ID: 409018748, Last: 409018748, Time: schema.FromMillis(1679280337591), Price: schema.Decimal{Mantissa: 64362, Scale: 6}, Qty: schema.Decimal{Mantissa: 158, Scale: 4}}
	if len(p.Trades) != 1000 || p.Trades[0] != want || p.LastRow != p.FirstRow+999 {
		t.Errorf("%d trades, %+v, rows %d to %d", len(p.Trades), p.Trades[0], p.FirstRow, p.LastRow)
	}

	info, err := serve(t, 200, nil, recorded(t, "rest/exchangeInfo_spot.json")).Exchange(ctx)
	if err != nil {
		t.Fatal(err)
	}
	trading := 0
	for _, s := range info.Symbols {
		if s.Symbol != s.Base+s.Quote {
			t.Errorf("%+v", s)
		}
		if s.Status == "TRADING" {
			trading++
		}
	}
	if len(info.Symbols) == 0 || trading == 0 || info.RateLimits[0] != (RateLimit{"REQUEST_WEIGHT", "MINUTE", 1, 6000}) || info.ServerTime != 1754603741167 {
		t.Errorf("%d symbols, %d trading, %+v", len(info.Symbols), trading, info.RateLimits)
	}
}

func TestPageKeepsWhatIsOdd(t *testing.T) {
	p, err := serve(t, 200, nil, `[{"a":7,"p":"0","q":"0","f":-1,"l":-1,"T":1498793709153,"m":true,"M":true},
		{"a":8,"p":"0.5","q":"4","f":5,"l":6,"T":1498793709153,"m":false,"M":true},
		{"a":9,"p":"99999999999999999999.5","q":"4","f":7,"l":7,"T":1498793709153,"m":false,"M":true}]`).AggTrades(context.Background(), "AB", 7, 3)
	if err != nil {
		t.Fatal(err)
	}
	if p.Voids != 1 || p.FirstRow != 7 || p.LastRow != 9 || len(p.Trades) != 1 || p.Trades[0].BuyerMaker || p.Trades[0].Last != 6 {
		t.Errorf("%+v", p)
	}
	if len(p.Refused) != 1 || p.Refused[0].ID != 7 || p.Refused[0].Symbol != "AB" || !errors.Is(p.Refused[0], schema.ErrOverflow) {
		t.Errorf("%v", p.Refused)
	}
	if p, err := serve(t, 200, nil, `[]`).RecentTrades(context.Background(), "AB", 3); err != nil || p.FirstRow != -1 || p.LastRow != -1 {
		t.Errorf("%+v %v", p, err)
	}
}

func TestRESTErrors(t *testing.T) {
	ctx := context.Background()
	var rows [][]json.RawMessage // path, method, query, body: as recorded
	if err := json.Unmarshal([]byte(recorded(t, "rest/error_bodies.json")), &rows); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		var want struct {
			Code int64
			Msg  string
		}
		if err := json.Unmarshal(r[3], &want); err != nil {
			t.Fatal(err)
		}
		_, err := serve(t, 400, nil, string(r[3])).ServerTime(ctx)
		var e *APIError
		if !errors.As(err, &e) || e.Code != want.Code || e.Message != want.Msg || e.Code == 0 || e.Status != 400 {
			t.Errorf("%s: %v", r[3], err)
		}
	}
	for _, status := range []int{429, 418} {
		for after, want := range map[string]time.Duration{"7": 7 * time.Second, "259200": 72 * time.Hour, "": 0, "soon": 0, "-5": 0} {
			_, err := serve(t, status, http.Header{"Retry-After": {after}}, `{"code":-1003,"msg":"Too much request weight used"}`).ServerTime(ctx)
			var e *LimitError
			if !errors.As(err, &e) || e.Status != status || e.RetryAfter != want || e.Code != -1003 {
				t.Errorf("%d %q: %v", status, after, err)
			}
			if d, ok := Limited(err); !ok || d != want {
				t.Errorf("%d %q: Limited %v %v", status, after, d, ok)
			}
		}
	}
	for name, c := range map[string]struct {
		status int
		body   string
		says   string
	}{
		"html":       {503, "<html>" + strings.Repeat("x", 100_000), "http 503"},
		"no json":    {200, "<html>", "answer"},
		"cut":        {200, `{"serverTime":14998`, "answer"},
		"wrong type": {200, `{"serverTime":"1499827319559"}`, "answer"},
		"no time":    {200, `{}`, "no plausible time"},
		"far future": {200, `{"serverTime":99999999999999999}`, "no plausible time"},
		"endless":    {200, `{"serverTime":1499827319559,"x":"` + strings.Repeat("x", maxErrorBody), "longer than"},
	} {
		_, err := serve(t, c.status, nil, c.body).ServerTime(ctx)
		if err == nil || !strings.Contains(err.Error(), c.says) || len(err.Error()) > 400 {
			t.Errorf("%s: %.500v", name, err)
		}
		if _, ok := Limited(err); ok {
			t.Errorf("%s counts as a limit", name)
		}
	}
	for _, body := range []string{`[{"price":"1","qty":"1","time":1499827319559,"isBuyerMaker":true}]`, `[{"id":1,"price":"1","qty":"1","time":1499827319559}]`} {
		if _, err := serve(t, 200, nil, body).RecentTrades(ctx, "AB", 1); !errors.Is(err, ErrField) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestRESTKlines(t *testing.T) {
	body := `[[1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","148976.11427815",1499644799999,"2434.19055334",308,"1756.87402397","28.46694368","0"]]`
	k, err := serve(t, 200, nil, body).Klines(context.Background(), "AB", schema.P1w, 0, 1)
	if err != nil || len(k) != 1 || k[0].High.String() != "0.8" || k[0].Volume.String() != "148976.11427815" || k[0].Trades != 308 || k[0].Start.Millis() != 1499040000000 {
		t.Errorf("%+v %v", k, err)
	}
	other := k[0]
	if k[0].Diff(&other) != "" {
		t.Error("a kline differs from itself")
	}
	other.Close.Mantissa++
	other.Trades++
	if d := k[0].Diff(&other); d != "close 0.015771 and 0.015772, trades 308 and 309" {
		t.Error(d)
	}
}

func TestCertificatesFromAFile(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"serverTime":` + strconv.Itoa(1499827319559) + `}`))
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of the stranger below
	s.StartTLS()
	defer s.Close()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := NewClient(s.URL, ca)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if now, err := c.ServerTime(context.Background()); err != nil || now.Millis() != 1499827319559 {
		t.Error(now, err)
	}
	stranger, err := NewClient(s.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := stranger.ServerTime(context.Background()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{empty, filepath.Join(dir, "none")} {
		if _, err := NewClient(s.URL, bad); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
	for _, bad := range []string{"", "host", "ftp://host", "https://", "https://u:secret@host", "https://host?x=1", "https://ho st"} {
		if _, err := NewClient(bad, ""); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
