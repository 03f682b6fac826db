package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"millrace/internal/parquet"
	sqlsink "millrace/processor/sink/sql"
	"millrace/schema"
)

// exportFormats are what candles can be written as.
var exportFormats = []string{"csv", "ndjson", "parquet", "mysql", "sqlite"}

// rowWriter writes candles in one format.
type rowWriter interface {
	Write([]schema.Candle) error
	Close() error // writes what is left; the writer below stays open
}

// newRowWriter gives what writes rows in a format.
func newRowWriter(format string, w io.Writer) (rowWriter, error) {
	switch format {
	case "csv":
		out := csv.NewWriter(w)
		return &csvRows{out}, out.Write(strings.Split(sqlsink.Columns, ", "))
	case "ndjson":
		return &jsonRows{w: w}, nil
	case "parquet":
		out, err := parquet.NewWriter(w, parquetColumns[:])
		return &parquetRows{out}, err
	}
	script, err := sqlsink.NewScript(format)
	if err != nil {
		return nil, usagef("--format: %q is not one of %s", format, strings.Join(exportFormats, ", "))
	}
	return &sqlRows{w, script}, nil
}

type sqlRows struct {
	w      io.Writer
	script *sqlsink.Script
}

func (x *sqlRows) Write(rows []schema.Candle) error { return x.script.Write(x.w, rows) }
func (x *sqlRows) Close() error                     { return nil }

type csvRows struct{ w *csv.Writer }

func (x *csvRows) Write(rows []schema.Candle) error {
	for i := range rows {
		if err := x.w.Write(csvRow(&rows[i])); err != nil {
			return err
		}
	}
	return x.Close()
}

func (x *csvRows) Close() error {
	x.w.Flush()
	return x.w.Error()
}

func csvRow(c *schema.Candle) []string {
	num := func(n int64) string { return strconv.FormatInt(n, 10) }
	return []string{c.Symbol, c.Period.String(), c.Start.String(), c.Open.String(), c.High.String(), c.Low.String(), c.Close.String(), c.Volume.String(), c.Quote.String(), num(c.Trades),
		c.TakerVolume.String(), c.TakerQuote.String(), num(c.First), num(c.Last), c.Status.String(), num(c.Missing), num(int64(c.Version))}
}

// jsonRows writes a line of JSON for each candle, as NATS has it.
type jsonRows struct {
	w io.Writer
	b []byte
}

func (x *jsonRows) Write(rows []schema.Candle) error {
	x.b = x.b[:0]
	for i := range rows {
		x.b = append(rows[i].AppendJSON(x.b), '\n')
	}
	_, err := x.w.Write(x.b)
	return err
}

func (x *jsonRows) Close() error { return nil }

// parquetColumns are the table's. 38 digits are what all readers take: of volumes
// 26 before the point and of quote volumes, price times quantity, 20. What they
// can't hold exactly ends the export; CSV, JSON and SQL hold all.
var parquetColumns = [...]parquet.Column{
	{Name: "symbol"},
	{Name: "period"},
	{Name: "start_time", Kind: parquet.Moment},
	{Name: "open", Kind: parquet.Decimal, Precision: 31, Scale: schema.MaxScale},
	{Name: "high", Kind: parquet.Decimal, Precision: 31, Scale: schema.MaxScale},
	{Name: "low", Kind: parquet.Decimal, Precision: 31, Scale: schema.MaxScale},
	{Name: "close", Kind: parquet.Decimal, Precision: 31, Scale: schema.MaxScale},
	{Name: "volume", Kind: parquet.Decimal, Precision: 38, Scale: schema.MaxScale},
	{Name: "quote_volume", Kind: parquet.Decimal, Precision: 38, Scale: 18},
	{Name: "trades", Kind: parquet.Int},
	{Name: "taker_buy_volume", Kind: parquet.Decimal, Precision: 38, Scale: schema.MaxScale},
	{Name: "taker_buy_quote_volume", Kind: parquet.Decimal, Precision: 38, Scale: 18},
	{Name: "first_trade_id", Kind: parquet.Int},
	{Name: "last_trade_id", Kind: parquet.Int},
	{Name: "status"},
	{Name: "missing", Kind: parquet.Int},
	{Name: "version", Kind: parquet.Int},
}

type parquetRows struct{ w *parquet.Writer }

func (x *parquetRows) Write(rows []schema.Candle) error {
	for i := range rows {
		if err := x.row(&rows[i]); err != nil {
			return fmt.Errorf("candle %s %v %v: %w", rows[i].Symbol, rows[i].Period, rows[i].Start, err)
		}
	}
	return nil
}

func (x *parquetRows) row(c *schema.Candle) error {
	x.w.Text(0, c.Symbol)
	x.w.Text(1, c.Period.String())
	x.w.Int(2, int64(c.Start))
	for i, p := range [...]schema.Decimal{c.Open, c.High, c.Low, c.Close} {
		if err := x.w.Decimal(3+i, 0, uint64(p.Mantissa), int(p.Scale)); err != nil {
			return err
		}
	}
	for _, f := range [...]struct {
		column int
		schema.Sum
	}{{7, c.Volume}, {8, c.Quote}, {10, c.TakerVolume}, {11, c.TakerQuote}} {
		if err := x.w.Decimal(f.column, f.Hi, f.Lo, int(f.Scale)); err != nil {
			return fmt.Errorf("%w; export it as csv, ndjson or SQL, which hold it", err)
		}
	}
	x.w.Int(9, c.Trades)
	x.w.Int(12, c.First)
	x.w.Int(13, c.Last)
	x.w.Text(14, c.Status.String())
	x.w.Int(15, c.Missing)
	x.w.Int(16, int64(c.Version))
	return x.w.Row()
}

func (x *parquetRows) Close() error { return x.w.Close() }

// formatOf gives the format that was asked for: by name, by --json, or by what
// the file's name ends in.
func formatOf(format, out string, json bool) (string, error) {
	if json && format != "" && format != "ndjson" {
		return "", usagef("--json is --format ndjson; --format %s contradicts it", format)
	}
	switch {
	case json:
		return "ndjson", nil
	case format == "":
		for _, f := range exportFormats[:3] {
			if strings.HasSuffix(out, "."+f) {
				return f, nil
			}
		}
		return "csv", nil
	case !slices.Contains(exportFormats, format):
		return "", usagef("--format: %q is not one of %s", format, strings.Join(exportFormats, ", "))
	}
	return format, nil
}
