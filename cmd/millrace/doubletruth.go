package main

import (
	"bufio"
	"context"
	"encoding/json"

	"github.com/spf13/pflag"

	"millrace/ingest/double"
	"millrace/schema"
)

// truthFlags are those of `millrace double truth`.
type truthFlags struct {
	from, to, symbols, periods string
}

func (t *truthFlags) add(f *pflag.FlagSet) {
	f.StringVar(&t.from, "truth-from", "", "`DATE` or time at which the first window of the truth may start; the market's start unless given")
	f.StringVar(&t.to, "truth-to", "", "`DATE` or time by which the last window has ended; the market's end unless given")
	f.StringVar(&t.symbols, "truth-symbols", "", "`SYMBOL,…` of the truth; all unless given")
	f.StringVar(&t.periods, "periods", "", "`PERIOD,…` of the truth, 1m unless given")
}

func (t *truthFlags) given() bool { return *t != truthFlags{} }

// truth prints the market's candles, line by line: by symbol, period and time.
func (a *app) truth(ctx context.Context, s *settings, t *truthFlags) error {
	var wanted []string
	var list []schema.Period
	if err := symbols(&wanted).set([]string{t.symbols}); err != nil {
		return usagef("--truth-symbols: %w", err)
	}
	if t.periods == "" {
		t.periods = "1m"
	}
	if err := periods(&list).set([]string{t.periods}); err != nil {
		return usagef("--periods: %w", err)
	}
	d, err := newDouble(s, "", nil)
	if err != nil {
		return err
	}
	from, to := d.Span()
	if t.from != "" {
		if err := moment(&from).set([]string{t.from}); err != nil {
			return usagef("--truth-from: %w", err)
		}
	}
	if t.to != "" {
		if err := moment(&to).set([]string{t.to}); err != nil {
			return usagef("--truth-to: %w", err)
		}
	}
	if from == 0 || to == 0 || from >= to {
		return usagef("wanted a span of time by --truth-from and --truth-to, or by --market-start and --market-until; see millrace double --help")
	}
	known := make(map[string]bool)
	for _, name := range d.Symbols() {
		known[name] = true
	}
	for _, name := range wanted {
		if !known[name] {
			return usagef("--truth-symbols: the market has no %s", name)
		}
	}
	if len(wanted) == 0 {
		wanted = d.Symbols()
	}
	out := bufio.NewWriter(a.stdout)
	lines := json.NewEncoder(out)
	for _, name := range wanted {
		for _, p := range list {
			err := d.EachTruthCandle(name, p, from, to, func(c *double.TruthCandle) error {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return lines.Encode(c)
			})
			if err != nil {
				return err
			}
		}
	}
	return out.Flush()
}
