package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/schema"
)

// Last is the newest that the log has of a symbol.
type Last struct {
	ID   int64 // the highest id
	Time schema.Time
}

// tailSpans are how far back Tail looks, one after the other: nearly always the
// newest minutes tell of every symbol.
var tailSpans = [...]time.Duration{2 * time.Minute, time.Hour, 24 * time.Hour}

// Tail reads from the end of the log what it has of the symbols: where a
// collector that was stopped goes on. Its looks reach a day back; a symbol that
// was not traded in that time is missing in the answer, as is one that the log
// does not know. The id is the highest in the records looked at, so a lower one
// than the highest of all is possible, which costs work and nothing else.
func (i *Ingestor) Tail(ctx context.Context, symbols []string) (map[string]Last, error) {
	found := map[string]Last{}
	missing := map[string]bool{}
	for _, s := range symbols {
		missing[s] = true
	}
	admin := kadm.NewClient(i.client)
	ends, err := admin.ListEndOffsets(ctx, i.cfg.Ticks)
	if err != nil {
		return nil, fmt.Errorf("ingest: ask where %s ends: %w", i.cfg.Ticks, err)
	}
	until := offsets(ends)
	for _, span := range tailSpans {
		from, err := admin.ListOffsetsAfterMilli(ctx, time.Now().Add(-span).UnixMilli(), i.cfg.Ticks)
		if err != nil {
			return nil, fmt.Errorf("ingest: ask for the newest records of %s: %w", i.cfg.Ticks, err)
		}
		if err := i.scan(ctx, offsets(from), until, missing, found); err != nil {
			return nil, fmt.Errorf("ingest: read the end of %s: %w", i.cfg.Ticks, err)
		}
		until = offsets(from)
		for s := range missing {
			if _, ok := found[s]; ok {
				delete(missing, s)
			}
		}
		if len(missing) == 0 {
			break
		}
	}
	return found, nil
}

func offsets(listed kadm.ListedOffsets) map[int32]int64 {
	out := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { out[o.Partition] = o.Offset })
	return out
}

// scan reads [from, until) of the partitions that have wanted symbols.
func (i *Ingestor) scan(ctx context.Context, from, until map[int32]int64, wanted map[string]bool, found map[string]Last) error {
	parts := map[int32]kgo.Offset{}
	for s := range wanted {
		p := i.partition(s)
		if from[p] < until[p] {
			parts[p] = kgo.NewOffset().At(from[p])
		}
	}
	if len(parts) == 0 {
		return nil
	}
	client, err := kafka.Connect(ctx, i.cfg.Kafka, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{i.cfg.Ticks: parts}))
	if err != nil {
		return err
	}
	defer client.Close()
	var tick schema.Tick
	for len(parts) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachPartition(func(f kgo.FetchTopicPartition) {
			for _, r := range f.Records {
				if r.Offset >= until[r.Partition]-1 {
					delete(parts, r.Partition)
				}
				if r.Offset >= until[r.Partition] || !wanted[string(r.Key)] || tick.Decode(r.Value) != nil || tick.Kind != schema.KindTrades {
					continue
				}
				for k := range tick.Batch.Trades {
					if t := &tick.Batch.Trades[k]; t.Last >= found[string(r.Key)].ID {
						found[string(r.Key)] = Last{t.Last, t.Time}
					}
				}
			}
		})
	}
	return nil
}

// Gaps reads the topic of gaps from its start on, and goes on until ctx ends.
// take gets a symbol's set each time a newer one comes.
func (i *Ingestor) Gaps(ctx context.Context, take func(schema.GapSet)) error {
	topic := schema.GapsTopic(i.cfg.Ticks)
	client, err := kafka.Connect(ctx, i.cfg.Kafka, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer client.Close()
	newest := map[string][2]int64{}
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil || fetches.IsClientClosed() {
			return nil
		}
		for _, e := range fetches.Errors() {
			return fmt.Errorf("ingest: read %s/%d: %w", e.Topic, e.Partition, e.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			set, err := schema.DecodeGapSet(r.Value)
			if err != nil {
				return // who writes it is told by the processor's own reading
			}
			if at := newest[set.Symbol]; set.Applied < at[0] || set.Applied == at[0] && set.Opened < at[1] {
				return
			}
			newest[set.Symbol] = [2]int64{set.Applied, set.Opened}
			take(set)
		})
	}
}
