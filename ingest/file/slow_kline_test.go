package file

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/ingest/binance"
)

// slowKlines gives the columns of a file of klines, as encoding/json or
// encoding/csv read them.
func slowKlines(data []byte) [][]string {
	if head := bytes.TrimLeft(data, " \t\r\n"); len(head) > 0 && head[0] == '[' {
		var rows [][]json.RawMessage
		if json.NewDecoder(bytes.NewReader(data)).Decode(&rows) != nil {
			return nil
		}
		var all [][]string
		for _, r := range rows {
			var cols []string
			for _, c := range r {
				var s string
				if json.Unmarshal(c, &s) != nil || c[0] != '"' {
					s = string(c)
				}
				cols = append(cols, s)
			}
			all = append(all, cols)
		}
		return all
	}
	r := csv.NewReader(bytes.NewReader(data))
	r.FieldsPerRecord = -1
	all, err := r.ReadAll()
	if err == nil && len(all) > 0 && isHeader([]byte(all[0][0])) {
		all = all[1:]
	}
	return all
}

// agreeKlines fails unless each figure that ReadKlines gives is the number in
// its column.
func agreeKlines(t testing.TB, path string, data []byte) []binance.Kline {
	t.Helper()
	all, err := ReadKlines(path)
	if err != nil {
		return nil
	}
	rows := slowKlines(data)
	if len(rows) != len(all) {
		t.Fatalf("%d klines, the plain way reads %d of %.400q", len(all), len(rows), data)
	}
	for i := range all {
		k := &all[i]
		start, okS := slowTime(rows[i][0])
		end, okE := slowTime(rows[i][6])
		trades, okN := slowInt(rows[i][8])
		// A candle may have the epoch itself as a time, which no trade has.
		times := k.Start == start && k.CloseTime == end && (okS || start == 0) && (okE || end == 0) && start <= end
		if !times || !okN || k.Trades != trades || trades < 0 {
			t.Fatalf("got %+v of %q", k, rows[i])
		}
		for col, got := range map[int]string{1: k.Open.String(), 2: k.High.String(), 3: k.Low.String(), 4: k.Close.String(), 5: k.Volume.String(), 7: k.Quote.String(), 9: k.TakerVolume.String(), 10: k.TakerQuote.String()} {
			a, okA := new(big.Rat).SetString(got)
			b, okB := new(big.Rat).SetString(rows[i][col])
			if !okA || !okB || !plainDecimal.MatchString(rows[i][col]) || a.Cmp(b) != 0 {
				t.Fatalf("column %d: got %s of %q", col, got, rows[i])
			}
		}
	}
	return all
}

const restKlines = `[[1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","148976.11427815",1499644799999,"2434.19055334",308,"1756.87402397","28.46694368","0"]]`

func TestKlinesAgreeOnRecordedRows(t *testing.T) {
	data, err := os.ReadFile(official)
	if err != nil {
		t.Fatal(err)
	}
	if all := agreeKlines(t, official, data); len(all) != 1 {
		t.Errorf("%d klines", len(all))
	}
	if all := agreeKlines(t, write(t, "k.json", []byte(restKlines)), []byte(restKlines)); len(all) != 1 {
		t.Errorf("%d klines of a REST answer", len(all))
	}
}

// FuzzKlines: what is read of a file of klines are the numbers that stand in it.
func FuzzKlines(f *testing.F) {
	data, err := os.ReadFile(official)
	if err != nil {
		f.Fatal(err)
	}
	header := []byte("open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n")
	for _, d := range [][]byte{data, append(header, data...), []byte(restKlines), []byte(strings.ReplaceAll(restKlines, ",", " ,\n")), gz(restKlines), zipped("a.csv", string(data)), []byte("[[1]]"), nil} {
		f.Add(d)
	}
	path := filepath.Join(f.TempDir(), "klines")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		packed := bytes.HasPrefix(data, []byte{0x1f, 0x8b}) || bytes.HasPrefix(data, []byte("PK"))
		if packed || bytes.IndexByte(data, '"') >= 0 && !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("[")) {
			_, _ = ReadKlines(path) // no panic
			return
		}
		agreeKlines(t, path, data)
	})
}
