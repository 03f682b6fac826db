package file

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/schema"
)

// A file cut short says so once, with its name, and not again when it is closed.
func TestCutFilesSayItOnce(t *testing.T) {
	all := gz(string(bytes.Repeat([]byte(spotTrades), 10)))
	damaged := zipped("a.csv", string(bytes.Repeat([]byte(spotTrades), 1000)))
	copy(damaged[60:], "damaged here") // within the packed rows
	for name, data := range map[string][]byte{"some.gz": all[:len(all)-20], "some.zip": damaged} {
		d, err := OpenDump(context.Background(), write(t, name, data), Options{Symbol: "AAA"})
		if err == nil {
			var tr schema.Trade
			for err = d.Next(&tr); err == nil; err = d.Next(&tr) {
				continue
			}
			if again := d.Close(); again != nil {
				t.Errorf("%s: Close says %v", name, again)
			}
		}
		if errors.Is(err, io.EOF) || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzDump: a file of any bytes is read as the plain way reads it, up to its
// first bad row, whatever its name says; packed ones are read without a panic.
func FuzzDump(f *testing.F) {
	names := []string{"some.csv", "AAA-trades-2025-01-01.csv", "AAA-aggTrades-2025-01.csv", "AAA-trades-2023-03.zip"}
	for _, data := range [][]byte{
		[]byte(spotTrades), []byte(futuresTrades), []byte(spotAggs), []byte(futuresAggs), []byte(tradesHeader + futuresTrades), []byte(aggsHeader + futuresAggs),
		bytes.ReplaceAll([]byte(spotTrades), []byte("\n"), []byte("\r\n")), gz(spotTrades), zipped("a.csv", spotAggs), []byte("1,2,3\n"), []byte("\n"), nil,
		bytes.Join(bytes.SplitAfterN(dumpOf(f, "../testdata/rest/trades_ETHBTC_2023-03-20.json"), []byte("\n"), 4)[:3], nil),
		bytes.Join(bytes.SplitAfterN(dumpOf(f, "../testdata/rest/aggTrades_BTCUSDT_2020-01-02.json"), []byte("\n"), 4)[:3], nil),
	} {
		for i := range names {
			f.Add(data, uint8(i))
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte, name uint8) {
		path := filepath.Join(dir, names[int(name)%len(names)])
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		packed := bytes.HasPrefix(data, []byte{0x1f, 0x8b}) || bytes.HasPrefix(data, []byte("PK"))
		// A cell in quotes is one cell for encoding/csv; dumps have none.
		if packed || bytes.IndexByte(data, '"') >= 0 {
			_, _, _ = dump(t, path, Options{Symbol: "AAA"})
			return
		}
		agreeDump(t, path, data)
	})
}
