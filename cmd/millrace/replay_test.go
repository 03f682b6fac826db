package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/ingest/collect"
	"millrace/internal/testenv"
)

// xrpDays are the days of the recorded dump, zipped under Binance's names.
func xrpDays(t *testing.T) map[string][]byte {
	t.Helper()
	rows := map[string]*strings.Builder{}
	for line := range strings.Lines(string(contents(t, xrpDump))) {
		var ms int64
		if _, err := fmt.Sscan(strings.Split(line, ",")[5], &ms); err != nil {
			t.Fatal(err)
		}
		name := "XRPETH-aggTrades-" + time.UnixMilli(ms).UTC().Format(time.DateOnly)
		if rows[name] == nil {
			rows[name] = new(strings.Builder)
		}
		rows[name].WriteString(line)
	}
	days := map[string][]byte{}
	for name, text := range rows {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		w, err := z.Create(name + ".csv")
		if err == nil {
			_, err = w.Write([]byte(text.String()))
		}
		if err == nil {
			err = z.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		days[name+".zip"] = b.Bytes()
	}
	return days
}

func sumOf(name string, data []byte) string {
	return fmt.Sprintf("%x  %s\n", sha256.Sum256(data), name)
}

// folderOf lays the days out as Binance does, each with its checksum.
func folderOf(t *testing.T, days map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range days {
		path := filepath.Join(dir, "daily/aggTrades/XRPETH", name)
		write(t, path, string(data))
		write(t, path+".CHECKSUM", sumOf(name, data))
	}
	return dir
}

// tableOf is what a processor makes of the log.
func tableOf(t *testing.T, brokers, want string) string {
	t.Helper()
	dir := t.TempDir()
	sql := "sqlite:" + filepath.Join(dir, "x.db")
	p := spawn(t, "process", "--kafka", brokers, "--sql", sql, "--data", filepath.Join(dir, "data"))
	p.await("partition assigned")
	table := ""
	settle := time.Now().Add(patience)
	for tick := time.NewTicker(100 * time.Millisecond); ; <-tick.C {
		table, _ = dump(t.Context(), sql)
		if want == "" && countRows(table, "XRPETH", "1d").trades == 14672 && countRows(table, "XRPETH", "1m").rows == 3560 || want != "" && table == want || time.Now().After(settle) {
			tick.Stop()
			break
		}
	}
	p.stop()
	table, err := dump(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

const xrpFirst, xrpSecond, xrpThird = "XRPETH-aggTrades-2019-10-11.zip", "XRPETH-aggTrades-2019-10-12.zip", "XRPETH-aggTrades-2019-10-13.zip"

// Days that follow each other: every window is final but the last, those over
// midnight too. An older day that comes last moves history back.
func TestReplayOfAFolder(t *testing.T) {
	days := xrpDays(t)
	dir, data := folderOf(t, days), t.TempDir()
	broker := testenv.StartFake(t)
	args := []string{"replay", "--kafka", broker.Brokers, "--data", data, "--require-checksum", dir}
	first := spawn(t, args...)
	first.succeed()
	log := first.log.String()
	if a, b, c := strings.Index(log, xrpFirst), strings.Index(log, xrpSecond), strings.Index(log, xrpThird); a < 0 || b < a || c < b || len(days) != 3 {
		t.Errorf("the order of %d days:\n%s", len(days), log)
	}
	want := tableOf(t, broker.Brokers, "")
	for _, period := range []string{"1m", "1h", "1d"} {
		c := countRows(want, "XRPETH", period)
		if c.trades != 14672 || c.rows-c.final > 1 || c.wrongEmpty != 0 {
			t.Errorf("%s: %+v", period, c)
		}
	}

	// Once more: nothing to do. With --again everything is.
	second := spawn(t, args...)
	second.succeed()
	if n := strings.Count(second.log.String(), "skipped: "); n != 3 {
		t.Errorf("%d files skipped:\n%s", n, second.log.String())
	}
	again := spawn(t, append(args, "--again")...)
	again.succeed()
	if n := strings.Count(again.log.String(), "msg=replayed"); n != 3 {
		t.Errorf("%d files replayed again:\n%s", n, again.log.String())
	}

	// Another log has nothing of it; the oldest day comes last there.
	other := testenv.StartFake(t)
	path := func(name string) string { return filepath.Join(dir, "daily/aggTrades/XRPETH", name) }
	late := spawn(t, "replay", "--kafka", other.Brokers, "--data", data, path(xrpSecond), path(xrpThird), path(xrpFirst))
	late.succeed()
	if strings.Contains(late.log.String(), "skipped: ") {
		t.Errorf("skipped in another log:\n%s", late.log.String())
	}
	same(t, "the oldest day last", tableOf(t, other.Brokers, want), want)
}

func TestReplayRefusesADamagedDay(t *testing.T) {
	days := xrpDays(t)
	dir, data := folderOf(t, days), t.TempDir()
	broken := filepath.Join(dir, "daily/aggTrades/XRPETH", xrpSecond)
	write(t, broken, string(days[xrpSecond][:1000]))
	broker := testenv.StartFake(t)
	args := []string{"replay", "--kafka", broker.Brokers, "--data", data, dir}
	r := refusal{"a damaged day", args, exitFailure, broken + ": checksum: the file's SHA-256 is " + fmt.Sprintf("%x", sha256.Sum256(days[xrpSecond][:1000]))}
	r.check(t)
	// What stood before it is in the log and stays; the next run goes on.
	write(t, broken, string(days[xrpSecond]))
	c := spawn(t, args...)
	c.succeed()
	if log := c.log.String(); strings.Count(log, "skipped: ") != 1 || strings.Count(log, "msg=replayed") != 2 {
		t.Errorf("gone on with:\n%s", log)
	}
	if err := os.Remove(broken + ".CHECKSUM"); err != nil {
		t.Fatal(err)
	}
	r = refusal{"no checksum", append(args, "--again", "--require-checksum"), exitFailure, xrpSecond + ".CHECKSUM is not there"}
	r.check(t)
}

func TestReplayOfDays(t *testing.T) {
	days := xrpDays(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/spot/daily/aggTrades/XRPETH/")
		data := days[strings.TrimSuffix(name, ".CHECKSUM")]
		switch {
		case data == nil:
			w.WriteHeader(http.StatusNotFound)
		case strings.HasSuffix(name, ".CHECKSUM"):
			fmt.Fprint(w, sumOf(strings.TrimSuffix(name, ".CHECKSUM"), data))
		default:
			_, _ = w.Write(data)
		}
	}))
	defer server.Close()
	broker, data := testenv.StartFake(t), t.TempDir()
	args := func(days string) []string {
		return []string{"replay", "--kafka", broker.Brokers, "--data", data, "--symbols", "XRPETH", "--kind", "aggTrades", "--monthly", "--binance-dumps", server.URL + "/spot", "--days", days}
	}
	c := spawn(t, args("2019-10-11..2019-10-12")...)
	c.succeed()
	// A day that isn't published holds up nothing, and is told.
	r := refusal{"a day too many", args("2019-10-12..2019-10-14"), exitAway, "1 of 3 dumps not published, or not yet; the first is XRPETH-aggTrades-2019-10-14.zip"}
	r.check(t)
	if c := countRows(tableOf(t, broker.Brokers, ""), "XRPETH", "1d"); c.trades != 14672 || c.rows != 3 {
		t.Errorf("days: %+v", c)
	}
	if _, err := os.Stat(filepath.Join(data, "dumps/daily/aggTrades/XRPETH", xrpThird+".CHECKSUM")); err != nil {
		t.Error(err)
	}
	server.Close()
	c = spawn(t, args("2019-10-11..2019-10-13")...)
	c.succeed() // without a server: all is there
	for _, r := range []refusal{
		{"no symbols", []string{"replay", "--days", "2019-10-11"}, exitUsage, "--days: of which symbols?"},
		{"files too", []string{"replay", "--days", "2019-10-11", "--symbols", "A", "x"}, exitUsage, "name no files"},
		{"backwards", []string{"replay", "--days", "2019-10-11..2019-10-10", "--symbols", "A"}, exitUsage, "ends before it begins"},
		{"no dump below", []string{"replay", t.TempDir()}, exitUsage, "no dump below it"},
	} {
		r.check(t)
	}
}

func TestReplayBar(t *testing.T) {
	began := time.Unix(1000, 0)
	m := newMeter(began)
	p := collect.Progress{Files: 4, Done: 2, Known: 1, Name: "B.zip", Bytes: 1500, Sized: 2, Total: 2000, Trades: 3000}
	f := m.frame(&p, began.Add(10*time.Second))
	if want := "[############............]  50 % · 2/4 files · 1.5 kB · 3000 trades · 289/s · 10s left"; f.Title != want || f.Notes[0] != "B.zip" {
		t.Errorf("%q %q, want %q", f.Title, f.Notes, want)
	}
	p = collect.Progress{Files: 1}
	if f = newMeter(began).frame(&p, began); !strings.Contains(f.Title, " 0 % ") || !strings.HasSuffix(f.Title, "? left") {
		t.Errorf("%q", f.Title)
	}
	p.Done = 1
	if f = newMeter(began).frame(&p, began.Add(time.Minute)); !strings.Contains(f.Title, "100 %") {
		t.Errorf("%q", f.Title)
	}
}

// Stopped while a file is on its way, it says so; the next run goes on at that
// file.
func TestReplayGoesOnAfterASignal(t *testing.T) {
	days := xrpDays(t)
	waits, release := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/daily/aggTrades/XRPETH/")
		data := days[strings.TrimSuffix(name, ".CHECKSUM")]
		if strings.HasSuffix(name, ".CHECKSUM") {
			fmt.Fprint(w, sumOf(strings.TrimSuffix(name, ".CHECKSUM"), data))
			return
		}
		if name == xrpThird {
			select {
			case waits <- struct{}{}: // the first time the rest never comes
				<-release
				return
			case <-release:
			}
		}
		_, _ = w.Write(data)
	}))
	defer server.Close()
	broker, data := testenv.StartFake(t), t.TempDir()
	args := []string{"replay", "--kafka", broker.Brokers, "--data", data, "--symbols", "XRPETH", "--kind", "aggTrades", "--binance-dumps", server.URL, "--days", "2019-10-11..2019-10-13"}
	c := spawn(t, args...)
	c.await("msg=replayed .*" + xrpSecond)
	<-waits
	c.signal()
	if code := c.code(); code != exitInterrupted || c.lastLine() != "millrace replay: stopped before it was done" {
		t.Errorf("exit code %d, %q", code, c.lastLine())
	}
	close(release)
	journal := filepath.Join(data, "replay.journal")
	if n := strings.Count(string(contents(t, journal)), "\n"); n != 2 {
		t.Errorf("%d lines in the journal", n)
	}
	c = spawn(t, args...)
	c.succeed()
	if log := c.log.String(); strings.Count(log, "skipped: ") != 2 || strings.Count(log, "msg=replayed") != 1 {
		t.Errorf("gone on with:\n%s", log)
	}
}
