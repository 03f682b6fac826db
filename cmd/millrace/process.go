package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"millrace/processor"
	"millrace/schema"
)

func (a *app) processCommand() command {
	return command{
		use:   "process",
		short: "make candles of the ticks in Kafka, into SQL and back into Kafka",
		long: "Consumes ticks, keeps each partition's state in the data folder, and writes what the windows say into the SQL store and the topic of candles. " +
			"Several processors share the partitions; each needs a data folder of its own. " +
			"Killed and started again, it goes on from its state; without state, or with one that is damaged, from the newest checkpoint if --checkpoints names a store, else from the log. " +
			"With --standby the others keep each partition's state warm and take over at once.",
		example: "millrace process --sql mysql://millrace:secret@127.0.0.1:3306/market\n" +
			"millrace process --kafka kafka1:9092 --data /var/lib/millrace --http 127.0.0.1:8082",
		groups: []string{gKafka, gLog, gProcess, gKeeping, gSQL, gRun},
		run:    a.role("process", runProcess),
	}
}

// runProcess is the role, on its own.
func runProcess(ctx context.Context, s *settings, log *slog.Logger) error {
	lock, err := lockData(s.Run.Data)
	if err != nil {
		return err
	}
	defer lock.unlock() //nolint:errcheck // the kernel drops the lock with the process
	keeping, err := openKeeping(ctx, s)
	if err != nil {
		return err
	}
	defer keeping.close()
	p, err := openProcessor(ctx, s, keeping, log, nil)
	if err != nil {
		return err
	}
	defer p.Close()
	g, ctx := errgroup.WithContext(ctx)
	if s.Run.HTTP != "" {
		w, err := listenWeb(s.Run.HTTP, func() frame { return processFrame(p) }, log)
		if err != nil {
			return err
		}
		w.more = stateRoutes(p)
		log.Info("serving HTTP", "url", w.url())
		g.Go(func() error { return w.run(ctx) })
	}
	if s.SQL.DSN == "" {
		log.Warn("no --sql: candles go to Kafka only")
	}
	log.Info("processing", "kafka", s.Kafka.Brokers, "topic", s.Log.Ticks, "state", stateDir(s), "sql", s.SQL.DSN.String(), "checkpoints", keeping.name())
	g.Go(func() error { return p.Run(ctx) })
	return g.Wait()
}

func stateDir(s *settings) string { return filepath.Join(s.Run.Data, "state") }

// openProcessor makes and opens the room as the settings say.
func openProcessor(ctx context.Context, s *settings, keeping *keeping, log *slog.Logger, published func([]schema.Candle)) (*processor.Processor, error) {
	k, err := s.Kafka.config("process", log)
	if err != nil {
		return nil, err
	}
	if _, err := openLog(ctx, k, s); err != nil {
		return nil, err
	}
	cfg := processor.Config{
		Kafka: k, Topics: s.topics(), Dir: stateDir(s), Settings: s.newLog(), MicroBatch: s.Process.MicroBatch, Standby: s.Process.Standby,
		Published: published, Log: log, Checkpoints: keeping.config(s), Program: thisVersion().Version, Fatal: ending(log),
		Check: func(inForce schema.Settings) error {
			want := s.wished(inForce)
			if d := want.Diff(&inForce); d != "" {
				return usagef("the log of %s has other settings in force: %s; run with the log's, or name another topic", s.Log.Ticks, d)
			}
			return nil
		},
	}
	if s.Process.Transactions {
		cfg.Transactions = &processor.Transactions{Timeout: s.Process.TransactionTimeout}
	}
	if s.SQL.DSN != "" {
		q, err := s.SQL.config(s.Process.Keep, log)
		if err != nil {
			return nil, err
		}
		cfg.SQL = &q
	}
	p, err := processor.New(cfg)
	if err != nil {
		return nil, usagef("%w", err)
	}
	if err := p.Open(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

func processFrame(p *processor.Processor) frame {
	var c struct{ trades, duplicates, refused int64 }
	status := p.Status()
	for _, s := range status {
		c.trades += s.Counts.Trades
		c.duplicates += s.Counts.Duplicates
		c.refused += s.Counts.Refused
	}
	return frame{
		Title:  "millrace process · " + plural(len(status), "partition") + " · " + plural(c.trades, "tick") + " · " + plural(c.duplicates, "duplicate") + " · " + plural(c.refused, "dead letter"),
		Notes:  processNotes(p),
		Stages: processStages(p),
	}
}

// processNotes says what the process has beside the partitions it works on.
func processNotes(p *processor.Processor) (notes []string) {
	if opening := p.Opening(); len(opening) > 0 {
		notes = append(notes, fmt.Sprintf("opening the state of partition %s", numbers(opening)))
	}
	for _, s := range p.Standbys() {
		what := "looking for its state"
		if s.Open {
			what = fmt.Sprintf("at %d, %s behind", s.Offset, plural(s.Behind, "record"))
		}
		notes = append(notes, fmt.Sprintf("standing by for partition %d: %s", s.Partition, what))
	}
	return notes
}

func numbers(list []int32) string {
	text := make([]string, len(list))
	for i, n := range list {
		text[i] = strconv.Itoa(int(n))
	}
	return strings.Join(text, ", ")
}

func processStages(p *processor.Processor) []stageRow {
	st := p.Stages()
	return []stageRow{
		latencyStage("tick received to processor", st.Taken.Snapshot()),
		latencyStage("micro-batch to commit", st.Committed.Snapshot()),
		latencyStage("tick received to candles", st.Candles.Snapshot()),
		latencyStage("tick received to SQL", st.SQL.Snapshot()),
	}
}
