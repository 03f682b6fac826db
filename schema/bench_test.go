package schema

import (
	"math/rand/v2"
	"testing"
)

// benchTrades are like a busy symbol's: ids without holes, prices to the cent.
func benchTrades(n int) []Trade {
	r := rand.New(rand.NewPCG(1, 2))
	trades := make([]Trade, n)
	x := Trade{ID: 3_726_784_091, Time: 1723161299999000, Price: Decimal{6183763, 2}}
	for i := range trades {
		x.ID++
		x.Last = x.ID
		x.Time += Time(r.IntN(20)) * Millisecond
		x.Price.Mantissa += int64(r.IntN(201) - 100)
		x.Qty = Decimal{1 + int64(randomBits(r, 22)), 5}
		x.BuyerMaker = r.IntN(2) == 0
		trades[i] = x
	}
	return trades
}

// perTrade reports what one trade costs in a benchmark of n a turn.
func perTrade(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/trade")
	b.ReportAllocs()
}

func benchDecode(b *testing.B, n int) {
	value, _ := AppendTrades(nil, "BTCUSDT", benchTrades(n), 1723161300001000, 1)
	var tick Tick
	for b.Loop() {
		if err := tick.Decode(value); err != nil {
			b.Fatal(err)
		}
	}
	perTrade(b, n)
	b.ReportMetric(float64(len(value))/float64(n), "B/trade")
}

func BenchmarkDecodeOne(b *testing.B) { benchDecode(b, 1) }
func BenchmarkDecode100(b *testing.B) { benchDecode(b, 100) }

func benchAppend(b *testing.B, n int) {
	trades := benchTrades(n)
	var buf []byte
	for b.Loop() {
		var m int
		if buf, m = AppendTrades(buf[:0], "BTCUSDT", trades, 1723161300001000, 1); m != n {
			b.Fatal(m)
		}
	}
	perTrade(b, n)
}

func BenchmarkAppendTradesOne(b *testing.B) { benchAppend(b, 1) }
func BenchmarkAppendTrades(b *testing.B)    { benchAppend(b, 100) }

func BenchmarkFiguresAdd(b *testing.B) {
	trades := benchTrades(100)
	for b.Loop() {
		var f Figures
		for i := range trades {
			if !f.Add(&trades[i]) {
				b.Fatal("overflow")
			}
		}
	}
	perTrade(b, len(trades))
}

// benchCandle is a minute of a busy symbol.
func benchCandle() Candle {
	c := Candle{Symbol: "BTCUSDT", Period: P1m, Start: 1723161300000000, Status: Final}
	for _, t := range benchTrades(1000) {
		c.Add(&t)
	}
	c.Version = TradesVersion(0, c.Trades, Final)
	return c
}

func BenchmarkAppendCandle(b *testing.B) {
	c := benchCandle()
	var buf []byte
	for b.Loop() {
		buf = AppendCandle(buf[:0], &c)
	}
	b.ReportAllocs()
}

func BenchmarkAppendJSON(b *testing.B) {
	c := benchCandle()
	var buf []byte
	for b.Loop() {
		buf = c.AppendJSON(buf[:0])
	}
	b.ReportAllocs()
}

func BenchmarkDecodeCandle(b *testing.B) {
	c := benchCandle()
	value := AppendCandle(nil, &c)
	for b.Loop() {
		if _, err := DecodeCandle(value); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
}

func BenchmarkParseDecimal(b *testing.B) {
	text := []byte("61837.63000000")
	for b.Loop() {
		if _, err := ParseDecimal(text); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
}
