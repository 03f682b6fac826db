package sqlsink

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"millrace/internal/trust"
)

// A DSN's text holds a password, and so do the errors of net/url and anything
// that stands at the wrong place of it: no error here repeats any of it before
// the user name has been found where it belongs.

// target is a DSN taken apart.
type target struct {
	file string // SQLite's, else a MySQL server's:

	user, password, addr, database string
	tls                            *tls.Config // nil: not encrypted
	unverified                     bool
}

const wantedDSN = "wanted mysql://user:password@host:port/database or sqlite:FILE"

func parseDSN(dsn string) (*target, error) {
	if file, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		if file == "" || strings.Contains(file, ":memory:") {
			return nil, errors.New("sql sink: the DSN names no file: wanted sqlite:FILE")
		}
		return &target{file: file}, nil
	}
	if !strings.HasPrefix(dsn, "mysql://") {
		return nil, errors.New("sql sink: the DSN is of no kind known here: " + wantedDSN)
	}
	u, err := url.Parse(dsn)
	if err != nil || u.User == nil || u.User.Username() == "" || u.Fragment != "" {
		return nil, errors.New("sql sink: the DSN cannot be read: " + wantedDSN +
			"; characters such as @ : / ? # % in the password must be percent-encoded (%40 for @)")
	}
	t := &target{user: u.User.Username(), addr: u.Host, database: strings.TrimPrefix(u.Path, "/")}
	t.password, _ = u.User.Password()
	if u.Hostname() == "" {
		return nil, errors.New("sql sink: the DSN names no host: " + wantedDSN)
	}
	if u.Port() == "" {
		t.addr = net.JoinHostPort(u.Hostname(), "3306")
	}
	if t.database == "" || strings.ContainsAny(t.database, "/@`") {
		return nil, errors.New("sql sink: the DSN names no database: " + wantedDSN)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("sql sink: the DSN's part behind ? cannot be read: it may hold tls and ca")
	}
	for name := range query {
		if name != "tls" && name != "ca" {
			return nil, errors.New("sql sink: the DSN's part behind ? holds an unknown setting: it may hold tls and ca")
		}
	}
	return t, t.setTLS(query.Get("tls"), query.Get("ca"), u.Hostname())
}

func (t *target) setTLS(mode, ca, host string) error {
	if mode == "" && ca != "" {
		mode = "true"
	}
	switch mode {
	case "", "false":
		if ca != "" {
			return errors.New("sql sink: the DSN has a ca and tls=false: which of them?")
		}
		return nil
	case "true":
		t.tls = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	case "skip-verify":
		if ca != "" {
			return errors.New("sql sink: the DSN has a ca and tls=skip-verify: which of them?")
		}
		t.tls = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}
		t.unverified = true
		return nil
	default:
		return errors.New("sql sink: the DSN's tls is none of true, false, skip-verify")
	}
	if ca == "" {
		return nil // the system's authorities
	}
	pool, err := trust.Only(ca)
	if err != nil {
		return fmt.Errorf("sql sink: the DSN's %w", err)
	}
	t.tls.RootCAs = pool
	return nil
}

// String never shows the password.
func (t *target) String() string {
	if t.file != "" {
		return "sqlite:" + t.file
	}
	u := url.URL{Scheme: "mysql", User: url.User(t.user), Host: t.addr, Path: "/" + t.database}
	return u.String()
}
