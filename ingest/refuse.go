package ingest

import (
	"strings"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schema"
)

// Refuse puts what could not be used into the topic of dead letters, with its
// reason (a short word), the error and as much of the raw input as one holds.
// symbol is empty where it is not known. No mark of the symbol's partition
// follows before the dead letter is acknowledged, and Close waits for it.
func (s *Stream) Refuse(symbol, reason string, raw []byte, cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	partition := int32(0)
	var key []byte
	if symbol = cut(symbol, schema.MaxSymbol); symbol != "" {
		partition, key = s.in.partition(symbol), []byte(symbol)
	}
	text := ""
	if cause != nil {
		text = cut(cause.Error(), maxError)
	}
	// A symbol that is not the stream's may get a lane of its own: one without
	// packers, into which no marks go.
	r := s.in.next(s.lane(partition), schema.DeadTopic(s.in.cfg.Ticks), key)
	r.Value = append(r.Value, raw[:min(len(raw), maxRaw)]...)
	r.Headers = []kgo.RecordHeader{
		{Key: schema.HeaderReason, Value: []byte(reason)},
		{Key: schema.HeaderError, Value: []byte(text)},
	}
	s.in.counts.refuse(reason)
	s.in.send(r)
	return nil
}

// cut shortens s to at most n bytes of whole runes.
func cut(s string, n int) string {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
