package main

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"millrace/internal/kafka"
	"millrace/schema"
)

// topics gives how the topics are laid out. A number of partitions is asked of
// topics that are there already only where somebody set one.
func (s *settings) topics() kafka.Topics {
	t := kafka.Topics{
		Ticks: s.Log.Ticks, Candles: s.Log.Candles,
		Replication: int16(s.Log.Replication), Compression: s.Log.Compression,
		TicksRetention: s.Log.TicksRetention, CandlesRetention: s.Log.CandlesRetention,
	}
	if s.given("partitions") {
		t.Partitions = int32(s.Log.Partitions)
	}
	t.EnsureDefaults()
	return t
}

// newLog gives the settings with which a new log begins.
func (s *settings) newLog() schema.Settings {
	l := schema.Settings{
		Partitions: int32(s.Log.Partitions), Periods: s.Log.Periods, ThreeDay: s.Log.ThreeDay, EmptySeconds: s.Log.EmptySeconds,
		Program: thisVersion().Version,
	}
	l.EnsureDefaults()
	return l
}

// wished gives the log's own settings with what somebody set put in.
func (s *settings) wished(log schema.Settings) schema.Settings {
	mine := s.newLog()
	if s.given("partitions") {
		log.Partitions = mine.Partitions
	}
	if s.given("periods") {
		log.Periods = mine.Periods
	}
	if s.given("three-day-anchor") {
		log.ThreeDay = mine.ThreeDay
	}
	if s.given("empty-seconds") {
		log.EmptySeconds = mine.EmptySeconds
	}
	return log
}

// openLog makes the topics that are missing and refuses those that contradict
// what was set. The log has the last word on what wasn't.
func openLog(ctx context.Context, k kafka.Config, s *settings) (kafka.Lineage, error) {
	client, err := connect(ctx, k)
	if err != nil {
		return kafka.Lineage{}, err
	}
	defer client.Close()
	l, err := kafka.Ensure(ctx, client, s.topics(), s.newLog())
	if err != nil {
		var refused *kerr.Error
		if ctx.Err() == nil && exitCode(err) == exitFailure && !errors.As(err, &refused) {
			err = usagef("%w", err) // Kafka did answer: the topics contradict the settings
		}
		return l, err
	}
	if err := l.Check(s.wished(l.Settings)); err != nil {
		return l, usagef("%w", err)
	}
	return l, nil
}
