package double

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/ingest/file"
	"millrace/schema"
)

func TestDumpsHoldWholeDays(t *testing.T) {
	newYear := dumpsInMicros
	now := newYear + 36*schema.Hour
	d := start(t, Config{Synthetic: Synthetic{Seed: 3, Symbols: 4, Rate: 0.5, Start: now}, VoidAggs: 10, Faults: Scenario{Faults: []Fault{
		{Kind: faultStatus, Status: broken, Moment: newYear - 12*schema.Hour, For: 3600e9, Symbols: []string{"BTCUSDT"}},
		{Kind: faultList, Moment: newYear, Symbols: []string{"ETHUSDT"}},
	}}})
	_, rest := d.URLs()
	for path, day := range map[string]schema.Time{
		"trades/BTCUSDT/BTCUSDT-trades-2025-01-01.zip":       newYear,
		"trades/BTCUSDT/BTCUSDT-trades-2024-12-31.zip":       newYear - schema.Day,
		"aggTrades/BTCUSDT/BTCUSDT-aggTrades-2025-01-01.zip": newYear,
	} {
		status, zipped := get(t, rest+"/data/spot/daily/"+path, false)
		_, again := get(t, rest+"/data/spot/daily/"+path, false)
		d.mu.Lock()
		clear(d.sums) // or it would be the first one's
		d.mu.Unlock()
		_, sum := get(t, rest+"/data/spot/daily/"+path+".CHECKSUM", false)
		hash := sha256.Sum256([]byte(zipped))
		if status != 200 || zipped != again || sum != hex.EncodeToString(hash[:])+"  "+filepath.Base(path)+"\n" {
			t.Fatalf("%s: status %d, %d and %d bytes, checksum %s", path, status, len(zipped), len(again), sum)
		}
		local := filepath.Join(t.TempDir(), filepath.Base(path))
		if err := os.WriteFile(local, []byte(zipped), 0o600); err != nil {
			t.Fatal(err)
		}
		in, err := file.OpenDump(t.Context(), local, file.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var got []schema.Trade
		var tr schema.Trade
		for {
			if err = in.Next(&tr); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			got = append(got, tr)
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		want := d.Truth("BTCUSDT", day, day+schema.Day)
		if strings.HasPrefix(path, "agg") {
			c := d.market.(*synthetic).coins["BTCUSDT"]
			all := coinTape{coin: c, aggregates: true, until: day + schema.Day}
			want = all.read(all.find(day), 1<<30)
		}
		if day < newYear { // milliseconds
			for i := range want {
				want[i].Time = schema.FromMillis(want[i].Time.Millis())
			}
		}
		same(t, path, got, want)
	}
	for _, path := range []string{
		"trades/BTCUSDT/BTCUSDT-trades-2025-01-02.zip", // today
		"trades/BTCUSDT/BTCUSDT-trades-2025-01-03.zip",
		"trades/BTCUSDT/BTCUSDT-trades-2023-12-31.zip",
		"trades/BTCUSDT/ETHUSDT-trades-2025-01-01.zip",
		"trades/BTCUSDT/BTCUSDT-trades-2025-01-01.csv",
		"trades/BTCUSDT/BTCUSDT-trades-2025-13-01.zip",
		"trades/ETHUSDT/ETHUSDT-trades-2024-12-31.zip", // not listed yet
		"trades/NOSUCH/NOSUCH-trades-2025-01-01.zip",
		"klines/BTCUSDT/BTCUSDT-klines-2025-01-01.zip",
		"trades/BTCUSDT/.CHECKSUM",
	} {
		if status, _ := get(t, rest+"/data/spot/daily/"+path, false); status != 404 {
			t.Errorf("%s: status %d", path, status)
		}
	}
}

// The rows are in Binance's columns, a void aggregate among them.
func TestDumpLines(t *testing.T) {
	tr := schema.Trade{ID: 51, Last: 53, Time: 1735689600010866, Price: schema.Decimal{Mantissa: 178018, Scale: 4}, Qty: schema.Decimal{Mantissa: 569, Scale: 2}, BuyerMaker: true}
	for _, c := range []struct {
		dump dump
		row  int64
		want string
	}{
		{dump{kind: "trades", day: dumpsInMicros}, 51, "51,17.80180000,5.69000000,101.29224200,1735689600010866,True,True\n"},
		{dump{kind: "trades", day: dumpsInMicros - schema.Day}, 51, "51,17.80180000,5.69000000,101.29224200,1735689600010,True,True\n"},
		{dump{kind: "aggTrades", day: dumpsInMicros}, 7, "7,17.80180000,5.69000000,51,53,1735689600010866,True,True\n"},
		{dump{kind: "aggTrades", day: dumpsInMicros, voids: 4}, 7, "8,17.80180000,5.69000000,51,53,1735689600010866,True,True\n" +
			"9,0.00000000,0.00000000,-1,-1,1735689600010866,True,True\n"},
	} {
		if got := string(c.dump.line(nil, &tr, c.row)); got != c.want {
			t.Errorf("got %swant %s", got, c.want)
		}
	}
}
