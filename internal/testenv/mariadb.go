package testenv

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
)

// mariaPackages brings mariadbd and what mariadb-install-db calls, and no
// service that would start by itself.
const mariaPackages = "mariadb-server-core mariadb-client-core"

// MariaDB is one MariaDB server on 127.0.0.1 with a data folder of its own.
type MariaDB struct {
	server
	Addr   string // host:port
	Socket string // the administrator's way in
	Dir    string
}

// StartMariaDB gives the test a server of its own.
func StartMariaDB(tb testing.TB) *MariaDB {
	tb.Helper()
	m, err := newMariaDB(tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(filepath.Dir(m.Socket)); err != nil {
			tb.Error(err)
		}
	})
	if err := m.Start(); err != nil {
		tb.Fatal(err)
	}
	m.endWith(tb)
	return m
}

// newMariaDB prepares a server on a new port; Start runs it.
func newMariaDB(dir string) (*MariaDB, error) {
	daemon, err := tool("mariadbd", mariaPackages)
	if err != nil {
		return nil, err
	}
	install, err := tool("mariadb-install-db", mariaPackages)
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	// A folder of its own: a socket's path has room for 107 bytes, a test's
	// folder may be longer.
	short, err := os.MkdirTemp("", "mr")
	if err != nil {
		return nil, err
	}
	m := &MariaDB{Addr: loopback(port), Socket: filepath.Join(short, "s"), Dir: dir}
	m.name = "mariadb on " + m.Addr
	m.log = filepath.Join(dir, "mariadb.log")
	common := []string{
		"--no-defaults", // first: no settings of this machine
		"--datadir=" + filepath.Join(dir, "data"),
		"--tmpdir=" + short, // two servers with one process id, in two containers, would share names
		"--innodb-log-file-size=16M",
		"--skip-name-resolve",
	}
	if os.Getuid() == 0 {
		// Not --user=mysql: that user may not read a test's folder, and the
		// kernel forgets to kill a child that changes its user.
		common = append(common, "--user=root")
	}
	args := append(common[:len(common):len(common)], "--auth-root-authentication-method=normal", "--skip-test-db")
	cmd := exec.Command(install, args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+short)
	if _, err := output(cmd); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", m.name, err), os.RemoveAll(short))
	}
	m.command = func() *exec.Cmd {
		return exec.Command(daemon, append(common[:len(common):len(common)],
			"--bind-address=127.0.0.1",
			"--port="+strconv.Itoa(port),
			"--socket="+m.Socket,
			"--pid-file="+filepath.Join(dir, "mariadb.pid"),
			"--innodb-buffer-pool-size=64M",
			// What was committed is on the disk, as the sinks promise.
			"--innodb-flush-log-at-trx-commit=1",
			// Not UTC, so that a column read in the wrong zone is seen.
			"--default-time-zone=+05:30",
		)...)
	}
	m.ready = func(ctx context.Context) error { return m.admin(ctx, "SELECT 1") }
	return m, nil
}

// NewDatabase makes an empty database and a user with all rights on it and on
// nothing else. It returns mysql://user:password@host:port/database; the
// password is escaped and must be unescaped.
func (m *MariaDB) NewDatabase(tb testing.TB) string {
	tb.Helper()
	name := "db_" + unique()
	m.exec(tb, "CREATE DATABASE "+name)
	return m.newUser(tb, name, "ALL PRIVILEGES")
}

// NewUser makes another user for the database of the URL and returns its URL.
// It has no rights but those named ("SELECT", "INSERT" …); without any it can
// log in and is refused the database.
func (m *MariaDB) NewUser(tb testing.TB, database string, rights ...string) string {
	tb.Helper()
	u, err := url.Parse(database)
	if err != nil {
		tb.Fatalf("%s: new user: %v", m.name, err)
	}
	return m.newUser(tb, strings.TrimPrefix(u.Path, "/"), rights...)
}

func (m *MariaDB) newUser(tb testing.TB, database string, rights ...string) string {
	tb.Helper()
	user, password := "u_"+unique(), "p@s:s/w%o?r#d-"+unique()
	m.exec(tb, fmt.Sprintf("CREATE USER %s IDENTIFIED BY '%s'", user, password))
	if len(rights) > 0 {
		m.exec(tb, fmt.Sprintf("GRANT %s ON %s.* TO %s", strings.Join(rights, ", "), database, user))
	}
	u := url.URL{Scheme: "mysql", User: url.UserPassword(user, password), Host: m.Addr, Path: "/" + database}
	return u.String()
}

// Exec runs one statement as the administrator, such as a LOCK, a SET GLOBAL or
// a KILL that a test needs.
func (m *MariaDB) Exec(ctx context.Context, statement string) error {
	if err := m.admin(ctx, statement); err != nil {
		return fmt.Errorf("%s: %s: %w", m.name, statement, err)
	}
	return nil
}

func (m *MariaDB) exec(tb testing.TB, statement string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	if err := m.Exec(ctx, statement); err != nil {
		tb.Fatal(err)
	}
}

// admin opens a connection for each statement: it works after any restart, and
// leaves nothing behind.
func (m *MariaDB) admin(ctx context.Context, statement string) error {
	config := mysql.NewConfig()
	config.User, config.Net, config.Addr = "root", "unix", m.Socket
	config.Logger = &mysql.NopLogger{} // a refused connection is an error already
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	_, err = db.ExecContext(ctx, statement)
	return errors.Join(err, db.Close())
}
