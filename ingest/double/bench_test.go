package double

import (
	"testing"
	"time"

	"millrace/ingest/binance"
	"millrace/schema"
)

// counter is an Out that only counts.
type counter struct {
	n, goal int
	enough  chan struct{}
}

func (c *counter) Trade([]byte, *schema.Trade, schema.Time) error {
	if c.n++; c.n == c.goal {
		close(c.enough)
	}
	return nil
}
func (*counter) Refused(_ []byte, _ schema.Time, why error) error { return why }
func (*counter) Progress(schema.Time)                             {}

// BenchmarkFlatOut measures frames a second from the recording, over a loopback
// socket, to the decoded trade: the double and one collector share the machine.
func BenchmarkFlatOut(b *testing.B) {
	const trades = 9757 + 14515
	var spent time.Duration
	for b.Loop() {
		d := start(b, Config{Files: []string{btc, eth1, eth2}, WaitFor: []string{"BTCUSDT"}})
		out := &counter{goal: trades, enough: make(chan struct{})}
		var begin time.Time
		stop := collect(b, d, binance.Config{Symbols: []string{"ETHUSDT", "BTCUSDT"},
			Hooks: binance.Hooks{Connected: func(binance.Session) { begin = time.Now() }}}, out)
		await(b, "the trades", out.enough)
		spent += time.Since(begin)
		stop()
	}
	b.ReportMetric(float64(trades*b.N)/spent.Seconds(), "frames/s")
}

// BenchmarkSynthetic measures the making of trades alone.
func BenchmarkSynthetic(b *testing.B) {
	c := newCoin("BTCUSDT", 1, 50_000*1e6)
	var buf []schema.Trade
	n, second := 0, int64(1e7)
	b.ReportAllocs()
	for b.Loop() {
		buf = c.second(buf[:0], second, false)
		n += len(buf)
		second++
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "trades/s")
}
