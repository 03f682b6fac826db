package sqlsink

import (
	"context"

	"millrace/schema"
)

// Totals counts what the tables hold.
type Totals struct {
	Candles  map[schema.Status]int64
	OpenGaps int64
}

// Totals reads the counts. On a large table that takes a while: it reads every
// row's status.
func (db *DB) Totals(ctx context.Context) (Totals, error) {
	t := Totals{Candles: map[schema.Status]int64{}}
	err := db.totals(ctx, &t)
	if err != nil {
		return t, db.fail("count", ended(ctx, err))
	}
	return t, nil
}

func (db *DB) totals(ctx context.Context, t *Totals) error {
	rows, err := db.sql.QueryContext(ctx, "SELECT status, COUNT(*) FROM candles GROUP BY status")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var n int64
		if err := rows.Scan(&name, &n); err != nil {
			return err
		}
		status, err := schema.ParseStatus(name)
		if err != nil {
			return err
		}
		t.Candles[status] = n
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return db.sql.QueryRowContext(ctx, "SELECT COUNT(*) FROM gaps WHERE filled_at IS NULL").Scan(&t.OpenGaps)
}
