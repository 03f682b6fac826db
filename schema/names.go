package schema

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kafka topics. The names of ticks and candles are settings; the other two
// follow from the name of ticks.
const (
	TicksTopic   = "ticks"
	CandlesTopic = "candles"
)

// DeadTopic is where what could not be used goes, with its reason.
func DeadTopic(ticks string) string { return ticks + ".dead" }

// GapsTopic is the compacted topic of the symbols' gaps.
func GapsTopic(ticks string) string {
	if ticks == TicksTopic {
		return "gaps"
	}
	return ticks + ".gaps"
}

// Headers of dead letters.
const (
	HeaderReason    = "millrace-reason"
	HeaderError     = "millrace-error"
	HeaderTopicID   = "millrace-topic-id"
	HeaderPartition = "millrace-partition"
	HeaderOffset    = "millrace-offset"
	HeaderIndex     = "millrace-index"
)

// settingsKey begins the keys under which the topic of gaps keeps the settings
// of its partition's log, one for each revision: no symbol has a | in it.
const settingsKey = "|settings|"

// SettingsKey gives the key of a revision.
func SettingsKey(revision uint32) []byte {
	return strconv.AppendUint([]byte(settingsKey), uint64(revision), 10)
}

// IsSettingsKey tells such a key from a symbol.
func IsSettingsKey(key []byte) bool { return strings.HasPrefix(string(key), settingsKey) }

// Headers of candles: who wrote the record, and how far into which log its
// writer had sent everything.
const (
	HeaderWriter   = "millrace-writer"
	HeaderProgress = "millrace-progress"
)

// Names in NATS.
const (
	SubjectPrefix      = "candles."
	SubjectFinalPrefix = "candles.final."
	CandlesBucket      = "candles"
	PositionBucket     = "millrace-bridge"
	FinalStream        = "CANDLES"
	ServiceName        = "millrace"
)

// SQL tables.
const (
	TableCandles    = "candles"
	TableGaps       = "gaps"
	TableGapSets    = "gap_sets"
	TableProgress   = "progress"
	TableMigrations = "schema_migrations"
)

// MaxSymbol is the longest symbol, in bytes.
const MaxSymbol = 64

// ErrSymbol reports a name that cannot be a symbol.
var ErrSymbol = errors.New("not a symbol")

// ValidateSymbol accepts Binance's symbols, which need not be ASCII, and
// refuses what keys and subjects could not carry: |, white space, control
// characters, broken UTF-8.
func ValidateSymbol(s string) error {
	switch {
	case s == "" || len(s) > MaxSymbol:
		return fmt.Errorf("%w: %d bytes long, wanted 1 to %d", ErrSymbol, len(s), MaxSymbol)
	case !utf8.ValidString(s):
		return fmt.Errorf("%w: %q is not UTF-8", ErrSymbol, s)
	}
	for _, r := range s {
		if r == '|' || unicode.IsSpace(r) || !unicode.IsPrint(r) {
			return fmt.Errorf("%w: %q holds %q", ErrSymbol, s, r)
		}
	}
	return nil
}

// plainSymbol reports whether s is a valid symbol of graphic ASCII, as nearly
// all are. It spares the way of a tick the look at runes.
func plainSymbol(s []byte) bool {
	for _, c := range s {
		if c <= ' ' || c >= 0x7f || c == '|' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= MaxSymbol
}

// Partition gives the partition of a symbol's records, on ticks and on candles
// alike: Kafka's own rule for the key (murmur2), so that any client agrees.
func Partition[T string | []byte](symbol T, partitions int32) int32 {
	return int32(murmur2(symbol)&0x7fffffff) % partitions
}

func murmur2[T string | []byte](b T) uint32 {
	const m, r = 0x5bd1e995, 24
	h := uint32(0x9747b28c) ^ uint32(len(b))
	i := 0
	for ; len(b)-i >= 4; i += 4 {
		k := uint32(b[i]) | uint32(b[i+1])<<8 | uint32(b[i+2])<<16 | uint32(b[i+3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h = h*m ^ k
	}
	switch len(b) - i {
	case 3:
		h ^= uint32(b[i+2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[i+1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[i])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}

// AppendCandleKey writes the key of a record on candles: symbol|period|start_ms.
func AppendCandleKey(dst []byte, symbol string, p Period, start Time) []byte {
	dst = append(dst, symbol...)
	dst = append(dst, '|')
	dst = append(dst, p.String()...)
	dst = append(dst, '|')
	return strconv.AppendInt(dst, start.Millis(), 10)
}

// Token makes a symbol safe as one token of a NATS subject or a key of a KV
// bucket: what is not a letter, a digit, - or _ becomes = and two hex digits
// for each byte.
func Token(symbol string) string {
	safe := func(c byte) bool {
		return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_'
	}
	plain := true
	for i := range len(symbol) {
		plain = plain && safe(symbol[i])
	}
	if plain {
		return symbol
	}
	var b strings.Builder
	for i := range len(symbol) {
		if c := symbol[i]; safe(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// ParseToken is the way back from Token. It takes only what Token writes: one
// symbol has one token.
func ParseToken(token string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] != '=' {
			b.WriteByte(token[i])
			continue
		}
		if i+2 >= len(token) {
			return "", fmt.Errorf("%w: %q ends within an escape", ErrSymbol, token)
		}
		c, err := strconv.ParseUint(token[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("%w: %q has a bad escape", ErrSymbol, token)
		}
		b.WriteByte(byte(c))
		i += 2
	}
	symbol := b.String()
	if err := ValidateSymbol(symbol); err != nil {
		return "", err
	}
	if Token(symbol) != token {
		return "", fmt.Errorf("%w: %q is not the token of %q", ErrSymbol, token, symbol)
	}
	return symbol, nil
}

// Subject gives the NATS subject that carries every update of a series.
func Subject(p Period, symbol string) string { return SubjectPrefix + p.String() + "." + Token(symbol) }

// FinalSubject gives the subject of a series' closed, holed and final candles.
func FinalSubject(p Period, symbol string) string {
	return SubjectFinalPrefix + p.String() + "." + Token(symbol)
}

// SeriesKey gives the key of a series' newest candle in the KV bucket.
func SeriesKey(p Period, symbol string) string { return p.String() + "." + Token(symbol) }
