package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// run of dev that ends by itself.
type embeddedRun struct {
	dir, sql string
	sum      summary
}

// develop runs dev over files until it is done. An empty folder is a new one.
func develop(t *testing.T, dir string, files ...string) embeddedRun {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	e := embeddedRun{dir: dir, sql: "sqlite:" + filepath.Join(dir, "x.db")}
	c := spawn(t, e.args(t, "0", files...)...)
	c.succeed()
	if err := json.Unmarshal(c.out.Bytes(), &e.sum); err != nil {
		t.Fatalf("%v in the summary:\n%s", err, c.out.String())
	}
	return e
}

// args are those of a dev whose ports nobody else has.
func (e *embeddedRun) args(t *testing.T, speed string, files ...string) []string {
	t.Helper()
	args := []string{"dev", "--speed", speed, "--until-done", "--json", "--symbols", "XRPETH", "--data", filepath.Join(e.dir, "data"),
		"--sql", e.sql, "--kafka-port", "0", "--nats-port", "0", "--http-port", "0"}
	for _, f := range files {
		args = append(args, "--from", absolute(t, f))
	}
	return args
}

// The first sentence of what this program is for: recorded frames in, Binance's
// own candle out.
func TestEmbeddedCandleIsBinances(t *testing.T) {
	e := develop(t, "", btcFrames)
	if e.sum.Ticks != 9757 || e.sum.Duplicates != 0 || e.sum.OpenGaps != 0 || e.sum.DeadLetters != 0 {
		t.Errorf("summary: %+v", e.sum)
	}
	audit := spawn(t, "audit", "--sql", e.sql, "--symbol", "BTCUSDT", "--period", "5m", "--klines", absolute(t, btcKlines))
	audit.succeed()
	if out := audit.out.String(); !strings.Contains(out, "OK: BTCUSDT 5m: 1 klines, 1 equal, 1 final, 0 absent, 0 extra") {
		t.Errorf("audit says %q", out)
	}
	before := dumped(t, e.sql)
	again := develop(t, e.dir, btcFrames)
	if again.sum.Ticks != 9757 || again.sum.Duplicates != 9757 {
		t.Errorf("summary of the second run: %+v", again.sum)
	}
	same(t, "run again", dumped(t, e.sql), before)

	// A wrong kline is found, with the figure and by how much.
	wrong := filepath.Join(t.TempDir(), "klines.csv")
	write(t, wrong, strings.Replace(string(contents(t, btcKlines)), ",8863,", ",8864,", 1))
	if string(contents(t, wrong)) == string(contents(t, btcKlines)) {
		t.Fatal("the kline was not changed")
	}
	audit = spawn(t, "audit", "--sql", e.sql, "--symbol", "BTCUSDT", "--period", "5m", "--klines", wrong)
	if code := audit.code(); code != exitNotWhole || !strings.Contains(audit.out.String(), "trades") {
		t.Errorf("of a wrong kline audit says, with code %d:\n%s%s", code, audit.out.String(), audit.log.String())
	}
}

// Two recordings that follow each other, over midnight.
func TestEmbeddedOverMidnight(t *testing.T) {
	e := develop(t, "", ethFirst, ethSecond)
	if e.sum.Ticks != 14515 || e.sum.OpenGaps != 0 || e.sum.DeadLetters != 0 {
		t.Errorf("summary: %+v", e.sum)
	}
	rows := countRows(dumped(t, e.sql), "ETHUSDT", "1d")
	if rows.trades != 14515 || rows.rows != 2 {
		t.Errorf("days: %+v, want 14515 trades in 2 windows", rows)
	}
	if m := countRows(dumped(t, e.sql), "ETHUSDT", "1m"); m.trades != 14515 || m.rows != 12 || m.final != 10 {
		t.Errorf("minutes: %+v, want 14515 trades in 12 windows, 10 of them final", m)
	}
}

// A dump of aggregate trades of a quiet symbol: most of it are empty minutes.
func TestEmbeddedDump(t *testing.T) {
	e := develop(t, "", xrpDump)
	if e.sum.OpenGaps != 0 || e.sum.DeadLetters != 0 {
		t.Errorf("summary: %+v", e.sum)
	}
	want := dumped(t, e.sql)
	m := countRows(want, "XRPETH", "1m")
	if m.trades != 14672 || m.rows != 3560 || m.empty != 1091 || m.wrongEmpty != 0 {
		t.Errorf("minutes: %+v, want 14672 trades in 3560 windows, 1091 of them empty with the close before them", m)
	}
	again := develop(t, e.dir, xrpDump)
	same(t, "run again", dumped(t, again.sql), want)
}

// counted is what the windows of one series hold together.
type counted struct {
	rows, empty, final int
	trades             int64
	wrongEmpty         int // empty ones whose prices aren't the close before them
}

func countRows(table, symbol, period string) (c counted) {
	last := ""
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if f[0] != symbol || f[1] != period {
			continue
		}
		var n int64
		if err := json.Unmarshal([]byte(f[9]), &n); err != nil {
			panic(err)
		}
		c.rows++
		c.trades += n
		if n == 0 {
			c.empty++
			if f[3] != last || f[4] != last || f[5] != last || f[6] != last || f[7] != "0" || f[12] != "-1" || f[13] != "-1" {
				c.wrongEmpty++
			}
		}
		if f[14] == "final" {
			c.final++
		}
		last = f[6]
	}
	return c
}

// With transactions, the last record of candles is a transaction's mark: nobody
// waits for another behind it.
func TestEmbeddedTransactions(t *testing.T) {
	want := develop(t, "", btcFrames)
	e := embeddedRun{dir: t.TempDir()}
	e.sql = "sqlite:" + filepath.Join(e.dir, "x.db")
	spawn(t, append(e.args(t, "0", btcFrames), "--candles-transactions")...).succeed()
	same(t, "with transactions", dumped(t, e.sql), dumped(t, want.sql))
}
