package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/internal/testenv"
	"millrace/schema"
)

// overwrite damages the files of a folder whose names match.
func overwrite(t *testing.T, dir, pattern string) {
	t.Helper()
	name, n := regexp.MustCompile(pattern), 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !name.MatchString(path) {
			return err
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		n++
		_, err = f.WriteAt([]byte("this is none of what was written"), 10)
		return err
	})
	if err != nil || n == 0 {
		t.Fatalf("%d files damaged: %v", n, err)
	}
}

// Damaged state comes back from a checkpoint. Without any it is told in one
// line, and comes back from the log once it is moved away, as the line says.
func damagedStateMakesTheTable(t *testing.T, m *market) {
	e := develop(t, "", m.file)
	want := m.table
	state := filepath.Join(e.dir, "data", "state")
	overwrite(t, state, `/MANIFEST-\d+$`)
	e = develop(t, e.dir, m.file)
	same(t, "state from a checkpoint", dumped(t, e.sql), want)
	overwrite(t, state, `/MANIFEST-\d+$`)
	r := refusal{"damaged Pebble", append(e.args(t, "0", m.file), "--checkpoints", "none"), exitFailure, "state is damaged: "}
	r.check(t)
	for _, name := range []string{state, filepath.Join(e.dir, "data", "checkpoints"), strings.TrimPrefix(e.sql, "sqlite:")} {
		if err := os.RemoveAll(name); err != nil {
			t.Fatal(err)
		}
	}
	e = develop(t, e.dir, m.file)
	same(t, "state and table from the log", dumped(t, e.sql), want)
}

// A damaged embedded Kafka is told in one line; without it and state, what the
// SQL store has stays.
func damagedKafkaMakesTheTable(t *testing.T, m *market) {
	e := develop(t, "", m.file)
	want := m.table
	data := filepath.Join(e.dir, "data")
	overwrite(t, filepath.Join(data, "kafka"), `/topics\.json$`)
	r := refusal{"damaged Kafka", e.args(t, "0", m.file), exitFailure, "move them and the state folder beside them away"}
	r.check(t)
	for _, name := range []string{"kafka", "state"} {
		if err := os.RemoveAll(filepath.Join(data, name)); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "in SQL", dumped(t, e.sql), want)
	e = develop(t, e.dir, m.file)
	same(t, "from a new log", dumped(t, e.sql), want)
}

// Interrupted in the midst of its work, dev says so by its code, and a second
// start goes on.
func interruptedDevMakesTheTable(t *testing.T, m *market) {
	want := m.table
	dir := t.TempDir()
	e := embeddedRun{dir: dir, sql: "sqlite:" + filepath.Join(dir, "x.db")}
	dev := spawn(t, e.args(t, "60", m.file)...)
	s := subscribe(t, dev.await(`nats=(\S+) sql=`))
	first, _ := m.times()
	s.reached(first.Add(2 * time.Minute))
	dev.signal()
	if code := dev.code(); code != exitInterrupted || dev.lastLine() != "millrace dev: stopped before it was done" || dev.out.Len() > 0 {
		t.Errorf("exit code %d, %q, %q", code, dev.out.String(), dev.lastLine())
	}
	s.conn.Close()
	half := countRows(dumped(t, e.sql), "BTCUSDT", "1s")
	all := countRows(want, "BTCUSDT", "1s")
	if half.trades == 0 || half.trades >= all.trades {
		t.Errorf("%d of %d trades are there after half of a run", half.trades, all.trades)
	}
	e = develop(t, dir, m.file)
	same(t, "gone on with", dumped(t, e.sql), want)
	if e.sum.Duplicates < half.trades {
		t.Errorf("%d duplicates, %d trades were there before", e.sum.Duplicates, half.trades)
	}
}

// What dev can't count or doesn't have makes it end with 3 and say which.
func TestNotWhole(t *testing.T) {
	m := newMarket(t)
	hole := m.write("hole.gz", slices.Concat(m.lines[:5000], m.lines[5003:]))
	sums := spoilt(t, "sums", few(t, m), 100, func(line string) string {
		line = priced("9223372036854775807")(line)
		head, rest, _ := strings.Cut(line, `"q":"`)
		_, rest, _ = strings.Cut(rest, `"`)
		return head + `"q":"9223372036854775807"` + rest
	})
	for _, c := range []struct {
		name, file string
		gaps, dead int64
		line       string
	}{
		{"trades are missing", hole, m.holes(5000, 5003), 0, ", 0 dead letters"},
		{"a sum overflows", sums, 1, 1, "not whole: 1 gap open, 1 dead letter"},
	} {
		e := embeddedRun{dir: t.TempDir()}
		e.sql = "sqlite:" + filepath.Join(e.dir, "x.db")
		dev := spawn(t, e.args(t, "0", c.file)...)
		code := dev.code()
		if err := json.Unmarshal(dev.out.Bytes(), &e.sum); err != nil {
			t.Fatalf("%s: %v in %q\n%s", c.name, err, dev.out.String(), dev.log.String())
		}
		if code != exitNotWhole || e.sum.OpenGaps != c.gaps || e.sum.DeadLetters != c.dead || !strings.Contains(dev.lastLine(), c.line) {
			t.Errorf("%s: exit code %d, %+v, %q; want %d gaps and %d dead letters", c.name, code, e.sum, dev.lastLine(), c.gaps, c.dead)
		}
	}
}

// holes gives how many gaps the lines from i to j leave: one a symbol, since
// they follow each other.
func (m *market) holes(i, j int) int64 {
	symbols := map[bool]bool{}
	for _, l := range m.lines[i:j] {
		symbols[bytes.Contains(l.frame, []byte("BTCUSDT"))] = true
	}
	return int64(len(symbols))
}

// A replayed frame that is cut stands among the dead letters, with its reason;
// the others count.
func TestReplayedCutFrameIsADeadLetter(t *testing.T) {
	m := newMarket(t)
	frames := few(t, m)
	p := newParts(t, testenv.SharedMariaDB(t))
	p.replay(spoilt(t, "cut", frames, 101, func(s string) string { return s[:120] + "\n" }))
	if trades, _ := p.count(); trades != int64(len(frames)-1) {
		t.Errorf("%d trades in the log, want %d", trades, len(frames)-1)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	reader, err := kafka.Connect(ctx, defaulted(p.brokers), kgo.ConsumeTopics(schema.DeadTopic(p.ticks)), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	fetches := reader.PollFetches(ctx)
	if err := fetches.Err(); err != nil {
		t.Fatal(err)
	}
	letters := fetches.Records()
	if len(letters) != 1 {
		t.Fatalf("%d dead letters", len(letters))
	}
	headers := map[string]string{}
	for _, h := range letters[0].Headers {
		headers[h.Key] = string(h.Value)
	}
	_, frame, _ := strings.Cut(frames[100][:120], " ")
	if headers[schema.HeaderReason] != "undecodable" || headers[schema.HeaderError] == "" || string(letters[0].Value) != frame {
		t.Errorf("dead letter %q with %v", letters[0].Value, headers)
	}
}
