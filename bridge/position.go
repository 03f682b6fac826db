package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
)

// position is a value of the bucket of positions, JSON, under the key
// <topic>.<partition>: every record of the partition before Offset is in NATS
// and acknowledged. It lies in NATS beside what it stands for, so that it is
// restored, emptied or lost together with it, and it says which life of the
// topic and of the streams it speaks of.
type position struct {
	TopicID string `json:"topic_id"` // Kafka's, base64
	Offset  int64  `json:"offset"`   // of the next record
	// Of the record before Offset: the leader epoch, −1 if unknown, and
	// kafka.Hash of it in hex, "" if there is none.
	LeaderEpoch int32  `json:"leader_epoch"`
	Hash        string `json:"hash"`
	// Stream and Newest are how far the stream of final candles and the bucket
	// of newest ones have come with this partition's candles at least.
	Stream life `json:"stream"`
	Newest life `json:"newest"`
}

func positionKey(topic string, partition int32) string {
	return topic + "." + strconv.Itoa(int(partition))
}

// loadPosition gives what is stored and its revision, 0 if there is nothing.
func loadPosition(ctx context.Context, bucket jetstream.KeyValue, key string) (position, uint64, error) {
	e, err := bucket.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return position{}, 0, nil
	}
	if err != nil {
		return position{}, 0, fmt.Errorf("read the position %s: %w", key, err)
	}
	var p position
	if err := json.Unmarshal(e.Value(), &p); err != nil || p.Offset < 0 {
		// Without a topic id it is void: the log is read from its start.
		return position{}, e.Revision(), nil
	}
	return p, e.Revision(), nil
}

// savePosition stores p over revision. If another bridge moved it meanwhile,
// the one that is further stays: both speak of candles that are in NATS.
func savePosition(ctx context.Context, bucket jetstream.KeyValue, key string, p position, revision uint64) (uint64, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return 0, fmt.Errorf("write the position %s: %w", key, err)
	}
	for range conflicts {
		next, err := put(ctx, bucket, key, data, revision)
		if err == nil {
			return next, nil
		}
		if !errors.Is(err, errConflict) {
			return 0, fmt.Errorf("write the position %s: %w", key, err)
		}
		other, r, err := loadPosition(ctx, bucket, key)
		if err != nil {
			return 0, err
		}
		if other.TopicID == p.TopicID && other.Stream.Created.Equal(p.Stream.Created) && other.Offset >= p.Offset {
			return r, nil
		}
		revision = r
	}
	return 0, fmt.Errorf("write the position %s: %d conflicts in a row", key, conflicts)
}
