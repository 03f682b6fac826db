package sqlsink

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"net/url"
	"strconv"
	"strings"

	"modernc.org/sqlite"

	"millrace/schema"
)

func (db *DB) openSQLite() error {
	q := url.Values{
		"_pragma": {
			"busy_timeout(" + strconv.FormatInt(db.cfg.LockTimeout.Milliseconds(), 10) + ")",
			"synchronous(NORMAL)", // see doc.go
		},
		// A transaction that reads first and writes later would fail where
		// another wrote in between; so it is a writer from its beginning.
		"_txlock": {"immediate"},
	}
	if db.cfg.ReadOnly {
		q["_txlock"] = []string{"deferred"}
		q.Set("mode", "ro")
	} else {
		q["_pragma"] = append(q["_pragma"], "journal_mode(WAL)")
	}
	// The path is escaped: a ? or # in it would end it. Slashes stay.
	path := strings.ReplaceAll(url.PathEscape(db.to.file), "%2F", "/")
	c, err := sqlite.NewConnector("file:" + path + "?" + q.Encode())
	if err != nil {
		return err
	}
	db.sql = sql.OpenDB(db.wrapped(c))
	db.sql.SetMaxOpenConns(db.cfg.Connections)
	db.sql.SetMaxIdleConns(db.cfg.Connections)
	db.d = sqliteDialect()
	return nil
}

func sqliteDialect() dialect {
	return dialect{
		name:     "sqlite",
		now:      "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
		text:     sqliteText,
		upsert:   " ON CONFLICT DO UPDATE SET " + sqliteGuard() + " WHERE excluded.version > version",
		gapSets:  " ON CONFLICT DO UPDATE SET applied = excluded.applied, opened = excluded.opened",
		keep:     " ON CONFLICT DO NOTHING",
		maxBytes: 1 << 20,
		lock:     sqliteLock,
		maintain: sqliteMaintain,
		turn:     make(chan struct{}, 1),
	}
}

func sqliteGuard() string {
	s := ""
	for _, c := range guarded {
		s += c + " = excluded." + c + ", "
	}
	return s + "version = excluded.version"
}

func sqliteText(dst []byte, s string) []byte {
	if plain(s) {
		dst = append(dst, '\'')
		dst = append(dst, s...)
		return append(dst, '\'')
	}
	dst = append(dst, "CAST(x'"...)
	dst = hex.AppendEncode(dst, []byte(s))
	return append(dst, "' AS TEXT)"...)
}

// sqliteLock is a transaction: DDL is part of it.
func sqliteLock(ctx context.Context, _ *DB, c *sql.Conn) (func(error) error, error) {
	if _, err := c.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return nil, err
	}
	return func(cause error) error {
		if cause == nil {
			if _, cause = c.ExecContext(ctx, "COMMIT"); cause == nil {
				return nil
			}
		}
		_, err := c.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		return errors.Join(cause, err)
	}, nil
}

// sqliteMaintain deletes within the transaction that lock began.
func sqliteMaintain(ctx context.Context, _ *DB, c *sql.Conn, p schema.Period, _ int, cutoff, _ schema.Time) error {
	_, err := c.ExecContext(ctx, "DELETE FROM candles WHERE period = ? AND start_time < ?", p.String(), string(appendTime(nil, cutoff, millis)))
	return err
}
