package sqlsink

import (
	"strings"
	"sync"
	"testing"

	"millrace/internal/testenv"
	migrations "millrace/schema/sql"
)

func TestMigrateAtOnce(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			dsn := b.make(t)
			var all sync.WaitGroup
			for range 6 {
				all.Go(func() {
					db, err := Open(soon(t), Config{DSN: dsn})
					if err != nil {
						t.Error(err)
						return
					}
					if err := db.Close(); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			db := open(t, Config{DSN: dsn, ReadOnly: true})
			ours, err := loadMigrations(migrations.Files, db.d.name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range ours {
				if got := text(t, db, "SELECT checksum FROM schema_migrations WHERE version = ? AND name = ? AND applied_at > '2020-01-01'", m.version, m.name); got != m.checksum {
					t.Errorf("%s: checksum %s, wanted %s", m.name, got, m.checksum)
				}
			}
		})
	}
}

// What was applied must be what is here.
func TestMigrationsThatDiffer(t *testing.T) {
	for _, x := range []struct{ name, change, want string }{
		{"changed", "UPDATE schema_migrations SET checksum = 'x' WHERE version = 1", "another content"},
		{"missing", "DELETE FROM schema_migrations WHERE version = 1", "not recorded as applied"},
		{"newer", "INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES (99, '0099_new', 'x', '2030-01-01')", "use a newer one"},
	} {
		for _, b := range backends() {
			t.Run(x.name+"/"+b.name, func(t *testing.T) {
				dsn := b.make(t)
				db := open(t, Config{DSN: dsn})
				mustExec(t, db.sql, x.change)
				for _, readOnly := range []bool{false, true} {
					_, err := Open(soon(t), Config{DSN: dsn, ReadOnly: readOnly})
					if err == nil || !strings.Contains(err.Error(), x.want) || Retriable(err) {
						t.Errorf("%v, wanted: %s", err, x.want)
					}
				}
			})
		}
	}
}

// A migration that was cut short is done when the next process comes.
func TestMigrationCutShort(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			dsn := b.make(t)
			db := open(t, Config{DSN: dsn})
			all, err := loadMigrations(migrations.Files, db.d.name)
			if err != nil {
				t.Fatal(err)
			}
			half := "CREATE TABLE IF NOT EXISTS t_first (a INT);\nCREATE TABLE IF NOT EXISTS t_second (a INT)"
			broken := migration{len(all) + 1, "0003_more", "c", half + " nonsense;\n"}
			if err := db.migrateTo(soon(t), append(all, broken)); err == nil || !strings.Contains(err.Error(), "0003_more") || Retriable(err) {
				t.Fatalf("a broken migration: %v", err)
			}
			if err := db.migrateTo(soon(t), all); err != nil {
				t.Fatalf("the broken one was recorded: %v", err)
			}
			broken.text = half + ";\n"
			if err := db.migrateTo(soon(t), append(all, broken)); err != nil {
				t.Fatal(err)
			}
			mustExec(t, db.sql, "INSERT INTO t_second (a) SELECT 1 FROM t_first WHERE 1 = 0")
		})
	}
}

func TestReadOnly(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			dsn := b.make(t)
			if _, err := Open(soon(t), Config{DSN: dsn, ReadOnly: true}); err == nil {
				t.Error("opened what is not there")
			}
			db := open(t, Config{DSN: dsn})
			put(t, db, candle("A", 1, aStart, 1, 0, 1))
			if b.name == "mariadb" { // a reader needs no right but SELECT
				dsn = testenv.SharedMariaDB(t).NewUser(t, dsn, "SELECT")
			}
			reader := open(t, Config{DSN: dsn, ReadOnly: true})
			if got := dump(t, reader); got != dump(t, db) || got == "" {
				t.Errorf("read %q", got)
			}
			if err := reader.Write(soon(t), aKey, nil, Batch{}); err == nil || Retriable(err) {
				t.Errorf("wrote: %v", err)
			}
			if err := reader.Maintain(soon(t), aStart, nil); err == nil {
				t.Error("maintained")
			}
		})
	}
}
