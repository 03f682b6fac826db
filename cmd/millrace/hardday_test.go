package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"millrace/ingest/double"
	"millrace/internal/testenv"
	sqlsink "millrace/processor/sink/sql"
	"millrace/schema"
)

// The hard day: a market in the past that runs faster than the wall, with every
// fault that the double knows, again and again and over one another; two
// ingestors of which one is killed and started again at random. Afterwards every
// candle must be the truth's. Each test run has a short one; make hardday has
// one of 20 minutes with 500 symbols.
var (
	hardDay     = flag.Duration("hardday", 25*time.Second, "wall time that the hard day lasts")
	hardSymbols = flag.Int("hardday-symbols", 24, "its symbols")
	hardRate    = flag.Float64("hardday-rate", 200, "its trades a second of the market's time")
	hardPace    = flag.Float64("hardday-pace", 4, "how many times as fast as the wall it goes")
	// A lost connection costs a call for each of its symbols, of which the
	// weight allows 750 a minute: more symbols bear fewer losses.
	hardFaults = flag.Float64("hardday-faults", 20, "random faults a minute, beside those planned")
)

// hardScenario has each kind of fault at least twice, and random ones besides.
// Within the last part of the day nothing goes wrong any more, so that what was
// missed can be had before the market ends.
func hardScenario(d time.Duration, r *rand.Rand) double.Scenario {
	s := double.Scenario{Seed: r.Uint64(), Random: &double.Random{Seed: r.Uint64(), PerMinute: *hardFaults, Longest: 4 * time.Second,
		Kinds: []string{"cut", "half-dead", "refuse-connections", "stall", "drop", "double", "reorder", "late", "rest-slow", "rest-5xx", "clock-skew"}}}
	at := func(share float64) time.Duration { return time.Duration(float64(d) * share) }
	every := at(0.4)
	for _, f := range []double.Fault{
		{Kind: "cut", At: at(0.05)},
		{Kind: "half-dead", At: at(0.1), For: 15 * time.Second, Connections: 0.5},
		{Kind: "shutdown", At: at(0.15), Delay: 2 * time.Second},
		{Kind: "refuse-connections", At: at(0.2), For: time.Second},
		{Kind: "stall", At: at(0.22), For: 10 * time.Second, SymbolShare: 0.3},
		{Kind: "drop", At: at(0.25), For: 2 * time.Second, SymbolShare: 0.5, Share: 0.1},
		{Kind: "double", At: at(0.27), For: 2 * time.Second, Share: 0.2},
		{Kind: "reorder", At: at(0.3), For: 2 * time.Second, Window: 20, Delay: 50 * time.Millisecond},
		{Kind: "late", At: at(0.32), For: 2 * time.Second, Share: 0.1, Delay: 300 * time.Millisecond},
		{Kind: "rest-slow", At: at(0.25), For: 2 * time.Second, Delay: 500 * time.Millisecond},
		{Kind: "rest-5xx", At: at(0.3), For: 2 * time.Second},
		{Kind: "rest-429", At: at(0.35), For: time.Second},
		{Kind: "rest-ban", At: at(0.38), For: time.Second},
		{Kind: "clock-skew", At: at(0.33), For: 2 * time.Second, Skew: -700 * time.Millisecond},
	} {
		f.Every, f.Times = every, 2
		s.Faults = append(s.Faults, f)
	}
	s.Faults = append(s.Faults, double.Fault{Kind: "age", Delay: max(d/3, 8*time.Second)}, double.Fault{Kind: "void-aggs", Behind: 50})
	return s
}

func TestHardDay(t *testing.T) {
	r := seeded(t)
	p := newParts(t, testenv.SharedMariaDB(t))
	// It begins some minutes into an hour of today that is over.
	start := schema.Calendar{}.Start(schema.P1h, schema.FromStd(time.Now())-schema.Time(float64(hardDay.Microseconds())**hardPace)-2*schema.Hour) + 3*schema.Minute
	until := start + schema.Time(float64(hardDay.Microseconds())**hardPace)
	d, err := double.New(double.Config{
		Synthetic: double.Synthetic{Seed: r.Uint64(), Symbols: *hardSymbols, Rate: *hardRate, Start: start, Until: until, Pace: *hardPace},
		Faults:    hardScenario(*hardDay, r),
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
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	dir := t.TempDir()
	ws, rest := d.URLs()
	ingest := func() *child {
		return spawnFor(t, *hardDay+5*time.Minute, append([]string{"ingest", "--ticks-topic", p.ticks, "--symbols", "*", "--periods", "1s,1m,5m",
			"--binance-ws", ws, "--binance-rest", rest, "--weight-share", "0.8", "--log-level", "debug"}, p.log()...)...)
	}
	stays, dies := ingest(), ingest()
	processor := spawnFor(t, *hardDay+5*time.Minute, append([]string{"process", "--ticks-topic", p.ticks, "--sql", p.sql, "--periods", "1s,1m,5m", "--data", filepath.Join(dir, "state")}, p.log()...)...)
	next := time.NewTimer(0)
	defer next.Stop()
	for over := false; !over; {
		next.Reset(*hardDay/8 + time.Duration(r.Int64N(int64(*hardDay/6))))
		select {
		case <-d.Done():
			over = true
		case <-next.C:
			if !dies.running() || !stays.running() || !processor.running() {
				t.Fatalf("a role has ended by itself:\n%s\n%s\n%s", tail(stays.log.String()), tail(dies.log.String()), tail(processor.log.String()))
			}
			dies.kill()
			dies = ingest()
		}
	}
	p.everyCandle(d, start, until)
	stays.stop()
	dies.stop()
	p.settled()
	processor.stop()
	n := d.Counters()
	t.Logf("double: %+v", n)
	if n.TooMany > 0 || n.Banned > 0 || n.Refused > 0 || n.MessagesPeak > 5 || n.WeightPeak > 6000 || n.AttemptsPeak > 300 || n.StreamsPeak > 1024 {
		t.Error("the double counted more than Binance allows")
	}
	for _, kind := range []string{"cut", "half-dead", "shutdown", "refuse-connections", "stall", "drop", "double", "reorder", "late", "rest-slow", "rest-5xx", "rest-429", "rest-ban", "clock-skew", "age", "void-aggs"} {
		if n.Faults[kind] == 0 {
			t.Errorf("no fault of kind %s", kind)
		}
	}
	p.tellGaps(stays, dies)
}

// everyCandle waits until the table is the truth: every window of the market
// that its trades can prove is there, final, and equal figure for figure.
func (p *parts) everyCandle(d *double.Double, start, until schema.Time) {
	p.t.Helper()
	want := map[string]string{}
	for _, name := range d.Symbols() {
		last := schema.MinTime
		for _, tr := range d.Truth(name, start, until) {
			last = max(last, tr.Time)
		}
		for _, period := range []schema.Period{schema.P1s, schema.P1m, schema.P5m} {
			for _, c := range d.TruthCandles(name, period, start-3*schema.Minute, last) {
				if c.Trades == 0 && period == schema.P1s {
					continue // empty seconds are not published
				}
				key := c.Symbol + " " + c.Period + " " + c.StartTime
				want[key] = fmt.Sprintf("%s %s %s %s %s %s %d %s %s %d %d final 0", c.Open, c.High, c.Low, c.Close,
					c.Volume, c.QuoteVolume, c.Trades, c.TakerBuyVolume, c.TakerBuyQuoteVolume, c.FirstTradeID, c.LastTradeID)
			}
		}
	}
	if len(want) < *hardSymbols*10 {
		p.t.Fatalf("the truth has %d candles only", len(want))
	}
	everyFor(p.t, max(patience, *hardDay/2), func(ctx context.Context) error {
		table, err := dump(ctx, p.sql)
		if err != nil {
			return err
		}
		got := map[string]string{}
		for line := range strings.Lines(table) {
			f := strings.Fields(line)
			got[strings.Join(f[:3], " ")] = strings.Join(f[3:len(f)-1], " ")
		}
		var wrong []string
		for key, w := range want {
			if got[key] != w {
				wrong = append(wrong, fmt.Sprintf("%s\n  got  %s\n  want %s", key, got[key], w))
			}
		}
		if len(wrong) > 0 {
			sort.Strings(wrong)
			return fmt.Errorf("%d of %d candles are not the truth:\n%s", len(wrong), len(want), strings.Join(wrong[:min(len(wrong), 6)], "\n"))
		}
		return nil
	})
	p.t.Logf("%d candles are the truth, figure for figure", len(want))
}

// tellGaps fails where a gap is open, and tells how long they took to fill.
func (p *parts) tellGaps(ingestors ...*child) {
	p.t.Helper()
	db, err := sqlsink.Open(p.t.Context(), sqlsink.Config{DSN: p.sql, ReadOnly: true})
	if err != nil {
		p.t.Fatal(err)
	}
	defer db.Close()
	totals, err := db.Totals(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	if totals.OpenGaps > 0 {
		p.t.Errorf("%d gaps are open", totals.OpenGaps)
	}
	type filled struct {
		took time.Duration
		line string
	}
	var all []filled
	for _, c := range ingestors {
		for line := range strings.Lines(c.log.String()) {
			if _, after, ok := strings.Cut(line, "after="); ok && strings.Contains(line, "level=DEBUG") && strings.Contains(line, "a gap is filled") {
				if d, err := time.ParseDuration(strings.TrimSpace(after)); err == nil {
					all = append(all, filled{d, line})
				}
			}
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].took < all[j].took })
	if len(all) == 0 {
		p.t.Fatal("no gap was filled")
	}
	for _, f := range all[max(len(all)-5, 0):] {
		p.t.Log(strings.TrimSpace(f.line))
	}
	p.t.Logf("%d gaps filled by those that live: median %v, 99 %% within %v, worst %v", len(all), all[len(all)/2].took, all[len(all)*99/100].took, all[len(all)-1].took)
}
