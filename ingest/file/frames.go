package file

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
)

// Frames reads recorded websocket frames.
type Frames struct{ l *lines }

// OpenFrames opens a recording.
func OpenFrames(path string) (*Frames, error) {
	l, err := openLines(path)
	if err != nil {
		return nil, err
	}
	return &Frames{l}, nil
}

// OpenFramesVerified opens a recording beside which a checksum may lie.
func OpenFramesVerified(ctx context.Context, path string, o Options) (*Frames, error) {
	l, err := openVerified(ctx, path, &o)
	if err != nil {
		return nil, err
	}
	return &Frames{l}, nil
}

// Digest is the file's, where it was opened verified.
func (f *Frames) Digest() Digest { return f.l.digest }

// Next gives the next frame and the recorder's local time in nanoseconds, and
// io.EOF behind the last. The frame is not looked into; it holds until the next
// call.
func (f *Frames) Next() (localNanos int64, frame []byte, err error) {
	line, err := f.l.Next()
	if err != nil {
		return 0, nil, err
	}
	stamp, frame, ok := bytes.Cut(line, []byte(" "))
	if !ok {
		return 0, nil, f.l.bad(fmt.Errorf("no space between local time and frame: %s", snippet(line)))
	}
	localNanos, err = strconv.ParseInt(string(stamp), 10, 64)
	if err != nil || localNanos <= 0 {
		return 0, nil, f.l.bad(fmt.Errorf("no local time in nanoseconds: %s", snippet(line)))
	}
	if len(frame) == 0 {
		return 0, nil, f.l.bad(fmt.Errorf("no frame behind the local time: %s", snippet(line)))
	}
	return localNanos, frame, nil
}

// Line gives the number of the line that Next read last, from 1.
func (f *Frames) Line() int { return f.l.number }

// Path gives the file's name.
func (f *Frames) Path() string { return f.l.path }

// Close closes the file.
func (f *Frames) Close() error { return f.l.Close() }
