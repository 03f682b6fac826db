package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"millrace/schema"
)

// remembered is how many windows of a series a bridge knows the version of.
const remembered = 8

// window is a candle's place and how much it knows.
type window struct {
	start   schema.Time
	version schema.Version
}

// newer orders the candles of a series: the later window first, then the
// higher version.
func (w window) newer(than window) bool {
	return w.start > than.start || w.start == than.start && w.version > than.version
}

// nothing is older than any candle.
var nothing = window{start: schema.MinTime, version: -1}

// series is what a bridge knows of a symbol in one period. Names are made
// once: they are in every message.
type series struct {
	subject, final, key string
	id                  string // what a message id begins with

	// The reader's alone: the newest windows and the versions sent of them.
	// `candles` may hold a lower version after a higher one, from a processor
	// that was replaced; subscribers are spared it. An older window than these
	// passes unchecked.
	seen [remembered]window

	// The settler's alone: the entry in the bucket.
	known    bool
	kept     window
	revision uint64 // 0: no entry
}

func newSeries(symbol string, p schema.Period) *series {
	s := &series{
		subject: schema.Subject(p, symbol),
		final:   schema.FinalSubject(p, symbol),
		key:     schema.SeriesKey(p, symbol),
		id:      schema.Token(symbol) + "|" + p.String() + "|",
		kept:    nothing,
	}
	for i := range s.seen {
		s.seen[i] = nothing
	}
	return s
}

// fresh says whether w is news, and remembers it.
func (s *series) fresh(w window) bool {
	oldest := 0
	for i := range s.seen {
		if s.seen[i].start == w.start {
			if w.version <= s.seen[i].version {
				return false
			}
			s.seen[i].version = w.version
			return true
		}
		if s.seen[i].start < s.seen[oldest].start {
			oldest = i
		}
	}
	if w.start > s.seen[oldest].start {
		s.seen[oldest] = w
	}
	return true
}

// messageID is symbol|period|start|version in ASCII.
func (s *series) messageID(w window) string {
	var buf [128]byte
	b := append(buf[:0], s.id...)
	b = strconv.AppendInt(b, w.start.Millis(), 10)
	b = append(b, '|')
	b = strconv.AppendInt(b, int64(w.version), 10)
	return string(b)
}

// conflicts bounds how often one entry is fought over in a row. Another writer
// of the same series is a bridge about to lose the partition.
const conflicts = 20

// write makes data the bucket's entry unless that is as new or newer. An error
// leaves open whether it was written.
func (s *series) write(ctx context.Context, bucket jetstream.KeyValue, w window, data []byte) (written bool, _ error) {
	for range conflicts {
		if !s.known {
			if err := s.read(ctx, bucket); err != nil {
				return false, err
			}
		}
		if !w.newer(s.kept) {
			return false, nil
		}
		revision, err := put(ctx, bucket, s.key, data, s.revision)
		if err == nil {
			s.kept, s.revision = w, revision
			return true, nil
		}
		s.known = false
		if !errors.Is(err, errConflict) {
			return false, fmt.Errorf("write %s into the bucket of newest candles: %w", s.key, err)
		}
	}
	return false, fmt.Errorf("write %s into the bucket of newest candles: %d conflicts in a row", s.key, conflicts)
}

func (s *series) read(ctx context.Context, bucket jetstream.KeyValue) error {
	e, err := bucket.Get(ctx, s.key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		s.kept, s.revision = nothing, 0
	case err != nil:
		return fmt.Errorf("read %s of the bucket of newest candles: %w", s.key, err)
	default:
		s.kept, s.revision = entryWindow(e.Value()), e.Revision()
	}
	s.known = true
	return nil
}

// entryWindow reads the window of an entry. What is no candle is older than
// any: it gives way.
func entryWindow(data []byte) window {
	var v struct {
		Start   time.Time `json:"start_time"`
		Version string    `json:"version"`
	}
	if json.Unmarshal(data, &v) != nil {
		return nothing
	}
	n, err := strconv.ParseInt(v.Version, 10, 64)
	if err != nil {
		return nothing
	}
	return window{schema.FromStd(v.Start), schema.Version(n)}
}

// errConflict reports that an entry is not what the writer took it for.
var errConflict = errors.New("another wrote it")

// put writes an entry if it still is at revision (0: if there is none).
// A conflict wraps errConflict.
func put(ctx context.Context, bucket jetstream.KeyValue, key string, data []byte, revision uint64) (uint64, error) {
	var err error
	if revision == 0 {
		revision, err = bucket.Create(ctx, key, data)
	} else {
		revision, err = bucket.Update(ctx, key, data, revision)
	}
	if errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return 0, errConflict
	}
	return revision, err
}
