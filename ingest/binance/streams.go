package binance

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// Bounds that Binance sets, or that others have found by being cut off.
const (
	// MaxStreams is the most streams a connection may have.
	MaxStreams = 1024
	// urlStreams and urlBytes bound what is asked for in the URL; servers have
	// refused ones of 8,000 characters.
	urlStreams = 200
	urlBytes   = 6000
	// controlBytes is the largest control frame: the server closes on 4,096.
	controlBytes = 4000
)

// subscriptions says how the streams of a connection are asked for.
type subscriptions struct {
	url    string
	frames [][]byte // SUBSCRIBE messages; the ids are 1, 2, …
}

// subscribe puts the first streams into the URL and the rest into frames.
func subscribe(base string, symbols []string, suffix string, micros bool) (subscriptions, error) {
	var s subscriptions
	var b strings.Builder
	b.WriteString(base)
	b.WriteString("/stream?streams=")
	n := 0
	for ; n < len(symbols) && n < urlStreams; n++ {
		name := url.PathEscape(strings.ToLower(symbols[n]) + suffix)
		if n > 0 && b.Len()+len(name) > urlBytes {
			break
		}
		if n > 0 {
			b.WriteByte('/')
		}
		b.WriteString(name)
	}
	if micros {
		b.WriteString("&timeUnit=MICROSECOND")
	}
	s.url = b.String()
	var frame []byte
	finish := func() {
		if frame != nil {
			s.frames = append(s.frames, fmt.Appendf(frame, `],"id":%d}`, len(s.frames)+1))
			frame = nil
		}
	}
	for _, symbol := range symbols[n:] {
		name, err := json.Marshal(strings.ToLower(symbol) + suffix)
		if err != nil {
			return s, fmt.Errorf("stream of %q: %w", symbol, err)
		}
		if len(frame)+len(name) > controlBytes {
			finish()
		}
		if frame == nil {
			frame = append(frame, `{"method":"SUBSCRIBE","params":[`...)
		} else {
			frame = append(frame, ',')
		}
		frame = append(frame, name...)
	}
	finish()
	return s, nil
}
