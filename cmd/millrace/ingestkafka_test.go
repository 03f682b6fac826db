package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/ingest"
	"millrace/ingest/collect"
	"millrace/ingest/double"
	"millrace/internal/testenv"
)

// away is what an ingestor has waiting when Kafka has been away for so long.
func away(d time.Duration, trades int64) ingest.Waiting {
	return ingest.Waiting{Trades: trades, Records: trades/10 + 1, Oldest: d, Silence: d}
}

func TestKafkaReason(t *testing.T) {
	slow := away(12*time.Second, 34210)
	slow.Silence = time.Second
	full := away(12*time.Second, 34210)
	full.Full, full.Why = true, errors.New("dial tcp: refused")
	for want, w := range map[string]ingest.Waiting{
		"": away(4*time.Second, 34210),
		"Kafka has not acknowledged anything for 12s: 34,210 trades wait":                                                           away(12*time.Second, 34210),
		"Kafka has not acknowledged anything for 5s: 1 trade waits":                                                                 away(5*time.Second, 1),
		"Kafka has not acknowledged anything for 1m0s: 1 record waits":                                                              away(time.Minute, 0),
		"Kafka is behind with its acknowledgements: the oldest of 34,210 trades has waited for 12s":                                 slow,
		"Kafka has not acknowledged anything for 12s: 34,210 trades wait, and no more are taken until some are (dial tcp: refused)": full,
		"Kafka has not acknowledged anything for 12s: 1,234,567 trades wait":                                                        away(12*time.Second, 1234567),
	} {
		if got := kafkaReason(&w); got != want {
			t.Errorf("%+v: %q, want %q", w, got, want)
		}
	}
	c := collect.Status{Begun: true, Connections: []collect.ConnectionStatus{{Symbols: 1, Up: true}}}
	for _, w := range []ingest.Waiting{away(4*time.Second, 7), away(6*time.Second, 7)} {
		s := statusFrom(&c, ingest.Stats{Waiting: w}, statusTime)
		if ready := w.Oldest < kafkaLate; s.Ready != ready || s.Log.Waiting.Trades != 7 || s.Log.Waiting.Oldest != w.Oldest.Seconds() {
			t.Errorf("%+v: %v %v %+v", w, s.Ready, s.Reasons, s.Log)
		}
		if text := s.text(s, 9); !strings.Contains(text, fmt.Sprintf("; 7 ticks in 1 record not acknowledged, the oldest for %v\n", w.Oldest)) {
			t.Errorf("the table:\n%s", text)
		}
	}
}

// A connection whose newest frames were mostly refused is not ready; some that
// were are no reason.
func TestRefusalsPrevail(t *testing.T) {
	c := collect.Status{Begun: true, Connections: []collect.ConnectionStatus{{Symbols: 1, Up: true}, {Symbols: 1, Up: true}, {Symbols: 1, Up: true}}}
	c.Connections[0].Recent, c.Connections[0].RecentRefused = 100, 50
	c.Connections[1].Recent, c.Connections[1].RecentRefused = 100, 51
	s := statusFrom(&c, ingest.Stats{}, statusTime)
	if got, want := strings.Join(s.Reasons, "\n"), "connection 1 brings what cannot be used: 51 of its newest 100 frames were refused; see the dead letters"; s.Ready || got != want {
		t.Errorf("reasons: %q, want %q", got, want)
	}
}

// One line when it begins, one when nothing more is taken, one when it is over.
func TestKafkaIsToldOnce(t *testing.T) {
	var out bytes.Buffer
	k := kafkaTeller{log: slog.New(slog.NewTextHandler(&out, nil))}
	for range 2 {
		for s := range time.Duration(60) {
			w := away(s*time.Second, 1000)
			w.Full = s > 30
			k.look(&w)
		}
		for range 5 {
			k.look(&ingest.Waiting{})
		}
	}
	want := []string{`WARN msg="Kafka has not acknowledged anything for 5s: `, `WARN msg="nothing more is taken until Kafka acknowledges: `, `INFO msg="Kafka acknowledges again" after=59s`}
	n := 0
	for line := range strings.Lines(out.String()) {
		if !strings.Contains(line, "level="+want[n%len(want)]) {
			t.Errorf("line %d: %s", n, line)
		}
		n++
	}
	if n != 2*len(want) {
		t.Errorf("%d lines", n)
	}
}

// startDouble serves a made-up market until the test ends.
func startDouble(t *testing.T, rate float64) *double.Double {
	t.Helper()
	d, err := double.New(double.Config{Synthetic: double.Synthetic{Seed: 7, Symbols: 4, Rate: rate}})
	if err == nil {
		err = d.Listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return d
}

// Kafka goes away: the ingestor is no longer ready and says why. Then it is told
// to end, and says within its bound what is not in the log.
func TestKafkaAway(t *testing.T) {
	broker := testenv.StartFake(t)
	d := startDouble(t, 50)
	ws, rest := d.URLs()
	c := spawn(t, "ingest", "--kafka", broker.Brokers, "--symbols", strings.Join(d.Symbols(), ","), "--binance-ws", ws, "--binance-rest", rest, "--http", "127.0.0.1:0")
	w := &watched{T: t, url: c.await(`url=(\S+)`)}
	w.ready()
	broker.Close()
	every(t, func(ctx context.Context) error {
		code, text, err := w.get(ctx, "/readyz")
		if err == nil && (code != http.StatusServiceUnavailable || !strings.HasPrefix(text, "Kafka has not acknowledged anything for ") || !strings.Contains(text, " wait (") || !strings.Contains(text, "refused")) {
			err = fmt.Errorf("readyz without Kafka: %d %s", code, text)
		}
		return err
	})
	_, f := w.scrape()
	if oldest, trades := value(f["millrace_ingest_oldest_unacknowledged_seconds"], ""), value(f["millrace_ingest_unacknowledged_trades"], ""); !(oldest >= 5 && oldest < 60) || !(trades > 0) {
		t.Errorf("%v trades wait, the oldest for %v s", trades, oldest)
	}
	if code, out, errs := runTest(t, nil, "ingest", "status", "--url", w.url); code != exitNotWhole || !strings.Contains(out, " not acknowledged, the oldest for ") || !strings.Contains(errs, "not all is well: Kafka has not acknowledged anything for ") {
		t.Errorf("status: exit code %d\n%s%s", code, out, errs)
	}
	c.await(`WARN msg="Kafka has not acknowledged`)
	before := time.Now()
	c.signal()
	code, took := c.code(), time.Since(before)
	if last := c.lastLine(); code != exitAway || took > 15*time.Second || !strings.Contains(last, " trades were not acknowledged by Kafka at "+broker.Brokers+" within 10s of the end") {
		t.Errorf("it took %v and ended with %d: %s", took, code, last)
	}
	if n := strings.Count(c.log.String(), `WARN msg="Kafka has not acknowledged`); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// Settings that can't be: what the server sends is not what was asked for, and a
// data folder that is none, found out before anything else.
func TestIngestRefuses(t *testing.T) {
	broker := testenv.StartFake(t)
	d := startDouble(t, 2000)
	ws, rest := d.URLs()
	key := filepath.Join(t.TempDir(), "key")
	write(t, key, "any")
	for _, r := range []refusal{
		{"JSON where SBE was asked for", []string{"ingest", "--kafka", broker.Brokers, "--symbols", d.Symbols()[0], "--streams", "sbe", "--binance-api-key-file", key, "--binance-ws", ws, "--binance-rest", rest},
			exitUsage, "all of the first 100 frames from " + ws + " were refused: SBE was asked for, trades in JSON came"},
		{"a data folder that is a file", []string{"ingest", "--kafka", "127.0.0.1:1", "--symbols", "BTCUSDT", "--data", key}, exitUsage, "choose another with --data"},
	} {
		r.check(t)
	}
}
