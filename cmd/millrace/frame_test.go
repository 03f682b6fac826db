package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func sampleFrame() frame {
	at := time.Date(2024, 8, 8, 23, 55, 0, 0, time.UTC)
	return frame{
		Title: "millrace dev · 12,345 ticks · 980 a second · 1m12s",
		Notes: []string{"Kafka 127.0.0.1:9092 · NATS 127.0.0.1:4222 · http://127.0.0.1:8080"},
		Rows: []candleRow{
			{"BTCUSDT", "1m", at, "61837.63", "61840", "61800.01", "61812.5", "12.34567", 1842, "live"},
			{"BTCUSDT", "1d", at.Truncate(24 * time.Hour), "55027.13", "62745.14", "54730", "61812.5", "40210.00312", 2210345, "live"},
			{"测试", "1s", at, "0.00001234", "0.00001234", "0.00001234", "0.00001234", "0", 0, "final"},
		},
		Stages: []stageRow{
			{"frame to log", 12345, 834 * time.Microsecond, 12345 * time.Microsecond},
			{"log to SQL", 900, 0, 12345 * time.Millisecond},
		},
	}
}

func TestFrame(t *testing.T) {
	f := sampleFrame()
	for width, want := range map[int]string{
		140: `
millrace dev · 12,345 ticks · 980 a second · 1m12s
Kafka 127.0.0.1:9092 · NATS 127.0.0.1:4222 · http://127.0.0.1:8080

symbol   period  start             open        high         low       close       volume   trades  status
BTCUSDT  1m      23:55:00      61837.63       61840    61800.01     61812.5     12.34567     1842  live
BTCUSDT  1d      2024-08-08    55027.13    62745.14       54730     61812.5  40210.00312  2210345  live
测试       1s      23:55:00    0.00001234  0.00001234  0.00001234  0.00001234            0        0  final

stage              count       p50       p99
frame to log       12345     834µs    12.3ms
log to SQL           900         -     12.3s
`,
		80: `
millrace dev · 12,345 ticks · 980 a second · 1m12s
Kafka 127.0.0.1:9092 · NATS 127.0.0.1:4222 · http://127.0.0.1:8080

symbol  period       high        low      close      volume  trades status
BTCUSDT 1m          61840   61800.01    61812.5    12.34567    1842 live
BTCUSDT 1d       62745.14      54730    61812.5 40210.00312 2210345 live
测试      1s     0.00001234 0.00001234 0.00001234           0       0 final

stage              count       p50       p99
frame to log       12345     834µs    12.3ms
log to SQL           900         -     12.3s
`,
	} {
		if got := "\n" + strings.Join(f.render(width, 40), "\n") + "\n"; got != want {
			t.Errorf("at %d columns:\n%s\nwant:\n%s", width, got, want)
		}
	}
	want := "millrace dev · 12,345 ticks · 980 a second · 1m12s · frame to log p50 834µs p99 12.3ms · " +
		"log to SQL p50 - p99 12.3s · Kafka 127.0.0.1:9092 · NATS 127.0.0.1:4222 · http://127.0.0.1:8080"
	if got := f.line(); got != want {
		t.Errorf("plain line:\n%s\nwant:\n%s", got, want)
	}
}

// No terminal is too small, and none may be overrun.
func TestFrameFitsAnywhere(t *testing.T) {
	f := sampleFrame()
	f.Rows[0].Symbol = "A\x1b[2J\nB"
	for width := 1; width < 140; width++ {
		for height := 1; height < 14; height++ {
			lines := f.render(width, height)
			if len(lines) > height {
				t.Fatalf("%d lines at height %d", len(lines), height)
			}
			for _, l := range lines {
				if n := utf8.RuneCountInString(l); n > width || strings.ContainsAny(l, "\x1b\n") {
					t.Fatalf("at %dx%d: line %q is %d wide", width, height, l, n)
				}
			}
		}
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "-", 7: "7ns", 999: "999ns", 1234: "1.23µs", 834 * time.Microsecond: "834µs", 9996 * time.Microsecond: "10ms",
		1250 * time.Microsecond: "1.25ms", 12345 * time.Millisecond: "12.3s", 90 * time.Second: "1m30s", 3 * time.Hour: "3h0m0s",
	} {
		if got := short(d); got != want {
			t.Errorf("%v is %s, want %s", int64(d), got, want)
		}
	}
}

// terminal understands what screen writes, so that tests see what a person
// would.
type terminal struct {
	t     *testing.T
	lines []string
	row   int
	col   int // in bytes: each line is written from its start
}

func (v *terminal) Write(p []byte) (int, error) {
	for s := string(p); s != ""; {
		if v.row >= len(v.lines) {
			v.lines = append(v.lines, make([]string, v.row-len(v.lines)+1)...)
		}
		var n int
		switch {
		case strings.HasPrefix(s, "\x1b[K"):
			v.lines[v.row], s = v.lines[v.row][:v.col], s[3:]
		case strings.HasPrefix(s, "\x1b[J"):
			v.lines, s = v.lines[:v.row], s[3:]
		case strings.HasPrefix(s, "\x1b[1m"), strings.HasPrefix(s, "\x1b[0m"):
			s = s[4:]
		case s[0] == '\x1b':
			if _, err := fmt.Sscanf(s, "\x1b[%dA", &n); err != nil || n > v.row {
				v.t.Fatalf("cannot go up from line %d by %q", v.row, s[:min(len(s), 8)])
			}
			v.row -= n
			s = s[strings.IndexByte(s, 'A')+1:]
		case s[0] == '\r':
			v.col, s = 0, s[1:]
		case s[0] == '\n':
			v.row, v.col, s = v.row+1, 0, s[1:]
		default:
			end := strings.IndexAny(s, "\r\n\x1b")
			if end < 0 {
				end = len(s)
			}
			v.lines[v.row] = v.lines[v.row][:v.col] + s[:end]
			v.col, s = v.col+end, s[end:]
		}
	}
	return len(p), nil
}

func TestScreenDrawsOverItself(t *testing.T) {
	v := &terminal{t: t}
	s := &screen{out: v, size: func() (int, int) { return 80, 24 }}
	f := sampleFrame()
	show := func() {
		if err := s.show(f); err != nil {
			t.Fatal(err)
		}
	}
	steps := []func(){
		func() { fmt.Fprintln(s, "log 1") },
		show,
		func() { fmt.Fprintln(s, "log 2") },
		func() { fmt.Fprint(s, "log 3\nlog 4\n") },
		func() { f.Rows = f.Rows[:1]; f.Title = "less"; show() },
	}
	for _, step := range steps {
		step()
	}
	want := append([]string{"log 1", "log 2", "log 3", "log 4"}, f.render(79, 23)...)
	for i := range v.lines {
		v.lines[i] = strings.TrimRight(v.lines[i], " ")
	}
	if got := strings.Join(v.lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("the terminal shows:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

func TestScreenWithoutTerminal(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s := newScreen(file, nil)
	if s.live() {
		t.Fatal("a file is taken for a terminal")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.run(ctx, sampleFrame); err != nil {
		t.Fatal(err)
	}
	f := sampleFrame()
	if b, err := os.ReadFile(file.Name()); err != nil || string(b) != f.line()+"\n" {
		t.Errorf("wrote %q, %v", b, err)
	}
	file.Close()
	if err := s.run(ctx, sampleFrame); err == nil {
		t.Error("an output that can't be written is no error")
	}
}
