package sqlsink

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"millrace/schema"
)

// keptFrom is the start of the oldest day that is kept. Windows that start
// before it are neither written nor kept.
func keptFrom(newest schema.Time, days int) schema.Time {
	return schema.Calendar{}.Start(schema.P1d, newest-schema.Time(days)*schema.Day)
}

// Maintain drops the rows of each period that start before the days kept,
// counted from newest: the lowest of the newest applied times of all partitions
// that write here, never the clock. On MySQL it also splits coming days off, so
// it should be called about once a day of that time; the sink works without.
// Where more than 32 days are kept, a piece has several days and goes once all of
// it is old.
//
// There, dropping waits until running statements on the table have ended, at
// most LockTimeout, and writers wait behind it; then it fails with an error that
// Retriable accepts. The first call for a period that has rows copies them.
func (db *DB) Maintain(ctx context.Context, newest schema.Time, keepDays map[schema.Period]int) error {
	if db.cfg.ReadOnly {
		return db.fail("maintain", errReadOnly)
	}
	for p := schema.P1s; p <= schema.P1M; p++ {
		days := keepDays[p]
		if err := validateKept(p, days); err != nil {
			return err
		}
		if days == 0 || newest <= 0 {
			continue
		}
		if err := db.maintainPeriod(ctx, p, days, newest); err != nil {
			return db.fail("maintain "+p.String(), ended(ctx, err))
		}
	}
	return nil
}

func (db *DB) maintainPeriod(ctx context.Context, p schema.Period, days int, newest schema.Time) (err error) {
	c, err := db.sql.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	unlock, err := db.d.lock(ctx, db, c)
	if err != nil {
		return err
	}
	defer func() { err = unlock(err) }()
	return db.d.maintain(ctx, db, c, p, days, keptFrom(newest, days), newest)
}

const (
	// maxPieces bounds the partitions of one period: each costs the server
	// memory and an open file. Where more days are kept, a piece has several.
	maxPieces = 32
	// ahead is how far the days are split off before they come. An empty
	// partition is split at once, a full one is copied.
	ahead = 2 * schema.Day
)

// mysqlMaintain changes the partitions of p. The last one, named after the period
// alone, has no end; the others hold what starts before their bound:
//
//	p_1s_20240808 │ p_1s_20240809 │ … │ p_1s
//	     < 08-08  │       < 08-09 │   │ the rest
func mysqlMaintain(ctx context.Context, _ *DB, c *sql.Conn, p schema.Period, days int, cutoff, newest schema.Time) error {
	have, err := partitionsOf(ctx, c, p)
	if err != nil {
		return err
	}
	last := "p_" + p.FileName()
	if add := newBounds(have, days, cutoff, newest); len(add) > 0 {
		var b strings.Builder
		fmt.Fprintf(&b, "ALTER TABLE candles REORGANIZE PARTITION %s INTO (", last)
		for _, bound := range add {
			fmt.Fprintf(&b, "PARTITION %s_%s VALUES LESS THAN ('%v', '%s'), ", last, bound.Std().Format("20060102"), p, appendTime(nil, bound, millis))
		}
		fmt.Fprintf(&b, "PARTITION %s VALUES LESS THAN ('%v', MAXVALUE))", last, p)
		if _, err := c.ExecContext(ctx, b.String()); err != nil {
			return fmt.Errorf("split days off: %w", err)
		}
		have = append(have, add...)
	}
	var old []string
	for _, bound := range have {
		if bound <= cutoff {
			old = append(old, last+"_"+bound.Std().Format("20060102"))
		}
	}
	if len(old) == 0 {
		return nil
	}
	if _, err := c.ExecContext(ctx, "ALTER TABLE candles DROP PARTITION "+strings.Join(old, ", ")); err != nil {
		return fmt.Errorf("drop old days: %w", err)
	}
	return nil
}

// newBounds gives the bounds to split off at, all beyond those there are.
func newBounds(have []schema.Time, days int, cutoff, newest schema.Time) []schema.Time {
	low := schema.MinTime
	if len(have) > 0 {
		low = have[len(have)-1]
	}
	if low > newest+ahead/2 {
		return nil // enough for a day
	}
	var add []schema.Time
	if cutoff > low { // all below goes into one piece, which can be dropped
		add, low = append(add, cutoff), cutoff
	}
	step := schema.Time((days+maxPieces-1)/maxPieces) * schema.Day
	for bound := low - low%step + step; ; bound += step {
		add = append(add, bound)
		if bound >= newest+ahead {
			return add
		}
	}
}

// partitionsOf reads the bounds of p's partitions from their names.
func partitionsOf(ctx context.Context, c *sql.Conn, p schema.Period) ([]schema.Time, error) {
	rows, err := c.QueryContext(ctx, "SELECT PARTITION_NAME FROM information_schema.PARTITIONS "+
		"WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'candles' AND PARTITION_NAME IS NOT NULL ORDER BY PARTITION_ORDINAL_POSITION")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var bounds []schema.Time
	found := false
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		if name == "p_"+p.FileName() {
			found = true
		}
		day, ok := strings.CutPrefix(name, "p_"+p.FileName()+"_")
		if !ok {
			continue
		}
		t, err := time.Parse("20060102", day)
		if err != nil {
			return nil, fmt.Errorf("partition %s was not made by this program: %w", name, err)
		}
		bounds = append(bounds, schema.FromStd(t))
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if !found {
		return nil, fmt.Errorf("the table candles has no partition p_%s: it was not made by this program's migrations", p.FileName())
	}
	return bounds, nil
}
