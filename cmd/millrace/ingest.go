package main

import (
	"context"
	"fmt"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"millrace/ingest"
	"millrace/ingest/binance"
	"millrace/ingest/collect"
	"millrace/internal/latency"
)

func (a *app) ingestCommand() command {
	return command{
		use:   "ingest",
		short: "collect trades from Binance into Kafka",
		long: "Subscribes to the trade streams of the symbols and writes every trade into the topic of ticks, with marks that promise how far time has come. " +
			"Several ingestors may collect the same symbols: a trade counts once.\n\n" +
			"What has happened since --history, and what was missed, is fetched by REST; days that are over come from the public dumps, which the data folder keeps. " +
			"It needs the folder for nothing else.",
		example: "millrace ingest --symbols BTCUSDT,ETHUSDT\n" +
			"millrace ingest --symbols BTCUSDT,ETHUSDT --history week\n" +
			"millrace ingest --symbols BTCUSDT --kafka kafka1:9092 --binance-ws ws://127.0.0.1:9443 --binance-rest http://127.0.0.1:9443",
		groups: []string{gKafka, gLog, gProduce, gBinance, gRun},
		run:    a.role("ingest", runIngest),
	}
}

// runIngest is the role, on its own.
func runIngest(ctx context.Context, s *settings, log *slog.Logger) error {
	if len(s.Binance.Symbols) == 0 {
		return usagef("--symbols: no symbols to collect; for example --symbols BTCUSDT,ETHUSDT")
	}
	in, err := openIngestor(ctx, s, log)
	if err != nil {
		return err
	}
	defer in.Close()
	live, done, err := s.live(in, log)
	if err != nil {
		return err
	}
	defer done()
	g, ctx := errgroup.WithContext(ctx)
	if s.Run.HTTP != "" {
		w, err := listenWeb(s.Run.HTTP, func() frame { return ingestFrame(in) }, log)
		if err != nil {
			return err
		}
		log.Info("serving HTTP", "url", w.url())
		g.Go(func() error { return w.run(ctx) })
	}
	g.Go(func() error { return withIngestor(ctx, in, live.Run) })
	return g.Wait()
}

// withIngestor runs the ingestor for as long as work takes.
func withIngestor(ctx context.Context, in *ingest.Ingestor, work func(context.Context) error) error {
	g, inner := errgroup.WithContext(ctx)
	// The streams' ends are written while the ingestor still runs.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	g.Go(func() error { return in.Run(running) })
	g.Go(func() error {
		defer stop()
		return work(inner)
	})
	return g.Wait()
}

// openIngestor makes sure of the topics and opens the room.
func openIngestor(ctx context.Context, s *settings, log *slog.Logger) (*ingest.Ingestor, error) {
	k, err := s.Kafka.config("ingest", log)
	if err != nil {
		return nil, err
	}
	l, err := openLog(ctx, k, s)
	if err != nil {
		return nil, err
	}
	return ingest.Open(ctx, ingest.Config{
		Kafka: k, Ticks: s.Log.Ticks, Partitions: l.Partitions, Compression: s.Log.Compression,
		Linger: s.Produce.Linger, BatchMax: s.Produce.BatchMax,
	})
}

// live gives the collector of the settings' symbols, and what lets go of its
// dumps.
func (s *settings) live(in *ingest.Ingestor, log *slog.Logger) (_ *collect.Live, done func(), err error) {
	rest, err := binance.NewClient(string(s.Binance.REST), s.Binance.CA)
	if err != nil {
		return nil, nil, usagef("--binance-rest: %w", err)
	}
	chosen, err := binance.ParseSelection(s.Binance.Symbols)
	if err != nil {
		return nil, nil, usagef("--symbols: %w", err)
	}
	cfg := binance.Config{WS: string(s.Binance.WS), CAFile: s.Binance.CA, REST: rest, Symbols: []string{"ANY"}, Margin: s.Produce.Margin}
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, nil, usagef("%w", err)
	}
	dumps, done, err := s.pastDumps(log)
	if err != nil {
		return nil, nil, err
	}
	return &collect.Live{Ingestor: in, Source: cfg, Select: chosen, History: s.history(), Dumps: dumps, Log: log}, done, nil
}

func ingestFrame(in *ingest.Ingestor) frame {
	st := in.Stats()
	return frame{
		Title:  fmt.Sprintf("millrace ingest · %s in %s acknowledged · %d refused", plural(st.Trades, "tick"), plural(st.Records, "record"), st.Refused),
		Stages: ingestStages(in),
	}
}

func ingestStages(in *ingest.Ingestor) []stageRow {
	return []stageRow{latencyStage("tick received to acknowledged", in.Stats().Latency)}
}

func latencyStage(name string, s latency.Snapshot) stageRow {
	return stageRow{name, int64(s.Count), s.Quantile(0.5), s.Quantile(0.99)}
}

func plural[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
