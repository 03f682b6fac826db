package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Kind is what a column holds.
type Kind uint8

const (
	Text    Kind = iota // UTF-8
	Int                 // 64 bits, signed
	Moment              // microseconds since 1970, UTC
	Decimal             // Column.Precision digits, Column.Scale of them behind the point
)

// MaxPrecision is how many digits a decimal may have at most: what readers take,
// and what 16 bytes hold.
const MaxPrecision = 38

// decimalSize is how many bytes a decimal takes.
const decimalSize = 16

// ErrOverflow reports a decimal that its column can't hold exactly.
var ErrOverflow = errors.New("number does not fit")

// Column is one column of a table.
type Column struct {
	Name             string
	Kind             Kind
	Precision, Scale int // of a decimal
}

// groupRows is how many rows are gathered in memory, some 20 MB of them.
const groupRows = 1 << 17

// Writer writes one file. Each row's values are given by column, in any order;
// then Row ends it. It is used by one goroutine.
type Writer struct {
	w       io.Writer
	at      int64 // bytes written
	columns []Column
	values  [][]byte // of the row group at hand, by column
	rows    int64    // in it
	total   int64
	groups  []group
	z       *zstd.Encoder
	packed  []byte
}

// group is what the footer says of a row group.
type group struct {
	rows   int64
	chunks []chunk
}

type chunk struct {
	offset           int64
	unpacked, packed int64 // with the page's header
}

// NewWriter begins a file.
func NewWriter(w io.Writer, columns []Column) (*Writer, error) {
	for _, c := range columns {
		if c.Kind == Decimal && (c.Precision < 1 || c.Precision > MaxPrecision || c.Scale < 0 || c.Scale > c.Precision) {
			return nil, fmt.Errorf("parquet: column %s: a decimal of %d digits, %d of them behind the point", c.Name, c.Precision, c.Scale)
		}
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("parquet: %w", err)
	}
	x := &Writer{w: w, columns: columns, values: make([][]byte, len(columns)), z: z}
	return x, x.write([]byte(magic))
}

const magic = "PAR1"

func (x *Writer) write(b []byte) error {
	n, err := x.w.Write(b)
	x.at += int64(n)
	return err
}

// Text gives a column's value in this row.
func (x *Writer) Text(column int, s string) {
	v := binary.LittleEndian.AppendUint32(x.values[column], uint32(len(s)))
	x.values[column] = append(v, s...)
}

// Int gives a column's value in this row: a number, or a moment's microseconds.
func (x *Writer) Int(column int, n int64) {
	x.values[column] = binary.LittleEndian.AppendUint64(x.values[column], uint64(n))
}

// Decimal gives a column's value in this row: (hi·2^64 + lo) × 10^-scale. It
// fails where the column can't hold it exactly.
func (x *Writer) Decimal(column int, hi, lo uint64, scale int) error {
	c := &x.columns[column]
	n, ok := rescale(wide{hi, lo}, scale, c.Scale)
	if !ok || !n.less(power(c.Precision)) {
		return fmt.Errorf("%w: DECIMAL(%d,%d) of the column %s", ErrOverflow, c.Precision, c.Scale, c.Name)
	}
	v := binary.BigEndian.AppendUint64(x.values[column], n.hi)
	x.values[column] = binary.BigEndian.AppendUint64(v, n.lo)
	return nil
}

// Row ends a row.
func (x *Writer) Row() error {
	if x.rows++; x.rows < groupRows {
		return nil
	}
	return x.flush()
}

// flush writes the row group at hand.
func (x *Writer) flush() error {
	if x.rows == 0 {
		return nil
	}
	g := group{rows: x.rows}
	for i := range x.columns {
		x.packed = x.z.EncodeAll(x.values[i], x.packed[:0])
		head := pageHeader(x.rows, len(x.values[i]), len(x.packed))
		g.chunks = append(g.chunks, chunk{x.at, int64(len(head) + len(x.values[i])), int64(len(head) + len(x.packed))})
		if err := errors.Join(x.write(head), x.write(x.packed)); err != nil {
			return fmt.Errorf("parquet: %w", err)
		}
		x.values[i] = x.values[i][:0]
	}
	x.groups = append(x.groups, g)
	x.total += x.rows
	x.rows = 0
	return nil
}

// Close ends the file. The writer below stays open.
func (x *Writer) Close() error {
	if err := x.flush(); err != nil {
		return err
	}
	b := x.footer()
	b = binary.LittleEndian.AppendUint32(b, uint32(len(b)))
	if err := errors.Join(x.write(append(b, magic...)), x.z.Close()); err != nil {
		return fmt.Errorf("parquet: %w", err)
	}
	return nil
}
