package sqlsink

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"
)

// connMaxLifetime: after a failover a pool must not stay with the old server.
const connMaxLifetime = 5 * time.Minute

func (db *DB) openMySQL() error {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr, c.DBName = db.to.user, db.to.password, "tcp", db.to.addr, db.to.database
	c.TLS = db.to.tls
	c.Timeout = db.cfg.ConnectTimeout
	c.InterpolateParams = true    // saves a round trip; safe with utf8mb4
	c.Logger = &mysql.NopLogger{} // what it says is an error already
	inner, err := mysql.NewConnector(c)
	if err != nil {
		return err
	}
	wait := strconv.Itoa(int(db.cfg.LockTimeout.Seconds()))
	db.sql = sql.OpenDB(db.wrapped(&session{inner, []string{
		// Strict: what does not fit is an error, whatever the server's mode.
		// The whole mode is set, so it is known how text is quoted. A wait
		// for a row or for ALTER TABLE has an end.
		"SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', " +
			"innodb_lock_wait_timeout = " + wait + ", lock_wait_timeout = " + wait,
		// No locks on gaps between rows: two writers of different symbols
		// must not wait for one another. All reads that matter lock their rows.
		"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
	}}))
	db.sql.SetMaxOpenConns(db.cfg.Connections)
	db.sql.SetMaxIdleConns(db.cfg.Connections)
	db.sql.SetConnMaxLifetime(connMaxLifetime)
	db.d = mysqlDialect()
	return nil
}

func mysqlDialect() dialect {
	return dialect{
		name:      "mysql",
		forUpdate: " FOR UPDATE",
		now:       "UTC_TIMESTAMP(6)",
		text:      mysqlText,
		upsert:    " ON DUPLICATE KEY UPDATE " + mysqlGuard(),
		gapSets:   " ON DUPLICATE KEY UPDATE applied = VALUES(applied), opened = VALUES(opened)",
		keep:      " ON DUPLICATE KEY UPDATE applied = applied",
		maxBytes:  1 << 20, // max_allowed_packet is 16 MiB or more by default, but a larger statement is no faster
		lock:      mysqlLock,
		maintain:  mysqlMaintain,
	}
}

// mysqlGuard assigns each column only where the version is higher. Assignments
// see those before them, so version itself is the last. VALUES() is old-fashioned
// on MySQL, but its successor, the alias of the row, is unknown to MariaDB.
func mysqlGuard() string {
	s := ""
	for _, c := range guarded {
		s += c + " = IF(VALUES(version) > version, VALUES(" + c + "), " + c + "), "
	}
	return s + "version = GREATEST(version, VALUES(version))"
}

// mysqlText writes s as a literal that nothing can break out of: plain letters
// between quotes, all else as the hexadecimal digits of its UTF-8.
func mysqlText(dst []byte, s string) []byte {
	if plain(s) {
		dst = append(dst, '\'')
		dst = append(dst, s...)
		return append(dst, '\'')
	}
	dst = append(dst, "_utf8mb4 x'"...)
	dst = hex.AppendEncode(dst, []byte(s))
	return append(dst, '\'')
}

func plain(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// session makes connections and sets them up.
type session struct {
	driver.Connector
	statements []string
}

func (s *session) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := s.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	for _, statement := range s.statements {
		if _, err := c.(driver.ExecerContext).ExecContext(ctx, statement, nil); err != nil {
			return nil, errors.Join(fmt.Errorf("set up the session: %w", err), c.Close())
		}
	}
	return c, nil
}

var serverVersion = regexp.MustCompile(`^(?:5\.5\.5-)?(\d+)\.(\d+)\.(\d+)(-MariaDB)?`)

// checkServer refuses servers that are older than what this was written for.
func (db *DB) checkServer(ctx context.Context) error {
	var version string
	if err := db.sql.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
		return db.fail("ask for the server's version", err)
	}
	m := serverVersion.FindStringSubmatch(version)
	if m == nil {
		return nil // an unknown make: the migrations will tell
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	if m[4] != "" && (major < 10 || major == 10 && minor < 6) || m[4] == "" && major < 8 {
		return fmt.Errorf("sql sink: %v: the server is %s: wanted MySQL 8.0 or MariaDB 10.6 at least", db.to, version)
	}
	return nil
}

// mysqlLock takes the advisory lock of the database: DDL commits by itself, so
// no transaction could keep another process out.
func mysqlLock(ctx context.Context, db *DB, c *sql.Conn) (func(error) error, error) {
	hash := sha256.Sum256([]byte(db.to.database)) // a lock's name has at most 64 characters and is the server's
	name := "millrace-" + hex.EncodeToString(hash[:16])
	var got sql.NullInt64
	if err := c.QueryRowContext(ctx, "SELECT GET_LOCK(?, ?)", name, 60).Scan(&got); err != nil {
		return nil, err
	}
	if got.Int64 != 1 {
		return nil, fmt.Errorf("another process has been migrating or maintaining for a minute: %w", context.DeadlineExceeded)
	}
	return func(cause error) error {
		// Also where ctx has ended: the connection goes back to the pool.
		free, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_, err := c.ExecContext(free, "DO RELEASE_LOCK(?)", name)
		if cause != nil {
			return cause // a connection that broke has let go of it too
		}
		return err
	}, nil
}
