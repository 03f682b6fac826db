package sqlsink

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"millrace/schema"
)

// columns of candles in the order in which rows are written and read; updated_at
// follows where rows are written.
const columns = "symbol, period, start_time, open, high, low, close, volume, quote_volume, trades, " +
	"taker_buy_volume, taker_buy_quote_volume, first_trade_id, last_trade_id, status, missing, version"

// guarded are the columns that change with the version, and before it.
var guarded = [...]string{"open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume",
	"first_trade_id", "last_trade_id", "status", "missing", "updated_at"}

// newRows gives the candles to write: those within the days kept, in the order
// of the primary key, each window once with its highest version. Writers that
// all lock in one order do not deadlock.
func (db *DB) newRows(candles []schema.Candle, newest schema.Time) ([]*schema.Candle, error) {
	var cutoff [schema.NumPeriods + 1]schema.Time
	for p := range cutoff {
		cutoff[p] = schema.MinTime
		if days := db.cfg.KeepDays[schema.Period(p)]; days > 0 && newest > 0 {
			cutoff[p] = keptFrom(newest, days)
		}
	}
	rows := make([]*schema.Candle, 0, len(candles))
	for i := range candles {
		c := &candles[i]
		if err := checkCandle(c); err != nil {
			return nil, err
		}
		if c.Start >= cutoff[c.Period] {
			rows = append(rows, c)
		}
	}
	slices.SortFunc(rows, func(a, b *schema.Candle) int {
		return cmp.Or(compareKeys(a, b), cmp.Compare(b.Version, a.Version))
	})
	return slices.CompactFunc(rows, func(a, b *schema.Candle) bool { return compareKeys(a, b) == 0 }), nil
}

// compareKeys orders as the databases do: bytes of the symbol, bytes of the
// period's name, time.
func compareKeys(a, b *schema.Candle) int {
	if c := strings.Compare(a.Symbol, b.Symbol); c != 0 {
		return c
	}
	if a.Period != b.Period {
		return strings.Compare(a.Period.String(), b.Period.String())
	}
	return cmp.Compare(a.Start, b.Start)
}

// checkCandle refuses what the columns could not hold exactly. SQLite's would
// take anything.
func checkCandle(c *schema.Candle) error {
	bad := func(what string) error {
		return fmt.Errorf("candle %s %v %v: %s cannot be stored", c.Symbol, c.Period, c.Start, what)
	}
	if err := schema.ValidateSymbol(c.Symbol); err != nil {
		return err
	}
	switch {
	case !c.Period.Valid():
		return bad("the period")
	case !storable(c.Start):
		return bad("the start")
	case c.Status > schema.Final || c.Version < 0 || c.Version.Status() != c.Status:
		return bad(fmt.Sprintf("version %d with status %v", int64(c.Version), c.Status))
	}
	for _, d := range [...]*schema.Decimal{&c.Open, &c.High, &c.Low, &c.Close} {
		if d.Mantissa < 0 || d.Scale > schema.MaxScale {
			return bad("a price")
		}
	}
	for i, s := range [...]*schema.Sum{&c.Volume, &c.TakerVolume, &c.Quote, &c.TakerQuote} {
		most := uint8(schema.MaxScale)
		if i >= 2 {
			most = schema.MaxSumScale
		}
		if s.Scale > most && s.Canonical().Scale > most {
			return bad("a sum of " + strconv.Itoa(int(s.Scale)) + " decimals")
		}
	}
	return nil
}

// writeCandles upserts in statements of a bounded number of rows and bytes. They
// are written as text: bound parameters would be 17 a row, of which MySQL's
// protocol allows 65,535, and cost a round trip to prepare; on SQLite, a prepared
// statement for each row took twice as long. Nothing but figures, times and what
// dialect.text made safe goes into it.
func (db *DB) writeCandles(ctx context.Context, tx *sql.Tx, rows []*schema.Candle) error {
	var buf []byte
	for len(rows) > 0 {
		var n int
		buf, n = db.appendUpsert(buf[:0], rows)
		if _, err := tx.ExecContext(ctx, string(buf)); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// appendUpsert writes one statement, and says how many rows it took.
func (db *DB) appendUpsert(buf []byte, rows []*schema.Candle) ([]byte, int) {
	buf = append(buf, "INSERT INTO candles ("+columns+", updated_at) VALUES "...)
	tail := ", " + db.d.now + ")"
	n := 0
	for n < len(rows) && n < db.cfg.RowsPerStatement && len(buf) < db.d.maxBytes {
		if n > 0 {
			buf = append(buf, ',')
		}
		buf = append(db.appendRow(buf, rows[n]), tail...)
		n++
	}
	return append(buf, db.d.upsert...), n
}

func (db *DB) appendRow(dst []byte, c *schema.Candle) []byte {
	dec := func(d schema.Decimal) { dst = append(d.Append(append(dst, '\'')), '\'', ',') }
	sum := func(s schema.Sum) { dst = append(s.Append(append(dst, '\'')), '\'', ',') }
	num := func(v int64) { dst = append(strconv.AppendInt(dst, v, 10), ',') }
	dst = db.d.text(append(dst, '('), c.Symbol)
	dst = append(dst, ",'"...)
	dst = append(dst, c.Period.String()...)
	dst = append(dst, "','"...)
	dst = appendTime(dst, c.Start, millis)
	dst = append(dst, "',"...)
	dec(c.Open)
	dec(c.High)
	dec(c.Low)
	dec(c.Close)
	sum(c.Volume)
	sum(c.Quote)
	num(c.Trades)
	sum(c.TakerVolume)
	sum(c.TakerQuote)
	num(c.First)
	num(c.Last)
	dst = append(dst, '\'')
	dst = append(dst, c.Status.String()...)
	dst = append(dst, '\'', ',')
	num(c.Missing)
	return strconv.AppendInt(dst, int64(c.Version), 10)
}

// Candles reads the candles of a series that start in [from, to), the oldest
// first, at most limit (0: all).
func (db *DB) Candles(ctx context.Context, symbol string, period schema.Period, from, to schema.Time, limit int) ([]schema.Candle, error) {
	query := "SELECT " + columns + " FROM candles WHERE symbol = ? AND period = ? AND start_time >= ? AND start_time < ? ORDER BY start_time"
	if limit > 0 {
		query += " LIMIT " + strconv.Itoa(limit)
	}
	bound := func(t schema.Time) string {
		return string(appendTime(nil, min(max(t, minStored), maxStored), millis))
	}
	var out []schema.Candle
	err := db.readCandles(ctx, query, func(c *schema.Candle) error {
		out = append(out, *c)
		return nil
	}, symbol, period.String(), bound(from), bound(to))
	if err != nil {
		return nil, db.fail("read candles", ended(ctx, err))
	}
	return out, nil
}

// readCandles calls each with every row; the candle is good until it returns.
func (db *DB) readCandles(ctx context.Context, query string, each func(*schema.Candle) error, args ...any) error {
	rows, err := db.sql.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var period, start, status string
	var price [4]sql.RawBytes
	var sums [4]sql.RawBytes
	for rows.Next() {
		var c schema.Candle
		if err := rows.Scan(&c.Symbol, &period, &start, &price[0], &price[1], &price[2], &price[3], &sums[0], &sums[1], &c.Trades,
			&sums[2], &sums[3], &c.First, &c.Last, &status, &c.Missing, &c.Version); err != nil {
			return err
		}
		var errs [3]error
		c.Period, errs[0] = schema.ParsePeriod(period)
		c.Start, errs[1] = parseTime(start)
		c.Status, errs[2] = schema.ParseStatus(status)
		for i, to := range [...]*schema.Decimal{&c.Open, &c.High, &c.Low, &c.Close} {
			if *to, err = schema.ParseDecimal(price[i]); err != nil {
				return err
			}
		}
		for i, to := range [...]*schema.Sum{&c.Volume, &c.Quote, &c.TakerVolume, &c.TakerQuote} {
			if *to, err = schema.ParseSum(sums[i]); err != nil {
				return err
			}
		}
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		if err := each(&c); err != nil {
			return err
		}
	}
	return rows.Err()
}
