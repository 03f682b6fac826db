package sqlsink

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/go-sql-driver/mysql"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// errReadOnly is the answer to a write where Config.ReadOnly was asked for.
var errReadOnly = errors.New("opened for reading only")

// MovedError: the progress row is not what this writer wrote last. The database
// was restored, or another writer has written.
type MovedError struct {
	Found  Progress // zero if there is no row
	Exists bool
}

func (e *MovedError) Error() string {
	if !e.Exists {
		return "sql sink: the progress row is gone: the database was restored or emptied"
	}
	return fmt.Sprintf("sql sink: the progress of partition %d of topic %x was moved to offset %d by %q: another writer, or the database was restored",
		e.Found.Partition, e.Found.TopicID, e.Found.Offset, e.Found.Writer)
}

// Retriable says that the same may succeed later: a deadlock, a wait for a lock
// that took too long, a lost connection, a server that is away, read-only or
// full. After it, Load the progress before writing again. Wrong syntax, missing
// rights or tables and a cancelled context are not retriable.
func Retriable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	for _, target := range []error{context.DeadlineExceeded, driver.ErrBadConn, mysql.ErrInvalidConn,
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, os.ErrDeadlineExceeded} {
		if errors.Is(err, target) {
			return true
		}
	}
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return mysqlRetriable(e.Number)
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL:
			return true
		}
		return false
	}
	_, ok := errors.AsType[*net.OpError](err)
	return ok
}

func mysqlRetriable(number uint16) bool {
	switch number {
	case 1205, // lock wait timeout
		1213,       // deadlock
		1021, 1114, // disk full, table full
		1040, 1203, // too many connections
		1047,       // a node of a cluster that has not joined it
		1053, 1077, // shutdown
		1152, 1158, 1159, 1160, 1161, // the connection broke
		1290, 1792, 1836, // the server is read-only: a replica that is not promoted yet
		1317, 1927, 3169, 4031, // killed by an operator, or idle for too long
		1412: // the table was altered since the transaction began
		return true
	}
	return false
}

// hint says what to do about err, or "".
func (db *DB) hint(err error) string {
	t := db.to
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		switch e.Number {
		case 1045, 1698:
			return "wrong user or password: check the DSN, the password file and the environment"
		case 1044:
			return fmt.Sprintf("the user has no rights there: GRANT ALL PRIVILEGES ON `%s`.* TO the user %s", t.database, t.user)
		case 1049:
			return fmt.Sprintf("there is no such database: CREATE DATABASE `%s` CHARACTER SET utf8mb4", t.database)
		case 1142, 1143, 1227, 1370:
			return fmt.Sprintf("a right is missing: GRANT ALL PRIVILEGES ON `%s`.* TO the user %s", t.database, t.user)
		case 1040, 1203:
			return "the server allows no more connections: raise max_connections or lower this program's"
		case 1146:
			return "the table is missing: was the database emptied? restart to migrate it"
		case 1290, 1792, 1836:
			return "the server is read-only: a replica? name the primary"
		case 1665:
			return "the server logs statements, not rows: SET GLOBAL binlog_format = ROW"
		case 1021, 1114:
			return "the server's disk is full: make room, it goes on by itself"
		}
		return ""
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_CANTOPEN:
			return "the file cannot be opened: does its folder exist, and may this user write there?"
		case sqlite3.SQLITE_NOTADB:
			return "the file is no SQLite database: name another"
		case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
			return "the file may not be written by this user: check its rights and its folder's"
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			return "another process holds the file's lock: end its transaction"
		case sqlite3.SQLITE_FULL:
			return "the disk is full: make room, it goes on by itself"
		case sqlite3.SQLITE_CORRUPT:
			return "the file is damaged: move it away, it is made anew from state"
		}
		return ""
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "dial" {
		return "no server answers there: start it, or check host and port"
	}
	return ""
}

// ended gives ctx's error where it is the reason for err: a driver that is
// interrupted answers with all kinds of errors.
func ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		return fmt.Errorf("%w (%w)", ctx.Err(), err)
	}
	return err
}
