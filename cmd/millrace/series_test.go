package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/ingest/double"
	"millrace/internal/testenv"
	"millrace/schema"
)

// anewMarket is a market of two symbols of which the first begins its ids anew
// in the middle of it, sixty times as fast as the wall.
func anewMarket(t *testing.T) (d *double.Double, from, reset, until schema.Time) {
	t.Helper()
	hour := schema.FromStd(time.Date(2026, 5, 2, 10, 0, 0, 0, time.UTC))
	from, reset, until = hour+20*schema.Minute, hour+25*schema.Minute+schema.Second/2, hour+40*schema.Minute
	d, err := double.New(double.Config{
		Synthetic: double.Synthetic{Seed: 5, Symbols: 2, Rate: 2, Start: from, Until: until, Pace: 60},
		WaitFor:   []string{"BTCUSDT"},
		Faults:    double.Scenario{Faults: []double.Fault{{Kind: "new-series", Moment: reset, Symbols: []string{"BTCUSDT"}}}},
	})
	if err == nil {
		err = d.Listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return d, from, reset, until
}

// symbolRows gives a symbol's rows of a table.
func symbolRows(rows, symbol string) string {
	var b strings.Builder
	for line := range strings.Lines(rows) {
		if strings.HasPrefix(line, symbol+" ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// The exchange begins a symbol's ids anew: the symbol stands still, with an
// alarm, until the command is given. Then candles equal the market again, and
// those before stay as they were.
func TestSeriesBegunAnew(t *testing.T) {
	d, from, reset, until := anewMarket(t)
	ws, rest := d.URLs()
	log := []string{"--kafka", testenv.StartFake(t).Brokers}
	table := "sqlite:" + filepath.Join(t.TempDir(), "x.db")
	processor := spawn(t, append([]string{"process", "--sql", table, "--data", t.TempDir(), "--partitions", "2"}, log...)...)
	processor.await("partition assigned")
	ingestor := spawn(t, append([]string{"ingest", "--symbols", "BTCUSDT,ETHUSDT", "--binance-ws", ws, "--binance-rest", rest, "--data", t.TempDir()}, log...)...)
	ingestor.await("ids have begun anew")
	processor.await("the symbol stands still.*BTCUSDT")

	old := func() string { return symbolRows(within(t, dumped(t, table), from, reset-schema.Minute), "BTCUSDT") }
	truth := symbolRows(truthRows(d, from, reset-schema.Minute), "BTCUSDT")
	if n := strings.Count(truth, "\n"); n < 100 {
		t.Fatalf("only %d old windows", n)
	}
	every(t, func(context.Context) error { return differ(proven(old()), truth) })
	before := old()
	code, out, errs := runTest(t, nil, append([]string{"series", "--symbol", "BTCUSDT", "--yes"}, log...)...)
	if code != exitOK || !strings.Contains(out, "counts the new series") {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	ingestor.await("a new series of the symbol's ids has begun")
	select {
	case <-d.Done():
	case <-time.After(patience):
		t.Fatal("the market did not end")
	}
	// What starts behind the watermark of the moment at which it was noticed is the
	// new series'.
	to := until - schema.Minute
	var cal schema.Calendar
	start := cal.Start(schema.P5m, reset+5*schema.Minute)
	fresh := symbolRows(truthRows(d, start, to), "BTCUSDT")
	if n := strings.Count(fresh, "\n"); n < 300 {
		t.Fatalf("only %d new windows", n)
	}
	other := symbolRows(truthRows(d, from, to), "ETHUSDT")
	every(t, func(ctx context.Context) error {
		rows, err := dump(ctx, table)
		if err != nil {
			return err
		}
		return errors.Join(differ(proven(symbolRows(within(t, rows, start, to), "BTCUSDT")), fresh), differ(proven(symbolRows(within(t, rows, from, to), "ETHUSDT")), other))
	})
	same(t, "the old candles", old(), before)

	// Once more it does not fit: the era is taken, and nothing has begun anew.
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"series", "--symbol", "NOPEUSDT", "--yes", "--force"}, exitFailure, "of which nothing is known"},
		{[]string{"series", "--symbol", "BTCUSDT", "--yes"}, exitUsage, "the ids of BTCUSDT go on"},
		{[]string{"series", "--symbol", "BTCUSDT", "--force"}, exitUsage, "not confirmed"},
		{[]string{"series"}, exitUsage, "wanted --symbol"},
		{[]string{"seal", "--symbol", "BTCUSDT", "--before", fmt.Sprint(time.Now().UTC().Format(time.DateOnly)), "--yes"}, exitFailure, "windows stay open for"},
		{[]string{"seal", "--symbol", "BTCUSDT", "--before", "soon"}, exitUsage, "neither a date"},
	} {
		if code, _, errs := runTest(t, nil, append(c.args, log...)...); code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%v: exit code %d, %s", c.args, code, errs)
		}
	}
	code, out, errs = runTest(t, nil, append([]string{"seal", "--symbol", "ETHUSDT", "--before", from.Std().Format(time.RFC3339), "--yes"}, log...)...)
	if code != exitOK || !strings.Contains(out, "takes no trade") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	same(t, "the sealed symbol's candles", proven(symbolRows(within(t, dumped(t, table), from, to), "ETHUSDT")), other)
	ingestor.stop()
	processor.stop()
}
