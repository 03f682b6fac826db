package file

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/schema"
)

const xrpeth = "../testdata/xrpeth-spot-2019-10/aggTrades.csv"

func readAll(t testing.TB, path string, o Options) ([]schema.Trade, *Dump, error) {
	t.Helper()
	d, err := OpenDump(t.Context(), path, o)
	if err != nil {
		return nil, nil, err
	}
	t.Cleanup(func() { d.Close() })
	var all []schema.Trade
	var tr schema.Trade
	for {
		err := d.Next(&tr)
		if errors.Is(err, io.EOF) {
			return all, d, nil
		}
		if err != nil {
			if again := d.Next(&tr); !errors.Is(again, err) {
				t.Fatalf("after %v, Next gave %v", err, again)
			}
			return all, d, err
		}
		all = append(all, tr)
	}
}

func TestRealDump(t *testing.T) {
	all, d, err := readAll(t, xrpeth, Options{Symbol: "XRPETH"})
	if err != nil {
		t.Fatal(err)
	}
	var trades int64
	minutes := map[schema.Time]bool{}
	for i := range all {
		trades += all[i].Count()
		minutes[all[i].Time/schema.Minute] = true
		if i > 0 && all[i].ID != all[i-1].Last+1 {
			t.Fatalf("hole before %d", all[i].ID)
		}
	}
	span := int(all[len(all)-1].Time/schema.Minute-all[0].Time/schema.Minute) + 1
	if len(all) != 12477 || trades != 14672 || span != 3560 || span-len(minutes) != 1091 {
		t.Errorf("%d aggregates, %d trades, %d of %d minutes", len(all), trades, len(minutes), span)
	}
	if want := (schema.Trade{ID: 15373518, Last: 15373518, Time: 1570752011620000, Price: schema.Decimal{Mantissa: 141342, Scale: 8}, Qty: schema.Decimal{Mantissa: 23}, BuyerMaker: true}); all[0] != want {
		t.Errorf("first: %+v", all[0])
	}
	if d.Kind() != AggTrades || d.Line() != 12477 {
		t.Errorf("kind %v, line %d", d.Kind(), d.Line())
	}
	if _, ok := d.Anchor(); ok {
		t.Error("a name without a date gave an anchor")
	}
}

func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func gz(data string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(data)) // a bytes.Buffer takes all
	w.Close()
	return b.Bytes()
}

func zipped(members ...string) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		m, _ := w.Create(members[i])
		_, _ = m.Write([]byte(members[i+1]))
	}
	w.Close()
	return b.Bytes()
}

const (
	spotTrades    = "51175358,17.80180000,5.69000000,101.29224200,1735689600010866,True,True\n51175359,17.8,5,89,1735689600010867,False,True\n"
	futuresTrades = "51175358,17.80180000,5.69000000,101.29224200,1735689600010,true\n51175359,17.8,5,89,1735689600011,false\n"
	spotAggs      = "100,17.80180000,5.69000000,51175358,51175358,1735689600010866,True,True\n101,0,0,-1,-1,1735689600010866,False,True\n102,17.8,5,51175359,51175359,1735689600010867,False,True\n"
	futuresAggs   = "100,17.80180000,5.69000000,51175358,51175358,1735689600010,true\n101,17.8,5,51175359,51175359,1735689600011,false\n"
	tradesHeader  = "id,price,qty,quote_qty,time,is_buyer_maker\n"
	aggsHeader    = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n"
)

func TestDumpForms(t *testing.T) {
	for _, c := range []struct {
		name   string
		data   []byte
		symbol string
		kind   Kind
		micros schema.Time // what the times have below a millisecond
		voids  int
		whole  bool
	}{
		{"LINKUSDT-trades-2025-01-01.csv", []byte(spotTrades), "", Trades, 866, 0, true},
		{"LINKUSDT-trades-2025-01.csv.gz", gz(spotTrades), "", Trades, 866, 0, true},
		{"LINKUSDT-trades-2025-01-01.zip", zipped("LINKUSDT-trades-2025-01-01.csv", spotTrades), "", Trades, 866, 0, true},
		{"LINKUSDT-trades-2025-01-01.csv", []byte(strings.ReplaceAll(spotTrades, "\n", "\r\n")), "", Trades, 866, 0, true},
		{"LINKUSDT-trades-2025-01-01.csv", []byte(strings.TrimSpace(spotTrades)), "LINKUSDT", Trades, 866, 0, true},
		{"LINKUSDT-trades-2025-01-01.zip", zipped("README", "x", "d/", "", "d/a.CSV", tradesHeader+futuresTrades), "", Trades, 0, 0, true},
		{"LINKUSDT-aggTrades-2025-01-01.zip", zipped("a.csv", spotAggs), "", AggTrades, 866, 1, true},
		{"LINKUSDT-aggTrades-2025-01.csv", []byte(aggsHeader + futuresAggs), "", AggTrades, 0, 0, true},
		{"some.csv", []byte(spotTrades), "LINKUSDT", Trades, 866, 0, false},
		{"some.txt", []byte(futuresTrades), "LINKUSDT", Trades, 0, 0, false},
		{"some", gz(spotAggs), "LINKUSDT", AggTrades, 866, 1, false},
		{"LINKUSDT-1.csv", []byte(futuresAggs), "LINKUSDT", AggTrades, 0, 0, false},
		{"这是测试币456-trades-2025-01-01.csv", []byte(spotTrades), "", Trades, 866, 0, true},
	} {
		all, d, err := readAll(t, write(t, c.name, c.data), Options{Symbol: c.symbol})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		want := schema.Trade{ID: 51175358, Last: 51175358, Time: 1735689600010000 + c.micros, BuyerMaker: true,
			Price: schema.Decimal{Mantissa: 178018, Scale: 4}, Qty: schema.Decimal{Mantissa: 569, Scale: 2}}
		if len(all) != 2 || all[0] != want || all[1].ID != 51175359 || all[1].BuyerMaker {
			t.Errorf("%s: %+v", c.name, all)
		}
		if d.Kind() != c.kind || d.Voids != c.voids || d.Symbol == "" {
			t.Errorf("%s: kind %v, %d voids, symbol %q", c.name, d.Kind(), d.Voids, d.Symbol)
		}
		a, ok := d.Anchor()
		if ok != c.whole || ok && a != (schema.Anchor{Symbol: d.Symbol, ID: 51175357, Time: 1735689600000000 - 1}) {
			t.Errorf("%s: anchor %+v %v", c.name, a, ok)
		}
	}
}

func TestDumpRefuses(t *testing.T) {
	row := "51175358,17.8,5.69,101.2,1735689600010866,True,True\n"
	for _, c := range []struct {
		name, symbol string
		data         []byte
		says         string
		rows         int
	}{
		{"some.csv", "", []byte(spotTrades), "give the symbol", 0},
		{"AAA-trades-2025-01-01.csv", "BBB", []byte(spotTrades), "its name says AAA", 0},
		{"AAA-5m-2025-01-01.csv", "", []byte(spotTrades), "klines", 0},
		{"AAA-aggTrades-2025-01-01.csv", "", []byte(spotTrades), "which the file's name calls it", 0},
		{"AAA-trades-2025-01-01.csv", "", []byte(spotAggs), "which the file's name calls it", 0},
		{"some.csv", "A|B", []byte(spotTrades), "not a symbol", 0},
		{"some.csv", "A", nil, "no row", 0},
		{"some.csv", "A", []byte(tradesHeader), "no row", 0},
		{"some.csv", "A", []byte("hello\n" + row), "line 1: bad line: neither a row nor a header", 0},
		{"some.csv", "A", []byte("1,2,3\n"), "a row of 3 columns", 0},
		{"some.csv", "A", []byte(strings.Repeat("1,", 1000) + "\n"), "columns", 0},
		{"some.csv", "A", []byte(row + "\n" + row), "line 2", 1},
		{"some.csv", "A", []byte(row + row + "51175360,oops,5.69,101.2,1735689600010866,True,True\n" + row), "line 3", 2},
		{"some.csv", "A", []byte(row + "51175360,99999999999999999999.1,5.69,101.2,1735689600010866,True,True\n"), "price of trade 51175360: number does not fit", 1},
		{"some.csv", "A", []byte(row + "51175360,0,5.69,101.2,1735689600010866,True,True\n"), "not a valid trade", 1},
		{"some.csv", "A", []byte(row + "51175360,1,5.69,101.2,yesterday,True,True\n"), "is no integer", 1},
		{"some.csv", "A", []byte(row + "51175360,1,5.69,101.2,1735689600010866,1,True\n"), "neither true nor false", 1},
		{"some.csv", "A", []byte(row + row[:30]), "line 2: bad line: 5 columns", 1},
		{"some.csv", "A", []byte(row + "x51175360,1,5.69,101.2,1735689600010866,True,True\n"), "line 2: bad line: id", 1},
		{"some.csv", "A", []byte(row + tradesHeader + row), "line 2", 1},
		{"some.csv", "A", append([]byte(row), bytes.Repeat([]byte("1"), maxLine+100)...), "line 2: bad line: longer than", 1},
		{"AAA-trades-2025-01-02.csv", "", []byte(row), "is not in the time that the file's name tells", 0},
		{"AAA-trades-2024-12.csv", "", []byte(row), "is not in the time that the file's name tells", 0},
		{"AAA-trades-2025-13-01.csv", "", []byte(row), "give the symbol", 0},
		{"some.zip", "A", zipped("a.csv", row, "b.csv", row), "more than one csv", 0},
		{"some.zip", "A", zipped("a.txt", row), "holds no csv", 0},
		{"some.zip", "A", zipped("a.csv", row)[:60], "zip", 0},
		{"some.gz", "A", gz(strings.Repeat(row, 3))[:40], "behind line", 0},
		{"some.csv", "A", []byte("agg,17.8\n"), "neither", 0},
	} {
		all, _, err := readAll(t, write(t, c.name, c.data), Options{Symbol: c.symbol})
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s (%s): %v", c.name, c.says, err)
		} else if len(all) > c.rows || c.says != "behind line" && len(all) != c.rows {
			t.Errorf("%s (%s): %d rows came first", c.name, c.says, len(all))
		} else if len(err.Error()) > 700 {
			t.Errorf("%s: %d bytes of error", c.says, len(err.Error()))
		}
	}
	if _, err := OpenDump(t.Context(), filepath.Join(t.TempDir(), "AAA-trades-2025-01-01.csv"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestZipChecksumIsSeen(t *testing.T) {
	data := zipped("a.csv", strings.Repeat(spotTrades, 10))
	i := bytes.LastIndex(data, []byte("PK\x01\x02")) + 16
	data[i] ^= 1 // the checksum in the directory
	if _, _, err := readAll(t, write(t, "some.zip", data), Options{Symbol: "A"}); !errors.Is(err, zip.ErrChecksum) {
		t.Error(err)
	}
}

func BenchmarkDump(b *testing.B) {
	b.ReportAllocs()
	rows := 0
	for b.Loop() {
		all, _, err := readAll(b, xrpeth, Options{Symbol: "XRPETH"})
		if err != nil {
			b.Fatal(err)
		}
		rows += len(all)
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}
