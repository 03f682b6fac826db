package processor

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"modernc.org/sqlite"

	sqlsink "millrace/processor/sink/sql"
)

// openFile opens a SQLite file beside the processor.
func openFile(t *testing.T, file string) *sql.Conn {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

func execute(t *testing.T, conn *sql.Conn, statement string) {
	t.Helper()
	if _, err := conn.ExecContext(context.Background(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// restore puts a backup in the place of a database that is in use.
func restore(t *testing.T, conn *sql.Conn, from string) {
	t.Helper()
	err := conn.Raw(func(c any) error {
		b, err := c.(interface {
			NewRestore(string) (*sqlite.Backup, error)
		}).NewRestore(from)
		if err != nil {
			return err
		}
		for more := true; more; {
			if more, err = b.Step(-1); err != nil {
				return err
			}
		}
		return b.Finish()
	})
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
}

// tableIs waits until the table is as wanted.
func tableIs(t *testing.T, dsn string, want func() string) {
	t.Helper()
	db, err := sqlsink.Open(t.Context(), sqlsink.Config{DSN: dsn, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		got := dump(t, db)
		if got == want() {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the table differs:\n%s", firstDiff(got, want()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func oftenLooked(p *Processor) { p.heartbeat = 50 * time.Millisecond }

// TestDatabaseSetBack: the database is restored from a backup while the
// processor lives, once while nothing happens and once while the log grows.
func TestDatabaseSetBack(t *testing.T) {
	w := newFakeWorld(t)
	r := rand.New(rand.NewPCG(8, 1))
	w.market(r, 5, 500)
	file := filepath.Join(t.TempDir(), "x.db")
	backup := filepath.Join(t.TempDir(), "old.db")
	dsn := "sqlite:" + file
	p := w.run(w.config(t.TempDir(), dsn), oftenLooked)
	w.log(r, 0, 150)
	w.caughtUp(p)
	conn := openFile(t, file)
	execute(t, conn, "PRAGMA busy_timeout = 5000")
	execute(t, conn, "VACUUM INTO '"+backup+"'")
	w.log(r, 150, 300)
	w.caughtUp(p)
	db, err := sqlsink.Open(t.Context(), sqlsink.Config{DSN: dsn, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	before := dump(t, db)
	restore(t, conn, backup)
	if dump(t, db) == before {
		t.Fatal("nothing was set back")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	tableIs(t, dsn, func() string { return before })
	w.log(r, 300, 400)
	restore(t, conn, backup)
	w.log(r, 400, 500)
	tableIs(t, dsn, w.truth)
	// The progress row alone is gone, and one row with it.
	execute(t, conn, "DELETE FROM progress")
	execute(t, conn, "DELETE FROM candles WHERE period = '1m'")
	tableIs(t, dsn, w.truth)
	w.caughtUp(p)
	p.stop()
	same(t, w, dsn)
}

// TestDatabaseLocked: somebody else holds the database for seconds. Candles go
// on meanwhile, and the processor can end.
func TestDatabaseLocked(t *testing.T) {
	w := newFakeWorld(t)
	r := rand.New(rand.NewPCG(9, 1))
	w.market(r, 5, 500)
	file := filepath.Join(t.TempDir(), "x.db")
	dir, dsn := t.TempDir(), "sqlite:"+file
	cfg := w.config(dir, dsn)
	cfg.SQL.LockTimeout = time.Second
	p := w.run(cfg)
	w.log(r, 0, 100)
	w.caughtUp(p)
	stood := p.sunk("sql")
	conn := openFile(t, file)
	for i := range 2 {
		execute(t, conn, "BEGIN IMMEDIATE")
		held := time.Now()
		w.log(r, 100+100*i, 200+100*i)
		w.reaches(p, "candles")
		for time.Since(held) < 1500*time.Millisecond { // longer than the sink waits for the lock
			w.log(r, 100+100*i, 110+100*i)
			w.reaches(p, "candles")
		}
		if p.sunk("sql") != stood {
			t.Fatal("the database was written while it was locked")
		}
		if i == 1 { // it can end while the lock is held, too
			asked := time.Now()
			p.stop()
			if took := time.Since(asked); took > 10*time.Second {
				t.Errorf("ending took %v", took)
			}
			execute(t, conn, "ROLLBACK")
			p = w.run(w.config(dir, dsn))
			break
		}
		execute(t, conn, "ROLLBACK")
		w.caughtUp(p)
		stood = p.sunk("sql")
	}
	w.log(r, 300, 500)
	w.caughtUp(p)
	p.stop()
	same(t, w, dsn)
}

// sunk gives how far a sink of all partitions has come.
func (r *running) sunk(name string) (sum int64) {
	for _, s := range r.Status() {
		sum += s.Sinks[name]
	}
	return sum
}

// TestProgressOfAnotherLog: a progress whose record the log doesn't have stands
// for nothing; one that it has is believed.
func TestProgressOfAnotherLog(t *testing.T) {
	w := newFakeWorld(t)
	r := rand.New(rand.NewPCG(10, 1))
	w.market(r, 5, 200)
	file := filepath.Join(t.TempDir(), "x.db")
	dir, dsn := t.TempDir(), "sqlite:"+file
	p := w.run(w.config(dir, dsn))
	w.log(r, 0, 200)
	w.caughtUp(p)
	p.stop()
	conn := openFile(t, file)
	execute(t, conn, "DELETE FROM candles")
	again := func() (rows int) {
		p = w.run(w.config(dir, dsn))
		w.caughtUp(p)
		p.stop()
		if err := conn.QueryRowContext(t.Context(), "SELECT count(*) FROM candles").Scan(&rows); err != nil {
			t.Fatal(err)
		}
		return rows
	}
	if n := again(); n > 0 {
		t.Fatalf("%d rows: the progress should have been believed", n)
	}
	execute(t, conn, "UPDATE progress SET record_hash = '123'")
	again()
	same(t, w, dsn)
	execute(t, conn, "DELETE FROM candles")
	execute(t, conn, "UPDATE progress SET next_offset = 100000")
	again()
	same(t, w, dsn)
}
