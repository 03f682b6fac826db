package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	sqlsink "millrace/processor/sink/sql"
	"millrace/state"
)

// shelf is a data folder with checkpoints, and the commands that look at them.
type shelf struct {
	*testing.T
	data string
}

// do runs a command of checkpoint in this process.
func (s *shelf) do(want int, args ...string) string {
	s.Helper()
	args = append([]string{"checkpoint", args[0], "--data", s.data}, args[1:]...)
	code, out, errs := runTest(s.T, nil, args...)
	if code != want {
		s.Fatalf("%v ended with %d, wanted %d:\n%s%s", args, code, want, out, errs)
	}
	return out + errs
}

func (s *shelf) json(v any, args ...string) {
	s.Helper()
	out := s.do(exitOK, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		s.Fatalf("%v in\n%s", err, out)
	}
}

// TestOperatorsDrill: run, look, destroy the state and the database, restore to
// an earlier moment, run again, audit: equal.
func TestOperatorsDrill(t *testing.T) {
	e := develop(t, "", ethFirst)
	s := &shelf{t, filepath.Join(e.dir, "data")}
	var first []checkpointRow
	s.json(&first, "list")
	e = develop(t, e.dir, ethFirst, ethSecond)
	whole := dumped(t, e.sql)
	var rows []checkpointRow
	s.json(&rows, "list", "--verify")
	var old, now *checkpointRow // of the partition that has the symbol
	for i := range rows {
		r := &rows[i]
		if r.Lag == nil || *r.Lag < 0 || r.Verified == nil || !*r.Verified || r.Why != "" || r.Size == 0 {
			t.Fatalf("listed %+v", r)
		}
		if r.Symbols == 0 {
			continue
		}
		if slices.ContainsFunc(first, func(f checkpointRow) bool { return f.Name == r.Name }) {
			old = r
		} else if *r.Lag == 0 {
			now = r
		}
	}
	if old == nil || now == nil || old.Offset >= now.Offset {
		t.Fatalf("listed %+v, before %+v", rows, first)
	}
	var in insideJSON
	s.json(&in, "inspect", now.Name)
	if len(in.Symbols) != 1 || in.Symbols[0].Symbol != "ETHUSDT" || in.Symbols[0].Applied != 14515 || in.Windows["1m"] == 0 {
		t.Fatalf("inside is %+v", in)
	}
	if out := s.do(exitOK, "inspect", now.Name); !strings.Contains(out, "ETHUSDT") || !strings.Contains(out, fmt.Sprint("state format ", state.FormatVersion)) {
		t.Fatal(out)
	}
	var d diffJSON
	s.json(&d, "diff", old.Name, now.Name)
	if d.OnlyA != 0 || d.OnlyB == 0 || d.Changed == 0 || d.Fell != 0 {
		t.Fatalf("they differ by %+v", d)
	}

	// What is exported is what stands in the table.
	script := s.do(exitOK, "export", now.Name, "--format", "sqlite")
	path := filepath.Join(t.TempDir(), "exported.db")
	db, err := sqlsink.Open(t.Context(), sqlsink.Config{DSN: "sqlite:" + path})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := sql.Open("sqlite", path)
	if err == nil {
		_, err = raw.ExecContext(t.Context(), script)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
	same(t, "exported", dumped(t, "sqlite:"+path), whole)
	csv := s.do(exitOK, "export", now.Name, "--symbol", "ethusdt")
	if lines := strings.Count(csv, "\n") - 1; lines != strings.Count(whole, "\n") || !strings.HasPrefix(csv, "symbol,period,start_time,open,") {
		t.Fatalf("%d lines of CSV, %d rows", lines, strings.Count(whole, "\n"))
	}
	exportedAgree(t, s, now.Name, csv)
	if out := s.do(exitUsage, "export", now.Name, "--symbol", "nope"); !strings.Contains(out, "has no NOPE") {
		t.Error(out)
	}

	// The disaster, and back to the older moment.
	for _, gone := range []string{filepath.Join(s.data, "state"), strings.TrimPrefix(e.sql, "sqlite:"), strings.TrimPrefix(e.sql, "sqlite:") + "-wal", strings.TrimPrefix(e.sql, "sqlite:") + "-shm"} {
		if err := os.RemoveAll(gone); err != nil {
			t.Fatal(err)
		}
	}
	at := old.Newest.Format("2006-01-02T15:04:05.999999Z07:00")
	said := s.do(exitOK, "restore", "--at", at, "--dry-run", "--partition", fmt.Sprint(old.Partition))
	for _, want := range []string{"YES", "from     " + old.Name, "nothing", fmt.Sprintf("replay   %d records", *old.Lag), "partial  none", "refused  " + now.Name} {
		if !strings.Contains(said, want) {
			t.Errorf("restore doesn't say %q:\n%s", want, said)
		}
	}
	if _, err := os.Stat(filepath.Join(s.data, "state")); !os.IsNotExist(err) {
		t.Errorf("--dry-run touched the state: %v", err)
	}
	said = s.do(exitOK, "restore", "--at", at)
	if !strings.Contains(said, "restored "+old.Name) {
		t.Fatal(said)
	}
	develop(t, e.dir, ethFirst, ethSecond)
	same(t, "after the drill", dumped(t, e.sql), whole)
}

// TestCheckpointDamaged: verify names what is damaged, restore says so and takes
// the one before, and the old state stands aside.
func TestCheckpointDamaged(t *testing.T) {
	e := develop(t, "", ethFirst)
	s := &shelf{t, filepath.Join(e.dir, "data")}
	var first []checkpointRow
	s.json(&first, "list")
	develop(t, e.dir, ethFirst, ethSecond)
	var rows []checkpointRow
	s.json(&rows, "list")
	i := slices.IndexFunc(rows, func(r checkpointRow) bool { return r.Symbols > 0 })
	now := rows[i]
	before := rows[i+1]
	var in insideJSON
	s.json(&in, "inspect", now.Name)
	largest := in.Manifest.Files[0]
	for _, f := range in.Manifest.Files {
		if f.Size > largest.Size && !strings.HasSuffix(f.Name, ".sst") { // tables may be the other's too
			largest = f
		}
	}
	file := filepath.Join(s.data, "checkpoints", largest.Key)
	b := contents(t, file)
	b[len(b)/2] ^= 1
	write(t, file, string(b))
	if out := s.do(exitNotWhole, "verify", now.Name); !strings.Contains(out, "is damaged") {
		t.Error(out)
	}
	s.do(exitOK, "verify", before.Name)
	if out := s.do(exitNotWhole, "verify"); !strings.Contains(out, "1 of "+plural(len(rows), "checkpoint")) {
		t.Error(out)
	}
	out := s.do(exitOK, "restore", "--partition", fmt.Sprint(now.Partition))
	for _, want := range []string{"refused " + now.Name, "is damaged", "restored " + before.Name, "the old state is in " + s.data} {
		if !strings.Contains(out, want) {
			t.Errorf("restore doesn't say %q:\n%s", want, out)
		}
	}
	if out := s.do(exitOK, "gc", "--dry-run"); !strings.Contains(out, "nothing was removed") {
		t.Error(out)
	}
}

// TestCheckpointRefused: what can't be meant is said before anything is done.
func TestCheckpointRefused(t *testing.T) {
	s := &shelf{t, t.TempDir()}
	for _, c := range []struct {
		want string
		code int
		args []string
	}{
		{"there is no folder", exitUsage, []string{"list"}},
		{"nothing to look at", exitUsage, []string{"list", "--checkpoints", "none"}},
		{"no known kind", exitUsage, []string{"list", "--checkpoints", "ftp://host/x"}},
		{"neither a date", exitUsage, []string{"restore", "--at", "yesterday"}},
		{"name it with --partition", exitUsage, []string{"restore", "--offset", "7"}},
		{"wanted the name", exitUsage, []string{"inspect"}},
		{"wanted the names of two", exitUsage, []string{"diff", "x"}},
		{"is not one of csv", exitUsage, []string{"export", "x", "--format", "xml"}},
		{"contradicts", exitUsage, []string{"export", "x", "--json", "--format", "csv"}},
		{"no checkpoint of topic ticks", exitFailure, []string{"restore", "--checkpoints", t.TempDir(), "--dry-run"}},
		{"no checkpoint is named 7/7", exitUsage, []string{"inspect", "7/7", "--checkpoints", t.TempDir()}},
		{"no Kafka", exitOK, []string{"list", "--checkpoints", t.TempDir()}},
	} {
		if out := s.do(c.code, append(c.args, "--kafka", "127.0.0.1:1")...); !strings.Contains(strings.ToLower(out), strings.ToLower(c.want)) {
			t.Errorf("%v says %q, wanted %q", c.args, out, c.want)
		}
	}
	if code, _, errs := runTest(t, nil, "checkpoint"); code != exitUsage || !strings.Contains(errs, "wanted list") {
		t.Errorf("%d: %s", code, errs)
	}
}
