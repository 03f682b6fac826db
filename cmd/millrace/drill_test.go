package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace/internal/testenv"
)

// drillSpan is how much of the dump the drill has: less than the state keeps, so
// that it is the checkpoint that gives the table back, and not the log.
const drillSpan = 20 * time.Hour

// anHourAgo cuts the last hours of the dump in two: what had happened an hour
// before its end, and that hour.
func anHourAgo(t *testing.T) (before, after string, at time.Time) {
	t.Helper()
	lines := bytes.SplitAfter(bytes.TrimRight(contents(t, xrpDump), "\n"), []byte("\n"))
	when := func(line []byte) time.Time {
		ms, err := strconv.ParseInt(strings.Split(string(line), ",")[5], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return time.UnixMilli(ms)
	}
	end := when(lines[len(lines)-1])
	at = end.Add(-time.Hour)
	var parts [2]bytes.Buffer
	for _, l := range lines {
		switch w := when(l); {
		case w.Before(end.Add(-drillSpan)):
		case w.After(at):
			parts[1].Write(l)
		default:
			parts[0].Write(l)
		}
	}
	before, after = filepath.Join(t.TempDir(), "XRPETH-1.csv"), filepath.Join(t.TempDir(), "XRPETH-2.csv")
	write(t, before, parts[0].String())
	write(t, after, parts[1].String())
	return before, after, at
}

// TestDrill is README's, on a real Kafka and a real MariaDB, with the program as
// processes: run with checkpoints, destroy the state and the database, restore
// to a moment of an hour ago, run again, audit: equal.
func TestDrill(t *testing.T) {
	maria := testenv.SharedMariaDB(t)
	p := newParts(t, maria)
	data, where := t.TempDir(), filepath.Join(t.TempDir(), "checkpoints")
	before, after, at := anHourAgo(t)
	run := func() {
		t.Helper()
		c := spawn(t, append([]string{"process", "--ticks-topic", p.ticks, "--sql", p.sql, "--data", data, "--checkpoints", where}, p.log()...)...)
		p.settled()
		c.stop() // takes a checkpoint
	}
	do := func(args ...string) string {
		t.Helper()
		c := spawn(t, append(append([]string{"checkpoint"}, args...), "--kafka", p.brokers, "--ticks-topic", p.ticks, "--data", data, "--checkpoints", where)...)
		c.succeed()
		return c.out.String()
	}
	p.replay(before)
	run()
	p.replay(after, btcFrames) // of another year, so of an hour ago there is nothing of it
	run()
	want := dumped(t, p.sql)
	if out := do("verify"); strings.Count(out, " yes\n") <= partitions {
		t.Error(out)
	}

	// The disaster.
	name := filepath.Base(p.sql)
	for _, statement := range []string{"DROP DATABASE " + name, "CREATE DATABASE " + name} {
		if err := maria.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(data, "state")); err != nil {
		t.Fatal(err)
	}
	moment := at.UTC().Format(time.RFC3339)
	for _, said := range []string{do("restore", "--at", moment, "--dry-run"), do("restore", "--at", moment)} {
		if strings.Count(said, ": YES\n") != partitions || !strings.Contains(said, "after "+moment) {
			t.Errorf("restore says:\n%s", said)
		}
	}
	var rows []checkpointRow
	if err := json.Unmarshal([]byte(do("list", "--json")), &rows); err != nil {
		t.Fatal(err)
	}
	behind := int64(0)
	for _, r := range rows {
		if r.Lag != nil {
			behind = max(behind, *r.Lag)
		}
	}
	if behind == 0 {
		t.Errorf("no checkpoint is behind the log: there was no way back: %+v", rows)
	}
	run()
	same(t, "after the drill", dumped(t, p.sql), want)
	audit := spawn(t, "audit", "--sql", p.sql, "--symbol", "BTCUSDT", "--period", "5m", "--klines", absolute(t, btcKlines))
	audit.succeed()
	if out := audit.out.String(); !strings.Contains(out, "1 equal, 1 final") {
		t.Error(fmt.Errorf("audit says %s", out))
	}
}
