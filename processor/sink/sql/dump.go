package sqlsink

import (
	"bufio"
	"context"
	"io"
	"strconv"

	"millrace/schema"
)

// Dump writes the whole table of candles as text, one window a line, in the
// order of the primary key and without updated_at. The figures are canonical and
// stand in the order of the columns, so that equal tables give equal bytes,
// whatever the store:
//
//	BTCUSDT 1m 2024-08-08T23:55:00Z 61837.63 … final 0 72057594037928043
func (db *DB) Dump(ctx context.Context, w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<16)
	var line []byte
	err := db.readCandles(ctx, "SELECT "+columns+" FROM candles ORDER BY symbol, period, start_time", func(c *schema.Candle) error {
		line = append(appendLine(line[:0], c), '\n')
		_, err := out.Write(line)
		return err
	})
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return db.fail("dump", ended(ctx, err))
	}
	return nil
}

func appendLine(dst []byte, c *schema.Candle) []byte {
	dst = append(dst, c.Symbol...)
	dst = append(dst, ' ')
	dst = append(dst, c.Period.String()...)
	dst = append(dst, ' ')
	dst = append(dst, c.Start.String()...)
	for _, d := range [...]schema.Decimal{c.Open, c.High, c.Low, c.Close} {
		dst = d.Append(append(dst, ' '))
	}
	dst = c.Volume.Append(append(dst, ' '))
	dst = c.Quote.Append(append(dst, ' '))
	dst = strconv.AppendInt(append(dst, ' '), c.Trades, 10)
	dst = c.TakerVolume.Append(append(dst, ' '))
	dst = c.TakerQuote.Append(append(dst, ' '))
	dst = strconv.AppendInt(append(dst, ' '), c.First, 10)
	dst = strconv.AppendInt(append(dst, ' '), c.Last, 10)
	dst = append(dst, ' ')
	dst = append(dst, c.Status.String()...)
	dst = strconv.AppendInt(append(dst, ' '), c.Missing, 10)
	return strconv.AppendInt(append(dst, ' '), int64(c.Version), 10)
}
