package sqlsink

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"

	"millrace/schema"
)

// DB is an open database. Its methods may be called by many goroutines.
type DB struct {
	cfg Config
	to  *target
	sql *sql.DB
	d   dialect
	log *slog.Logger
}

// dialect is what differs between the stores.
type dialect struct {
	name      string // the folder of the migrations
	forUpdate string // behind a SELECT whose rows are to be locked
	now       string // this moment in UTC, with microseconds
	text      func(dst []byte, s string) []byte
	upsert    string // behind INSERT INTO candles … VALUES …: the guard
	gapSets   string // behind INSERT INTO gap_sets … VALUES …: the update
	keep      string // behind the same: leave a row that is there
	maxBytes  int    // of one statement
	// lock keeps other processes from migrating or maintaining; c is in its
	// hands until unlock. unlock(err) keeps what was done if err is nil.
	lock func(ctx context.Context, db *DB, c *sql.Conn) (unlock func(error) error, err error)
	// maintain drops the rows of p before cutoff and prepares for newest.
	maintain func(ctx context.Context, db *DB, c *sql.Conn, p schema.Period, days int, cutoff, newest schema.Time) error
	// turn, if not nil, lets one writer of this process in at a time.
	turn chan struct{}
}

// Open connects, migrates the schema (unless ReadOnly) and checks that all that
// Write does is allowed. Its errors say what to do; none shows the password.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	to, err := parseDSN(cfg.DSN)
	if err != nil {
		return nil, err
	}
	if to.unverified && cfg.Log == nil {
		return nil, fmt.Errorf("sql sink: open: %v: tls=skip-verify without a log to warn in", to)
	}
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Password != "" {
		to.password = cfg.Password
	}
	cfg.DSN, cfg.Password = "", "" // nobody prints what isn't there
	db := &DB{cfg: cfg, to: to, log: cfg.Log}
	if to.file != "" {
		err = db.openSQLite()
	} else {
		err = db.openMySQL()
	}
	if err != nil {
		return nil, db.fail("open", err)
	}
	if err := db.prepare(ctx); err != nil {
		return nil, errors.Join(err, db.sql.Close())
	}
	return db, nil
}

func (db *DB) wrapped(c driver.Connector) driver.Connector {
	if db.cfg.Wrap != nil {
		return db.cfg.Wrap(c)
	}
	return c
}

func (db *DB) prepare(ctx context.Context) error {
	if db.to.unverified {
		db.log.Warn("the SQL server's certificate is not verified (tls=skip-verify): whoever sits between can read and change everything", "server", db.String())
	}
	if err := db.Ping(ctx); err != nil {
		return err
	}
	if db.to.file == "" {
		if err := db.checkServer(ctx); err != nil {
			return err
		}
	}
	if err := db.migrate(ctx); err != nil {
		return err
	}
	if db.cfg.ReadOnly {
		return nil
	}
	return db.checkRights(ctx)
}

// checkRights tries all that Write does on no row at all, so that a missing
// right is seen at the start and not at the first candle.
func (db *DB) checkRights(ctx context.Context) error {
	tx, err := db.sql.BeginTx(ctx, nil)
	if err != nil {
		return db.fail("check the rights", err)
	}
	for table, column := range map[string]string{schema.TableCandles: "version", schema.TableGaps: "reason", schema.TableGapSets: "applied", schema.TableProgress: "writer"} {
		for _, statement := range []string{
			"INSERT INTO " + table + " SELECT * FROM " + table + " WHERE 1 = 0",
			"UPDATE " + table + " SET " + column + " = " + column + " WHERE 1 = 0",
			"DELETE FROM " + table + " WHERE 1 = 0",
		} {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return errors.Join(db.fail("check the rights", err), tx.Rollback())
			}
		}
	}
	if err := tx.Rollback(); err != nil {
		return db.fail("check the rights", err)
	}
	return nil
}

// Ping asks the server for a sign of life.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.sql.PingContext(ctx); err != nil {
		return db.fail("connect", err)
	}
	return nil
}

// Close waits for the connections in use.
func (db *DB) Close() error {
	if err := db.sql.Close(); err != nil {
		return db.fail("close", err)
	}
	return nil
}

// String names the database, without the password.
func (db *DB) String() string { return db.to.String() }

// fail names the step and the database, and says what to do where it is known.
func (db *DB) fail(step string, err error) error {
	if hint := db.hint(err); hint != "" {
		return fmt.Errorf("sql sink: %s: %v: %w: %s", step, db.to, err, hint)
	}
	return fmt.Errorf("sql sink: %s: %v: %w", step, db.to, err)
}
