package binance

import (
	"errors"
	"fmt"
	"time"

	"millrace/schema"
)

// Out takes what connections bring. A connection's one reader calls it; while a
// connection takes over from another, both of theirs do, and a trade may come
// twice. What it gets points into the reader's memory and holds during the call.
type Out interface {
	// Trade takes a trade or an aggregate. An error ends the source.
	Trade(symbol []byte, t *schema.Trade, received schema.Time) error
	// Refused takes a frame that could not be used: why is a *TradeError where
	// symbol and id are known, or wraps ErrFrame. An error ends the source.
	Refused(frame []byte, received schema.Time, why error) error
	// Progress promises that every trade of the connection's symbols with
	// T ≤ w, since the connection was live, has been handed over. w only rises
	// within a connection.
	Progress(w schema.Time)
}

// Session is what is known of a connection when it stands.
type Session struct {
	// Dialed is the server's time just before the connection was made. Live is
	// the server's time once every stream was subscribed: each trade with
	// T ≥ Live comes by this connection. Both are 0 where no REST client was
	// given or it did not answer.
	Dialed, Live schema.Time
	// Symbols are those that it brings.
	Symbols []string
}

// Hooks report what happens to a source's connections. Each may be nil. The
// source's goroutine calls them.
type Hooks struct {
	Connected func(Session) // the handshake is done, no trade has come yet
	// Live says that every stream is subscribed and Progress may follow: there
	// was no connection, and now there is.
	Live     func(Session)
	Shutdown func() // the server says that it will close soon
	// Renewed says that another connection has taken over, with nothing missed.
	Renewed func(s Session, reason string)
	// Disconnected says that there is no connection that sees everything any
	// more; trades may be missed until Live.
	Disconnected func(err error, pause time.Duration)
	// Failed says that an attempt to connect has failed. pause is until the next.
	Failed func(err error, pause time.Duration)
}

// Config is what a source needs.
type Config struct {
	// WS is the server's address: wss://HOST:PORT, or ws:// for the double.
	// Several, separated by commas, are tried in turn.
	WS string
	// CAFile names a PEM file of certificates to trust beside the system's.
	CAFile string
	// Proxy is the proxy's address: http://, https:// or socks5://, with user
	// and password if it wants them. Without it the environment's counts.
	Proxy string
	// REST tells the server's time. Without it progress is known from the
	// trades alone, so a market at rest shows none.
	REST *Client
	// Symbols are the symbols to collect, as in exchangeInfo (upper case).
	Symbols []string
	// APIKey asks for the binary SBE streams, which need one. WS is then a
	// server of those.
	APIKey string
	// Aggregates asks for <symbol>@aggTrade instead of <symbol>@trade.
	Aggregates bool
	// Milliseconds leaves times in milliseconds; the default is microseconds.
	Milliseconds bool
	// Margin is how far a trade may come behind what has been seen. In recorded
	// frames a T lay up to 213 ms behind an E already seen.
	Margin time.Duration
	// PingEvery is the time between pings. The server takes five messages a
	// second, pings among them.
	PingEvery time.Duration
	// PongTimeout is how long a pong may take before the connection counts as
	// dead. It includes the time for which Out makes the reader wait.
	PongTimeout time.Duration
	// ReadLimit is the largest frame.
	ReadLimit int64
	// MinPause and MaxPause bound the pause before a new connection. It doubles
	// with each failure. Binance bans who tries 300 times in 5 minutes.
	MinPause, MaxPause time.Duration
	// MaxAge is how old a connection becomes before another takes its place.
	// Binance cuts it after 24 hours.
	MaxAge time.Duration
	// OverlapMax is how long the old one may take to bring what came before the
	// new one stood.
	OverlapMax time.Duration
	// Dials bounds the attempts to connect; sources of a process share one.
	Dials *Dials
	Hooks Hooks
}

// EnsureDefaults fills what was left zero.
func (c *Config) EnsureDefaults() {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	if c.WS == "" {
		c.WS = DefaultWS
	}
	if c.ReadLimit == 0 {
		c.ReadLimit = 1 << 20
	}
	set(&c.Margin, 250*time.Millisecond)
	set(&c.PingEvery, time.Second)
	set(&c.PongTimeout, 8*time.Second)
	set(&c.MaxAge, 23*time.Hour+30*time.Minute)
	set(&c.OverlapMax, 15*time.Second)
	set(&c.MinPause, 250*time.Millisecond)
	set(&c.MaxPause, 30*time.Second)
}

func (c *Config) sbe() bool { return c.APIKey != "" }

// Validate checks the settings after EnsureDefaults.
func (c *Config) Validate() error {
	if len(c.Symbols) == 0 {
		return errors.New("binance websocket: no symbols to collect")
	}
	if len(c.Symbols) > MaxStreams {
		return fmt.Errorf("binance websocket: %d symbols, but a connection takes %d: use more sources", len(c.Symbols), MaxStreams)
	}
	if c.sbe() && c.Aggregates {
		return errors.New("binance websocket: SBE has no streams of aggregates")
	}
	if c.sbe() {
		if err := checkAPIKey([]byte(c.APIKey)); err != nil {
			return fmt.Errorf("binance websocket: api key: %w", err)
		}
	}
	seen := make(map[string]bool, len(c.Symbols))
	for _, s := range c.Symbols {
		if err := schema.ValidateSymbol(s); err != nil {
			return fmt.Errorf("binance websocket: %w", err)
		}
		if seen[s] {
			return fmt.Errorf("binance websocket: symbol %s is named twice", s)
		}
		seen[s] = true
	}
	for _, d := range []struct {
		name       string
		v, min, to time.Duration
	}{
		{"margin", c.Margin, 0, time.Minute},
		{"time between pings", c.PingEvery, 250 * time.Millisecond, 20 * time.Second},
		{"pong timeout", c.PongTimeout, time.Millisecond, 10 * time.Minute},
		{"least pause", c.MinPause, time.Millisecond, c.MaxPause},
		{"longest pause", c.MaxPause, time.Millisecond, time.Hour},
		{"longest age", c.MaxAge, time.Second, 24 * time.Hour},
		{"longest overlap", c.OverlapMax, time.Millisecond, time.Hour},
	} {
		if d.v < d.min || d.v > d.to {
			return fmt.Errorf("binance websocket: %s %v is not within %v and %v", d.name, d.v, d.min, d.to)
		}
	}
	if c.ReadLimit < 1024 || c.ReadLimit > 64<<20 {
		return fmt.Errorf("binance websocket: read limit of %d bytes is not within 1 KiB and 64 MiB", c.ReadLimit)
	}
	return nil
}
