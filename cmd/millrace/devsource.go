package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/ingest/binance"
	"millrace/ingest/collect"
	"millrace/ingest/double"
	"millrace/schema"
)

// source gives what brings dev's trades: a server of Binance's protocol, files,
// or the made-up market. It returns once all of a finite one is in the log.
func (d *dev) source() (func(context.Context) error, error) {
	s := d.s
	remote := s.given("binance-ws") || s.given("binance-rest")
	switch {
	case remote && len(s.Market.From) > 0:
		return nil, usagef("--from and --binance-ws exclude each other")
	case remote && s.Dev.UntilDone:
		return nil, usagef("--until-done: a live market has no end")
	case remote && len(s.Binance.Symbols) == 0:
		return nil, usagef("--symbols: no symbols to collect from %s", s.Binance.WS.String())
	case remote:
		return func(ctx context.Context) error {
			live, done, err := s.live(d.log)
			if err != nil {
				return err
			}
			defer done()
			live.Ingestor = d.in
			d.watch.live.Store(live)
			return live.Run(ctx)
		}, nil
	case s.Binance.Streams != streamsTrade || s.Binance.Key != "":
		return nil, usagef("--streams and --binance-api-key are of a server: name one by --binance-ws or --binance-rest")
	case len(s.Market.From) == 0 && s.Dev.UntilDone:
		return nil, usagef("--until-done: a made-up market has no end; name files by --from")
	}
	if err := s.plainSymbols(); err != nil {
		return nil, err
	}
	kinds, err := kindsOf(s.Market.From, s.Binance.Symbols)
	if err != nil {
		return nil, err
	}
	var frames, dumps []string
	for i, path := range s.Market.From {
		if kinds[i] {
			frames = append(frames, path)
		} else {
			dumps = append(dumps, path)
		}
	}
	symbol := ""
	if len(dumps) > 0 {
		if symbol, err = s.dumpSymbol(); err != nil {
			return nil, err
		}
	}
	if len(frames) > 0 || len(dumps) == 0 {
		cfg := double.Config{Files: frames, Speed: s.Market.Speed, Synthetic: double.Synthetic{Seed: s.Market.Seed, Symbols: s.Market.Symbols, Rate: s.Market.Rate}}
		if d.double, err = double.New(cfg); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		if d.double != nil {
			g.Go(func() error { return d.played(ctx, len(frames) > 0) })
		}
		g.Go(func() error {
			for _, path := range dumps {
				if _, err := replayFile(ctx, d.in, path, false, symbol, d.log); err != nil {
					return err
				}
			}
			return nil
		})
		return g.Wait()
	}, nil
}

// played collects from the double in this process, over a real websocket.
func (d *dev) played(ctx context.Context, finite bool) error {
	if err := d.double.Listen(); err != nil {
		return awayf("start the double: %w", err)
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	g, serving := errgroup.WithContext(serving)
	g.Go(func() error { return d.double.Run(serving) })
	g.Go(func() error {
		defer stop()
		ws, rest := d.double.URLs()
		client, err := binance.NewClient(rest, "")
		if err != nil {
			return err
		}
		defer client.Close()
		cfg := binance.Config{WS: ws, REST: client, Symbols: d.double.Symbols(), Margin: d.s.Produce.Margin, MinPause: 50 * time.Millisecond}
		cfg.EnsureDefaults()
		chosen, err := binance.ParseSelection(d.double.Symbols())
		if err != nil {
			return err
		}
		live := &collect.Live{Ingestor: d.in, Source: cfg, Select: chosen, Log: d.log}
		if finite {
			live.Finite, live.End = d.double.Done(), d.sent
		}
		d.watch.live.Store(live)
		return live.Run(serving)
	})
	return g.Wait()
}

// sent tells how many trades a replaying double has sent, and the last one's time.
func (d *dev) sent() (trades int64, last schema.Time) {
	for _, s := range d.double.Sent() {
		trades += s.Trades
		last = max(last, s.LastTime)
	}
	return trades, last
}
