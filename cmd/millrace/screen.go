package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// How often a terminal is redrawn, and how often anything else gets a line.
const (
	redrawEvery = 250 * time.Millisecond
	lineEvery   = 5 * time.Second
)

// screen shows frames: on a terminal as a table that is drawn over itself, else
// as a plain line now and then. What is written to it (the log) appears above
// the table.
type screen struct {
	out  io.Writer
	size func() (width, height int) // nil where out is no terminal

	mu    sync.Mutex // over out and what stands on it
	drawn int        // lines of the table on the terminal
	last  []string
}

// newScreen looks at what out is. TERM=dumb means no terminal.
func newScreen(out io.Writer, environ []string) *screen {
	s := &screen{out: out}
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return s
	}
	for _, e := range environ {
		if e == "TERM=dumb" {
			return s
		}
	}
	s.size = func() (int, int) {
		w, h, err := term.GetSize(int(f.Fd()))
		if err != nil || w < 1 || h < 1 {
			return 80, 24
		}
		return w, h
	}
	return s
}

// live reports whether it draws a table.
func (s *screen) live() bool { return s.size != nil }

// run shows what next gives until ctx ends, and once more then.
func (s *screen) run(ctx context.Context, next func() frame) error {
	every := lineEvery
	if s.live() {
		every = redrawEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.show(next())
		case <-tick.C:
			if err := s.show(next()); err != nil {
				return err
			}
		}
	}
}

// show draws f over the frame before it.
func (s *screen) show(f frame) error {
	if !s.live() {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, err := fmt.Fprintln(s.out, f.line())
		return err
	}
	width, height := s.size()
	// One column and one line stay free: a terminal that wraps or scrolls
	// would lose count of the lines.
	lines := f.render(max(width-1, 1), max(height-1, 1))
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draw(nil, lines)
}

// Write puts p, lines of text, above the table.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.live() || s.drawn == 0 {
		return s.out.Write(p)
	}
	if err := s.draw(p, s.last); err != nil {
		return 0, err
	}
	return len(p), nil
}

// draw writes all in one piece, so that nothing flickers: up to where the table
// begins, the text, then each line with the rest of it cleared.
func (s *screen) draw(above []byte, lines []string) error {
	var b bytes.Buffer
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.drawn)
	}
	b.WriteString("\r")
	if len(above) > 0 {
		b.WriteString("\x1b[J")
		b.Write(above)
		if !bytes.HasSuffix(above, []byte("\n")) {
			b.WriteByte('\n')
		}
	}
	for _, l := range lines {
		if l = paint(l); l != "" {
			b.WriteString(l)
		}
		b.WriteString("\x1b[K\r\n")
	}
	b.WriteString("\x1b[J")
	s.drawn, s.last = len(lines), lines
	_, err := s.out.Write(b.Bytes())
	return err
}

// paint makes the titles of the tables bold.
func paint(line string) string {
	if strings.HasPrefix(line, columns[0].title+" ") || strings.HasPrefix(line, "stage ") {
		return "\x1b[1m" + line + "\x1b[0m"
	}
	return line
}
