package main

import (
	"context"
	"fmt"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"millrace/bridge"
)

func (a *app) bridgeCommand() command {
	return command{
		use:   "bridge",
		short: "carry candles from Kafka to NATS",
		long: "Carries each candle from Kafka to NATS as it grows and when it is final: every update on candles.PERIOD.SYMBOL, " +
			"the closed, holed and final ones on candles.final.PERIOD.SYMBOL in the JetStream stream CANDLES, and the newest of each series in the bucket candles. " +
			"Several bridges share the work. What it sent is kept in NATS, so it goes on where it stopped.",
		example: "millrace bridge --kafka kafka1:9092 --nats nats://nats1:4222\n" +
			"millrace bridge --nats tls://nats1:4222 --nats-creds bridge.creds --http 127.0.0.1:8081",
		groups: []string{gKafka, gLog, gNATS, gRun},
		leave: append([]string{"ticks-topic", "data"}, names(func(r *setting) bool {
			return r.group == gLog && r.name != "candles-topic"
		})...),
		run: a.role("bridge", runBridge),
	}
}

// runBridge is the role, on its own.
func runBridge(ctx context.Context, s *settings, log *slog.Logger) error {
	b, err := openBridge(ctx, s, s.NATS.Group, log)
	if err != nil {
		return err
	}
	defer b.Close()
	g, ctx := errgroup.WithContext(ctx)
	if s.Run.HTTP != "" {
		w, err := listenWeb(s.Run.HTTP, func() frame { return bridgeFrame(b) }, log)
		if err != nil {
			return err
		}
		log.Info("serving HTTP", "url", w.url())
		g.Go(func() error { return w.run(ctx) })
	}
	log.Info("carrying candles", "kafka", s.Kafka.Brokers, "topic", s.Log.Candles, "nats", s.NATS.URL)
	g.Go(func() error { return b.Run(ctx) })
	return g.Wait()
}

// openBridge makes and opens the room as the settings say. Without a group it
// takes all partitions.
func openBridge(ctx context.Context, s *settings, group string, log *slog.Logger) (*bridge.Bridge, error) {
	k, err := s.Kafka.config("bridge", log)
	if err != nil {
		return nil, err
	}
	n, err := s.NATS.config()
	if err != nil {
		return nil, err
	}
	client, err := connect(ctx, k) // for the class of its error: the room tries two servers
	if err != nil {
		return nil, err
	}
	client.Close()
	b, err := bridge.New(bridge.Config{
		Kafka: k, NATS: n,
		Topic: s.Log.Candles, Group: group,
		Replicas: s.NATS.Replicas, MaxAge: s.NATS.StreamAge, Log: log,
	})
	if err != nil {
		return nil, usagef("%w", err)
	}
	if err := b.Open(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

func bridgeFrame(b *bridge.Bridge) frame {
	st := b.Stats()
	return frame{
		Title: fmt.Sprintf("millrace bridge · %d candles sent · %d in the stream · %d to come", st.Published, st.Acked, st.TotalLag()),
		Stages: []stageRow{
			latencyStage("tick received to NATS", st.Received),
			latencyStage("commit to NATS", st.Committed),
		},
	}
}
