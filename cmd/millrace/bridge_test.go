package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/internal/testenv"
	"millrace/schema"
)

// started is a role running in this process.
type started struct {
	t      *testing.T
	cancel context.CancelCauseFunc
	code   chan int
	log    *lines
}

// start runs the program until stop.
func start(t *testing.T, args ...string) *started {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &started{t, cancel, make(chan int, 1), newLines()}
	go func() { s.code <- run(ctx, args, strings.NewReader(""), io.Discard, s.log, nil) }()
	t.Cleanup(func() { s.stop() })
	return s
}

// stop interrupts it, as a signal would, and gives its exit code.
func (s *started) stop() int {
	s.cancel(errInterrupted)
	code := <-s.code
	s.code <- code
	return code
}

// lines is a log that a test can wait for.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed and made anew with each write
}

func newLines() *lines { return &lines{more: make(chan struct{})} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.more)
	l.more = make(chan struct{})
	return l.text.Write(p)
}

// await waits until the log has what pattern matches and gives its first group.
func (l *lines) await(t *testing.T, pattern string) string {
	t.Helper()
	re, deadline := regexp.MustCompile(pattern), time.After(20*time.Second)
	for {
		l.mu.Lock()
		text, more := l.text.String(), l.more
		l.mu.Unlock()
		if m := re.FindStringSubmatch(text); m != nil {
			return m[len(m)-1]
		}
		select {
		case <-more:
		case <-deadline:
			t.Fatalf("the log has no %q:\n%s", pattern, text)
		}
	}
}

// candlesOn makes the topic of candles and puts one into it.
func candlesOn(t *testing.T, brokers string) {
	t.Helper()
	client, err := kafka.Connect(t.Context(), defaulted(brokers))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, nil, schema.CandlesTopic); err != nil {
		t.Fatal(err)
	}
	price, err := schema.ParseDecimal([]byte("61837.63"))
	if err != nil {
		t.Fatal(err)
	}
	c := schema.Candle{Symbol: "BTCUSDT", Period: schema.P1m, Start: 1723161300 * schema.Second,
		Figures: schema.Empty(price), Status: schema.Final, Version: schema.EmptyVersion(0, 7, schema.Final)}
	rec := &kgo.Record{Topic: schema.CandlesTopic, Key: schema.AppendCandleKey(nil, c.Symbol, c.Period, c.Start), Value: schema.AppendCandle(nil, &c)}
	if err := client.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func defaulted(brokers string) kafka.Config {
	c := kafka.Config{Brokers: []string{brokers}}
	c.EnsureDefaults()
	return c
}

func TestBridge(t *testing.T) {
	broker, server := testenv.StartFake(t), testenv.StartNATS(t)
	candlesOn(t, broker.Brokers)
	role := start(t, "bridge", "--kafka", broker.Brokers, "--nats", server.URL, "--http", "127.0.0.1:0")
	base := role.log.await(t, `serving HTTP.* url=(\S+)`)

	conn, err := nats.Connect(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), schema.CandlesBucket)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := kv.Watch(t.Context(), schema.SeriesKey(schema.P1m, "BTCUSDT"))
	if err != nil {
		t.Fatal(err)
	}
	for got := false; !got; {
		select {
		case e := <-watch.Updates():
			got = e != nil && strings.Contains(string(e.Value()), `"close":"61837.63"`)
		case <-time.After(20 * time.Second):
			t.Fatal("the candle didn't come")
		}
	}
	if err := watch.Stop(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/": "<h1>millrace bridge", "/status.json": `"title": "millrace bridge`, "/healthz": "ok",
	} {
		resp, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || !strings.Contains(string(body), want) {
			t.Errorf("%s answers %s %q, %v; want %q in it", path, resp.Status, body, err, want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	if code := role.stop(); code != exitOK {
		t.Errorf("stopped by a signal it ends with %d, want 0", code)
	}
	role.log.await(t, `msg=stopped .*why=interrupted`)
}

func TestRoleEndsByItself(t *testing.T) {
	broker, server := testenv.StartFake(t), testenv.StartNATS(t)
	candlesOn(t, broker.Brokers)
	code, _, errs := runTest(t, nil, "bridge", "--kafka", broker.Brokers, "--nats", server.URL, "--for", "200ms", "--log-format", "json")
	if code != exitOK || !strings.Contains(errs, `"why":"the set time has passed"`) {
		t.Errorf("exit code %d\n%s", code, errs)
	}
}

func TestBridgeWithWhatItNeedsAway(t *testing.T) {
	broker, server := testenv.StartFake(t), testenv.StartNATS(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	candlesOn(t, broker.Brokers)
	nobody := "127.0.0.1:1"
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no NATS", []string{"--nats", "nats://" + nobody, "--kafka", broker.Brokers}, exitAway, "no nats at nats://127.0.0.1:1"},
		{"no Kafka", []string{"--nats", server.URL, "--kafka", nobody}, exitAway, "127.0.0.1:1"},
		{"port taken", []string{"--nats", server.URL, "--kafka", broker.Brokers, "--http", l.Addr().String()}, exitAway, "address already in use"},
		{"password without a user", []string{"--nats-password", "hunter2"}, exitUsage, "a password without a user"},
		{"no such file", []string{"--nats", server.URL, "--nats-ca", "nowhere.pem"}, exitUsage, "nowhere.pem"},
	} {
		code, _, errs := runTest(t, nil, append([]string{"bridge"}, c.args...)...)
		last := errs[strings.LastIndexByte(strings.TrimRight(errs, "\n"), '\n')+1:]
		if code != c.code || !strings.HasPrefix(last, "millrace bridge: ") || !strings.Contains(last, c.want) || strings.Contains(errs, "hunter2") {
			t.Errorf("%s: exit code %d, want %d, with %q in:\n%s", c.name, code, c.code, c.want, errs)
		}
	}
}
