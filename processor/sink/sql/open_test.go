package sqlsink

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/internal/testenv"
)

// Every way to get a DSN wrong ends in an error without the password.
func TestDSN(t *testing.T) {
	const secret = "hunter2"
	for _, x := range []struct{ dsn, want string }{
		{"", "no kind known"},
		{"sqlite:", "names no file"},
		{"sqlite::memory:", "names no file"},
		{"postgres://u:" + secret + "@h/d", "no kind known"},
		{secret, "no kind known"},
		{"mysql://u:" + secret + "/x@h:1/d", "percent-encoded"},
		{"mysql://u:1/" + secret + "@h:1/d", "percent-encoded"},
		{"mysql://u:1#" + secret + "@h/d", "percent-encoded"},
		{"mysql://u:1?" + secret + "@h/d", "percent-encoded"},
		{"mysql://u:" + secret + "%zz@h/d", "percent-encoded"},
		{"mysql://h/d", "percent-encoded"},
		{"mysql://u:" + secret + "@/d", "no host"},
		{"mysql://u:" + secret + "@h", "no database"},
		{"mysql://u:" + secret + "@h/d/e", "no database"},
		{"mysql://u:x@h/" + secret + "@h/d", "no database"},
		{"mysql://u:" + secret + "@h/d?tls=preferred", "none of true, false, skip-verify"},
		{"mysql://u:" + secret + "@h/d?" + secret + "=1", "unknown setting"},
		{"mysql://u:" + secret + "@h/d?tls=false&ca=x", "which of them"},
		{"mysql://u:" + secret + "@h/d?tls=skip-verify&ca=x", "which of them"},
		{"mysql://u:" + secret + "@h/d?ca=/does/not/exist.pem", "/does/not/exist.pem"},
	} {
		_, err := Open(soon(t), Config{DSN: x.dsn})
		if err == nil || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), secret) || Retriable(err) {
			t.Errorf("%s: %v, wanted: %s", x.dsn, err, x.want)
		}
	}
	to, err := parseDSN("mysql://us%40er:" + secret + "%2F@[::1]/db")
	if err != nil {
		t.Fatal(err)
	}
	if to.user != "us@er" || to.password != secret+"/" || to.addr != "[::1]:3306" || to.database != "db" || to.tls != nil {
		t.Errorf("read %+v", to)
	}
	if got := to.String(); got != "mysql://us%40er@[::1]:3306/db" {
		t.Errorf("shown as %s", got)
	}
}

// Each ends in one line that says what to do, and never shows the password.
func TestOpenSaysWhatToDo(t *testing.T) {
	maria := testenv.SharedMariaDB(t)
	dsn := maria.NewDatabase(t)
	change := func(f func(*url.URL)) string {
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal("the test's DSN is no URL")
		}
		f(u)
		return u.String()
	}
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := nobody.Addr().String()
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name, dsn, want string
		retriable       bool
	}{
		{"wrong password", change(func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "s3cret") }), "wrong user or password", false},
		{"unknown user", change(func(u *url.URL) { u.User = url.UserPassword("nobody", "s3cret") }), "wrong user or password", false},
		{"unknown database", change(func(u *url.URL) { u.Path = "/nowhere" }), "GRANT ALL PRIVILEGES ON `nowhere`.*", false},
		{"no rights", maria.NewUser(t, dsn), "GRANT ALL PRIVILEGES ON `db_", false},
		{"may only read", maria.NewUser(t, dsn, "SELECT"), "a right is missing: GRANT ALL PRIVILEGES ON `db_", false},
		{"server away", change(func(u *url.URL) { u.Host = free }), "no server answers there: start it, or check host and port", true},
		{"no TLS there", dsn + "?tls=true", "TLS", false},
		{"no folder", "sqlite:" + filepath.Join(dir, "none", "x.db"), "does its folder exist", false},
		{"no database file", "sqlite:" + text, "no SQLite database", false},
	} {
		_, err := Open(soon(t), Config{DSN: x.dsn})
		if err == nil || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v\nwanted: %s", x.name, err, x.want)
			continue
		}
		if Retriable(err) != x.retriable {
			t.Errorf("%s: retriable is %v: %v", x.name, !x.retriable, err)
		}
		if u, _ := url.Parse(x.dsn); u != nil && u.User != nil {
			password, _ := u.User.Password()
			for _, secret := range []string{password, url.QueryEscape(password), "s3cret"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%s: the password is shown: %v", x.name, err)
				}
			}
		}
	}

	// The schema is there, but this user may not write.
	open(t, Config{DSN: dsn})
	_, err = Open(soon(t), Config{DSN: maria.NewUser(t, dsn, "SELECT", "INSERT", "UPDATE")})
	if err == nil || !strings.Contains(err.Error(), "a right is missing") || Retriable(err) {
		t.Errorf("without DELETE: %v", err)
	}
	db := open(t, Config{DSN: maria.NewUser(t, dsn, "SELECT", "INSERT", "UPDATE", "DELETE")}) // no right to change tables is needed
	if strings.Contains(fmt.Sprintf("%v %+v", db, db.cfg), "p@s") {
		t.Error("the configuration keeps the password")
	}
	mustExec(t, db.sql, "SELECT 1")
	if _, err := db.sql.ExecContext(soon(t), "DROP TABLE candles"); err == nil || Retriable(err) {
		t.Errorf("a missing right: %v", err)
	}
	if _, err := db.sql.ExecContext(soon(t), "SELEC 1"); err == nil || Retriable(err) {
		t.Errorf("wrong syntax: %v", err)
	}
}

func TestPasswordApartFromDSN(t *testing.T) {
	dsn := testenv.SharedMariaDB(t).NewDatabase(t)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal("the test's DSN is no URL")
	}
	password, _ := u.User.Password()
	u.User = url.User(u.User.Username())
	open(t, Config{DSN: u.String(), Password: password})
}

func TestSQLiteFileRights(t *testing.T) {
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "x.db")
	open(t, Config{DSN: dsn})
	db := open(t, Config{DSN: dsn, ReadOnly: true})
	_, err := db.sql.ExecContext(soon(t), "DELETE FROM candles")
	if err == nil || Retriable(err) || !strings.Contains(db.fail("write", err).Error(), "check its rights") {
		t.Errorf("%v", err)
	}
}

// With a ca the server must prove itself; without proof the choice is loud.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca, cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	otherCA := filepath.Join(dir, "other.pem")
	makeCertificates(t, ca, cert, key)
	makeCertificates(t, otherCA, filepath.Join(dir, "c"), filepath.Join(dir, "k"))

	dsn := startMariaDBWith(t, "--ssl-cert="+cert, "--ssl-key="+key)
	db := open(t, Config{DSN: dsn + "?ca=" + url.QueryEscape(ca)})
	if got := text(t, db, "SELECT VARIABLE_VALUE FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'Ssl_cipher'"); got == "" {
		t.Error("the connection is not encrypted")
	}
	for _, bad := range []string{"?ca=" + url.QueryEscape(otherCA), "?tls=true"} {
		if _, err := Open(soon(t), Config{DSN: dsn + bad}); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := Open(soon(t), Config{DSN: dsn + "?ca=" + url.QueryEscape(key)}); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("a key as ca: %v", err)
	}
	var log bytes.Buffer
	open(t, Config{DSN: dsn + "?tls=skip-verify", Log: slog.New(slog.NewTextHandler(&log, nil))})
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "not verified") {
		t.Errorf("skip-verify logged %q", log.String())
	}
	if _, err := Open(soon(t), Config{DSN: dsn + "?tls=skip-verify"}); err == nil {
		t.Error("skip-verify without a log to say so")
	}
}

func makeCertificates(t *testing.T, ca, cert, key string) {
	t.Helper()
	caKey, leafKey := newKey(t), newKey(t)
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "millrace test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server"}, NotBefore: template.NotBefore, NotAfter: template.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	writePEM := func(file, kind string, der []byte, err error) {
		t.Helper()
		if err == nil {
			err = os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, caKey.Public(), caKey)
	writePEM(ca, "CERTIFICATE", der, err)
	der, err = x509.CreateCertificate(rand.Reader, &leaf, &template, leafKey.Public(), caKey)
	writePEM(cert, "CERTIFICATE", der, err)
	der, err = x509.MarshalPKCS8PrivateKey(leafKey)
	writePEM(key, "PRIVATE KEY", der, err)
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// startMariaDBWith gives a database on a server of its own that has the flags.
func startMariaDBWith(t *testing.T, flags ...string) (dsn string) {
	t.Helper()
	maria := testenv.StartMariaDB(t)
	dsn = maria.NewDatabase(t)
	if err := maria.Stop(); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(maria.Addr)
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--no-defaults", "--datadir=" + filepath.Join(maria.Dir, "data"), "--innodb-log-file-size=16M", "--skip-name-resolve",
		"--bind-address=127.0.0.1", "--port=" + port, "--socket=" + maria.Socket, "--pid-file=" + filepath.Join(maria.Dir, "pid")}, flags...)
	if os.Getuid() == 0 {
		args = append(args, "--user=root")
	}
	server := exec.Command("mariadbd", args...)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = server.Wait() // it was killed
	})
	ctx, tick := soon(t), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.Dial("tcp", maria.Addr)
		if err == nil {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			return dsn
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the server with %v does not answer: %v", flags, err)
		case <-tick.C:
		}
	}
}
