package double

import (
	"errors"
	"fmt"
	"time"

	"millrace/schema"
)

// Config is what a double needs. Files make it replay; without, it makes a
// synthetic market.
type Config struct {
	// Addr is where to listen, 127.0.0.1 and any port by default.
	Addr string
	// Files are recordings of frames, merged by their local times.
	Files []string
	// Speed is how many times faster than recorded frames are replayed; 0 is
	// flat out. It does not concern a synthetic market.
	Speed float64
	// StartAtOnce replays without waiting for subscribers. By default a replay
	// starts when each of WaitFor (all its symbols, if empty) has one. A
	// synthetic market waits for WaitFor, if there are any.
	StartAtOnce bool
	WaitFor     []string
	// Synthetic describes the market that is made where there are no files.
	Synthetic Synthetic
	// WriteTimeout is how long a client may keep a write waiting.
	WriteTimeout time.Duration
	// PingEvery and PongTimeout are Binance's: 20 s and a minute.
	PingEvery, PongTimeout time.Duration
	// Limits are what an address may ask for.
	Limits Limits
	// Retention is how far back in market time historicalTrades and aggTrades
	// reach; for ever, if 0. An id older than that skips forward to the oldest
	// that is kept, as at the real one.
	Retention schema.Time
	// VoidAggs puts a void aggregate (p and q 0, f and l −1) behind every so
	// many real ones that REST gives; none, if 0. It takes up an id of its own,
	// which the stream leaves out.
	VoidAggs int64
	// APIKey is the key that SBE streams ask for; any will do, if it is empty.
	APIKey string
	// Faults are what goes wrong, and when.
	Faults Scenario
	// OnFault is told of each fault that begins; it must be quick.
	OnFault func(*Fault)
	// FlatErrors answers bad control messages as Binance's documents have it,
	// not nested under "error" as seen on the wire.
	FlatErrors bool
	// Now is the wall clock of a synthetic market.
	Now func() schema.Time
}

// Synthetic describes a made market. Symbols, ids and trades are a function of
// these settings and of time: another rate makes another market.
type Synthetic struct {
	Seed    uint64
	Symbols int // number of symbols; their popularity is Zipf's
	// Rate is the trades a second of all symbols together, in the mean.
	Rate float64
	// Start is the market time at which it begins to be sent, in the past; by
	// default the market has the wall's time. Pace is how many times as fast as
	// the wall it then goes. It slows down to the wall's pace when it has caught
	// up with it.
	Start schema.Time
	Pace  float64
	// Until is the market time at which it ends: no trade has T ≥ Until. REST
	// goes on to answer then, and the time goes on at the wall's pace.
	Until schema.Time
}

// EnsureDefaults fills what was left zero.
func (c *Config) EnsureDefaults() {
	if c.Addr == "" {
		c.Addr = "127.0.0.1:0"
	}
	if c.Synthetic.Symbols == 0 {
		c.Synthetic.Symbols = 20
	}
	if c.Synthetic.Rate == 0 {
		c.Synthetic.Rate = 200
	}
	if c.Synthetic.Pace == 0 {
		c.Synthetic.Pace = 1
	}
	if c.WriteTimeout == 0 {
		c.WriteTimeout = 10 * time.Second
	}
	c.Limits.ensureDefaults()
	if c.PingEvery == 0 {
		c.PingEvery = 20 * time.Second
	}
	if c.PongTimeout == 0 {
		c.PongTimeout = time.Minute
	}
	if c.Now == nil {
		c.Now = func() schema.Time { return schema.FromStd(time.Now()) }
	}
}

// Validate checks the settings after EnsureDefaults.
func (c *Config) Validate() error {
	switch {
	case c.Speed < 0 || c.Speed > 1e6:
		return fmt.Errorf("double: speed %v is not within 0 (flat out) and a million", c.Speed)
	case c.Synthetic.Symbols < 1 || c.Synthetic.Symbols > 5000:
		return fmt.Errorf("double: %d symbols are not within 1 and 5000", c.Synthetic.Symbols)
	case c.Synthetic.Rate < 0.001 || c.Synthetic.Rate > 1e6:
		return fmt.Errorf("double: %v trades a second are not within 0.001 and a million", c.Synthetic.Rate)
	case c.Synthetic.Start != 0 && (c.Synthetic.Start < origin || c.Synthetic.Start > c.Now()):
		return fmt.Errorf("double: the market's start %v is not between %v and now", c.Synthetic.Start, origin)
	case c.Synthetic.Until != 0 && c.Synthetic.Until <= max(c.Synthetic.Start, origin):
		return fmt.Errorf("double: the market's end %v is not behind its start", c.Synthetic.Until)
	case c.Synthetic.Pace < 0.001 || c.Synthetic.Pace > 1e5:
		return fmt.Errorf("double: a pace of %v is not within 0.001 and 100000", c.Synthetic.Pace)
	case c.Synthetic.Pace != 1 && c.Synthetic.Start == 0:
		return errors.New("double: only a market with a start in the past can have a pace")
	case c.Limits.Weight < 1 || c.Limits.Warnings < 0 || c.Limits.Connections < 1 || c.Limits.Ban < 0 || c.Limits.Ban > longestBan:
		return errors.New("double: a limit is not above 0, or a ban longer than three days")
	case c.Retention < 0 || c.VoidAggs < 0:
		return errors.New("double: retention or the distance of void aggregates is negative")
	case c.WriteTimeout < 0 || c.PingEvery <= 0 || c.PongTimeout <= 0:
		return errors.New("double: a timeout is negative")
	}
	if err := c.Faults.Validate(); err != nil {
		return fmt.Errorf("double: %w", err)
	}
	return nil
}
