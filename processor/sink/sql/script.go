package sqlsink

import (
	"fmt"
	"io"

	"millrace/schema"
)

// Columns names the columns of candles, in the order in which rows are written.
const Columns = columns

// Script writes candles as the statements with which the sink would write them:
// a row that the table has with a higher version stays as it is.
type Script struct{ db *DB }

// NewScript makes one in the dialect mysql or sqlite.
func NewScript(dialect string) (*Script, error) {
	db := &DB{}
	db.cfg.EnsureDefaults()
	switch dialect {
	case "mysql":
		db.d = mysqlDialect()
	case "sqlite":
		db.d = sqliteDialect()
	default:
		return nil, fmt.Errorf("dialect %q is neither mysql nor sqlite", dialect)
	}
	return &Script{db}, nil
}

// Write writes the statements for some candles.
func (s *Script) Write(w io.Writer, candles []schema.Candle) error {
	rows, err := s.db.newRows(candles, schema.MinTime)
	if err != nil {
		return err
	}
	for len(rows) > 0 {
		b, n := s.db.appendUpsert(nil, rows)
		if _, err := w.Write(append(b, ";\n"...)); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}
