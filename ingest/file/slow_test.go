package file

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"millrace/schema"
)

// slowDump is the plain way to read a dump: encoding/csv, math/big, no thought
// of speed. It gives the trades before the first bad row, and whether there was
// none.
func slowDump(data []byte, n Name) (all []schema.Trade, voids int, ok bool) {
	r := csv.NewReader(bytes.NewReader(data))
	r.FieldsPerRecord = -1
	row, err := r.Read()
	if err != nil {
		return nil, 0, false
	}
	if c := row[0]; c == "" || c[0] < '0' || c[0] > '9' {
		words := []string{"id", "tradeid", "aggtradeid", "aggid", "a", "opentime"}
		if !slices.Contains(words, strings.ToLower(strings.ReplaceAll(strings.Trim(c, " "), "_", ""))) {
			return nil, 0, false
		}
		if row, err = r.Read(); err != nil {
			return nil, 0, false
		}
	}
	columns := len(row)
	kind, at, found := slowKind(row)
	if !found || n.Kind != Unknown && n.Kind != kind {
		return nil, 0, false
	}
	for ; err == nil; row, err = r.Read() {
		var good [8]bool
		if good[0] = len(row) == columns; !good[0] {
			return all, voids, false
		}
		var t schema.Trade
		t.ID, good[1] = slowInt(row[0])
		t.Last, good[2] = t.ID, true
		if kind == AggTrades {
			t.ID, good[2] = slowInt(row[3])
			t.Last, good[3] = slowInt(row[4])
		} else {
			good[3] = true
		}
		t.Price, good[4] = slowDecimal(row[1])
		t.Qty, good[5] = slowDecimal(row[2])
		t.Time, good[6] = slowTime(row[at])
		t.BuyerMaker, good[7] = slowBool(row[at+1])
		if slices.Contains(good[:], false) {
			return all, voids, false
		}
		if kind == AggTrades && t.ID == -1 && t.Last == -1 && t.Price.Mantissa == 0 && t.Qty.Mantissa == 0 {
			voids++
			continue
		}
		if t.ID < 0 || t.Last < t.ID || t.Last > schema.MaxVersionN || t.Price.Mantissa == 0 || t.Qty.Mantissa == 0 ||
			n.To != 0 && (t.Time < n.From || t.Time >= n.To) {
			return all, voids, false
		}
		all = append(all, t)
	}
	return all, voids, errors.Is(err, io.EOF)
}

// slowKind tells the kind by the columns that hold a time and a boolean.
func slowKind(row []string) (kind Kind, at int, ok bool) {
	for _, k := range []struct {
		kind        Kind
		columns, at int
	}{{Trades, 6, 4}, {Trades, 7, 4}, {AggTrades, 7, 5}, {AggTrades, 8, 5}} {
		if len(row) != k.columns {
			continue
		}
		_, time := slowTime(row[k.at])
		_, maker := slowBool(row[k.at+1])
		_, last := slowBool(row[k.columns-1])
		if time && maker && last {
			return k.kind, k.at, true
		}
	}
	return Unknown, 0, false
}

var (
	plainInt     = regexp.MustCompile(`^[+-]?[0-9]+$`)
	plainDecimal = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)
)

func slowInt(s string) (int64, bool) {
	v, ok := new(big.Int).SetString(s, 10)
	if !plainInt.MatchString(s) || !ok || !v.IsInt64() {
		return 0, false
	}
	return v.Int64(), true
}

func slowBool(s string) (v, ok bool) {
	v = slices.Contains([]string{"true", "True", "TRUE"}, s)
	return v, v || slices.Contains([]string{"false", "False", "FALSE"}, s)
}

func slowTime(s string) (schema.Time, bool) {
	figure, ok := slowInt(s)
	v := big.NewInt(figure)
	if figure < 1e14 {
		v.Mul(v, big.NewInt(1000))
	}
	if !ok || v.Sign() <= 0 || v.Cmp(big.NewInt(1<<53)) > 0 {
		return 0, false
	}
	return schema.Time(v.Int64()), true
}

func slowDecimal(s string) (schema.Decimal, bool) {
	if len(s) > 64 || !plainDecimal.MatchString(s) {
		return schema.Decimal{}, false
	}
	whole, fraction, _ := strings.Cut(s, ".")
	fraction = strings.TrimRight(fraction, "0")
	m, ok := new(big.Int).SetString(whole+fraction, 10)
	if !ok || !m.IsInt64() || len(fraction) > schema.MaxScale {
		return schema.Decimal{}, false
	}
	return schema.Decimal{Mantissa: m.Int64(), Scale: uint8(len(fraction))}, true
}

// hasBlankLine tells of the lines that encoding/csv passes over and a dump must
// not have.
func hasBlankLine(data []byte) bool {
	for i, line := range bytes.SplitAfter(data, []byte("\n")) {
		if text := bytes.TrimRight(line, "\r\n"); len(text) == 0 && (len(line) > 0 || i == 0) {
			return true
		}
	}
	return false
}

// agreeDump fails unless OpenDump and Next read in a file what the plain way
// reads. It gives the trades.
func agreeDump(t testing.TB, path string, data []byte) []schema.Trade {
	t.Helper()
	n, known := ParseName(path)
	o := Options{Symbol: "AAA"}
	if known {
		o.Symbol = n.Symbol
	}
	all, voids, err := dump(t, path, o)
	want, wantVoids, ok := slowDump(data, n)
	if len(all) > len(want) || !slices.Equal(all, want[:len(all)]) {
		t.Fatalf("got  %+v\nwant %+v\nof %.400q", all, want, data)
	}
	if ok && err != nil && hasBlankLine(data) {
		ok = false // encoding/csv passes over what a dump must not have
	}
	if whole := err == nil; whole != ok || whole && (len(all) != len(want) || voids != wantVoids) {
		t.Fatalf("%d trades, %d voids, %v; the plain way says %d, %d, %v of %.400q", len(all), voids, err, len(want), wantVoids, ok, data)
	}
	return all
}

// dump reads a file to its end or to its first bad row.
func dump(t testing.TB, path string, o Options) (all []schema.Trade, voids int, err error) {
	t.Helper()
	d, err := OpenDump(context.Background(), path, o)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	var tr schema.Trade
	for err = d.Next(&tr); err == nil; err = d.Next(&tr) {
		if bad := tr.Validate(); bad != nil {
			t.Fatal(bad)
		}
		all = append(all, tr)
	}
	if cap(d.cols) > 2*(maxColumns+1) || cap(d.l.long) > 2*maxLine {
		t.Fatalf("room for %d columns and a line of %d bytes", cap(d.cols), cap(d.l.long))
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return all, d.Voids, err
}

func TestDumpsAgreeOnRecordedRows(t *testing.T) {
	data, err := os.ReadFile(xrpeth)
	if err != nil {
		t.Fatal(err)
	}
	if all := agreeDump(t, xrpeth, data); len(all) != 12477 {
		t.Errorf("%d aggregates", len(all))
	}
	for name, file := range map[string]string{
		"trades":    "../testdata/rest/trades_ETHBTC_2023-03-20.json",
		"aggTrades": "../testdata/rest/aggTrades_BTCUSDT_2020-01-02.json",
	} {
		rows := dumpOf(t, file)
		for path, data := range map[string][]byte{
			name + ".csv":                  rows,
			"AAA-" + name + "-2023-03.csv": rows, // the aggregates are older
			"AAA-" + name + "-2020-01.csv": rows, // the trades are younger
			"header.csv":                   append([]byte(map[string]string{"trades": tradesHeader, "aggTrades": aggsHeader}[name]), rows...),
			"cut.csv":                      rows[:len(rows)-30],
		} {
			all := agreeDump(t, write(t, path, data), data)
			month := name == "trades" && strings.Contains(path, "2020") || name == "aggTrades" && strings.Contains(path, "2023")
			if wanted := 1000; month && len(all) != 0 || !month && path == "cut.csv" && len(all) != wanted-1 || !month && path != "cut.csv" && len(all) != wanted {
				t.Errorf("%s: %d trades", path, len(all))
			}
		}
	}
}

func TestDumpsAgreeOnOddRows(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	odd := []string{"", "0", "-1", "+1", "1", "007", "1.5", "0.0", "1e3", "x", " 1", "true", "False", "TRUE", "no", "9223372036854775807", "9223372036854775808", "18014398509481983", "18014398509481984",
		"0.000000000001", "0.0000000000001", "1735689600000000", "1735775999999999", "1735776000000000", "1735689599999999", "1735689600000", "1735775999999", "1735776000000", "9007199254740992", "9007199254740993",
		strings.Repeat("0", 64), strings.Repeat("0", 65), "a,b"}
	rows := map[string]string{"trades": "51175358,17.80180000,5.69,101.29,1735689600010866,True,True", "trades of futures": "51175358,17.8,5.69,101.29,1735689600010,true",
		"aggTrades": "100,17.8,5.69,51175358,51175360,1735689600010866,False,True", "aggTrades of futures": "100,17.8,5.69,51175358,51175360,1735689600010,true", "void": "100,0,0.0,-1,-1,1735689600010866,False,True"}
	paths := []string{"some.csv", "AAA-trades-2025-01-01.csv", "AAA-aggTrades-2025-01-01.csv"}
	dir := t.TempDir()
	read := 0
	for range 3000 {
		row := rows[[]string{"trades", "trades of futures", "aggTrades", "aggTrades of futures"}[r.IntN(4)]]
		var b strings.Builder
		for range r.IntN(6) {
			one := row
			if r.IntN(10) == 0 {
				one = rows["void"]
			}
			cols := strings.Split(one, ",")
			if r.IntN(3) == 0 {
				cols[r.IntN(len(cols))] = odd[r.IntN(len(odd))]
			}
			b.WriteString(strings.Join(cols, ",") + []string{"\n", "\n", "\r\n"}[r.IntN(3)])
		}
		path := filepath.Join(dir, paths[r.IntN(len(paths))])
		data := []byte(b.String()[:b.Len()-min(b.Len(), r.IntN(3))])
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		read += len(agreeDump(t, path, data))
	}
	if read < 2000 {
		t.Errorf("%d trades", read)
	}
}

// dumpOf writes the rows of a recorded REST answer as Binance's dumps have
// them, for there is no recorded dump of single trades.
func dumpOf(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&rows); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	for _, r := range rows {
		names := []string{"id", "price", "qty", "quoteQty", "time", "isBuyerMaker", "isBestMatch"}
		if r["a"] != nil {
			names = []string{"a", "p", "q", "f", "l", "T", "m", "M"}
		}
		var cols []string
		for _, name := range names {
			switch v := r[name].(type) {
			case json.Number:
				cols = append(cols, v.String())
			case string:
				cols = append(cols, v)
			case bool:
				cols = append(cols, map[bool]string{true: "True", false: "False"}[v])
			default:
				t.Fatalf("%s: %q is %v", path, name, v)
			}
		}
		if err := w.Write(cols); err != nil {
			t.Fatal(err)
		}
	}
	w.Flush()
	return b.Bytes()
}
