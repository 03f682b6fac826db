package main

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"millrace/ingest/double"
)

func (a *app) doubleCommand() command {
	return command{
		use:   "double",
		short: "serve recorded or made-up trades as Binance would",
		long: "Serves Binance's market data protocol, websocket and REST, without Binance: " +
			"recorded frames at their own pace, faster or flat out, or a made-up market that is a function of its seed and the time. " +
			"A recording begins when each of its symbols has a subscriber. What collects from Binance collects from it, by --binance-ws and --binance-rest.",
		example: "millrace double --seed 7 --market-symbols 50 --rate 1000\n" +
			"millrace double --from frames.gz --speed 10 --listen 127.0.0.1:9443 --until-done\n" +
			"millrace ingest --binance-ws ws://127.0.0.1:9443 --binance-rest http://127.0.0.1:9443 --symbols BTCUSDT",
		groups: []string{gMarket, gDev, gRun},
		leave: append([]string{"data", "http"}, names(func(r *setting) bool {
			return r.group == gDev && r.name != "until-done"
		})...),
		run: a.role("double", runDouble),
	}
}

// runDouble is the double on its own.
func runDouble(ctx context.Context, s *settings, log *slog.Logger) error {
	d, err := openDouble(s, s.Market.Listen)
	if err != nil {
		return err
	}
	ws, rest := d.URLs()
	log.Info("serving Binance's protocol", "binance-ws", ws, "binance-rest", rest, "symbols", d.Symbols())
	work, stop := context.WithCancel(ctx)
	defer stop()
	g, work := errgroup.WithContext(work)
	g.Go(func() error { return d.Run(work) })
	g.Go(func() error {
		select {
		case <-d.Done():
			log.Info("the recording is at its end")
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

// openDouble reads what is to be replayed and takes the port.
func openDouble(s *settings, addr string) (*double.Double, error) {
	if s.Dev.UntilDone && len(s.Market.From) == 0 {
		return nil, usagef("--until-done: a made-up market has no end; name recordings by --from")
	}
	if err := readable(s.Market.From...); err != nil {
		return nil, usagef("--from: %w", err)
	}
	d, err := double.New(double.Config{
		Addr: addr, Files: s.Market.From, Speed: s.Market.Speed,
		Synthetic: double.Synthetic{Seed: s.Market.Seed, Symbols: s.Market.Symbols, Rate: s.Market.Rate},
	})
	if err != nil {
		return nil, err
	}
	return d, d.Listen()
}
