package processor

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	sqlsink "millrace/processor/sink/sql"
	"millrace/schema"
)

const partitions = 3

// testSession is short, so that a dead member's partitions are soon another's.
const testSession = 2 * time.Second

// world is a Kafka with a log of made-up trades, and the tables they must give.
type world struct {
	testing.TB
	brokers string
	client  *kgo.Client
	topics  kafka.Topics
	trades  map[string][]schema.Trade
	known   string // the truth, once computed
	fake    bool
	killed  []string // members of the group that were killed
	// transactions has processors write candles in transactions.
	transactions bool
}

func newWorld(t testing.TB, brokers string) *world {
	t.Helper()
	w := &world{TB: t, brokers: brokers, trades: map[string][]schema.Trade{}}
	w.topics = kafka.Topics{Ticks: schema.TicksTopic, Candles: schema.CandlesTopic, Partitions: partitions}
	w.topics.EnsureDefaults()
	w.connect()
	return w
}

// connect makes the topics that are missing, and a client that knows them.
func (w *world) connect() {
	w.Helper()
	client, err := kafka.Connect(w.Context(), kafka.Config{Brokers: []string{w.brokers}}, kgo.ProducerLinger(0))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(client.Close)
	w.client = client
	if _, err := kafka.Ensure(w.Context(), client, w.topics, w.settings()); err != nil {
		w.Fatal(err)
	}
}

// remove deletes topics and makes them anew, empty.
func (w *world) remove(topics ...string) {
	w.Helper()
	for _, name := range topics {
		if _, err := kadm.NewClient(w.client).DeleteTopic(w.Context(), name); err != nil {
			w.Fatal(err)
		}
	}
	w.connect()
}

func (w *world) settings() schema.Settings { return testSettings() }

func testSettings() schema.Settings {
	s := schema.Settings{Partitions: partitions, Periods: []schema.Period{schema.P1s, schema.P1m, schema.P1h}}
	s.EnsureDefaults()
	return s
}

// market makes n trades a symbol, without a hole, and one whole minute more.
func (w *world) market(r *rand.Rand, symbols, n int) {
	for i := range symbols {
		name := fmt.Sprintf("SYM%dUSDT", i)
		at := schema.Time(1723161540000000) + schema.Time(r.Int64N(1_000_000))
		for id := range int64(n) {
			at += schema.Time(r.Int64N(400_000))
			if r.IntN(100) == 0 {
				at += 3 * schema.Minute
			}
			w.trades[name] = append(w.trades[name], schema.Trade{ID: id, Last: id, Time: at,
				Price: schema.Decimal{Mantissa: 1 + r.Int64N(100000), Scale: 2}, Qty: schema.Decimal{Mantissa: 1 + r.Int64N(100000), Scale: 5}, BuyerMaker: r.IntN(2) == 0})
		}
	}
}

func (w *world) send(symbol string, value []byte) {
	w.Helper()
	w.client.Produce(context.Background(), &kgo.Record{Topic: w.topics.Ticks, Partition: schema.Partition(symbol, partitions), Key: []byte(symbol), Value: value},
		func(_ *kgo.Record, err error) {
			if err != nil {
				w.Errorf("produce: %v", err)
			}
		})
}

// log writes the market from trade i to trade j of each symbol, in batches of
// random size, shuffled a little, some of them twice.
func (w *world) log(r *rand.Rand, i, j int) {
	w.Helper()
	for name, all := range w.trades {
		var batches [][]schema.Trade
		for k := i; k < min(j, len(all)); {
			n := min(1+r.IntN(5), min(j, len(all))-k)
			batches = append(batches, all[k:k+n])
			k += n
		}
		for k := range batches {
			if o := k + r.IntN(3); o < len(batches) {
				batches[k], batches[o] = batches[o], batches[k]
			}
		}
		for _, b := range batches {
			for range 1 + r.IntN(5)/4 {
				value, n := schema.AppendTrades(nil, name, b, schema.FromStd(time.Now()), 0)
				if n != len(b) {
					w.Fatalf("%d of %d trades fit", n, len(b))
				}
				w.send(name, value)
			}
		}
	}
	if err := w.client.Flush(w.Context()); err != nil {
		w.Fatal(err)
	}
}

// truth dumps what the whole market makes, computed the naive way.
func (w *world) truth() string {
	if w.known == "" {
		w.known = w.compute()
	}
	return w.known
}

func (w *world) compute() string {
	cal := schema.Calendar{}
	path := filepath.Join(w.TempDir(), "truth.db")
	db, err := sqlsink.Open(w.Context(), sqlsink.Config{DSN: "sqlite:" + path})
	if err != nil {
		w.Fatal(err)
	}
	defer db.Close()
	var rows []schema.Candle
	for name, all := range w.trades {
		for _, p := range w.settings().Periods {
			byStart := map[schema.Time]*schema.Candle{}
			newest := all[len(all)-1].Time
			for i := range all {
				s := cal.Start(p, all[i].Time)
				if byStart[s] == nil {
					byStart[s] = &schema.Candle{Symbol: name, Period: p, Start: s}
				}
				byStart[s].Add(&all[i])
			}
			var last *schema.Candle
			for s := cal.Start(p, all[0].Time); s <= newest; s = cal.End(p, s) {
				c := byStart[s]
				if c == nil {
					if p == schema.P1s {
						continue
					}
					c = &schema.Candle{Symbol: name, Period: p, Start: s, Figures: schema.Empty(last.Close), Status: schema.Final}
					c.Version = schema.EmptyVersion(0, last.Last, schema.Final)
				} else {
					if cal.End(p, s) <= newest {
						c.Status = schema.Final
					}
					c.Version = schema.TradesVersion(0, c.Trades, c.Status)
					last = c
				}
				rows = append(rows, *c)
			}
		}
	}
	if err := db.Write(w.Context(), sqlsink.Key{}, nil, sqlsink.Batch{Candles: rows}); err != nil {
		w.Fatal(err)
	}
	return dump(w, db)
}

func dump(t testing.TB, db *sqlsink.DB) string {
	t.Helper()
	var b bytes.Buffer
	if err := db.Dump(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// config is that of a processor with a folder and a database.
func (w *world) config(dir, dsn string) Config {
	level := slog.LevelWarn
	cfg := Config{
		Kafka: kafka.Config{Brokers: []string{w.brokers}}, Topics: w.topics, Dir: dir, Settings: w.settings(),
		SQL: &sqlsink.Config{DSN: dsn}, SessionTimeout: testSession,
		Log: slog.New(slog.NewTextHandler(w.Output(), &slog.HandlerOptions{Level: level})),
	}
	if w.transactions {
		cfg.Transactions = &Transactions{}
	}
	return cfg
}

// running is a processor that runs.
type running struct {
	*Processor
	w    *world
	end  context.CancelFunc
	done chan error
}

func (w *world) run(cfg Config, tune ...func(*Processor)) *running {
	w.Helper()
	p, err := New(cfg)
	if err == nil {
		for _, f := range tune {
			f(p)
		}
		err = p.Open(w.Context())
	}
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.Context())
	r := &running{Processor: p, w: w, end: cancel, done: make(chan error, 1)}
	go func() { r.done <- p.Run(ctx) }()
	return r
}

func (r *running) stop() {
	r.w.Helper()
	r.end()
	if err := <-r.done; err != nil {
		r.w.Fatalf("run: %v", err)
	}
	r.Close()
}

// caughtUp waits until the processors have every record and each sink has it.
func (w *world) caughtUp(rs ...*running) {
	w.Helper()
	w.await(rs, "candles", "sql")
}

// reaches waits until one sink has everything.
func (w *world) reaches(p *running, sink string) {
	w.Helper()
	w.await([]*running{p}, sink)
}

func (w *world) await(rs []*running, sinks ...string) {
	w.Helper()
	ends, err := kadm.NewClient(w.client).ListEndOffsets(w.Context(), w.topics.Ticks)
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for {
		if w.fake && len(w.killed) > 0 && time.Since(began) > 2*testSession {
			w.expire(rs)
		}
		ready := map[int32]bool{}
		var all []PartitionStatus
		for _, r := range rs {
			for _, s := range r.Status() {
				all = append(all, s)
				end, _ := ends.Lookup(w.topics.Ticks, s.Partition)
				all := s.Offset >= end.Offset
				for _, name := range sinks {
					all = all && s.Sinks[name] >= end.Offset
				}
				if all {
					ready[s.Partition] = true
				}
			}
		}
		if len(ready) == partitions {
			return
		}
		for _, r := range rs {
			select {
			case err := <-r.done:
				w.Fatalf("run ended: %v", err)
			default:
			}
		}
		select {
		case <-ctx.Done():
			w.Fatalf("not caught up: %+v, ends %+v", all, ends.Offsets())
		case <-tick.C:
		}
	}
}

// lastCandles gives the last record of each key of candles. It holds what stands
// before it to the promises: no writer lowers a version, and what was final stays
// as it is.
func (w *world) lastCandles() map[string]schema.Candle {
	w.Helper()
	out := map[string]schema.Candle{}
	highest, final := map[string]schema.Version{}, map[string]schema.Candle{}
	for _, r := range w.records(w.topics.Candles) {
		key, writer := string(r.Key), ""
		for _, h := range r.Headers {
			if h.Key == schema.HeaderWriter {
				writer = string(h.Value)
			}
		}
		c, err := schema.DecodeCandle(r.Value)
		if err != nil && writer != zombie {
			w.Fatal(err)
		}
		if mine := writer + key; writer != zombie && c.Version < highest[mine] {
			w.Errorf("%s at %d: writer %s went back from version %d to %d", key, r.Offset, writer, highest[mine], c.Version)
		} else {
			highest[mine] = c.Version
		}
		if f, ok := final[key]; ok && c.Status == schema.Final && (c.Figures != f.Figures || c.Version != f.Version) {
			w.Errorf("%s at %d: the final candle changed from %+v to %+v", key, r.Offset, f, c)
		}
		if c.Status == schema.Final {
			final[key] = c
		}
		out[key] = c
	}
	return out
}

// zombie is the name of the tests' own writer to candles.
const zombie = "zombie"

// records gives all that stands committed in a topic.
func (w *world) records(topic string) (out []*kgo.Record) {
	w.Helper()
	ends, err := kadm.NewClient(w.client).ListEndOffsets(w.Context(), topic)
	if err != nil {
		w.Fatal(err)
	}
	client, err := kafka.Connect(w.Context(), kafka.Config{Brokers: []string{w.brokers}}, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	if err != nil {
		w.Fatal(err)
	}
	defer client.Close()
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	for len(left) > 0 {
		f := client.PollFetches(w.Context())
		if err := f.Err(); err != nil {
			w.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				out = append(out, r)
			}
		})
	}
	return out
}
