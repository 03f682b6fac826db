package bridge

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schema"
)

// BenchmarkBridge is the way of a candle from the log to NATS, server and
// kfake in the same process included: what a record costs, all in all.
func BenchmarkBridge(b *testing.B) {
	for name, status := range map[string]schema.Status{"live": schema.Live, "final": schema.Final} {
		b.Run(name, func(b *testing.B) {
			h := newHarness(b)
			for n := 0; n < b.N; n += 5000 {
				var list []schema.Candle
				for i := n; i < min(n+5000, b.N); i++ {
					c := candle([]string{"BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT"}[i%4], schema.P1m, int64(i/64), int64(1+i%64), status)
					list = append(list, c)
				}
				h.produce(list...)
			}
			c := h.config()
			c.RoundEvery = 0 // the default
			b.ReportAllocs()
			b.ResetTimer()
			r := h.start(c)
			r.settled()
			b.StopTimer()
			if st := r.Stats(); st.Published != int64(b.N) {
				b.Fatalf("%+v", st)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "candles/s")
			r.stop()
		})
	}
}

// BenchmarkTake is the bridge's own part before the publish: decode, check,
// and write the JSON.
func BenchmarkTake(b *testing.B) {
	h := newHarness(b)
	br, err := New(h.config())
	if err != nil {
		b.Fatal(err)
	}
	d := &delivery{b: br}
	part := &partition{series: map[seriesKey]*series{}}
	var records []*kgo.Record
	for i := range 1024 {
		c := candle("BTCUSDT", schema.P1m, int64(i), 20, schema.Live)
		records = append(records, &kgo.Record{Key: schema.AppendCandleKey(nil, c.Symbol, c.Period, c.Start), Value: schema.AppendCandle(nil, &c)})
	}
	var buf []byte
	bytes := 0
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%len(records) == 0 {
			part.series = map[seriesKey]*series{}
		}
		m, rest, ok := d.read(part, records[i%len(records)], buf)
		if !ok {
			b.Fatal("passed over")
		}
		buf, bytes = rest, bytes+len(m.data)
	}
	b.ReportMetric(float64(bytes)/float64(b.N), "B/candle")
}

// BenchmarkPublish is the publish on the core subject alone.
func BenchmarkPublish(b *testing.B) {
	h := newHarness(b)
	br, err := New(h.config())
	if err != nil {
		b.Fatal(err)
	}
	if err := br.Open(h.ctx()); err != nil {
		b.Fatal(err)
	}
	defer br.Close()
	s := &session{d: &delivery{b: br}}
	c := candle("BTCUSDT", schema.P1m, 1, 20, schema.Live)
	sr := newSeries("BTCUSDT", schema.P1m)
	w := window{c.Start, c.Version}
	m := &message{series: sr, window: w, id: sr.messageID(w), data: c.AppendJSON(nil)}
	core := newMessage()
	b.ReportAllocs()
	for b.Loop() {
		if err := s.sendOne(m, core); err != nil {
			b.Fatal(err)
		}
	}
	if err := br.conn.FlushTimeout(10 * time.Second); err != nil {
		b.Fatal(err)
	}
}
