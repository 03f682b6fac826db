package ingest_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/ingest"
	"millrace/ingest/binance"
	"millrace/internal/testenv"
	"millrace/schema"
	"millrace/schema/schemapb"
)

// frames gives the recorded frames that are trades.
func frames(t testing.TB) [][]byte {
	t.Helper()
	f, err := os.Open("testdata/btcusdt-spot-2024-08-08/frames.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if _, json, ok := bytes.Cut(lines.Bytes(), []byte(" ")); ok && bytes.Contains(json, []byte(`@trade"`)) {
			all = append(all, bytes.Clone(json))
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// The whole way of recorded frames: decoded, packed, handed to Kafka's client
// and acknowledged by a broker in the same process that throws them away.
// Its allocations are those of the client and of that broker, for each record.
func BenchmarkFrames(b *testing.B) {
	frames := frames(b)
	for _, batch := range []int{500, 1} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			bench := newBench(b, testenv.StartFake(b, kfake.BlackholeProduce()).Brokers, 1)
			i, end := bench.open(ingest.Config{BatchMax: batch})
			s, err := i.Stream(schemapb.Source_SOURCE_RECORDING, ingest.Symbol{Name: "BTCUSDT"})
			if err != nil {
				b.Fatal(err)
			}
			var d binance.Decoder
			var ev binance.Event
			var n int
			now := schema.Time(1)
			b.ReportAllocs()
			for b.Loop() {
				if err := d.Decode(frames[n], &ev); err != nil {
					b.Fatal(err)
				}
				if err := s.Trade(ev.Symbol, &ev.Trade, now); err != nil {
					b.Fatal(err)
				}
				if n++; n == len(frames) {
					n = 0
				}
			}
			if err := s.Close(b.Context(), schema.MinTime); err != nil {
				b.Fatal(err)
			}
			if err := end(); err != nil {
				b.Fatal(err)
			}
			got := i.Stats()
			b.ReportMetric(float64(got.Trades)/float64(max(got.Records-2, 1)), "trades/record")
			b.ReportMetric(float64(got.Trades)/b.Elapsed().Seconds(), "trades/s")
		})
	}
}
