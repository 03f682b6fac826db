package processor

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"millrace/internal/kafka"
	"millrace/internal/latency"
	"millrace/internal/testenv"
	"millrace/schema"
)

// BenchmarkTransactions tells what transactions cost: how long a flush of candles
// takes on Apache Kafka, and when a tick is in candles, with and without, in turn.
func BenchmarkTransactions(b *testing.B) {
	broker := testenv.StartKafkaWith(b, testenv.KafkaConfig{Optimize: true})
	const rounds, perRound, symbols = 4, 1500, 5
	var flushed, seen [2]latency.Snapshot
	for i := range 2 * rounds {
		w := &world{TB: b, brokers: broker.Brokers, trades: map[string][]schema.Trade{}, transactions: i%2 == 1}
		w.topics = kafka.Topics{Ticks: fmt.Sprint("ticks-", i), Candles: fmt.Sprint("candles-", i), Partitions: partitions}
		w.topics.EnsureDefaults()
		w.connect()
		r := rand.New(rand.NewPCG(uint64(i/2), 1))
		w.market(r, symbols, perRound)
		cfg := w.config(b.TempDir(), "")
		cfg.SQL, cfg.SessionTimeout = nil, 10*time.Second
		p := w.run(cfg)
		w.reaches(p, "candles")
		tick := time.NewTicker(5 * time.Millisecond)
		for k := range perRound { // a trade of each symbol every 5 ms
			<-tick.C
			for name, trades := range w.trades {
				value, _ := schema.AppendTrades(nil, name, trades[k:k+1], schema.FromStd(time.Now()), 0)
				w.send(name, value)
			}
		}
		tick.Stop()
		w.reaches(p, "candles")
		if i >= 2 { // the first two rounds warm the broker up
			flushed[i%2] = flushed[i%2].Merge(p.Stages().Flushed.Snapshot())
			seen[i%2] = seen[i%2].Merge(p.Stages().Candles.Snapshot())
		}
		p.stop()
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	for k, q := range map[string]float64{"p50": 0.5, "p99": 0.99} {
		without, with := flushed[0].Quantile(q), flushed[1].Quantile(q)
		b.ReportMetric(ms(without), "flush-"+k+"-ms")
		b.ReportMetric(ms(with), "flush-"+k+"-transactions-ms")
		b.ReportMetric(float64(with)/float64(without), "flush-"+k+"-ratio")
		without, with = seen[0].Quantile(q), seen[1].Quantile(q)
		b.ReportMetric(ms(without), "candle-"+k+"-ms")
		b.ReportMetric(ms(with), "candle-"+k+"-transactions-ms")
	}
	b.ReportMetric(0, "ns/op") // the steps above are what was measured
}
