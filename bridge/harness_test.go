package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/internal/testenv"
	"millrace/schema"
)

const partitions = 4

// harness is a Kafka, a NATS and what a test knows of them.
type harness struct {
	t        testing.TB
	brokers  string
	nats     *testenv.NATS
	topic    string
	producer *kgo.Client
	ends     map[int32]int64
	logs     *lines
}

func newHarness(t testing.TB) *harness {
	t.Helper()
	return newHarnessOn(t, testenv.StartFake(t).Brokers)
}

func newHarnessOn(t testing.TB, brokers string) *harness {
	t.Helper()
	h := &harness{t: t, brokers: brokers, nats: testenv.StartNATS(t), logs: &lines{}}
	h.newTopic()
	var err error
	if h.producer, err = kgo.NewClient(kgo.SeedBrokers(h.brokers), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.producer.Close)
	return h
}

func (h *harness) newTopic() {
	h.topic = testenv.NewTopic(h.t, h.brokers, partitions, map[string]string{"cleanup.policy": "compact,delete"})
	h.ends = map[int32]int64{}
}

func (h *harness) config() Config {
	return Config{
		Kafka: kafka.Config{Brokers: []string{h.brokers}},
		NATS:  NATS{URLs: []string{h.nats.URL}},
		Topic: h.topic, RoundEvery: time.Millisecond, AnswerWait: 5 * time.Second,
		Log: slog.New(slog.NewTextHandler(h.logs, nil)),
	}
}

// lines keeps what was logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// running is a bridge that runs.
type running struct {
	*Bridge
	h      *harness
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func (h *harness) start(c Config) *running {
	h.t.Helper()
	b, err := New(c)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := b.Open(h.ctx()); err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Bridge: b, h: h, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = b.Run(ctx)
	}()
	h.t.Cleanup(func() {
		r.cancel()
		<-r.done
		b.Close()
	})
	return r
}

// stop ends a bridge as a signal does.
func (r *running) stop() {
	r.h.t.Helper()
	r.cancel()
	<-r.done
	if r.err != nil {
		r.h.t.Errorf("run: %v", r.err)
	}
	r.Close()
}

// kill ends it without a chance to confirm or to store anything.
func (r *running) kill() {
	r.conn.Close()
	r.cancel()
	<-r.done
	r.Close()
}

// settled waits until everything produced so far is in NATS.
func (r *running) settled() {
	r.h.t.Helper()
	if err := r.CaughtUp(r.h.ctx(), r.h.ends); err != nil {
		r.h.t.Fatalf("%v; run: %v; log:\n%s", err, r.err, r.h.logs)
	}
}

func (h *harness) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	h.t.Cleanup(cancel)
	return ctx
}

// candle makes one of symbol's minute that starts n minutes after an epoch.
func candle(symbol string, p schema.Period, n, trades int64, s schema.Status) schema.Candle {
	d := func(m int64) schema.Decimal { return schema.Decimal{Mantissa: m, Scale: 2} }
	c := schema.Candle{
		Symbol: symbol, Period: p, Start: 1_700_000_040*schema.Second + schema.Time(n)*schema.Minute,
		Status: s, Version: schema.TradesVersion(0, trades, s),
		Received: schema.FromStd(time.Now()), Committed: schema.FromStd(time.Now()),
	}
	c.Trades, c.First, c.Last = trades, 100*n, 100*n+trades-1
	c.Open, c.High, c.Low, c.Close = d(100), d(100+trades), d(100), d(100+trades)
	return c
}

// produce writes candles to the partitions of their symbols, in order.
func (h *harness) produce(list ...schema.Candle) {
	h.t.Helper()
	records := make([]*kgo.Record, len(list))
	for i := range list {
		c := &list[i]
		records[i] = &kgo.Record{
			Topic: h.topic, Partition: schema.Partition(c.Symbol, partitions),
			Key: schema.AppendCandleKey(nil, c.Symbol, c.Period, c.Start), Value: schema.AppendCandle(nil, c),
		}
	}
	h.produceRecords(records...)
}

func (h *harness) produceRecords(records ...*kgo.Record) {
	h.t.Helper()
	results := h.producer.ProduceSync(h.ctx(), records...)
	if err := results.FirstErr(); err != nil {
		h.t.Fatal(err)
	}
	for _, r := range results {
		h.ends[r.Record.Partition] = max(h.ends[r.Record.Partition], r.Record.Offset+1)
	}
}

// got is a message as a subscriber reads it.
type got struct {
	subject, id string
	Symbol      string `json:"symbol"`
	Period      string `json:"period"`
	Start       string `json:"start_time"`
	Status      string `json:"status"`
	Version     string `json:"version"`
}

func (g got) window() string { return g.Symbol + "|" + g.Period + "|" + g.Start }

func (g got) version() int64 {
	n, err := strconv.ParseInt(g.Version, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func parse(subject string, header nats.Header, data []byte) (got, error) {
	g := got{subject: subject, id: header.Get("Nats-Msg-Id")}
	if err := json.Unmarshal(data, &g); err != nil {
		return g, fmt.Errorf("%s: %w: %s", subject, err, data)
	}
	if header.Get("Content-Type") != "application/json" || header.Get("Millrace-Schema") != "1" || g.id == "" {
		return g, fmt.Errorf("%s: headers %v", subject, header)
	}
	return g, nil
}

// listener is a core subscriber of every candle.
type listener struct {
	h    *harness
	conn *nats.Conn
	sub  *nats.Subscription
	list []got
}

func (h *harness) listen() *listener {
	h.t.Helper()
	l := &listener{h: h}
	var err error
	l.conn, err = nats.Connect(h.nats.URL, nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond), nats.ReconnectJitter(0, 0))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(l.conn.Close)
	l.sub, err = l.conn.SubscribeSync("candles.*.*")
	if err == nil {
		err = l.conn.Flush()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return l
}

// all gives what has come until now: behind the answer to a ping there is no
// more for us.
func (l *listener) all() []got {
	l.h.t.Helper()
	if err := l.conn.Flush(); err != nil {
		l.h.t.Fatal(err)
	}
	for {
		n, _, err := l.sub.Pending()
		if err != nil {
			l.h.t.Fatal(err)
		}
		if n == 0 {
			return l.list
		}
		m, err := l.sub.NextMsg(time.Second)
		if err != nil {
			l.h.t.Fatal(err)
		}
		g, err := parse(m.Subject, m.Header, m.Data)
		if err != nil {
			l.h.t.Fatal(err)
		}
		l.list = append(l.list, g)
	}
}

// js is JetStream as somebody else than the bridge sees it.
func (h *harness) js() jetstream.JetStream {
	h.t.Helper()
	conn, err := nats.Connect(h.nats.URL)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		h.t.Fatal(err)
	}
	return js
}

// stream reads all that the stream holds with a consumer.
func (h *harness) stream() []got {
	h.t.Helper()
	ctx := h.ctx()
	s, err := h.js().Stream(ctx, schema.FinalStream)
	if err != nil {
		h.t.Fatal(err)
	}
	c, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		h.t.Fatal(err)
	}
	var list []got
	for pending := c.CachedInfo().NumPending; pending > 0; {
		batch, err := c.Fetch(int(min(pending, 500)), jetstream.FetchMaxWait(10*time.Second))
		if err != nil {
			h.t.Fatal(err)
		}
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				h.t.Fatal(err)
			}
			pending = meta.NumPending
			g, err := parse(m.Subject(), m.Headers(), m.Data())
			if err == nil {
				err = m.Ack()
			}
			if err != nil {
				h.t.Fatal(err)
			}
			list = append(list, g)
		}
		if batch.Error() != nil {
			h.t.Fatal(batch.Error())
		}
	}
	return list
}

// newest reads the bucket.
func (h *harness) newest(key string) got {
	h.t.Helper()
	ctx := h.ctx()
	kv, err := h.js().KeyValue(ctx, schema.CandlesBucket)
	if err != nil {
		h.t.Fatal(err)
	}
	e, err := kv.Get(ctx, key)
	if err != nil {
		h.t.Fatalf("%s: %v", key, err)
	}
	var g got
	if err := json.Unmarshal(e.Value(), &g); err != nil {
		h.t.Fatal(err)
	}
	return g
}

// position reads what the bridge has stored.
func (h *harness) position(partition int32) position {
	h.t.Helper()
	kv, err := h.js().KeyValue(h.ctx(), schema.PositionBucket)
	if err != nil {
		h.t.Fatal(err)
	}
	p, _, err := loadPosition(h.ctx(), kv, positionKey(h.topic, partition))
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}
