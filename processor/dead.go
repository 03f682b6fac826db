package processor

import (
	"context"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schema"
	"millrace/state"
)

// deadLetters makes the records for what a micro-batch refused: keyed by where
// the tick stands in which log, so that a replay writes the same ones again.
// The value is the refused trade as a batch of its own or, where that is not
// known, the whole record.
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
		}
		out = append(out, &kgo.Record{
			Topic: topic, Partition: pos.Partition,
			Key:   fmt.Appendf(nil, "%x|%d|%d|%d", pos.TopicID, pos.Partition, f.Offset, f.Index),
			Value: body,
			Headers: []kgo.RecordHeader{
				{Key: schema.HeaderReason, Value: []byte(f.Reason)},
				{Key: schema.HeaderError, Value: []byte(f.Text)},
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
	return client.ProduceSync(ctx, recs...).FirstErr()
}
