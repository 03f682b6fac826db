package processor

import (
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/internal/kafka"
	sqlsink "millrace/processor/sink/sql"
	"millrace/schema"
	"millrace/state/checkpoint"
)

// Config says where a processor finds its log and where its results go.
type Config struct {
	Kafka  kafka.Config
	Topics kafka.Topics
	Group  string // consumer group; default millrace-TOPIC
	Dir    string // of the partitions' stores
	// Settings are those for a new log. Of them only what Set names is compared
	// with a log that is there.
	Settings schema.Settings
	Check    func(log schema.Settings) error // refuses a log's settings; may be nil
	SQL      *sqlsink.Config                 // nil: no database

	// MicroBatch gathers records for this long before they are applied and
	// committed; 0 takes what was fetched at once.
	MicroBatch time.Duration
	// MaxRecords bounds a micro-batch. Default 50,000: some 10 ms of work.
	MaxRecords int
	// Keep is how long final windows that every sink has stay in the state,
	// counted back from the partition's newest applied time. Default 24 h;
	// below 0 for ever.
	Keep time.Duration
	// SQLEvery and CandlesEvery are the least times between two flushes of a
	// sink. Defaults 20 ms and 2 ms: a window that changes at each tick is
	// written that often, not at each tick.
	SQLEvery, CandlesEvery time.Duration
	// SessionTimeout is after how long the group gives a dead member's
	// partitions away. Default 10 s.
	SessionTimeout time.Duration
	// Standby is how many other members keep the state of each partition warm;
	// the highest that a member of the group has counts. A member of which it is
	// 0 keeps none.
	Standby int
	// Fatal is called where the state's disk has failed in a way that leaves no
	// order in which to end: it must not return. By default it panics.
	Fatal func(error)
	// Published is called with the candles that each micro-batch changed, by the
	// owners' goroutines; it keeps none of them and returns at once. May be nil.
	Published func([]schema.Candle)
	// Checkpoints says where copies of the state are kept; nil: nowhere. Then a
	// state that is damaged, or whose log was rewritten, ends the processor with
	// a word instead of being restored.
	Checkpoints *Checkpoints
	// Transactions has candles come in transactions, for readers that can't
	// compare versions; nil: without.
	Transactions *Transactions
	Log          *slog.Logger

	Program string // the version that states are marked with; may be empty

	FS   vfs.FS    // where Dir is; default the real one
	Rand io.Reader // of the process's name; default crypto/rand
}

// Checkpoints says where and when copies of the partitions' state are kept.
type Checkpoints struct {
	Store *checkpoint.Store // its owner closes it
	// Every is how often one is taken of each partition. Default 10 min.
	Every time.Duration
	// Keep is which ones stay. Default the newest 3, and a day's.
	Keep    checkpoint.Keep
	Program string // the version that a checkpoint is marked with
	// LastTime bounds the one that is taken when a partition is given up; the
	// group waits for it. Default 5 s.
	LastTime time.Duration
}

func (c *Checkpoints) ensureDefaults() {
	if c.Every == 0 {
		c.Every = 10 * time.Minute
	}
	if c.LastTime == 0 {
		c.LastTime = 5 * time.Second
	}
	if c.Keep == (checkpoint.Keep{}) {
		c.Keep = checkpoint.Keep{Count: 3, For: 24 * time.Hour}
	}
}

// MaxStandby bounds Config.Standby.
const MaxStandby = 10

// EnsureDefaults fills what is not set.
func (c *Config) EnsureDefaults() {
	c.Kafka.EnsureDefaults()
	c.Topics.EnsureDefaults()
	c.Settings.EnsureDefaults()
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	if c.Group == "" {
		c.Group = "millrace-" + c.Topics.Ticks
	}
	if c.MaxRecords == 0 {
		c.MaxRecords = 50_000
	}
	def(&c.SQLEvery, 20*time.Millisecond)
	def(&c.CandlesEvery, 2*time.Millisecond)
	def(&c.SessionTimeout, 10*time.Second)
	def(&c.Keep, 24*time.Hour)
	if c.Checkpoints != nil {
		own := *c.Checkpoints
		own.ensureDefaults()
		c.Checkpoints = &own
	}
	if c.Transactions != nil {
		own := *c.Transactions
		own.ensureDefaults()
		c.Transactions = &own
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
}

// Validate expects EnsureDefaults to have run.
func (c *Config) Validate() error {
	if c.Dir == "" {
		return fmt.Errorf("processor: no folder for the state")
	}
	if c.MaxRecords < 1 || c.MaxRecords > 1_000_000 {
		return fmt.Errorf("processor: micro-batch of %d records is not within 1 to 1,000,000", c.MaxRecords)
	}
	if c.Standby < 0 || c.Standby > MaxStandby {
		return fmt.Errorf("processor: standby of %d is not within 0 to %d", c.Standby, MaxStandby)
	}
	if k := c.Checkpoints; k != nil && (k.Store == nil || k.Every < 0 || k.Keep.Count < 0 || k.Keep.For < 0) {
		return fmt.Errorf("processor: checkpoints without a store, or with a time or number below 0")
	}
	if t := c.Transactions; t != nil && (t.Timeout < time.Second || t.Timeout > 15*time.Minute) {
		return fmt.Errorf("processor: transactions of %v are not within 1s to 15m", t.Timeout)
	}
	for _, b := range []struct {
		name string
		v    time.Duration
		max  time.Duration
	}{{"micro-batch", c.MicroBatch, time.Minute}, {"sql-every", c.SQLEvery, time.Minute}, {"candles-every", c.CandlesEvery, time.Minute}} {
		if b.v < 0 || b.v > b.max {
			return fmt.Errorf("processor: %s of %v is not within 0 to %v", b.name, b.v, b.max)
		}
	}
	return nil
}
