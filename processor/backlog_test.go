package processor

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/internal/testenv"
	sqlsink "millrace/processor/sink/sql"
	"millrace/schema"
)

// BenchmarkBacklog drains a backlog from Apache Kafka: by the processor, into
// its state and MariaDB, and by two bare consumers, one after the other in one
// run. MILLRACE_BACKLOG is how many ticks (300,000 unless set), one a record.
func BenchmarkBacklog(b *testing.B) {
	n := 300_000
	if v, err := strconv.Atoi(os.Getenv("MILLRACE_BACKLOG")); err == nil {
		n = v
	}
	broker := testenv.StartKafka(b)
	w := &backlog{TB: b, brokers: broker.Brokers, n: n}
	w.fill()
	b.ResetTimer()
	for range b.N {
		bare, bareCPU := w.bare(func(*schema.Batch) {})
		maps, mapsCPU := w.bare(w.windows())
		ours, oursCPU := w.process()
		rate := func(d time.Duration) float64 { return float64(n) / d.Seconds() }
		b.ReportMetric(rate(bare), "decode-ticks/s")
		b.ReportMetric(rate(maps), "maps-ticks/s")
		b.ReportMetric(rate(ours), "ours-ticks/s")
		b.ReportMetric(rate(ours)/rate(maps), "ours/maps")
		b.ReportMetric(bareCPU.Seconds()*1e6/float64(n), "decode-cpu-µs/tick")
		b.ReportMetric(mapsCPU.Seconds()*1e6/float64(n), "maps-cpu-µs/tick")
		b.ReportMetric(oursCPU.Seconds()*1e6/float64(n), "ours-cpu-µs/tick")
	}
	b.ReportMetric(0, "ns/op") // the steps above are what was measured
}

// backlog is a log of trades of 50 symbols of unequal popularity, 20,000 a
// second of event time, up to 100 ms out of order.
type backlog struct {
	testing.TB
	brokers string
	n       int
	topics  kafka.Topics
	ends    map[int32]int64
}

const (
	backlogSymbols    = 50
	backlogPartitions = 4
)

func (w *backlog) settings() schema.Settings {
	s := schema.Settings{Partitions: backlogPartitions, Periods: []schema.Period{schema.P1s, schema.P1m}}
	s.EnsureDefaults()
	return s
}

func (w *backlog) fill() {
	w.topics = kafka.Topics{Ticks: "ticks", Candles: "candles", Partitions: backlogPartitions}
	w.topics.EnsureDefaults()
	client, err := kafka.Connect(w.Context(), kafka.Config{Brokers: []string{w.brokers}}, kgo.ProducerBatchCompression(kgo.Lz4Compression()), kgo.MaxBufferedRecords(200_000))
	if err != nil {
		w.Fatal(err)
	}
	defer client.Close()
	if _, err := kafka.Ensure(w.Context(), client, w.topics, w.settings()); err != nil {
		w.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	type late struct {
		at     schema.Time
		symbol string
		trade  schema.Trade
	}
	names := make([]string, backlogSymbols)
	weights := make([]float64, backlogSymbols)
	sum := 0.0
	for i := range names {
		names[i] = fmt.Sprintf("SYM%02dUSDT", i)
		sum += 1 / float64(i+4) // the first has about a tenth of all, the first five a third
		weights[i] = sum
	}
	ids := make([]int64, backlogSymbols)
	const chunk = 20_000
	start := schema.Time(1723161600000000)
	for done := 0; done < w.n; done += chunk {
		var all []late
		for k := range min(chunk, w.n-done) {
			i, _ := slices.BinarySearch(weights, r.Float64()*sum)
			at := start + schema.Time((done+k)*50)
			t := schema.Trade{ID: ids[i], Last: ids[i], Time: at, BuyerMaker: r.IntN(2) == 0,
				Price: schema.Decimal{Mantissa: 1_000_000 + r.Int64N(10_000), Scale: 2}, Qty: schema.Decimal{Mantissa: 1 + r.Int64N(1_000_000), Scale: 5}}
			ids[i]++
			all = append(all, late{at + schema.Time(r.Int64N(100_000)), names[i], t})
		}
		slices.SortFunc(all, func(a, b late) int { return int(a.at - b.at) })
		for k := range all {
			value, _ := schema.AppendTrades(nil, all[k].symbol, []schema.Trade{all[k].trade}, schema.FromStd(time.Now()), 0)
			client.Produce(context.Background(), &kgo.Record{Topic: w.topics.Ticks, Partition: schema.Partition(all[k].symbol, backlogPartitions), Key: []byte(all[k].symbol), Value: value},
				func(_ *kgo.Record, err error) {
					if err != nil {
						w.Error(err)
					}
				})
		}
	}
	if err := client.Flush(w.Context()); err != nil {
		w.Fatal(err)
	}
	ends, err := kadm.NewClient(client).ListEndOffsets(w.Context(), w.topics.Ticks)
	if err != nil {
		w.Fatal(err)
	}
	w.ends = map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) { w.ends[o.Partition] = o.Offset })
}

// bare reads and decodes the log and hands each batch to use.
func (w *backlog) bare(use func(*schema.Batch)) (took, cpu time.Duration) {
	cpu = -cpuTime()
	client, err := kafka.Connect(w.Context(), kafka.Config{Brokers: []string{w.brokers}}, kgo.ConsumeTopics(w.topics.Ticks), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		w.Fatal(err)
	}
	defer client.Close()
	var began time.Time
	var tick schema.Tick
	for n := 0; n < w.n; {
		f := client.PollFetches(w.Context())
		if err := f.Err(); err != nil {
			w.Fatal(err)
		}
		if began.IsZero() {
			began = time.Now()
		}
		f.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, r := range p.Records {
				if err := tick.Decode(r.Value); err != nil {
					w.Fatal(err)
				}
				if tick.Kind == schema.KindTrades {
					use(&tick.Batch)
					n += len(tick.Batch.Trades)
				}
			}
		})
	}
	return time.Since(began), cpu + cpuTime()
}

// windows keeps the windows of 1s and 1m in a map each, as a bare consumer would.
func (w *backlog) windows() func(*schema.Batch) {
	type key struct {
		symbol string
		start  schema.Time
	}
	names := map[string]string{}
	seconds, minutes := map[key]*schema.Figures{}, map[key]*schema.Figures{}
	return func(b *schema.Batch) {
		name, ok := names[string(b.Symbol)]
		if !ok {
			name = string(b.Symbol)
			names[name] = name
		}
		for i := range b.Trades {
			t := &b.Trades[i]
			for _, m := range []struct {
				m    map[key]*schema.Figures
				unit schema.Time
			}{{seconds, schema.Second}, {minutes, schema.Minute}} {
				k := key{name, t.Time - t.Time%m.unit}
				f := m.m[k]
				if f == nil {
					f = new(schema.Figures)
					m.m[k] = f
				}
				f.Add(t)
			}
		}
	}
}

// process drains the log with a processor, until every row is in MariaDB.
func (w *backlog) process() (took, cpu time.Duration) {
	p, err := New(Config{Kafka: kafka.Config{Brokers: []string{w.brokers}}, Topics: w.topics, Dir: w.TempDir(), Settings: w.settings(),
		Group: fmt.Sprint("bench", time.Now().UnixNano()), SQL: &sqlsink.Config{DSN: testenv.SharedMariaDB(w).NewDatabase(w)}})
	if err == nil {
		err = p.Open(w.Context())
	}
	if err != nil {
		w.Fatal(err)
	}
	cpu = -cpuTime()
	ctx, cancel := context.WithCancel(w.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	began := time.Time{}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		ready := 0
		for _, s := range p.Status() {
			if s.Offset > 0 && began.IsZero() {
				began = time.Now()
			}
			if s.Offset >= w.ends[s.Partition] && s.Sinks["sql"] >= w.ends[s.Partition] {
				ready++
			}
		}
		if ready == backlogPartitions {
			break
		}
		select {
		case err := <-done:
			w.Fatalf("run ended: %v", err)
		default:
		}
	}
	took = time.Since(began)
	cpu += cpuTime()
	cancel()
	if err := <-done; err != nil {
		w.Fatal(err)
	}
	p.Close()
	return took, cpu
}

// cpuTime gives the user and system time of this process.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
