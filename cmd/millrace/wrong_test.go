package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// refusal is a command line that must not do, and what the user hears.
type refusal struct {
	name string
	args []string
	code int
	want string // in its one line
}

// check runs it: one line on standard error beside the log, nothing else.
func (r *refusal) check(t *testing.T) {
	t.Helper()
	c := spawn(t, r.args...)
	code := c.code()
	last := c.lastLine()
	said := 0
	for line := range strings.Lines(c.log.String()) {
		if !strings.HasPrefix(line, "time=") {
			said++
		}
	}
	if code != r.code || said != 1 || !strings.HasPrefix(last, "millrace "+r.args[0]+": ") || !strings.Contains(last, r.want) || strings.Contains(last, "context canceled") {
		t.Errorf("%s: exit code %d, want %d and one line with %q:\n%s", r.name, code, r.code, r.want, tail(c.log.String()))
	}
	if c.out.Len() > 0 {
		t.Errorf("%s: it prints %q", r.name, c.out.String())
	}
}

// devArgs are those of a dev with a new folder and ports of its own.
func devArgs(t *testing.T, more ...string) []string {
	t.Helper()
	return append([]string{"dev", "--data", filepath.Join(t.TempDir(), "data"), "--kafka-port", "0", "--nats-port", "0", "--http-port", "0"}, more...)
}

// few are some trades of the market as lines of text, to be spoilt.
func few(t *testing.T, m *market) []string {
	t.Helper()
	var all []string
	for line := range bytes.Lines(unpacked(t, m.write("few.gz", m.lines[:200]))) {
		all = append(all, string(line))
	}
	return all
}

// spoilt is a file of lines of which one is changed; line counts from 1.
func spoilt(t *testing.T, name string, lines []string, line int, change func(string) string) string {
	t.Helper()
	lines = append([]string(nil), lines...)
	lines[line-1] = change(lines[line-1])
	path := filepath.Join(t.TempDir(), name)
	write(t, path, strings.Join(lines, ""))
	return path
}

// priced puts another price into a frame.
func priced(price string) func(string) string {
	return func(line string) string {
		head, rest, _ := strings.Cut(line, `"p":"`)
		_, rest, _ = strings.Cut(rest, `"`)
		return head + `"p":"` + price + `"` + rest
	}
}

func TestDevRefusesFiles(t *testing.T) {
	frames := few(t, newMarket(t))
	rows := strings.SplitAfter(string(contents(t, xrpDump)), "\n")[:500]
	dir := t.TempDir()
	file := func(name, text string) string {
		write(t, filepath.Join(dir, name), text)
		return filepath.Join(dir, name)
	}
	packed := contents(t, btcFrames)
	cut := func(s string) string { return s[:120] + "\n" }
	column := func(i int, to string) func(string) string {
		return func(s string) string {
			f := strings.Split(s, ",")
			f[i] = to
			return strings.Join(f, ",")
		}
	}
	for _, r := range []refusal{
		{"no such file", []string{"--from", filepath.Join(dir, "nowhere.gz")}, exitUsage, "nowhere.gz: no such file"},
		{"an empty file", []string{"--from", file("empty.csv", "")}, exitUsage, "empty.csv: the file is empty"},
		{"no symbol", []string{"--from", file("rows.csv", rows[0])}, exitUsage, "rows.csv: a dump whose name tells no symbol: give it by --symbols"},
		{"not a line of a dump", []string{"--from", file("text.csv", "hello\n"), "--symbols", "XRPETH"}, exitFailure, "text.csv: "},
		{"a frame cut in the middle", []string{"--from", spoilt(t, "cut", frames, 101, cut)}, exitFailure, "line 101: not a frame"},
		{"a price that no number holds", []string{"--from", spoilt(t, "price", frames, 50, priced("99999999999999999999.1"))}, exitFailure, "line 50: trade "},
		{"a bad line in a CSV", []string{"--from", spoilt(t, "bad.csv", rows, 300, column(1, "abc")), "--symbols", "XRPETH"}, exitFailure, "bad.csv: line 300: bad line: price of trade "},
		{"a price in a CSV that no number holds", []string{"--from", spoilt(t, "bad.csv", rows, 300, column(1, "99999999999999999999")), "--symbols", "XRPETH"}, exitFailure, "bad.csv: line 300: bad line: price of trade "},
		{"a CSV cut in the middle", []string{"--from", spoilt(t, "bad.csv", rows, 500, func(s string) string { return s[:20] }), "--symbols", "XRPETH"}, exitFailure, "bad.csv: line 500: "},
		{"a truncated gz of frames", []string{"--from", file("frames.gz", string(packed[:len(packed)/2]))}, exitFailure, "frames.gz: behind line "},
		{"a gz of nothing", []string{"--from", file("none.gz", string(packed[:5]))}, exitUsage, "none.gz"},
		{"a zip that is none", []string{"--from", file("BTCUSDT-trades-2024-08-08.zip", "PK and no more")}, exitFailure, "BTCUSDT-trades-2024-08-08.zip: line 1: bad line"},
	} {
		r.args = append(devArgs(t, "--speed", "0", "--until-done"), r.args...)
		r.check(t)
	}
}

func TestDevRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	yaml := filepath.Join(t.TempDir(), "bad.yaml")
	write(t, yaml, "kafka: [a:1\n")
	key := filepath.Join(t.TempDir(), "key.yaml")
	write(t, key, "partition: 3\n")
	for _, r := range []refusal{
		{"an unknown flag", []string{"--form", "x"}, exitUsage, "unknown flag --form (did you mean --from?)"},
		{"unreadable YAML", []string{"--config", yaml}, exitUsage, "bad.yaml:1: not YAML"},
		{"an unknown key in YAML", []string{"--config", key}, exitUsage, `key.yaml:1: unknown setting "partition" (did you mean partitions?)`},
		{"a DSN of another kind", []string{"--sql", "postgres://u:hunter2@h/d"}, exitUsage, "--sql: does not begin with mysql:// or sqlite:"},
		{"a database in a folder that isn't there", []string{"--sql", "sqlite:/nowhere/x.db"}, exitFailure, "/nowhere/x.db"},
		{"Kafka's port taken", []string{"--kafka-port", port}, exitAway, "address already in use; stop what uses the port, or set --kafka-port"},
		{"NATS's port taken", []string{"--nats-port", port}, exitAway, "address already in use; stop what uses the port or set --nats-port"},
		{"HTTP's port taken", []string{"--http-port", port}, exitAway, "address already in use; stop what uses the port, or set --http-port"},
		{"no Kafka there", []string{"--kafka", "127.0.0.1:1"}, exitAway, "no kafka at 127.0.0.1:1: connection refused; start it or set --kafka"},
		{"no NATS there", []string{"--nats", "nats://127.0.0.1:1"}, exitAway, "no nats at nats://127.0.0.1:1"},
		{"no MySQL there", []string{"--sql", "mysql://u:hunter2@127.0.0.1:1/d"}, exitAway, "127.0.0.1:1/d: dial tcp 127.0.0.1:1: connect: connection refused"},
	} {
		r.args = append(devArgs(t), r.args...)
		r.check(t)
	}
}

// A data folder has one process at a time, and is as good as before when a
// second one has tried.
func TestDataFolderInUse(t *testing.T) {
	args := devArgs(t)
	dev := spawn(t, args...)
	dev.await("msg=running")
	for _, r := range []refusal{
		{"a second dev", args, exitAway, "is in use by another process (pid "},
		{"dev --fresh", append(args[:len(args):len(args)], "--fresh", "--yes"), exitAway, "is in use by another process (pid "},
		{"a processor", []string{"process", "--data", args[2]}, exitAway, "is in use by another process (pid "},
	} {
		r.check(t)
	}
	if _, err := os.Stat(filepath.Join(args[2], "kafka")); err != nil {
		t.Errorf("the folder has lost something: %v", err)
	}
	dev.stop()
}
