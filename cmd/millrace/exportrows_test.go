package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	columnar "millrace/internal/parquet"
	"millrace/schema"
)

// exportedAgree holds what is exported as JSON and as Parquet, read by another
// implementation, against the CSV.
func exportedAgree(t *testing.T, s *shelf, name, csv string) {
	t.Helper()
	_, rows, _ := strings.Cut(csv, "\n")
	same(t, "JSON", jsonAsCSV(t, s.do(exitOK, "export", name, "--json")), rows)
	path := filepath.Join(t.TempDir(), "candles.parquet")
	if out := s.do(exitOK, "export", name, "--out", path); out != plural(strings.Count(rows, "\n"), "candle")+" in "+path+"\n" {
		t.Error(out)
	}
	same(t, "Parquet", parquetAsCSV(t, path), rows)
}

func jsonAsCSV(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(text) {
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber()
		var c map[string]any
		if err := d.Decode(&c); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		at, err := time.Parse(time.RFC3339, c["start_time"].(string))
		if err != nil {
			t.Fatal(err)
		}
		c["start_time"] = schema.FromStd(at)
		for i, column := range parquetColumns {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprint(&b, c[column.Name])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func parquetAsCSV(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	i, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	f, err := parquet.OpenFile(file, i.Size())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, g := range f.RowGroups() {
		r := g.Rows()
		buf := make([]parquet.Row, 500)
		for err == nil {
			var n int
			n, err = r.ReadRows(buf)
			for _, row := range buf[:n] {
				for k, v := range row {
					if k > 0 {
						b.WriteByte(',')
					}
					b.WriteString(cell(k, v))
				}
				b.WriteByte('\n')
			}
		}
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if err = r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// cell is a value as the CSV has it.
func cell(column int, v parquet.Value) string {
	switch c := parquetColumns[column]; c.Kind {
	case columnar.Int:
		return fmt.Sprint(v.Int64())
	case columnar.Moment:
		return schema.Time(v.Int64()).String()
	case columnar.Decimal:
		text := new(big.Rat).SetFrac(new(big.Int).SetBytes(v.ByteArray()), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(c.Scale)), nil)).FloatString(c.Scale)
		return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
	default:
		return string(v.ByteArray())
	}
}

func TestExportFormats(t *testing.T) {
	for _, c := range []struct {
		format, out string
		json        bool
		want        string
	}{
		{"", "", false, "csv"},
		{"", "x.parquet", false, "parquet"},
		{"", "x.ndjson", false, "ndjson"},
		{"mysql", "x.csv", false, "mysql"},
		{"", "x.csv", true, "ndjson"},
		{"ndjson", "", true, "ndjson"},
		{"csv", "", true, ""},
		{"xml", "", false, ""},
	} {
		got, err := formatOf(c.format, c.out, c.json)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
	// What DECIMAL can't hold is told, with the candle.
	w, err := newRowWriter("parquet", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	c := schema.Candle{Symbol: "ABC", Period: schema.P1m}
	c.Quote = schema.Sum{Lo: 1, Scale: 24}
	if err := w.Write([]schema.Candle{c}); err == nil || !strings.Contains(err.Error(), "ABC") || !strings.Contains(err.Error(), "quote_volume") {
		t.Errorf("a quote volume of 10^-24: %v", err)
	}
}

// TestExportLeavesNothingHalf: a file that was there stays until the new one is
// whole.
func TestExportLeavesNothingHalf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.csv")
	write(t, path, "before")
	a := &app{}
	bad := errors.New("no")
	err := a.intoFile(path, func(w io.Writer) error {
		_, err := io.WriteString(w, "half")
		return errors.Join(err, bad)
	})
	if !errors.Is(err, bad) || string(contents(t, path)) != "before" {
		t.Errorf("%v; the file has %q", err, contents(t, path))
	}
	err = a.intoFile(path, func(w io.Writer) error { _, err := io.WriteString(w, "after"); return err })
	if err != nil || string(contents(t, path)) != "after" {
		t.Errorf("%v; the file has %q", err, contents(t, path))
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("%v, %v are there", err, files)
	}
}
