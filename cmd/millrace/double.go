package main

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/ingest/double"
	"millrace/schema"
)

func (a *app) doubleCommand() command {
	serve := a.role("double", runDouble)
	var truth truthFlags
	return command{
		use:   "double [truth]",
		args:  1,
		own:   truth.add,
		short: "serve recorded or made-up trades as Binance would",
		long: "Serves Binance's market data protocol, websocket and REST, without Binance: " +
			"recorded frames at their own pace, faster or flat out, or a made-up market that is a function of its seed and the time. " +
			"A scenario says what goes wrong with connections, streams and answers, and when. " +
			"A recording begins when each of its symbols has a subscriber. What collects from Binance collects from it, by --binance-ws and --binance-rest. " +
			"With the argument truth it serves nothing and prints the exact candles of the market that the same settings make, as JSON lines.",
		example: "millrace double --seed 7 --market-symbols 50 --rate 1000\n" +
			"millrace double --market-start 2026-05-01 --market-until 2026-05-02 --pace 60 --scenario hardday.yaml\n" +
			"millrace double --from frames.gz --speed 10 --listen 127.0.0.1:9443 --until-done\n" +
			"millrace double truth --seed 7 --market-start 2026-05-01 --market-until 2026-05-02 --periods 1m,1h\n" +
			"millrace ingest --binance-ws ws://127.0.0.1:9443 --binance-rest http://127.0.0.1:9443 --symbols BTCUSDT",
		groups: []string{gMarket, gDouble, gRun},
		leave:  []string{"data", "http"},
		run: func(ctx context.Context, s *settings, args []string) error {
			switch {
			case len(args) == 0 && truth.given():
				return usagef("--truth-from, --truth-to, --truth-symbols and --periods are for millrace double truth")
			case len(args) == 0:
				return serve(ctx, s, args)
			case args[0] != "truth":
				return usagef("unexpected argument %q, wanted none or truth", args[0])
			}
			return a.truth(ctx, s, &truth)
		},
	}
}

// runDouble is the double on its own.
func runDouble(ctx context.Context, s *settings, log *slog.Logger) error {
	d, err := openDouble(s, s.Market.Listen, log)
	if err != nil {
		return err
	}
	ws, rest := d.URLs()
	log.Info("serving Binance's protocol", "binance-ws", ws, "binance-rest", rest, "binance-sbe", d.SBE(), "symbols", d.Symbols())
	defer func() {
		c := d.Counters()
		log.Info("clients", "calls", c.Calls, "weight-peak", c.WeightPeak, "too-many", c.TooMany, "banned", c.Banned, "attempts", c.Attempts,
			"refused", c.Refused, "messages-peak", c.MessagesPeak, "closes", c.Closes, "faults", c.Faults)
	}()
	work, stop := context.WithCancel(ctx)
	defer stop()
	g, work := errgroup.WithContext(work)
	g.Go(func() error { return d.Run(work) })
	g.Go(func() error {
		select {
		case <-d.Done():
			if len(s.Market.From) > 0 {
				log.Info("the recording is at its end")
			} else {
				log.Info("the market is at its end", "until", s.Double.Until)
			}
			if s.Dev.UntilDone {
				stop()
			}
		case <-work.Done():
			if s.Dev.UntilDone && ctx.Err() != nil {
				return errUnfinished
			}
		}
		return nil
	})
	return g.Wait()
}

// openDouble makes the double and takes the port.
func openDouble(s *settings, addr string, log *slog.Logger) (*double.Double, error) {
	d, err := newDouble(s, addr, log)
	if err != nil {
		return nil, err
	}
	return d, d.Listen()
}

// newDouble reads what is to be replayed.
func newDouble(s *settings, addr string, log *slog.Logger) (*double.Double, error) {
	if s.Dev.UntilDone && len(s.Market.From) == 0 && s.Double.Until == 0 {
		return nil, usagef("--until-done: a made-up market has no end; name recordings by --from, or give it one by --market-until")
	}
	if len(s.Market.From) > 0 && (s.Double.Start != 0 || s.Double.Until != 0 || s.given("pace")) {
		return nil, usagef("--market-start, --market-until and --pace are of the made-up market, not of recordings")
	}
	if err := readable(s.Market.From...); err != nil {
		return nil, usagef("--from: %w", err)
	}
	var faults double.Scenario
	if path := s.Double.Scenario; path != "" {
		var err error
		if faults, err = double.LoadScenario(path); err != nil {
			return nil, usagef("--scenario: %w", err)
		}
	}
	cfg := double.Config{
		Faults: faults, WaitFor: s.Double.WaitFor, Retention: schema.Time(s.Double.Retention / time.Microsecond),
		Addr: addr, Files: s.Market.From, Speed: s.Market.Speed,
		Synthetic: double.Synthetic{
			Seed: s.Market.Seed, Symbols: s.Market.Symbols, Rate: s.Market.Rate,
			Start: s.Double.Start, Until: s.Double.Until, Pace: s.Double.Pace,
		},
	}
	if log != nil {
		cfg.OnFault = func(f *double.Fault) { log.Info("fault", "kind", f.Kind, "for", f.For) }
	}
	return double.New(cfg)
}

// optionalMoment is a moment that need not be given.
func optionalMoment(p *schema.Time) field {
	f := moment(p)
	text, set := f.text, f.set
	f.text = func() string {
		if *p == 0 {
			return ""
		}
		return text()
	}
	f.set = func(texts []string) error {
		if texts[len(texts)-1] == "" {
			*p = 0
			return nil
		}
		return set(texts)
	}
	return f
}
