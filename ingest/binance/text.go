package binance

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"unicode/utf16"
	"unicode/utf8"

	"millrace/schema"
)

// hex4 reads four hex digits; −1 where one is none.
func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// unescape appends what the inside of a JSON string stands for. The scanner
// has checked the escapes. Half a surrogate pair becomes U+FFFD.
func unescape(dst, in []byte) []byte {
	for i := 0; i < len(in); {
		if in[i] != '\\' {
			dst = append(dst, in[i])
			i++
			continue
		}
		c := in[i+1]
		i += 2
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(in[i:])
			i += 4
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if len(in)-i >= 6 && in[i] == '\\' && in[i+1] == 'u' {
					low = hex4(in[i+2:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

// parseInt reads an integer that the scanner has found well formed. ok is
// false where it does not fit.
func parseInt(b []byte) (v int64, ok bool) {
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	var u uint64 // 19 digits always fit
	for _, c := range b {
		u = u*10 + uint64(c-'0')
	}
	switch {
	case u <= 1<<63-1 && negative:
		return -int64(u), true
	case u <= 1<<63-1:
		return int64(u), true
	case u == 1<<63 && negative:
		return math.MinInt64, true
	}
	return 0, false
}

// microsFrom is the least figure that is taken for microseconds: as
// milliseconds it would be the year 5138.
const microsFrom = 1e14

// maxMicros is the latest time that a trade may carry (schema.Trade.Validate).
const maxMicros = 1 << 53

// ParseTime makes a Time of Binance's figure, which is in milliseconds or, by
// timeUnit and in newer dumps, in microseconds. ok is false where it is
// negative or beyond what a trade may carry.
func ParseTime(figure int64) (_ schema.Time, ok bool) {
	t := schema.Time(figure)
	if figure < microsFrom {
		t = schema.FromMillis(figure)
	}
	if figure < 0 || t > maxMicros {
		return 0, false
	}
	return t, true
}

// decodeOne reads the one JSON value that r holds. More behind it would mean
// that an answer is not what it was taken for.
func decodeOne(r io.Reader, v any) error {
	d := json.NewDecoder(r)
	if err := d.Decode(v); err != nil {
		return err
	}
	switch _, err := d.Token(); {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil || errors.As(err, new(*json.SyntaxError)):
		return errors.New("more text behind the value")
	default:
		return err
	}
}

// validSymbol is schema.ValidateSymbol, without an allocation for the symbols
// that are plain ASCII: nearly all.
func validSymbol(b []byte) error {
	plain := len(b) > 0 && len(b) <= schema.MaxSymbol
	for _, c := range b {
		plain = plain && c > ' ' && c < 0x7f && c != '|'
	}
	if plain {
		return nil
	}
	return schema.ValidateSymbol(string(b))
}
