package kafka

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schema"
)

// Settings of topics, as Kafka names them.
const (
	keyCleanup     = "cleanup.policy"
	keyTimestamp   = "message.timestamp.type"
	keyCompression = "compression.type"
	keyRetention   = "retention.ms"
	keyLag         = "min.compaction.lag.ms"
	keySegment     = "segment.ms"
	keyInSync      = "min.insync.replicas"

	logAppendTime = "LogAppendTime"
)

// Topics says how the topics are laid out. What is there already keeps its
// retention, compression and replication; those are for topics that are made.
type Topics struct {
	Ticks, Candles string // names; the other two follow from Ticks
	// Partitions of all topics. 0: as `ticks` has it, or the settings' for a new one.
	Partitions int32
	// Replication; 0 is the cluster's own default.
	Replication int16
	Compression string // lz4 (default), snappy, zstd or none

	TicksRetention   time.Duration // default 7 days
	CandlesRetention time.Duration // default 30 days: older candles come from SQL
	// CompactionLag is how long `candles` keeps what was overwritten, so that
	// the owner of a partition can put right a lower record. Default 10 min.
	CompactionLag time.Duration
	// CandlesSegment closes the segments of `candles`: only closed ones are
	// compacted, and Kafka's own 7 days would be 7 days of live updates. Default 1 h.
	CandlesSegment time.Duration
}

// EnsureDefaults fills what is not set.
func (t *Topics) EnsureDefaults() {
	setDefault(&t.Ticks, schema.TicksTopic)
	setDefault(&t.Candles, schema.CandlesTopic)
	setDefault(&t.Compression, "lz4")
	setDefault(&t.TicksRetention, 7*24*time.Hour)
	setDefault(&t.CandlesRetention, 30*24*time.Hour)
	setDefault(&t.CompactionLag, 10*time.Minute)
	setDefault(&t.CandlesSegment, time.Hour)
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,240}$`)

// Validate expects EnsureDefaults to have run.
func (t *Topics) Validate() error {
	names := []string{t.Ticks, t.Candles, t.Dead(), t.Gaps()}
	for i, n := range names {
		if !topicName.MatchString(n) || n == "." || n == ".." {
			return fmt.Errorf("kafka: %q is no name for a topic: letters, digits, dots, - and _, at most 240", n)
		}
		if slices.Contains(names[:i], n) {
			return fmt.Errorf("kafka: two topics would have the name %q", n)
		}
	}
	if t.Partitions < 0 || t.Partitions > 10000 {
		return fmt.Errorf("kafka: partitions: %d is not within 1 to 10000", t.Partitions)
	}
	if t.Replication < 0 {
		return fmt.Errorf("kafka: replication: %d is not at least 1", t.Replication)
	}
	if _, err := Codec(t.Compression); err != nil {
		return err
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{
		{"ticks retention", t.TicksRetention}, {"candles retention", t.CandlesRetention},
		{"compaction lag", t.CompactionLag}, {"candles segment", t.CandlesSegment},
	} {
		if d.v < time.Second {
			return fmt.Errorf("kafka: %s: %v is not at least 1s", d.name, d.v)
		}
	}
	return nil
}

// Dead is the name of the topic of dead letters.
func (t *Topics) Dead() string { return schema.DeadTopic(t.Ticks) }

// Gaps is the name of the topic of gaps.
func (t *Topics) Gaps() string { return schema.GapsTopic(t.Ticks) }

// Codec gives the codec of a compression's name, for who produces.
func Codec(name string) (kgo.CompressionCodec, error) {
	switch name {
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	case "none":
		return kgo.NoCompression(), nil
	}
	return kgo.CompressionCodec{}, fmt.Errorf("kafka: unknown compression %q, known are lz4, snappy, zstd and none", name)
}

// topic is one topic: what it is made with, and what of that is checked when
// it is there already.
type topic struct {
	name    string
	config  map[string]string
	checked []string
}

// all lists the topics; `ticks` is the first.
func (t *Topics) all() []topic {
	ms := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	compression := t.Compression
	if compression == "none" {
		compression = "uncompressed"
	}
	list := []topic{
		// Append time: Kafka's clock, and not a producer's, bounds how far a
		// trade's time may lie in the future.
		{t.Ticks, map[string]string{keyCleanup: "delete", keyRetention: ms(t.TicksRetention)}, []string{keyTimestamp, keyCleanup}},
		{t.Candles, map[string]string{
			keyCleanup: "compact,delete", keyRetention: ms(t.CandlesRetention), keyLag: ms(t.CompactionLag), keySegment: ms(t.CandlesSegment),
		}, []string{keyCleanup}},
		// No retention: a dead letter is there until somebody has looked.
		{t.Dead(), map[string]string{keyCleanup: "delete", keyRetention: "-1"}, []string{keyCleanup}},
		{t.Gaps(), map[string]string{keyCleanup: "compact"}, []string{keyCleanup}},
	}
	for _, x := range list {
		x.config[keyTimestamp] = logAppendTime
		x.config[keyCompression] = compression
		if t.Replication >= 3 { // an acknowledged record is on two brokers at least
			x.config[keyInSync] = "2"
		}
	}
	return list
}

// same compares a setting's values; a list has no order.
func same(a, b string) bool {
	split := func(s string) []string {
		l := strings.Split(strings.ReplaceAll(s, " ", ""), ",")
		slices.Sort(l)
		return l
	}
	return slices.Equal(split(a), split(b))
}
