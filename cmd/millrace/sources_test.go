package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/ingest/double"
	"millrace/internal/testenv"
	"millrace/schema"
)

// sourcesMarket is a made-up market that is sent over midnight, sixty times as
// fast as the wall: long enough for windows that began before it was sent, and
// a day before it that is over, of which there are dumps.
func sourcesMarket(t *testing.T) (d *double.Double, day schema.Time) {
	t.Helper()
	midnight := schema.FromStd(time.Date(2026, 5, 2, 0, 0, 0, 0, time.UTC))
	d, err := double.New(double.Config{APIKey: "oneword", Synthetic: double.Synthetic{
		Seed: 11, Symbols: 3, Rate: 0.5, Start: midnight - 8*schema.Minute, Until: midnight + 3*schema.Minute, Pace: 60,
	}})
	if err == nil {
		err = d.Listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	return d, midnight - schema.Day
}

// within gives the rows of a table whose windows lie in [from, to).
func within(t *testing.T, table string, from, to schema.Time) string {
	t.Helper()
	var cal schema.Calendar
	var b strings.Builder
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		p, err := schema.ParsePeriod(f[1])
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, f[2])
		if err != nil {
			t.Fatal(err)
		}
		if start := schema.FromStd(at); start >= from && cal.End(p, start) <= to {
			b.WriteString(line)
		}
	}
	return b.String()
}

// Every source makes one table: single trades, aggregates and SBE over
// websockets, REST alone, and the day's dumps of trades and of aggregates.
func TestEverySourceOneResult(t *testing.T) {
	d, day := sourcesMarket(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	ws, rest := d.URLs()
	broker := testenv.StartFake(t).Brokers
	key := filepath.Join(t.TempDir(), "key")
	write(t, key, "oneword\n")
	symbols := strings.Join(d.Symbols(), ",")
	// Each source has topics of its own, and a processor.
	start := func(name string, args ...string) (source *child, table string) {
		log := []string{"--kafka", broker, "--ticks-topic", "ticks-" + name, "--candles-topic", "candles-" + name, "--partitions", "2"}
		table = "sqlite:" + filepath.Join(t.TempDir(), "x.db")
		source = spawn(t, append(args, log...)...)
		return source, table
	}
	process := func(name, table string) {
		spawn(t, "process", "--kafka", broker, "--ticks-topic", "ticks-"+name, "--candles-topic", "candles-"+name, "--sql", table, "--data", t.TempDir())
	}
	live := []struct {
		name string
		args []string
	}{
		{"trade", []string{"--binance-ws", ws}},
		{"aggTrade", []string{"--binance-ws", ws, "--streams", "aggTrade"}},
		{"sbe", []string{"--binance-ws", d.SBE(), "--streams", "sbe", "--binance-api-key-file", key}},
		{"rest", []string{"--streams", "rest"}},
	}
	tables := map[string]string{}
	var sources []*child
	for _, l := range live {
		args := append([]string{"ingest", "--symbols", "top:3", "--binance-rest", rest, "--weight-share", "0.2"}, l.args...)
		source, table := start(l.name, args...)
		sources = append(sources, source)
		tables[l.name] = table
		source.await("symbols begin")
		process(l.name, table)
	}
	select {
	case <-d.Done():
	case <-time.After(patience):
		t.Fatal("the market did not end")
	}
	for _, kind := range []string{"trades", "aggTrades"} {
		source, table := start("dump-"+kind, "replay", "--symbols", symbols, "--kind", kind, "--days", day.Std().Format(time.DateOnly),
			"--binance-dumps", rest+"/data/spot", "--require-checksum", "--data", t.TempDir())
		source.succeed()
		process("dump-"+kind, table)
		tables["dump-"+kind] = table
	}

	// What is compared began behind the live history's boundary, and ended so
	// long before the day did that a trade in it proves each window.
	from, to := day+23*schema.Hour, day+schema.Day-schema.Minute
	truth := truthRows(d, from, to)
	if n := strings.Count(truth, "\n"); n < 800 {
		t.Fatalf("only %d windows to compare", n)
	}
	wanted := ""
	every(t, func(ctx context.Context) error {
		got, err := dump(ctx, tables["dump-trades"])
		if err != nil {
			return err
		}
		wanted = within(t, got, from, to)
		return differ(proven(wanted), truth)
	})
	for name, table := range tables {
		every(t, func(ctx context.Context) error {
			got, err := dump(ctx, table)
			if err == nil {
				err = differ(within(t, got, from, to), wanted)
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
			return err
		})
	}
	for _, s := range sources {
		s.stop()
	}
}

// proven gives the figures of the rows that are final, and other rows whole.
func proven(rows string) string {
	var b strings.Builder
	for line := range strings.Lines(rows) {
		f := strings.Fields(line)
		if f[14] == "final" {
			f = f[:14]
		}
		b.WriteString(strings.Join(f, " ") + "\n")
	}
	return b.String()
}

// truthRows are the market's own candles of the default periods, as rows of a
// table in its order. Seconds without a trade are not published.
func truthRows(d *double.Double, from, to schema.Time) string {
	var rows []string
	for _, symbol := range d.Symbols() {
		for _, p := range []schema.Period{schema.P15m, schema.P1m, schema.P1s, schema.P5m} {
			for _, c := range d.TruthCandles(symbol, p, from, to) {
				if c.Trades == 0 && p == schema.P1s {
					continue
				}
				rows = append(rows, fmt.Sprintln(c.Symbol, c.Period, c.StartTime, c.Open, c.High, c.Low, c.Close, c.Volume, c.QuoteVolume,
					c.Trades, c.TakerBuyVolume, c.TakerBuyQuoteVolume, c.FirstTradeID, c.LastTradeID))
			}
		}
	}
	return strings.Join(rows, "")
}
