package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"millrace/ingest/double"
	"millrace/internal/testenv"
)

// watched is an ingestor in this process that collects from a double.
type watched struct {
	*testing.T
	url    string // where it serves HTTP
	double *double.Double
	log    *lines

	stopDouble, stopIngest func()
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	w := &watched{T: t, log: newLines()}
	broker := testenv.StartFake(t)
	d, err := double.New(double.Config{Synthetic: double.Synthetic{Seed: 7, Symbols: 4, Rate: 10}})
	if err == nil {
		err = d.Listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	w.double = d
	w.stopDouble = w.begin(func(ctx context.Context) error { return d.Run(ctx) })
	ws, rest := d.URLs()
	args := []string{"ingest", "--kafka", broker.Brokers, "--symbols", strings.Join(d.Symbols(), ","), "--binance-ws", ws, "--binance-rest", rest, "--http", "127.0.0.1:0"}
	w.stopIngest = w.begin(func(ctx context.Context) error {
		if code := run(ctx, args, strings.NewReader(""), io.Discard, w.log, nil); code != exitOK {
			return fmt.Errorf("ingest ended with %d", code)
		}
		return nil
	})
	w.url = w.log.await(t, `url=(\S+)`)
	return w
}

// begin runs f until the function it gives is called, or the test ends.
func (w *watched) begin(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			w.Errorf("%v\n%s", err, tail(w.log.String()))
		}
	}
	w.Cleanup(stop)
	return stop
}

// get gives what is served at a path.
func (w *watched) get(ctx context.Context, path string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// scrape parses what Prometheus would get.
func (w *watched) scrape() (string, map[string]*dto.MetricFamily) {
	w.Helper()
	code, text, err := w.get(w.Context(), "/metrics")
	if err != nil || code != http.StatusOK {
		w.Fatalf("scrape: %d, %v\n%s", code, err, text)
	}
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		w.Fatalf("parse the scrape: %v\n%s", err, text)
	}
	return text, families
}

// value is that of a metric with one label of a value, or without any.
func value(f *dto.MetricFamily, label string) float64 {
	for _, m := range f.GetMetric() {
		if label == "" || len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return math.NaN()
}

// ready waits until /readyz says so.
func (w *watched) ready() {
	w.Helper()
	every(w.T, func(ctx context.Context) error {
		code, text, err := w.get(ctx, "/readyz")
		if err == nil && (code != http.StatusOK || text != "ready\n") {
			err = fmt.Errorf("readyz: %d %s", code, text)
		}
		return err
	})
}

// TestIngestIsWatched goes through a day of an ingestor: it begins, loses its
// connection, loses the exchange, and ends.
func TestIngestIsWatched(t *testing.T) {
	w := newWatched(t)
	w.ready()
	every(t, func(ctx context.Context) error { // the history's start is fetched
		code, out, errs := runTest(t, nil, "ingest", "status", "--json", "--url", w.url)
		var s ingestStatus
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			return fmt.Errorf("%w: %s%s", err, out, errs)
		}
		for _, x := range s.Symbols {
			if x.Held || len(x.Holes) > 0 {
				return fmt.Errorf("held or with holes: %+v", x)
			}
		}
		if code != exitOK || s.ClockOffset == nil || s.Connections[0].Lag.Count == 0 {
			return fmt.Errorf("exit code %d, clock offset %v: %s", code, s.ClockOffset, errs)
		}
		return nil
	})
	w.metricsAreRight()
	w.statusIsRight()
	w.frameIsRight()

	w.double.Cut()
	every(t, func(context.Context) error {
		if _, f := w.scrape(); value(f["millrace_ingest_connection_losses_total"], "0") != 1 || value(f["millrace_ingest_connection_up"], "0") != 1 {
			return fmt.Errorf("no loss is counted, or the connection does not stand again")
		}
		return nil
	})
	w.ready()

	w.stopDouble()
	every(t, func(ctx context.Context) error {
		code, text, err := w.get(ctx, "/readyz")
		if err == nil && (code != http.StatusServiceUnavailable || !strings.HasPrefix(text, "connection 0 of 4 symbols does not stand: ")) {
			err = fmt.Errorf("readyz without an exchange: %d %s", code, text)
		}
		return err
	})
	code, out, errs := runTest(t, nil, "ingest", "status", "--url", w.url)
	if code != exitNotWhole || !strings.Contains(out, "of them 4 need attention") || !strings.Contains(errs, "not all is well: connection 0 of 4 symbols does not stand") {
		t.Errorf("status without an exchange: exit code %d\n%s%s", code, out, errs)
	}

	w.stopIngest()
	code, _, errs = runTest(t, nil, "ingest", "status", "--url", w.url)
	if code != exitAway || !strings.Contains(errs, "--http 127.0.0.1:8081") || strings.Count(errs, "\n") != 1 {
		t.Errorf("status of nobody: exit code %d\n%s", code, errs)
	}
	if log := w.log.String(); !strings.Contains(log, "0 of 1 connection up") {
		t.Errorf("the last line does not tell how it stood:\n%s", tail(log))
	}
}

func (w *watched) metricsAreRight() {
	w.Helper()
	text, families := w.scrape()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		w.Errorf("promlint: %v, %v", problems, err)
	}
	descs := make(chan *prometheus.Desc, 100)
	newIngestMetrics(nil).Describe(descs)
	close(descs)
	for d := range descs {
		name := strings.Split(d.String(), `"`)[1]
		if f := families[name]; f == nil || len(f.GetMetric()) == 0 || f.GetHelp() == "" {
			w.Errorf("no %s", name)
		}
	}
	for name, want := range map[string]float64{"connection_up": 1, "connection_symbols": 4} {
		if got := value(families["millrace_ingest_"+name], "0"); got != want {
			w.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for _, s := range w.double.Symbols() {
		trades, held := value(families["millrace_ingest_symbol_received_trades_total"], s), value(families["millrace_ingest_symbol_held"], s)
		if !(trades >= 0) || held != 0 {
			w.Errorf("%s: %v trades, held %v", s, trades, held)
		}
	}
	for name, most := range map[string]float64{
		"connection_lag_seconds": 10, "acknowledgement_seconds": 10, "gap_fill_seconds": 60,
	} {
		h := families["millrace_ingest_"+name].GetMetric()[0].GetHistogram()
		below, bound := uint64(0), 0.0
		for _, b := range h.GetBucket() {
			if b.GetCumulativeCount() < below || b.GetUpperBound() <= bound {
				w.Errorf("%s: %d up to %v behind %d up to %v", name, b.GetCumulativeCount(), b.GetUpperBound(), below, bound)
			}
			below, bound = b.GetCumulativeCount(), b.GetUpperBound()
		}
		if !math.IsInf(bound, 1) || below != h.GetSampleCount() || below == 0 {
			w.Errorf("%s: the last bucket holds %d up to %v, the count is %d", name, below, bound, h.GetSampleCount())
		}
		if mean := h.GetSampleSum() / float64(h.GetSampleCount()); !(mean >= 0 && mean < most) {
			w.Errorf("%s: %v seconds in the mean", name, mean)
		}
	}
	if n := value(families["millrace_ingest_acknowledged_trades_total"], ""); n < 1000 {
		w.Errorf("%v trades acknowledged", n)
	}
	if used, limit := value(families["millrace_ingest_rest_weight_used"], ""), value(families["millrace_ingest_rest_weight_limit"], ""); !(used > 0 && used <= limit && limit == 3000) {
		w.Errorf("weight %v of %v", used, limit)
	}
	if offset := value(families["millrace_ingest_clock_offset_seconds"], ""); !(math.Abs(offset) < 1) {
		w.Errorf("the clocks are %v apart, they are one", offset)
	}
}

func (w *watched) statusIsRight() {
	w.Helper()
	code, out, errs := runTest(w.T, nil, "ingest", "status", "--url", w.url)
	if code != exitOK || errs != "" {
		w.Errorf("status: exit code %d\n%s%s", code, out, errs)
	}
	for _, want := range []string{"connection  up for  symbols  frames/s", "gaps     0 open", " of 3000 used", "clock    the exchange's is ", "symbols  4"} {
		if !strings.Contains(out, want) {
			w.Errorf("no %q in\n%s", want, out)
		}
	}
	// The same address from the setting that ingest has.
	if code, again, errs := runTest(w.T, []string{"MILLRACE_HTTP=" + strings.TrimPrefix(w.url, "http://")}, "ingest", "status", "--json"); code != exitOK || !json.Valid([]byte(again)) {
		w.Errorf("by the environment: exit code %d\n%s%s", code, again, errs)
	}
}

func (w *watched) frameIsRight() {
	w.Helper()
	_, text, err := w.get(w.Context(), "/status.json")
	var f frame
	if err == nil {
		err = json.Unmarshal([]byte(text), &f)
	}
	if err != nil {
		w.Fatal(err)
	}
	if !strings.Contains(f.Title, " · 1 of 1 connection up · 0 gaps open · weight ") {
		w.Errorf("the title is %q", f.Title)
	}
	if len(f.Stages) != 2 || f.Stages[0].Name != "tick sent to received" || f.Stages[0].Count == 0 || f.Stages[0].P99 < f.Stages[0].P50 {
		w.Errorf("stages: %+v", f.Stages)
	}
}

// TestStatusOfNothing: before anything is collected the watch says so.
func TestStatusOfNothing(t *testing.T) {
	var c statusCase
	s := c.status(t)
	if s.Ready || !slices.Equal(s.Reasons, []string{"no connection has been made yet"}) {
		t.Errorf("%v %v", s.Ready, s.Reasons)
	}
	var b bytes.Buffer
	if err := writeJSON(&b, s); err != nil {
		t.Fatal(err)
	}
	var names map[string]any
	if err := json.Unmarshal(b.Bytes(), &names); err != nil {
		t.Fatal(err)
	}
	want := []string{"clock_offset_seconds", "connections", "gaps", "log", "ready", "reasons", "rest", "symbols", "time"}
	if got := slices.Sorted(maps.Keys(names)); !slices.Equal(got, want) {
		t.Errorf("names %v, want %v", got, want)
	}
	if code := exitCode(s.verdict()); code != exitNotWhole {
		t.Errorf("exit code %d", code)
	}
}

// TestDevIsWatched: dev serves the same.
func TestDevIsWatched(t *testing.T) {
	c := spawn(t, "dev", "--rate", "10", "--market-symbols", "3", "--data", t.TempDir(), "--kafka-port", "0", "--nats-port", "0", "--http-port", "0")
	w := &watched{T: t, url: c.await(`http=(http://\S+)`)}
	w.ready()
	if _, f := w.scrape(); value(f["millrace_ingest_connection_symbols"], "0") != 3 {
		t.Errorf("connections: %v", f["millrace_ingest_connection_symbols"])
	}
	every(t, func(context.Context) error {
		if code, out, errs := runTest(t, nil, "ingest", "status", "--url", w.url); code != exitOK {
			return fmt.Errorf("exit code %d\n%s%s", code, out, errs)
		}
		return nil
	})
	c.stop()
	if out := c.out.String(); !strings.Contains(out, "1 connection up · 0 gaps open · weight ") || !strings.Contains(out, "tick sent to received p50 ") {
		t.Errorf("the frames don't tell of connections:\n%s", tail(out))
	}
}

func TestWhereToAsk(t *testing.T) {
	for _, c := range []struct{ url, http, want string }{
		{"", "", "http://127.0.0.1:8081"},
		{"", ":9000", "http://127.0.0.1:9000"},
		{"", "0.0.0.0:9000", "http://127.0.0.1:9000"},
		{"", "[::]:9000", "http://127.0.0.1:9000"},
		{"", "10.0.0.5:9000", "http://10.0.0.5:9000"},
		{"https://h/below", ":9000", "https://h/below"},
		{"h:8081", "", ""}, {"ftp://h", "", ""}, {"http://", "", ""}, {"http://h\x7f", "", ""}, {"", "127.0.0.1:0", ""},
	} {
		f := askFlags{url: c.url}
		u, err := f.base(c.http)
		if c.want == "" && exitCode(err) != exitUsage || c.want != "" && (err != nil || u.String() != c.want) {
			t.Errorf("%q, %q: %v, %v, want %q", c.url, c.http, u, err, c.want)
		}
	}
}

// TestIngestWaitsForREST: with no exchange there it stays, says so, and ends in
// good order.
func TestIngestWaitsForREST(t *testing.T) {
	w := &watched{T: t, log: newLines()}
	broker := testenv.StartFake(t)
	args := []string{"ingest", "--kafka", broker.Brokers, "--symbols", "BTCUSDT", "--binance-ws", "ws://127.0.0.1:1", "--binance-rest", "http://127.0.0.1:1", "--http", "127.0.0.1:0"}
	stop := w.begin(func(ctx context.Context) error {
		if code := run(ctx, args, strings.NewReader(""), io.Discard, w.log, nil); code != exitOK {
			return fmt.Errorf("ingest ended with %d", code)
		}
		return nil
	})
	w.url = w.log.await(t, `url=(\S+)`)
	w.log.await(t, `level=WARN .*(rest=http://127.0.0.1:1) .*connection refused`)
	every(t, func(ctx context.Context) error {
		code, text, err := w.get(ctx, "/readyz")
		if err == nil && (code != http.StatusServiceUnavailable || !strings.HasPrefix(text, "no connection has been made yet, it is tried again and again: ask the exchange for its symbols: ")) {
			err = fmt.Errorf("readyz: %d %s", code, text)
		}
		return err
	})
	if _, f := w.scrape(); !(value(f["millrace_ingest_rest_calls_total"], "failed") >= 1) || !(value(f["millrace_ingest_rest_failing_since_timestamp_seconds"], "") > 0) {
		t.Error("the metrics don't tell that REST fails")
	}
	stop()
}
