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
// does not know, or of which it has nothing since a new id series began. The id is the highest in the records looked at, so a lower one
// than the highest of all is possible, which costs work and nothing else.
func (i *Ingestor) Tail(ctx context.Context, symbols []string) (map[string]Last, error) {
	found := map[string]Last{}
	missing := map[string]bool{}
	for _, s := range symbols {
		missing[s] = true
	}
	admin := kadm.NewClient(i.client)
	until, err := i.ends(ctx, admin)
	if err != nil {
		return nil, err
	}
	r := i.Reader()
	defer r.Close()
	anew := map[string]bool{}
	r.anew = func(symbol string) {
		anew[symbol] = true
		delete(found, symbol)
	}
	for _, span := range tailSpans {
		early, err := i.after(ctx, admin, time.Now().Add(-span))
		if err != nil {
			return nil, err
		}
		from := map[int32]int64{}
		for s := range missing {
			p := i.partition(s)
			from[p] = early[p]
		}
		err = r.read(ctx, from, until, func(key []byte) bool { return missing[string(key)] }, func(b *schema.Batch) {
			for k := range b.Trades {
				if t := &b.Trades[k]; t.Last >= found[string(b.Symbol)].ID {
					found[string(b.Symbol)] = Last{t.Last, t.Time}
				}
			}
		})
		if err != nil {
			return nil, fmt.Errorf("ingest: read the end of %s: %w", i.cfg.Ticks, err)
		}
		until = early
		for s := range found {
			delete(missing, s)
		}
		for s := range anew { // what lies before is of another series
			delete(missing, s)
		}
		if len(missing) == 0 {
			break
		}
	}
	return found, nil
}

// Gaps reads the topic of gaps from its start on, and goes on until ctx ends.
// take gets a symbol's set each time a newer one comes.
func (i *Ingestor) Gaps(ctx context.Context, take func(schema.GapSet)) error {
	return i.gaps(ctx, nil, take)
}

// Eras reads the topic of gaps up to its end: the era in which each symbol's id
// series began, where it is not the first.
func (i *Ingestor) Eras(ctx context.Context) (map[string]uint8, error) {
	eras := map[string]uint8{}
	listed, err := kadm.NewClient(i.client).ListEndOffsets(ctx, schema.GapsTopic(i.cfg.Ticks))
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ingest: ask where %s ends: %w", schema.GapsTopic(i.cfg.Ticks), err)
	}
	started, err := kadm.NewClient(i.client).ListStartOffsets(ctx, schema.GapsTopic(i.cfg.Ticks))
	if err == nil {
		err = started.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ingest: ask where %s begins: %w", schema.GapsTopic(i.cfg.Ticks), err)
	}
	until, from := offsets(listed), offsets(started)
	for p, end := range until {
		if from[p] >= end {
			delete(until, p)
		}
	}
	if len(until) == 0 {
		return eras, nil
	}
	err = i.gaps(ctx, until, func(s schema.GapSet) { eras[s.Symbol] = max(eras[s.Symbol], s.Era) })
	return eras, err
}

// gaps is Gaps; with until it ends there.
func (i *Ingestor) gaps(ctx context.Context, until map[int32]int64, take func(schema.GapSet)) error {
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
			if r.Offset >= until[r.Partition]-1 {
				delete(until, r.Partition)
			}
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
		if until != nil && len(until) == 0 {
			return nil
		}
	}
}
