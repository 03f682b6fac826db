package sqlsink

import (
	"database/sql/driver"
	"fmt"
	"log/slog"
	"time"

	"millrace/schema"
)

// Config says which database and how it is used. Zero means default.
type Config struct {
	// DSN is mysql://user:password@host:port/database or sqlite:FILE.
	// A mysql one may end in ?tls=true (verified), ?ca=FILE (verified by that
	// authority) or ?tls=skip-verify (encrypted, the server not verified; a
	// warning is logged each time).
	DSN string
	// Password takes the place of the one in DSN, if set.
	Password string
	// ReadOnly opens for reading only: nothing is migrated, Write is refused.
	ReadOnly bool
	// KeepDays is how many days of each period are kept, counted from
	// Batch.Newest. A period that is not named is kept whole.
	KeepDays map[schema.Period]int
	// RowsPerStatement is the most rows of one INSERT. Measured on one machine,
	// 100 to 5,000 are about alike; over a network fewer round trips count.
	RowsPerStatement int
	// Connections is the most connections at once (MySQL).
	Connections int
	// ConnectTimeout ends the attempt to make a connection.
	ConnectTimeout time.Duration
	// LockTimeout ends the wait for a row or a table that another holds.
	LockTimeout time.Duration
	Log         *slog.Logger
	// Wrap, if not nil, stands between this package and the store's driver.
	Wrap func(driver.Connector) driver.Connector
}

// EnsureDefaults fills what is not set.
func (c *Config) EnsureDefaults() {
	if c.RowsPerStatement == 0 {
		c.RowsPerStatement = 1000
	}
	if c.Connections == 0 {
		c.Connections = 16 // one for each partition of this process, and some for readers
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 10 * time.Second
	}
	if c.LockTimeout == 0 {
		c.LockTimeout = 10 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Validate checks every bound. It expects EnsureDefaults to have run.
func (c *Config) Validate() error {
	for _, b := range []struct {
		name     string
		v        int
		min, max int
	}{
		{"rows per statement", c.RowsPerStatement, 1, 50000},
		{"connections", c.Connections, 1, 1000},
	} {
		if b.v < b.min || b.v > b.max {
			return fmt.Errorf("sql sink: %s: %d is not within %d to %d", b.name, b.v, b.min, b.max)
		}
	}
	for _, b := range []struct {
		name string
		v    time.Duration
	}{{"connect timeout", c.ConnectTimeout}, {"lock timeout", c.LockTimeout}} {
		if b.v < time.Second || b.v > time.Hour {
			return fmt.Errorf("sql sink: %s: %v is not within 1s to 1h", b.name, b.v)
		}
	}
	for p, days := range c.KeepDays {
		if err := validateKept(p, days); err != nil {
			return err
		}
	}
	return nil
}

func validateKept(p schema.Period, days int) error {
	least := 0
	switch p { // else the window that is growing would be too old
	case schema.P3d:
		least = 3
	case schema.P1w:
		least = 7
	case schema.P1M:
		least = 31
	}
	if days > 0 && days < least {
		return fmt.Errorf("sql sink: days kept: %d of %v: one window is longer, wanted 0 (all) or at least %d", days, p, least)
	}
	if !p.Valid() || days < 0 || days > 36500 {
		return fmt.Errorf("sql sink: days kept: %d of %v: the period is unknown, or the days are not within 0 (all) to 36500", days, p)
	}
	return nil
}
