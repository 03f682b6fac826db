package sqlsink

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"millrace/schema"
)

// maxReason is the width of the column, in characters.
const maxReason = 255

// writeGaps replaces the rows of each set's symbol, unless those that are there
// come from a newer set.
func (db *DB) writeGaps(ctx context.Context, tx *sql.Tx, sets []schema.GapSet) error {
	newer := func(a, b *schema.GapSet) int {
		return cmp.Or(cmp.Compare(a.Applied, b.Applied), cmp.Compare(a.Opened, b.Opened))
	}
	sorted := make([]*schema.GapSet, len(sets))
	for i := range sets {
		sorted[i] = &sets[i]
	}
	slices.SortFunc(sorted, func(a, b *schema.GapSet) int { return cmp.Or(strings.Compare(a.Symbol, b.Symbol), newer(b, a)) })
	sorted = slices.CompactFunc(sorted, func(a, b *schema.GapSet) bool { return a.Symbol == b.Symbol })
	for _, set := range sorted {
		if err := schema.ValidateSymbol(set.Symbol); err != nil {
			return err
		}
		if err := db.writeGapSet(ctx, tx, set, newer); err != nil {
			return fmt.Errorf("%s: %w", set.Symbol, err)
		}
	}
	return nil
}

func (db *DB) writeGapSet(ctx context.Context, tx *sql.Tx, set *schema.GapSet, newer func(a, b *schema.GapSet) int) error {
	guard := func(applied, opened int64, tail string) error {
		b := append(db.d.text([]byte("INSERT INTO gap_sets (symbol, applied, opened) VALUES ("), set.Symbol), ',')
		b = append(strconv.AppendInt(b, applied, 10), ',')
		b = append(strconv.AppendInt(b, opened, 10), ')')
		_, err := tx.ExecContext(ctx, string(b)+tail)
		return err
	}
	// A row that isn't there cannot be locked, so there is one first.
	if err := guard(-1, -1, db.d.keep); err != nil {
		return err
	}
	var found schema.GapSet
	if err := tx.QueryRowContext(ctx, "SELECT applied, opened FROM gap_sets WHERE symbol = ?"+db.d.forUpdate, set.Symbol).Scan(&found.Applied, &found.Opened); err != nil {
		return err
	}
	if newer(set, &found) < 0 {
		return nil
	}
	if newer(set, &found) > 0 {
		if err := guard(set.Applied, set.Opened, db.d.gapSets); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM gaps WHERE symbol = ?", set.Symbol); err != nil {
		return err
	}
	return db.insertGaps(ctx, tx, set)
}

func (db *DB) insertGaps(ctx context.Context, tx *sql.Tx, set *schema.GapSet) error {
	gaps := slices.Clone(set.Gaps)
	key := func(a, b schema.Gap) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last), cmp.Compare(a.Found, b.Found))
	}
	slices.SortStableFunc(gaps, key)
	gaps = slices.CompactFunc(gaps, func(a, b schema.Gap) bool { return key(a, b) == 0 })
	for rows := range slices.Chunk(gaps, db.cfg.RowsPerStatement) {
		buf := []byte("INSERT INTO gaps (symbol, first_missing_id, last_missing_id, after_time, before_time, found_at, filled_at, reason) VALUES ")
		for i, g := range rows {
			if !storable(g.Found) {
				return fmt.Errorf("gap %d to %d: found at %d µs, which cannot be stored", g.First, g.Last, int64(g.Found))
			}
			if i > 0 {
				buf = append(buf, ',')
			}
			buf = append(db.d.text(append(buf, '('), set.Symbol), ',')
			buf = append(strconv.AppendInt(buf, g.First, 10), ',')
			buf = append(strconv.AppendInt(buf, g.Last, 10), ',')
			buf = append(appendMaybe(buf, g.After), ',')
			buf = append(appendMaybe(buf, g.Before), ',', '\'')
			buf = append(appendTime(buf, g.Found, micros), '\'', ',')
			buf = append(appendMaybe(buf, g.Filled), ',')
			buf = append(db.d.text(buf, shorten(g.Reason)), ')')
		}
		if _, err := tx.ExecContext(ctx, string(buf)); err != nil {
			return err
		}
	}
	return nil
}

// appendMaybe writes NULL for "not", "since ever" and "never".
func appendMaybe(dst []byte, t schema.Time) []byte {
	if t == 0 || !storable(t) {
		return append(dst, "NULL"...)
	}
	return append(appendTime(append(dst, '\''), t, micros), '\'')
}

func shorten(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if utf8.RuneCountInString(s) <= maxReason {
		return s
	}
	return string([]rune(s)[:maxReason])
}

// Gaps reads the gaps of a symbol by their first id, the filled ones too. Times
// that are not known are 0.
func (db *DB) Gaps(ctx context.Context, symbol string) ([]schema.Gap, error) {
	out, err := db.readGaps(ctx, symbol)
	if err != nil {
		return nil, db.fail("read gaps", ended(ctx, err))
	}
	return out, nil
}

func (db *DB) readGaps(ctx context.Context, symbol string) ([]schema.Gap, error) {
	rows, err := db.sql.QueryContext(ctx, "SELECT first_missing_id, last_missing_id, after_time, before_time, found_at, filled_at, reason FROM gaps "+
		"WHERE symbol = ? ORDER BY first_missing_id, last_missing_id, found_at", symbol)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []schema.Gap
	for rows.Next() {
		var g schema.Gap
		var text [4]sql.NullString
		if err := rows.Scan(&g.First, &g.Last, &text[0], &text[1], &text[2], &text[3], &g.Reason); err != nil {
			return nil, err
		}
		for i, to := range [...]*schema.Time{&g.After, &g.Before, &g.Found, &g.Filled} {
			if !text[i].Valid {
				continue
			}
			if *to, err = parseTime(text[i].String); err != nil {
				return nil, err
			}
		}
		out = append(out, g)
	}
	return out, rows.Err()
}
