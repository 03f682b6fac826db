package sqlsink

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/internal/testenv"
	"millrace/schema"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// backend makes empty databases of one kind.
type backend struct {
	name string
	make func(testing.TB) (dsn string)
}

// backends are SQLite, MariaDB and, where MILLRACE_TEST_MYSQL names one (a DSN
// of a user who may create databases), MySQL.
func backends() []backend {
	all := []backend{
		{"sqlite", func(tb testing.TB) string { return "sqlite:" + filepath.Join(tb.TempDir(), "a b?#%.db") }},
		{"mariadb", func(tb testing.TB) string { return testenv.SharedMariaDB(tb).NewDatabase(tb) }},
	}
	if dsn := os.Getenv("MILLRACE_TEST_MYSQL"); dsn != "" {
		all = append(all, backend{"mysql", func(tb testing.TB) string { return newMySQLDatabase(tb, dsn) }})
	}
	return all
}

func newMySQLDatabase(tb testing.TB, dsn string) string {
	tb.Helper()
	to, err := parseDSN(dsn)
	if err != nil {
		tb.Fatal(err)
	}
	cfg := Config{DSN: dsn}
	cfg.EnsureDefaults()
	admin := &DB{cfg: cfg, to: to}
	if err := admin.openMySQL(); err != nil {
		tb.Fatal(err)
	}
	name := "t_" + strings.ToLower(rand.Text())
	mustExec(tb, admin.sql, "CREATE DATABASE "+name)
	tb.Cleanup(func() {
		mustExec(tb, admin.sql, "DROP DATABASE "+name)
		if err := admin.Close(); err != nil {
			tb.Error(err)
		}
	})
	u, err := url.Parse(dsn)
	if err != nil {
		tb.Fatal("MILLRACE_TEST_MYSQL is no URL")
	}
	u.Path = "/" + name
	return u.String()
}

// on runs a test on an empty database of each kind.
func on(t *testing.T, f func(t *testing.T, db *DB)) {
	t.Helper()
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) { f(t, open(t, Config{DSN: b.make(t)})) })
	}
}

func open(tb testing.TB, cfg Config) *DB {
	tb.Helper()
	db, err := Open(soon(tb), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return db
}

// soon is a context with the deadline that every call should have.
func soon(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), time.Minute)
	tb.Cleanup(cancel)
	return ctx
}

func mustExec(tb testing.TB, db *sql.DB, query string, args ...any) {
	tb.Helper()
	if _, err := db.ExecContext(soon(tb), query, args...); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
}

// text reads one value as the server writes it.
func text(tb testing.TB, db *DB, query string, args ...any) string {
	tb.Helper()
	var s sql.NullString
	if err := db.sql.QueryRowContext(soon(tb), query, args...).Scan(&s); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	if !s.Valid {
		return "NULL"
	}
	return s.String
}

func dump(tb testing.TB, db *DB) string {
	tb.Helper()
	var b strings.Builder
	if err := db.Dump(soon(tb), &b); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

var (
	aKey   = Key{TopicID: [16]byte{0xab, 15: 1}, Partition: 3}
	aStart = at("2024-08-08T23:55:00Z")
)

func at(s string) schema.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return schema.FromStd(t)
}

// candle makes one with trades trades of quantity 1.5 at price.
func candle(symbol string, p schema.Period, start schema.Time, trades int64, status schema.Status, price int64) schema.Candle {
	c := schema.Candle{Symbol: symbol, Period: p, Start: start, Status: status, Version: schema.TradesVersion(0, trades, status)}
	for i := range trades {
		c.Add(&schema.Trade{ID: 100 + i, Last: 100 + i, Price: schema.Decimal{Mantissa: price, Scale: 2}, Qty: schema.Decimal{Mantissa: 15, Scale: 1}, BuyerMaker: i%2 == 1})
	}
	return c
}

func progress(offset int64) *Progress {
	return &Progress{TopicID: aKey.TopicID, Partition: aKey.Partition, Offset: offset, Epoch: 7, Hash: 1<<63 + 5, Writer: "w1"}
}

// put writes candles without progress.
func put(tb testing.TB, db *DB, candles ...schema.Candle) {
	tb.Helper()
	write(tb, db, Batch{Candles: candles})
}

func write(tb testing.TB, db *DB, b Batch) {
	tb.Helper()
	if err := db.Write(soon(tb), aKey, nil, b); err != nil {
		tb.Fatal(err)
	}
}
