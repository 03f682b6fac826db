package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"millrace/schema"
)

// Options say what a file's name may leave open, and how it is read.
type Options struct {
	// Symbol is needed for a dump whose name is not one of Binance's; where it
	// is, the two must agree.
	Symbol string
	// RequireChecksum refuses a file beside which no NAME.CHECKSUM lies. One
	// that lies there is held against the file in any case.
	RequireChecksum bool
	// Read, if set, counts the bytes read of the file, packed as it is.
	Read *atomic.Int64
}

// Dump reads one of Binance's public dumps of trades or aggregate trades.
type Dump struct {
	Symbol string
	// Name is what the file's name tells; zero where it is none of Binance's.
	Name Name
	// Voids is the number of aggregates passed over because they stand for no
	// trade.
	Voids int
	// Digest is the file's.
	Digest Digest

	l      *lines
	layout layout
	cols   [][]byte
	row    []byte // the first row, read ahead to learn the layout
	first  int64  // id of the first trade; −1 before
	err    error
}

// OpenDump opens a dump, verifies it, and reads its first row, which shows its
// columns. It refuses a file without any row.
func OpenDump(ctx context.Context, path string, o Options) (_ *Dump, err error) {
	d := &Dump{Symbol: o.Symbol, first: -1}
	if n, ok := ParseName(path); ok {
		d.Name = n
		if n.Kind == Unknown {
			return nil, fmt.Errorf("%s: its name says klines of %s, not trades: klines are for audit", path, n.Interval)
		}
		if o.Symbol != "" && o.Symbol != n.Symbol {
			return nil, fmt.Errorf("%s: its name says %s, but the symbol was given as %s: rename it or give no symbol", path, n.Symbol, o.Symbol)
		}
		d.Symbol = n.Symbol
	}
	if d.Symbol == "" {
		return nil, fmt.Errorf("%s: its name doesn't tell a symbol: give the symbol, or Binance's name (SYMBOL-trades-YYYY-MM-DD.zip)", path)
	}
	if err := schema.ValidateSymbol(d.Symbol); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if d.l, err = openVerified(ctx, path, &o); err != nil {
		return nil, err
	}
	d.Digest = d.l.digest
	if err := d.begin(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// begin passes over the header, if there is one, and learns the layout.
func (d *Dump) begin() error {
	row, err := d.l.Next()
	if err == nil && len(row) > 0 && (row[0] < '0' || row[0] > '9') {
		if !isHeader(row) {
			return d.l.bad(fmt.Errorf("neither a row nor a header of a dump: %s", snippet(row)))
		}
		row, err = d.l.Next()
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: no row in it", d.l.path)
	}
	if err != nil {
		return err
	}
	d.row = append([]byte{}, row...)
	d.cols = split(nil, d.row)
	if d.layout, err = findLayout(d.Name.Kind, d.cols); err != nil {
		return d.l.bad(fmt.Errorf("%w: %s", err, snippet(row)))
	}
	return nil
}

// Kind tells what the rows are.
func (d *Dump) Kind() Kind { return d.layout.kind }

// Path gives the file's name.
func (d *Dump) Path() string { return d.l.path }

// Line gives the number of the line that Next read last, from 1.
func (d *Dump) Line() int { return d.l.number }

// Next reads the next trade into t, and gives io.EOF behind the last. After an
// error it gives the same error for ever.
func (d *Dump) Next(t *schema.Trade) error {
	for d.err == nil {
		row := d.row
		if d.row = nil; row == nil {
			if row, d.err = d.l.Next(); d.err != nil {
				break
			}
		}
		d.cols = split(d.cols, row)
		void, err := d.layout.parse(d.cols, t)
		if err == nil && !void && d.Name.To != 0 && (t.Time < d.Name.From || t.Time >= d.Name.To) {
			err = fmt.Errorf("trade %d of %v is not in the time that the file's name tells", t.ID, t.Time)
		}
		if err != nil {
			d.err = d.l.bad(fmt.Errorf("%w: %s", err, snippet(row)))
			break
		}
		if void {
			d.Voids++
			continue
		}
		if d.first < 0 {
			d.first = t.ID
		}
		return nil
	}
	return d.err
}

// Anchor gives what a dump of a whole day or month proves at its left edge: no
// trade lies between the day's start and its first one. It is known once the
// first trade has been read, and never for a file whose name has no date. An
// id of −1 says that the symbol's history begins in this dump.
func (d *Dump) Anchor() (_ schema.Anchor, ok bool) {
	if d.first < 0 || d.Name.From == 0 {
		return schema.Anchor{}, false
	}
	return schema.Anchor{Symbol: d.Symbol, ID: d.first - 1, Time: d.Name.From - 1}, true
}

// Close closes the file.
func (d *Dump) Close() error { return d.l.Close() }
