package ingest

import (
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"millrace/internal/kafka"
	"millrace/schema"
)

const (
	// maxExcepted bounds the symbols that a mark names: Binance allows 1024
	// streams on a connection. With more of them no mark is written.
	maxExcepted = 1024
	// repeatMark is how often a mark that says nothing new is written: the time
	// of the log goes on by its records alone.
	repeatMark = time.Second
	// maxRaw and maxError bound what a dead letter holds.
	maxRaw   = 512 << 10
	maxError = 1024
	// keepBuffer is the largest buffer that is kept for another record.
	keepBuffer = 256 << 10
)

// Config says where the log is and how trades are packed for it.
type Config struct {
	Kafka       kafka.Config
	Ticks       string // the topic; default schema.TicksTopic
	Partitions  int32  // as the topic has it (kafka.Lineage)
	Compression string // default lz4

	// Linger is the longest that a trade waits for company. Default 2 ms.
	Linger time.Duration
	// BatchMax is the most trades a record holds; 1 is a record for each.
	// Default 500: larger ones compress no better.
	BatchMax int
	// MarkEvery is the time between marks. Default 100 ms.
	MarkEvery time.Duration
	// BufferBytes bounds what may be on its way to Kafka, by the bytes of the
	// records and, since small ones need more beside them, by a record for each
	// 512 of them: in memory it is twice as much at most. Room waits when three
	// quarters are taken, Trade when all is. Default 64 MiB.
	BufferBytes int
	// CloseWait bounds how long acknowledgements are waited for once the end has
	// begun. Default 10 s.
	CloseWait time.Duration

	Rand io.Reader          // of the ingestor's id; default crypto/rand
	Now  func() schema.Time // the local clock, for latencies only
}

// EnsureDefaults fills what is not set.
func (c *Config) EnsureDefaults() {
	c.Kafka.EnsureDefaults()
	setDefault(&c.Ticks, schema.TicksTopic)
	setDefault(&c.Compression, "lz4")
	setDefault(&c.Linger, 2*time.Millisecond)
	setDefault(&c.BatchMax, 500)
	setDefault(&c.MarkEvery, 100*time.Millisecond)
	setDefault(&c.BufferBytes, 64<<20)
	setDefault(&c.CloseWait, 10*time.Second)
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Now == nil {
		c.Now = func() schema.Time { return schema.FromStd(time.Now()) }
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
	if err := c.Kafka.Validate(); err != nil {
		return err
	}
	if _, err := kafka.Codec(c.Compression); err != nil {
		return err
	}
	for _, b := range []struct {
		name        string
		v, min, max int64
	}{
		{"partitions", int64(c.Partitions), 1, 10000},
		{"batch max", int64(c.BatchMax), 1, schema.MaxBatch},
		{"buffer bytes", int64(c.BufferBytes), 1 << 20, 4 << 30},
	} {
		if b.v < b.min || b.v > b.max {
			return fmt.Errorf("ingest: %s: %d is not within %d to %d", b.name, b.v, b.min, b.max)
		}
	}
	for _, b := range []struct {
		name        string
		v, min, max time.Duration
	}{
		{"linger", c.Linger, 100 * time.Microsecond, time.Second},
		{"mark every", c.MarkEvery, time.Millisecond, 10 * time.Second},
		{"close wait", c.CloseWait, time.Millisecond, 10 * time.Minute},
	} {
		if b.v < b.min || b.v > b.max {
			return fmt.Errorf("ingest: %s: %v is not within %v to %v", b.name, b.v, b.min, b.max)
		}
	}
	return nil
}
