package sqlsink

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"millrace/schema"
	migrations "millrace/schema/sql"
)

// migration is one file of schema/sql.
type migration struct {
	version        int
	name, checksum string
	text           string
}

func loadMigrations(files fs.FS, folder string) ([]migration, error) {
	names, err := fs.Glob(files, folder+"/*.sql") // in the order of the names
	if err != nil {
		return nil, err
	}
	var all []migration
	for i, path := range names {
		name := strings.TrimSuffix(strings.TrimPrefix(path, folder+"/"), ".sql")
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != i+1 {
			return nil, fmt.Errorf("migration %s: its number is not %d", path, i+1)
		}
		text, err := fs.ReadFile(files, path)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(text)
		all = append(all, migration{version, name, hex.EncodeToString(sum[:]), string(text)})
	}
	return all, nil
}

// statements cuts a file where a line ends with a semicolon.
func (m *migration) statements() []string {
	var all []string
	var b strings.Builder
	for line := range strings.Lines(m.text) {
		line = strings.TrimRight(line, " \r\n")
		if line == "" || strings.HasPrefix(line, "--") {
			continue
		}
		b.WriteString(strings.TrimSuffix(line, ";") + "\n")
		if strings.HasSuffix(line, ";") {
			all = append(all, b.String())
			b.Reset()
		}
	}
	if b.Len() > 0 {
		all = append(all, b.String())
	}
	return all
}

func (db *DB) migrate(ctx context.Context) error {
	all, err := loadMigrations(migrations.Files, db.d.name)
	if err != nil {
		return db.fail("migrate", err)
	}
	return db.migrateTo(ctx, all)
}

func (db *DB) migrateTo(ctx context.Context, all []migration) (err error) {
	c, err := db.sql.Conn(ctx)
	if err != nil {
		return db.fail("migrate", err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	done, err := db.applied(ctx, c, all)
	if err != nil {
		return db.fail("migrate", err)
	}
	if done == len(all) {
		return nil // no lock, no right to change tables needed
	}
	if db.cfg.ReadOnly {
		return fmt.Errorf("sql sink: %v: the schema is at migration %d, this program needs %d: start `millrace process` or `millrace dev` on it first", db.to, done, len(all))
	}
	for done < len(all) {
		if done, err = db.step(ctx, c, all); err != nil {
			return db.fail("migrate", err)
		}
	}
	return nil
}

// step applies the next migration, unless another process has done so
// meanwhile. It returns how many are applied.
func (db *DB) step(ctx context.Context, c *sql.Conn, all []migration) (done int, err error) {
	unlock, err := db.d.lock(ctx, db, c)
	if err != nil {
		return 0, err
	}
	defer func() { err = unlock(err) }()
	if _, err := c.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+schema.TableMigrations+
		" (version INT NOT NULL PRIMARY KEY, name VARCHAR(255) NOT NULL, checksum CHAR(64) NOT NULL, applied_at DATETIME(6) NOT NULL)"); err != nil {
		return 0, err
	}
	if done, err = db.applied(ctx, c, all); err != nil || done == len(all) {
		return done, err
	}
	m := all[done]
	for _, statement := range m.statements() {
		if _, err := c.ExecContext(ctx, statement); err != nil {
			return done, fmt.Errorf("%s: %w", m.name, err)
		}
	}
	if _, err := c.ExecContext(ctx, "INSERT INTO "+schema.TableMigrations+" (version, name, checksum, applied_at) VALUES (?, ?, ?, "+db.d.now+")",
		m.version, m.name, m.checksum); err != nil {
		return done, err
	}
	return done + 1, nil
}

// applied counts the migrations that the database has, and refuses one that
// isn't among ours as it is here.
func (db *DB) applied(ctx context.Context, c *sql.Conn, all []migration) (n int, err error) {
	rows, err := c.QueryContext(ctx, "SELECT version, name, checksum FROM "+schema.TableMigrations+" ORDER BY version")
	if noTable(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for ; rows.Next(); n++ {
		var m migration
		if err := rows.Scan(&m.version, &m.name, &m.checksum); err != nil {
			return 0, err
		}
		switch {
		case n >= len(all):
			return 0, fmt.Errorf("the schema has migration %d (%s), which this program does not know: use a newer one", m.version, m.name)
		case m.version != all[n].version:
			return 0, fmt.Errorf("migration %d (%s) is not recorded as applied, though later ones are: restore the row of %s, or use another database",
				all[n].version, all[n].name, schema.TableMigrations)
		case m.checksum != all[n].checksum:
			return 0, fmt.Errorf("migration %d (%s) was applied with another content: this database was made by another build; use that, or another database", m.version, m.name)
		}
	}
	return n, rows.Err()
}

// noTable tells a database without migrations from one that cannot be read.
func noTable(err error) bool {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return e.Number == 1146
	}
	return err != nil && strings.Contains(err.Error(), "no such table") // SQLite has no code of its own for it
}
