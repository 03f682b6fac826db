//go:build synctests

package sim

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "modernc.org/sqlite" // the driver of the simulator's own look at the database

	sqlsink "millrace/processor/sink/sql"
	"millrace/schema"
)

// watched is what the database itself holds against the promises: no update
// lowers a version or changes a final row.
const watched = `
CREATE TABLE broken (what TEXT) STRICT;
CREATE TRIGGER lowered AFTER UPDATE ON candles WHEN NEW.version < OLD.version
BEGIN INSERT INTO broken VALUES ('sql: version of ' || NEW.symbol || '|' || NEW.period || '|' || NEW.start_time || ' fell from ' || OLD.version || ' to ' || NEW.version); END;
CREATE TRIGGER changed AFTER UPDATE ON candles WHEN OLD.status = 'final' AND (NEW.status != 'final' OR NEW.trades != OLD.trades OR NEW.volume != OLD.volume OR NEW.close != OLD.close OR NEW.open != OLD.open)
BEGIN INSERT INTO broken VALUES ('sql: the final ' || NEW.symbol || '|' || NEW.period || '|' || NEW.start_time || ' changed'); END;`

// template is a migrated, empty database: making one takes longer than a seed.
var template = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "sim")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "t.db")
	db, err := sqlsink.Open(context.Background(), sqlsink.Config{DSN: "sqlite:" + file})
	if err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil {
		return nil, err
	}
	raw, err := sql.Open("sqlite", "file:"+file)
	if err != nil {
		return nil, err
	}
	// The views are for readers; each connection would read their text anew.
	rows, err := raw.Query("SELECT name FROM sqlite_master WHERE type = 'view'")
	drop := ""
	for err == nil && rows.Next() {
		var name string
		if err = rows.Scan(&name); err == nil {
			drop += "DROP VIEW " + name + ";"
		}
	}
	if err != nil {
		return nil, err
	}
	rows.Close()
	_, err = raw.Exec(watched + drop + "PRAGMA wal_checkpoint(TRUNCATE);")
	if err = errors.Join(err, raw.Close()); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
})

// database is the SQL server of the simulation.
type database struct {
	file string
	raw  *sql.DB // the simulator's own
	kept bool    // there is a backup
	// turn is the lock on the database. SQLite's own waits in real time, while
	// the one who holds it may sleep in virtual time.
	turn chan struct{}
}

func newDatabase(t *testing.T) (*database, error) {
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		base = ""
	}
	dir, err := os.MkdirTemp(base, "millrace-sim")
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	empty, err := template()
	if err != nil {
		return nil, err
	}
	d := &database{file: filepath.Join(dir, "x.db"), turn: make(chan struct{}, 1)}
	if err := os.WriteFile(d.file, empty, 0o600); err != nil {
		return nil, err
	}
	d.raw, err = sql.Open("sqlite", "file:"+d.file+"?_pragma=busy_timeout(60000)&_pragma=synchronous(OFF)")
	if err == nil {
		d.raw.SetMaxOpenConns(1)
	}
	return d, err
}

var tables = []string{schema.TableCandles, schema.TableGaps, schema.TableGapSets, schema.TableProgress}

// backup keeps what stands there now; restore sets the database back to it.
func (d *database) backup() error {
	return d.each("DROP TABLE IF EXISTS kept_%; CREATE TABLE kept_% AS SELECT * FROM %;")
}

func (d *database) restore() error {
	return d.each("DELETE FROM %; INSERT INTO % SELECT * FROM kept_%;")
}

func (d *database) each(script string) error {
	if err := d.lock(context.Background(), time.Minute, nil); err != nil {
		return err
	}
	defer d.unlock()
	all := "BEGIN IMMEDIATE;"
	for _, t := range tables {
		for _, c := range script {
			if c == '%' {
				all += t
			} else {
				all += string(c)
			}
		}
	}
	_, err := d.raw.Exec(all + "COMMIT;")
	if err != nil {
		_, _ = d.raw.Exec("ROLLBACK;")
	}
	return err
}

func (d *database) lock(ctx context.Context, patience time.Duration, dead chan struct{}) error {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case d.turn <- struct{}{}:
		return nil
	case <-t.C:
		return &mysql.MySQLError{Number: 1205, Message: "sim: waited too long for a lock"}
	case <-ctx.Done():
		return ctx.Err()
	case <-dead:
		return errDead
	}
}

func (d *database) unlock() { <-d.turn }

// tap stands between a process and the database.
type tap struct {
	w    *world
	life *life // nil: of the simulator itself
	dead chan struct{}

	mu    sync.Mutex // guards what follows
	slow  time.Duration
	armed []trouble
	down  bool // no connection works
}

// trouble is what befalls the next operation of a kind.
type trouble struct {
	on   string // begin, exec, commit
	what string // deadlock, lost, unknown, hang
	wait time.Duration
}

var errDead = errors.New("sim: the process is dead")

func newTap(w *world) *tap { return &tap{w: w, dead: make(chan struct{})} }

func (t *tap) die() { close(t.dead) }

func (t *tap) isDead() bool {
	select {
	case <-t.dead:
		return true
	default:
		return false
	}
}

func (t *tap) arm(x trouble) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.armed = append(t.armed, x)
}

func (t *tap) set(down bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.down = down
}

// meet gives the trouble that an operation meets.
func (t *tap) meet(ctx context.Context, on string) (what string, err error) {
	if t.life != nil {
		t.life.comes(onSQL)
	}
	if t.isDead() {
		return "", errDead
	}
	t.mu.Lock()
	slow := t.slow
	var x trouble
	for i := range t.armed {
		if t.armed[i].on == on {
			x = t.armed[i]
			t.armed = append(t.armed[:i], t.armed[i+1:]...)
			break
		}
	}
	down := t.down
	t.mu.Unlock()
	if down {
		return "", mysql.ErrInvalidConn
	}
	if slow > 0 {
		if err := t.pass(ctx, slow); err != nil {
			return "", err
		}
	}
	switch x.what {
	case "deadlock":
		return "", &mysql.MySQLError{Number: 1213, Message: "sim: deadlock"}
	case "lost":
		return "", mysql.ErrInvalidConn
	case "hang":
		if err := t.pass(ctx, x.wait); err != nil {
			return "", err
		}
	}
	return x.what, nil
}

// pass lets time pass.
func (t *tap) pass(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-t.dead:
		return errDead
	}
}

// slower has each operation take so long from now on.
func (t *tap) slower(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.slow = d
}

func randomTrouble(r *rand.Rand) trouble {
	x := trouble{on: []string{"begin", "exec", "commit"}[r.IntN(3)], wait: time.Duration(r.IntN(40_000)) * time.Millisecond}
	x.what = []string{"deadlock", "lost", "hang", "unknown"}[r.IntN(4)]
	if x.what == "unknown" {
		x.on = "commit"
	}
	return x
}

func (t *tap) wrap(c driver.Connector) driver.Connector { return &tapped{c, t} }

type tapped struct {
	driver.Connector
	t *tap
}

func (c *tapped) Connect(ctx context.Context) (driver.Conn, error) {
	if c.t.isDead() {
		return nil, errDead
	}
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &link{inner.(full), c.t}, nil
}

// full is what SQLite's connections can do.
type full interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.ConnPrepareContext
	driver.Pinger
}

type link struct {
	full
	t *tap
}

func (s *link) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	if _, err := s.t.meet(ctx, "begin"); err != nil {
		return nil, err
	}
	if err := s.t.w.db.lock(ctx, 10*time.Second, s.t.dead); err != nil {
		return nil, err
	}
	tx, err := s.full.BeginTx(ctx, o)
	if err != nil {
		s.t.w.db.unlock()
		return nil, err
	}
	return &txn{tx, s.t}, nil
}

func (s *link) ExecContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Result, error) {
	if _, err := s.t.meet(ctx, "exec"); err != nil {
		return nil, err
	}
	return s.full.ExecContext(ctx, q, args)
}

func (s *link) QueryContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Rows, error) {
	if _, err := s.t.meet(ctx, "query"); err != nil {
		return nil, err
	}
	return s.full.QueryContext(ctx, q, args)
}

type txn struct {
	driver.Tx
	t *tap
}

// Commit may do its work and lose the answer, or lose the question.
func (x *txn) Commit() error {
	what, err := x.t.meet(context.Background(), "commit")
	if err != nil {
		return errors.Join(err, x.Rollback())
	}
	defer x.t.w.db.unlock()
	if err := x.Tx.Commit(); err != nil {
		return err
	}
	if x.t.life != nil {
		x.t.life.comes(doneSQL)
	}
	if what == "unknown" {
		return mysql.ErrInvalidConn
	}
	return nil
}

func (x *txn) Rollback() error {
	defer x.t.w.db.unlock()
	return x.Tx.Rollback()
}
