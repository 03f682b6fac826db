package bridge

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"millrace/internal/kafka"
	"millrace/schema"
)

// dedupeWindow is how long the stream knows a candle's Nats-Msg-Id. A bridge
// that starts again looks into the stream itself for what it may have sent
// (see recall), so the window need only outlast a broken connection's rest.
const dedupeWindow = 2 * time.Minute

// Config says what a bridge reads and where it writes.
type Config struct {
	Kafka kafka.Config
	NATS  NATS

	Topic string // default schema.CandlesTopic
	// Group is the consumer group in which bridges share the partitions. "":
	// this one reads all of them, and no offsets are committed.
	Group string

	Replicas int           // of the stream and the buckets, default 1
	MaxAge   time.Duration // of the stream's candles, default 7 days
	MaxBytes int64         // of the stream, default 0: no bound

	// BatchRecords is the most records handled as one, default 2,000.
	BatchRecords int
	// MaxInFlight is the most candles that are sent and not yet proven to have
	// arrived, default 16,384: about 10 MB.
	MaxInFlight int
	// RoundEvery is the least time between two rounds that confirm, write the
	// newest candles and move the position, default 500 ms; after a pause one
	// comes at once. Candles themselves never wait for it, but the writes
	// compete with them: with 500 series at 10,000 candles a second on two busy
	// cores, 100 ms made p99 from commit to publish 25 ms, 500 ms made it 8 ms.
	RoundEvery time.Duration
	// AnswerWait is how long NATS may take to confirm before the connection is
	// taken for dead, default 10 s.
	AnswerWait time.Duration

	Log *slog.Logger     // nil drops the lines
	Now func() time.Time // for latencies only; default time.Now
}

// EnsureDefaults fills what is not set.
func (c *Config) EnsureDefaults() {
	c.Kafka.EnsureDefaults()
	c.NATS.EnsureDefaults()
	setDefault(&c.Topic, schema.CandlesTopic)
	setDefault(&c.Replicas, 1)
	setDefault(&c.MaxAge, 7*24*time.Hour)
	setDefault(&c.BatchRecords, 2000)
	setDefault(&c.MaxInFlight, 16384)
	setDefault(&c.RoundEvery, 500*time.Millisecond)
	setDefault(&c.AnswerWait, 10*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Validate expects EnsureDefaults to have run.
func (c *Config) Validate() error {
	for _, b := range []struct {
		name       string
		is, lo, hi int64
	}{
		{"replicas", int64(c.Replicas), 1, 5},
		{"the stream's most bytes", c.MaxBytes, 0, 1 << 50},
		{"records a batch", int64(c.BatchRecords), 1, 100_000},
		{"candles in flight", int64(c.MaxInFlight), int64(c.BatchRecords), 1_000_000},
	} {
		if b.is < b.lo || b.is > b.hi {
			return fmt.Errorf("bridge: %s: %d is not within %d to %d", b.name, b.is, b.lo, b.hi)
		}
	}
	for _, b := range []struct {
		name       string
		is, lo, hi time.Duration
	}{
		// The stream refuses an age below its dedupe window.
		{"the stream's age", c.MaxAge, dedupeWindow, 100 * 365 * 24 * time.Hour},
		{"the time between rounds", c.RoundEvery, time.Millisecond, time.Minute},
		{"the wait for an answer", c.AnswerWait, 100 * time.Millisecond, 10 * time.Minute},
	} {
		if b.is < b.lo || b.is > b.hi {
			return fmt.Errorf("bridge: %s: %v is not within %v to %v", b.name, b.is, b.lo, b.hi)
		}
	}
	// The topic's name becomes part of a key, whose tokens may not be empty.
	if strings.HasPrefix(c.Topic, ".") || strings.HasSuffix(c.Topic, ".") || strings.Contains(c.Topic, "..") {
		return fmt.Errorf("bridge: topic %q has an empty part between its dots: its position cannot be kept in NATS", c.Topic)
	}
	return errors.Join(c.Kafka.Validate(), c.NATS.Validate())
}
