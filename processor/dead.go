package processor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schema"
	"millrace/state"
)

// What a dead letter holds at most: with its key and its headers it is smaller
// than any batch that a broker takes by default.
const (
	maxDeadValue = 900_000
	maxDeadText  = 2_000
)

// deadLetters makes the records for what a micro-batch refused: keyed by where
// the tick stands in which log, so that a replay writes the same ones again.
// The value is the refused trade as a batch of its own or, where that is not
// known, the whole record. Of a record so large that it would not fit beside its
// headers only the beginning is kept: its place in the log tells the rest.
func deadLetters(topic string, pos state.Position, refused []state.Refusal, value func(offset int64) []byte) []*kgo.Record {
	out := make([]*kgo.Record, 0, len(refused))
	for i := range refused {
		f := &refused[i]
		var body []byte
		if f.Trade.ID != 0 || f.Trade.Time != 0 {
			body, _ = schema.AppendTrades(nil, f.Symbol, []schema.Trade{f.Trade}, 0, 0)
		}
		if len(body) == 0 {
			body = value(f.Offset)
			body = body[:min(len(body), maxDeadValue)]
		}
		out = append(out, &kgo.Record{
			Topic: topic, Partition: pos.Partition,
			Key:   fmt.Appendf(nil, "%x|%d|%d|%d", pos.TopicID, pos.Partition, f.Offset, f.Index),
			Value: body,
			Headers: []kgo.RecordHeader{
				{Key: schema.HeaderReason, Value: []byte(f.Reason)},
				{Key: schema.HeaderError, Value: []byte(strings.ToValidUTF8(f.Text[:min(len(f.Text), maxDeadText)], ""))},
				{Key: schema.HeaderTopicID, Value: fmt.Appendf(nil, "%x", pos.TopicID)},
				{Key: schema.HeaderPartition, Value: strconv.AppendInt(nil, int64(pos.Partition), 10)},
				{Key: schema.HeaderOffset, Value: strconv.AppendInt(nil, f.Offset, 10)},
				{Key: schema.HeaderIndex, Value: strconv.AppendInt(nil, int64(f.Index), 10)},
			},
		})
	}
	return out
}

// produce sends records and waits until all are acknowledged, however long
// Kafka is away: a micro-batch is not committed before its dead letters are.
func produce(ctx context.Context, client *kgo.Client, recs []*kgo.Record) error {
	if len(recs) == 0 {
		return nil
	}
	atLetters.Hit()
	err := client.ProduceSync(ctx, recs...).FirstErr()
	atLettersSent.Hit()
	return err
}

// maxLetters is how many dead letters are gathered at most: a symbol that has
// stopped refuses all its trades.
const maxLetters = 5000

// bury writes dead letters for what was refused, and waits for them.
func (o *owner) bury(ctx context.Context, recs []*kgo.Record) error {
	part := o.store.Partition()
	refused := part.TakeRefusals()
	if len(refused) == 0 {
		return nil
	}
	letters := deadLetters(o.p.cfg.Topics.Dead(), part.Position(), refused, func(off int64) []byte { return valueAt(recs, off) })
	if err := produce(ctx, o.p.client, letters); err != nil {
		return fmt.Errorf("write dead letters: %w", err)
	}
	o.alarm(refused)
	refused = slices.DeleteFunc(refused, func(f state.Refusal) bool { return f.Reason == state.Series && part.Stopped(f.Symbol) })
	for i := range refused[:min(len(refused), 10)] {
		f := &refused[i]
		o.p.log.Warn("refused a tick; it stands in the dead letters", "partition", o.partition, "offset", f.Offset, "reason", f.Reason, "why", f.Text[:min(len(f.Text), maxDeadText)])
	}
	if more := len(refused) - 10; more > 0 {
		o.p.log.Warn("refused more ticks", "partition", o.partition, "more", more)
	}
	return nil
}

// alarmEvery is how often it is said that a symbol stands still.
const alarmEvery = time.Minute

// alarm says that a symbol's ids have begun anew, so that it stands still until
// an operator has looked at it.
func (o *owner) alarm(refused []state.Refusal) {
	for i := range refused {
		f := &refused[i]
		if f.Reason != state.Series || !o.store.Partition().Stopped(f.Symbol) || time.Since(o.alarmed[f.Symbol]) < alarmEvery {
			continue
		}
		if o.alarmed == nil {
			o.alarmed = map[string]time.Time{}
		}
		o.alarmed[f.Symbol] = time.Now()
		o.p.log.Error("the symbol stands still: its trade ids have begun anew; its trades go to the dead letters until millrace series --symbol "+f.Symbol+" begins the new series",
			"partition", o.partition, "symbol", f.Symbol, "trade", f.Trade.ID, "at", f.Trade.Time)
	}
}

func valueAt(recs []*kgo.Record, offset int64) []byte {
	i, ok := slices.BinarySearchFunc(recs, offset, func(r *kgo.Record, offset int64) int { return cmp.Compare(r.Offset, offset) })
	if !ok {
		return nil
	}
	return recs[i].Value
}
