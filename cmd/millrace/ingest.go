package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"millrace/ingest"
	"millrace/ingest/binance"
	"millrace/ingest/collect"
	"millrace/internal/kafka"
	"millrace/internal/latency"
)

func (a *app) ingestCommand() command {
	return command{
		use:   "ingest",
		short: "collect trades from Binance into Kafka",
		long: "Subscribes to the trade streams of the symbols, or polls REST for them, and writes every trade into the topic of ticks, with marks that promise how far time has come. " +
			"Several ingestors may collect the same symbols: a trade counts once.\n\n" +
			"What has happened since --history, and what was missed, is fetched by REST; days that are over come from the public dumps, which the data folder keeps. " +
			"It needs the folder for nothing else. One process at a time uses a folder's dumps: a second ingestor beside it does without, or has a --data of its own.\n\n" +
			"With --http it serves /metrics for Prometheus, /healthz, /readyz (no longer good once Kafka has acknowledged nothing for 5 s), a page, and /ingest/status.json, which millrace ingest status prints.",
		example: "millrace ingest --symbols BTCUSDT,ETHUSDT\n" +
			"millrace ingest --symbols BTCUSDT,ETHUSDT --history week\n" +
			"millrace ingest --symbols 'top:50:USDT,-*UPUSDT'\n" +
			"millrace ingest --symbols BTCUSDT --streams rest --binance-proxy http://proxy:3128\n" +
			"millrace ingest --symbols '*USDT' --streams sbe --binance-api-key-file key\n" +
			"millrace ingest --symbols BTCUSDT --kafka kafka1:9092 --binance-ws ws://127.0.0.1:9443 --binance-rest http://127.0.0.1:9443",
		groups: []string{gKafka, gLog, gProduce, gBinance, gRun},
		subs:   []command{a.ingestStatusCommand()},
		run:    a.role("ingest", runIngest),
	}
}

// runIngest is the role, on its own.
func runIngest(ctx context.Context, s *settings, log *slog.Logger) error {
	if len(s.Binance.Symbols) == 0 {
		return usagef("--symbols: no symbols to collect; for example --symbols BTCUSDT,ETHUSDT")
	}
	live, done, err := s.live(log)
	if err != nil {
		return err
	}
	defer done()
	in, _, err := openIngestor(ctx, s, log)
	if err != nil {
		return err
	}
	defer in.Close()
	live.Ingestor = in
	g, ctx := errgroup.WithContext(ctx)
	watch := &ingestWatch{in: in}
	watch.live.Store(live)
	if s.Run.HTTP != "" {
		w, err := listenWeb(s.Run.HTTP, watch.frame, log)
		if err != nil {
			return err
		}
		w.more = watch.routes
		log.Info("serving HTTP", "url", w.url())
		g.Go(func() error { return w.run(ctx) })
	}
	g.Go(func() error { return withIngestor(ctx, in, log, live.Run) })
	g.Go(func() error { return tellFrames(ctx, watch.frame, log) })
	return g.Wait()
}

// tellEvery is how often a role logs how it stands.
const tellEvery = time.Minute

// tellFrames logs the frame now and then, and at the end.
func tellFrames(ctx context.Context, next func() frame, log *slog.Logger) error {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			f := next()
			log.Info(f.line())
			return nil
		}
		f := next()
		log.Info(f.line())
	}
}

// withIngestor runs the ingestor for as long as work takes. From the end of ctx
// on, both together have the ingestor's bound.
func withIngestor(ctx context.Context, in *ingest.Ingestor, log *slog.Logger, work func(context.Context) error) error {
	g, inner := errgroup.WithContext(ctx)
	// The streams' ends are written while the ingestor still runs.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer context.AfterFunc(inner, in.Ending)()
	g.Go(func() error { return in.Run(running) })
	g.Go(func() error { return tellKafka(running, in, log) })
	g.Go(func() error {
		defer stop()
		return work(inner)
	})
	return g.Wait()
}

// openIngestor makes sure of the topics and opens the room.
func openIngestor(ctx context.Context, s *settings, log *slog.Logger) (*ingest.Ingestor, kafka.Lineage, error) {
	k, err := s.Kafka.config("ingest", log)
	if err != nil {
		return nil, kafka.Lineage{}, err
	}
	l, err := openLog(ctx, k, s)
	if err != nil {
		return nil, l, err
	}
	in, err := ingest.Open(ctx, ingest.Config{
		Kafka: k, Ticks: s.Log.Ticks, Partitions: l.Partitions, Compression: s.Log.Compression,
		Linger: s.Produce.Linger, BatchMax: s.Produce.BatchMax,
	})
	return in, l, err
}

// live gives the collector of the settings' symbols, without its Ingestor, and
// what lets go of its dumps.
func (s *settings) live(log *slog.Logger) (_ *collect.Live, done func(), err error) {
	cfg, err := s.Binance.source(s.given("binance-ws"), s.Produce.Margin)
	if err != nil {
		return nil, nil, err
	}
	chosen, err := binance.ParseSelection(s.Binance.Symbols)
	if err != nil {
		return nil, nil, usagef("--%w", err)
	}
	dumps, done, err := s.pastDumps(log)
	if err != nil {
		return nil, nil, err
	}
	return &collect.Live{Source: cfg, Select: chosen, Poll: s.Binance.Streams == streamsREST, History: s.history(), Dumps: dumps, Log: log}, done, nil
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
