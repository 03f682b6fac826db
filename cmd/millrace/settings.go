package main

import (
	"time"

	"millrace/schema"
)

// settings are all that a command can be told, in groups. Each field is filled
// by one row of table; a command sees only the groups it asked for, the others
// keep their defaults.
type settings struct {
	Kafka   kafkaSettings
	NATS    natsSettings
	SQL     sqlSettings
	Log     logSettings
	Produce produceSettings
	Binance binanceSettings
	Process processSettings
	Keeping checkpointSettings
	Market  marketSettings
	Double  doubleSettings
	Dev     devSettings
	Replay  replaySettings
	Run     runSettings

	places map[string]place
}

// given reports whether the setting was given, by flag, environment or file.
// It tells a wish from a default where the log has the last word (periods,
// partitions), and in dev what is used from what is embedded.
func (s *settings) given(name string) bool { return s.places[name].strength > byDefault }

// tlsSettings are how a connection is secured. A file alone turns TLS on: to
// name one and connect in the clear can't be meant.
type tlsSettings struct {
	On            bool
	CA, Cert, Key string
}

func (t *tlsSettings) wanted() bool { return t.On || t.CA != "" || t.Cert != "" || t.Key != "" }

type kafkaSettings struct {
	Brokers  []string
	TLS      tlsSettings
	SASL     string
	User     string
	Password secret
	PassFile string
}

type natsSettings struct {
	URL       location
	TLS       tlsSettings
	User      string
	Password  secret
	PassFile  string
	Token     secret
	TokenFile string
	Creds     string
	NKey      string
	Replicas  int
	StreamAge time.Duration
	Group     string
}

type sqlSettings struct {
	DSN      location
	TLS      tlsSettings
	Password secret
	PassFile string
}

// logSettings are what the topics are and what is in force in them.
type logSettings struct {
	Ticks, Candles   string
	Partitions       int
	Replication      int
	TicksRetention   time.Duration
	CandlesRetention time.Duration
	Compression      string
	Periods          []schema.Period
	ThreeDay         schema.Time
	EmptySeconds     bool
}

type produceSettings struct {
	Linger   time.Duration
	BatchMax int
	Margin   time.Duration
}

type binanceSettings struct {
	Symbols []string
	Streams string
	WS      location
	REST    location
	Dumps   location
	History string
	CA      string
	Proxy   location
	Key     secret
	KeyFile string
	// Share is the part of the exchange's request weight that is used.
	Share float64
}

type processSettings struct {
	MicroBatch         time.Duration
	Standby            int
	Keep               []keepDays
	Transactions       bool // candles come in transactions
	TransactionTimeout time.Duration
}

// checkpointSettings are where copies of the state are kept, and which.
type checkpointSettings struct {
	Store  string // a folder, a URL, or "none"
	Every  time.Duration
	Count  int
	For    time.Duration
	Upload float64 // MB a second at most; 0 is no bound
}

// keepDays is how many days the SQL store keeps of a period.
type keepDays struct {
	Period schema.Period
	Days   int
}

// marketSettings are the double's: what it replays, or the market it makes up.
type marketSettings struct {
	From    []string
	Speed   float64
	Rate    float64
	Seed    uint64
	Symbols int
	Listen  string
}

// doubleSettings are of the double on its own, which dev does without.
type doubleSettings struct {
	Start, Until schema.Time // 0: none
	Pace         float64
	WaitFor      []string
	Retention    time.Duration
	Scenario     string
}

// replaySettings are what replay reads, and how.
type replaySettings struct {
	Days            dayRange
	Kind            string
	Monthly         bool
	RequireChecksum bool
	Again           bool
}

// dayRange is both ends of a range of days; the zero one is none.
type dayRange struct{ From, To schema.Time }

// count is how many days it has, both ends included.
func (r dayRange) count() int { return int((r.To-r.From)/schema.Day) + 1 }

type devSettings struct {
	KafkaPort, NATSPort, HTTPPort int
	UntilDone                     bool
	Fresh, Yes                    bool
}

type runSettings struct {
	Data      string
	HTTP      string
	For       time.Duration
	LogLevel  string
	LogFormat string
}
