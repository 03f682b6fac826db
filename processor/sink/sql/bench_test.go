package sqlsink

import (
	"fmt"
	"testing"

	"millrace/schema"
)

// BenchmarkWrite upserts 20,000 windows in one Write: as new rows, then with a
// higher version each time.
func BenchmarkWrite(b *testing.B) {
	const windows, symbols = 20000, 50
	for _, back := range backends() {
		for _, rows := range []int{100, 1000, 5000} {
			b.Run(fmt.Sprintf("%s/rows=%d", back.name, rows), func(b *testing.B) {
				db := open(b, Config{DSN: back.make(b), RowsPerStatement: rows})
				all := make([]schema.Candle, windows)
				names := make([]string, symbols)
				for i := range names {
					names[i] = fmt.Sprintf("SYM%02dUSDT", i)
				}
				for i := range all {
					all[i] = candle(names[i%symbols], schema.P1s, aStart+schema.Time(i/symbols)*schema.Second, 2, schema.Live, 6183763)
				}
				write(b, db, Batch{Candles: all, Progress: progress(0)})
				n := int64(0)
				for b.Loop() {
					n++
					for i := range all {
						all[i].Version = schema.TradesVersion(0, 2+n, schema.Live)
					}
					if err := db.Write(soon(b), aKey, progress(n-1), Batch{Candles: all, Progress: progress(n)}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(windows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			})
		}
	}
}
