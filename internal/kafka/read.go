package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// readBytes is what Read asks for: one batch comes whole however large it is.
const readBytes = 1 << 20

// Hash tells one record from another at the same offset: it is over key and
// value, each led by its length. Beside Record.LeaderEpoch it is how a log that
// changed under us is noticed. It is stored: its form must not change.
func Hash(rec *kgo.Record) uint64 {
	var d xxhash.Digest
	d.Reset()
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(rec.Key)))
	d.Write(n[:])
	d.Write(rec.Key)
	binary.LittleEndian.PutUint64(n[:], uint64(len(rec.Value)))
	d.Write(n[:])
	d.Write(rec.Value)
	return d.Sum64()
}

// ErrOffset reports an offset that the partition does not have: retention has
// taken it, or the log has become shorter.
var ErrOffset = errors.New("offset is not in the log")

// Read gets the first record at or after offset by a request of its own: no
// consumer of the client's is touched. It is nil if there is none yet. Marks of
// transactions, and what was aborted or is undecided, are no records.
// Errors wrap ErrOffset where the log does not have the offset.
func Read(ctx context.Context, client *kgo.Client, topic string, id TopicID, partition int32, offset int64) (*kgo.Record, error) {
	for at := offset; ; {
		var rec *kgo.Record
		var next int64
		err := retry(ctx, func() (err error) {
			rec, next, err = read(ctx, client, topic, id, partition, at)
			return err
		})
		switch {
		case err != nil:
			return nil, fmt.Errorf("kafka: read %s/%d at %d: %w", topic, partition, offset, err)
		case rec != nil || next <= at:
			return rec, nil
		}
		at = next // all of the answer was marks, or was aborted
	}
}

// read gives the first record of one answer, and how far that answer reaches.
func read(ctx context.Context, client *kgo.Client, topic string, id TopicID, partition int32, offset int64) (*kgo.Record, int64, error) {
	recs, next, err := fetch(ctx, client, topic, id, partition, offset)
	if err != nil || len(recs) == 0 {
		return nil, next, err
	}
	return recs[0], next, nil
}

// fetch gets some records from offset on, and where to go on; that is offset
// itself if there are none yet.
func fetch(ctx context.Context, client *kgo.Client, topic string, id TopicID, partition int32, offset int64) ([]*kgo.Record, int64, error) {
	leader, epoch, err := leaderOf(ctx, client, topic, partition)
	if err != nil {
		return nil, 0, err
	}
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes = partition, offset, readBytes
	part.CurrentLeaderEpoch = epoch
	top := kmsg.NewFetchRequestTopic()
	top.Topic, top.TopicID, top.Partitions = topic, id, []kmsg.FetchRequestTopicPartition{part}
	req := kmsg.NewPtrFetchRequest()
	req.MinBytes, req.MaxBytes, req.SessionEpoch = 0, readBytes, -1
	req.IsolationLevel = 1 // committed
	req.Topics = []kmsg.FetchRequestTopic{top}
	resp, err := client.Broker(int(leader)).RetriableRequest(ctx, req)
	if err != nil {
		return nil, 0, err
	}
	answer := resp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(answer.ErrorCode); err != nil {
		return nil, 0, err
	}
	if len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) != 1 {
		return nil, 0, errors.New("the broker answered for another partition")
	}
	p := &answer.Topics[0].Partitions[0]
	if p.ErrorCode == kerr.OffsetOutOfRange.Code {
		return nil, 0, fmt.Errorf("%w: it has %d to %d", ErrOffset, p.LogStartOffset, p.HighWatermark)
	}
	opts := kgo.ProcessFetchPartitionOpts{Offset: offset, Topic: topic, Partition: partition, IsolationLevel: kgo.ReadCommitted()}
	got, next := kgo.ProcessFetchPartition(opts, p, kgo.DefaultDecompressor(), nil)
	if got.Err != nil {
		return nil, 0, got.Err
	}
	return got.Records, max(next, offset), nil
}

// Bounds gives the first offset of a partition and the one behind its last.
func Bounds(ctx context.Context, client *kgo.Client, topic string, partition int32) (start, end int64, err error) {
	admin := kadm.NewClient(client)
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return 0, 0, fmt.Errorf("ask where %s/%d begins: %w", topic, partition, err)
	}
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, 0, fmt.Errorf("ask where %s/%d ends: %w", topic, partition, err)
	}
	s, ok1 := starts.Lookup(topic, partition)
	e, ok2 := ends.Lookup(topic, partition)
	if err := errors.Join(s.Err, e.Err); err != nil {
		return 0, 0, fmt.Errorf("offsets of %s/%d: %w", topic, partition, err)
	}
	if !ok1 || !ok2 {
		return 0, 0, fmt.Errorf("topic %s has no partition %d", topic, partition)
	}
	return s.Offset, e.Offset, nil
}

// Scan calls yield with the records of [from, to), by requests of its own like
// Read, one fetch after the other.
func Scan(ctx context.Context, client *kgo.Client, topic string, id TopicID, partition int32, from, to int64, yield func(*kgo.Record) error) error {
	for from < to {
		var recs []*kgo.Record
		var next int64
		err := retry(ctx, func() (err error) {
			recs, next, err = fetch(ctx, client, topic, id, partition, from)
			return err
		})
		if err != nil {
			return fmt.Errorf("kafka: read %s/%d at %d: %w", topic, partition, from, err)
		}
		for _, rec := range recs {
			if rec.Offset >= to {
				return nil
			}
			if err := yield(rec); err != nil {
				return err
			}
			next = max(next, rec.Offset+1)
		}
		if next == from { // compaction has taken what was before to
			return nil
		}
		from = next
	}
	return nil
}

// leaderOf asks who leads a partition now; the client's own knowledge may be
// older than a topic that was just made.
func leaderOf(ctx context.Context, client *kgo.Client, topic string, partition int32) (leader, epoch int32, err error) {
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = kmsg.StringPtr(topic)
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{t}
	answer, err := req.RequestWith(ctx, client)
	if err != nil {
		return 0, 0, err
	}
	for _, t := range answer.Topics {
		if t.Topic == nil || *t.Topic != topic {
			continue
		}
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return 0, 0, err
		}
		for _, p := range t.Partitions {
			if p.Partition == partition {
				return p.Leader, p.LeaderEpoch, kerr.ErrorForCode(p.ErrorCode)
			}
		}
	}
	return 0, 0, kerr.UnknownTopicOrPartition
}

// retryFor bounds how long a request is made again while the cluster is
// between two leaders or has not heard of a new topic yet.
const retryFor = 10 * time.Second

// retry runs f until it succeeds or fails for a reason that does not pass.
func retry(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, retryFor)
	defer cancel()
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := f()
		if err == nil || !kerr.IsRetriable(err) {
			return err
		}
		if !pause(ctx, wait) {
			return err
		}
	}
}

// pause waits, or says false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
