package sqlsink

import (
	"path/filepath"
	"strings"
	"testing"

	"millrace/schema"
)

// Others read while a transaction is open, and see the table as it was before.
func TestSQLiteIsReadWhileWritten(t *testing.T) {
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "x.db")
	db, reader := open(t, Config{DSN: dsn}), open(t, Config{DSN: dsn, ReadOnly: true})
	put(t, db, candle("A", schema.P1s, aStart, 1, schema.Live, 100))
	tx, err := db.sql.BeginTx(soon(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	next := candle("B", schema.P1s, aStart, 1, schema.Live, 100)
	if err := db.writeCandles(soon(t), tx, []*schema.Candle{&next}); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, reader); strings.Count(got, "\n") != 1 {
		t.Errorf("read before the commit:\n%s", got)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, reader); strings.Count(got, "\n") != 2 {
		t.Errorf("read after the commit:\n%s", got)
	}
	if got := text(t, db, "PRAGMA journal_mode"); got != "wal" {
		t.Errorf("journal mode %s", got)
	}
}
