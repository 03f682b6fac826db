package parquet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"testing"

	other "github.com/parquet-go/parquet-go"
)

var columns = []Column{{Name: "name"}, {Name: "n", Kind: Int}, {Name: "at", Kind: Moment}, {Name: "price", Kind: Decimal, Precision: 38, Scale: 12}}

// read gives a file's rows as another implementation reads them, as text.
func read(t *testing.T, b []byte) (schema string, rows []string) {
	t.Helper()
	f, err := other.OpenFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range f.RowGroups() {
		r := g.Rows()
		buf := make([]other.Row, 100)
		for err == nil {
			var n int
			n, err = r.ReadRows(buf)
			for _, row := range buf[:n] {
				rows = append(rows, fmt.Sprintf("%s %d %d %v", row[0].ByteArray(), row[1].Int64(), row[2].Int64(), new(big.Int).SetBytes(row[3].ByteArray())))
			}
		}
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if err = r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if int64(len(rows)) != f.NumRows() {
		t.Fatalf("%d rows, the footer says %d", len(rows), f.NumRows())
	}
	return f.Schema().String(), rows
}

func TestReadByAnother(t *testing.T) {
	for _, n := range []int{0, 1, groupRows - 1, groupRows, groupRows + 3} {
		var b bytes.Buffer
		w, err := NewWriter(&b, columns)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for i := range n {
			name := strings.Repeat("ü", i%7)
			w.Text(0, name)
			w.Int(1, int64(i)-5)
			w.Int(2, int64(i)*1e9)
			if err := w.Decimal(3, uint64(i), 5, i%13); err != nil {
				t.Fatal(err)
			}
			if err := w.Row(); err != nil {
				t.Fatal(err)
			}
			v := new(big.Int).Lsh(big.NewInt(int64(i)), 64)
			v.Mul(v.Add(v, big.NewInt(5)), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(12-i%13)), nil))
			want = append(want, fmt.Sprintf("%s %d %d %v", name, i-5, i*1e9, v))
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		schema, rows := read(t, b.Bytes())
		if strings.Join(rows, "\n") != strings.Join(want, "\n") {
			t.Errorf("%d rows came back as others: %d", n, len(rows))
		}
		for _, line := range []string{"required binary name (STRING)", "required int64 n", "required int64 at (TIMESTAMP(isAdjustedToUTC=true,unit=MICROS))", "required fixed_len_byte_array(16) price (DECIMAL(38,12))"} {
			if !strings.Contains(schema, line) {
				t.Errorf("the schema lacks %q:\n%s", line, schema)
			}
		}
	}
}

func TestDecimalFits(t *testing.T) {
	limit := power(MaxPrecision)
	for _, c := range []struct {
		hi, lo      uint64
		scale, p, s int
		ok          bool
	}{
		{0, 0, 24, 1, 0, true},
		{0, 1_000, 3, 1, 0, true},  // 1.000 is 1
		{0, 1_001, 3, 4, 2, false}, // a digit would be lost
		{0, 99, 0, 3, 1, true},
		{0, 100, 0, 3, 1, false},
		{limit.hi, limit.lo - 1, 12, 38, 12, true},
		{limit.hi, limit.lo, 12, 38, 12, false},
		{limit.hi, limit.lo, 12, 38, 11, true}, // its last digit is 0
		{^uint64(0), ^uint64(0), 0, 38, 1, false},
		{1 << 63, 0, 0, 38, 18, false},
	} {
		w, err := NewWriter(io.Discard, []Column{{Name: "x", Kind: Decimal, Precision: c.p, Scale: c.s}})
		if err != nil {
			t.Fatal(err)
		}
		if err = w.Decimal(0, c.hi, c.lo, c.scale); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrOverflow) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, bad := range []Column{{Kind: Decimal}, {Kind: Decimal, Precision: 39}, {Kind: Decimal, Precision: 2, Scale: 3}, {Kind: Decimal, Precision: 2, Scale: -1}} {
		if _, err := NewWriter(io.Discard, []Column{bad}); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// failing fails after so many bytes.
type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func TestDiskFull(t *testing.T) {
	for left := range 300 {
		w, err := NewWriter(&failing{left}, columns)
		if err == nil {
			w.Text(0, "a")
			w.Int(1, 1)
			w.Int(2, 1)
			err = errors.Join(w.Decimal(3, 0, 1, 0), w.Row(), w.Close())
		}
		if err == nil {
			t.Fatalf("a writer that takes %d bytes is enough", left)
		}
	}
}
