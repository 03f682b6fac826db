package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/pflag"

	"millrace/ingest"
	"millrace/ingest/collect"
	"millrace/ingest/file"
)

func (a *app) replayCommand() command {
	return command{
		use:   "replay FILE…",
		short: "bring Binance's dumps and recorded frames into Kafka",
		long: "Reads Binance's public dumps of trades or aggregate trades (csv, gz, zip) and recorded websocket frames, one after the other, and writes every trade into the topic of ticks. " +
			"A dump of a whole day proves its own left edge. What is there already is dropped as a copy, so a file may be replayed again. " +
			"The symbol comes from Binance's file name, or from --symbols.",
		example: "millrace replay BTCUSDT-trades-2024-08-08.zip BTCUSDT-trades-2024-08-09.zip\n" +
			"millrace replay --symbols XRPETH aggTrades.csv",
		groups: []string{gKafka, gLog, gProduce, gBinance, gRun},
		leave:  []string{"data", "http", "binance-ws", "binance-rest", "binance-ca", "margin"},
		args:   1 << 20,
		own:    func(*pflag.FlagSet) {},
		run: func(ctx context.Context, s *settings, args []string) error {
			return a.role("replay", func(ctx context.Context, s *settings, log *slog.Logger) error {
				return runReplay(ctx, s, args, log)
			})(ctx, s, nil)
		},
	}
}

func runReplay(ctx context.Context, s *settings, paths []string, log *slog.Logger) error {
	if len(paths) == 0 {
		return usagef("no files to replay")
	}
	kinds, err := kindsOf(paths, s.Binance.Symbols)
	if err != nil {
		return err
	}
	symbol, err := s.dumpSymbol()
	if err != nil {
		return err
	}
	in, err := openIngestor(ctx, s, log)
	if err != nil {
		return err
	}
	defer in.Close()
	return withIngestor(ctx, in, func(ctx context.Context) error {
		for i, path := range paths {
			if _, err := replayFile(ctx, in, path, kinds[i], symbol, log); err != nil {
				if ctx.Err() != nil {
					return errUnfinished
				}
				return err
			}
		}
		return nil
	})
}

// replayFile brings one file into the log.
func replayFile(ctx context.Context, in *ingest.Ingestor, path string, frames bool, symbol string, log *slog.Logger) (r collect.Replayed, err error) {
	if frames {
		r, err = collect.Frames(ctx, in, path, log)
	} else {
		r, err = collect.Dump(ctx, in, path, symbol)
	}
	log.Info("replayed", "file", path, "trades", r.Trades, "refused", r.Refused, "last", r.Last, "whole", err == nil)
	return r, err
}

// dumpSymbol gives the symbol for dumps whose name does not tell it.
func (s *settings) dumpSymbol() (string, error) {
	switch len(s.Binance.Symbols) {
	case 0:
		return "", nil
	case 1:
		return s.Binance.Symbols[0], nil
	}
	return "", usagef("--symbols: a dump holds one symbol, %d were named", len(s.Binance.Symbols))
}

// kindsOf tells which of the files are recorded frames. It refuses what will
// not do before anything is begun: the rest of a file is read only when it is
// replayed.
func kindsOf(paths, symbols []string) ([]bool, error) {
	kinds := make([]bool, len(paths))
	for i, path := range paths {
		if err := readable(path); err != nil {
			return nil, usagef("%w", err)
		}
		f, err := file.OpenFrames(path)
		if err != nil {
			return nil, usagef("%w", err)
		}
		_, frame, err := f.Next()
		kinds[i] = err == nil && len(frame) > 0 && frame[0] == '{'
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if errors.Is(err, io.EOF) {
			return nil, usagef("%s: the file is empty", path)
		}
		if _, named := file.ParseName(path); !kinds[i] && !named && len(symbols) == 0 {
			return nil, usagef("%s: a dump whose name tells no symbol: give it by --symbols", path)
		}
	}
	return kinds, nil
}
