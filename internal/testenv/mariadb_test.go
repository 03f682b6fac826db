package testenv_test

import (
	"database/sql"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"millrace/internal/testenv"
)

func openMySQL(t *testing.T, address string) *sql.DB {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	config := mysql.NewConfig()
	config.User = u.User.Username()
	config.Passwd, _ = u.User.Password()
	config.Net, config.Addr, config.DBName = "tcp", u.Host, strings.TrimPrefix(u.Path, "/")
	config.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// A committed row is there after a kill, on the same port.
func TestMariaDBKeepsARowOverAKill(t *testing.T) {
	t.Parallel()
	began := time.Now()
	maria := testenv.StartMariaDB(t)
	t.Logf("started in %v", time.Since(began))
	address := maria.NewDatabase(t)
	db := openMySQL(t, address)
	for _, statement := range []string{"CREATE TABLE candles (volume INT)", "INSERT INTO candles VALUES (7)"} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}

	for _, end := range []struct {
		name string
		how  func() error
	}{{"kill", maria.Kill}, {"stop", maria.Stop}} {
		began = time.Now()
		if err := end.how(); err != nil {
			t.Fatal(err)
		}
		if err := maria.Start(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s and start took %v", end.name, time.Since(began))
		var volume int
		// A new pool: the old one's connections died with the server.
		if err := openMySQL(t, address).QueryRowContext(t.Context(), "SELECT volume FROM candles").Scan(&volume); err != nil {
			t.Fatalf("after the %s: %v", end.name, err)
		}
		if volume != 7 {
			t.Fatalf("after the %s: volume %d, want 7", end.name, volume)
		}
	}
}

func TestMariaDBIsNotInUTC(t *testing.T) {
	db := openMySQL(t, testenv.SharedMariaDB(t).NewDatabase(t))
	var zone string
	if err := db.QueryRowContext(t.Context(), "SELECT @@session.time_zone").Scan(&zone); err != nil {
		t.Fatal(err)
	}
	if zone != "+05:30" {
		t.Fatalf("time zone %q, want +05:30", zone)
	}
}

func TestMariaDBUsersHaveOnlyTheirRights(t *testing.T) {
	maria := testenv.SharedMariaDB(t)
	address := maria.NewDatabase(t)
	if _, err := openMySQL(t, address).ExecContext(t.Context(), "CREATE TABLE candles (volume INT)"); err != nil {
		t.Fatalf("the owner makes a table: %v", err)
	}
	if err := openMySQL(t, maria.NewUser(t, address)).PingContext(t.Context()); err == nil {
		t.Error("a user without rights got in")
	}
	reader := openMySQL(t, maria.NewUser(t, address, "SELECT"))
	if _, err := reader.ExecContext(t.Context(), "SELECT volume FROM candles"); err != nil {
		t.Errorf("a reader reads: %v", err)
	}
	if _, err := reader.ExecContext(t.Context(), "INSERT INTO candles VALUES (1)"); err == nil {
		t.Error("a reader wrote")
	}
	other := openMySQL(t, maria.NewDatabase(t))
	if _, err := other.ExecContext(t.Context(), "SELECT volume FROM "+pathOf(t, address)+".candles"); err == nil {
		t.Error("a user read another test's database")
	}
}

func pathOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}
