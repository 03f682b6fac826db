package bridge

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kadm"

	"millrace/internal/kafka"
)

// partition is one of Kafka's, while it is ours. When it goes to another
// bridge and comes back it is a new one: what was known may be old.
type partition struct {
	number  int32
	series  map[seriesKey]*series // the reader's
	fetched atomic.Int64          // the offset behind what was handed on

	// The settler's.
	position position
	revision uint64 // of the stored one
}

// assigned is the partitions that are ours.
type assigned struct {
	mu    sync.Mutex
	parts map[int32]*partition
}

func (a *assigned) get(number int32) *partition {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.parts[number]
}

func (a *assigned) add(parts []*partition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.parts == nil {
		a.parts = map[int32]*partition{}
	}
	for _, p := range parts {
		a.parts[p.number] = p
	}
}

func (a *assigned) remove(number int32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.parts, number)
}

func (a *assigned) all() []*partition {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]*partition, 0, len(a.parts))
	for _, p := range a.parts {
		list = append(list, p)
	}
	return list
}

// assign makes the partitions ours and gives the offset at which to begin
// each: the position stored in NATS, or the log's start where there is none
// that holds.
func (d *delivery) assign(ctx context.Context, numbers []int32) (map[int32]int64, error) {
	starts, ends, err := d.bounds(ctx)
	if err != nil {
		return nil, err
	}
	stream, newest, err := d.b.store.lives(ctx)
	if err != nil {
		return nil, err
	}
	from := make(map[int32]int64, len(numbers))
	parts := make([]*partition, 0, len(numbers))
	again := stream.Seq + 1 // the first sequence to look through
	for _, n := range numbers {
		start, end := starts[n], ends[n]
		stored, revision, err := loadPosition(ctx, d.b.store.positions, positionKey(d.b.cfg.Topic, n))
		if err != nil {
			return nil, err
		}
		why, err := d.doubt(ctx, n, stored, start, end, stream, newest)
		if err != nil {
			return nil, err
		}
		p := &partition{number: n, series: map[seriesKey]*series{}, revision: revision, position: stored}
		if why != "" {
			if revision != 0 {
				d.b.cfg.Log.Warn("the stored position does not hold; candles are sent again from the log's start",
					"topic", d.b.cfg.Topic, "partition", n, "position", stored.Offset, "start", start, "why", why)
			} else if end > start {
				d.b.cfg.Log.Info("nats has nothing of it: sending all that the topic has",
					"topic", d.b.cfg.Topic, "partition", n, "start", start, "end", end)
			}
			p.position = position{
				TopicID: d.id.String(), Offset: start, LeaderEpoch: -1,
				Stream: stream, Newest: life{Created: newest.Created},
			}
			// At once: whatever happens next, the stream is looked through from here.
			if p.revision, err = savePosition(ctx, d.b.store.positions, positionKey(d.b.cfg.Topic, n), p.position, revision); err != nil {
				return nil, err
			}
		} else if p.position.Offset < start {
			d.b.cfg.Log.Warn("the log no longer has what comes after the position; older candles are in SQL only",
				"topic", d.b.cfg.Topic, "partition", n, "position", stored.Offset, "start", start)
			p.position.Offset = start
		}
		if p.position.Offset < end {
			again = min(again, p.position.Stream.Seq+1)
		}
		from[n] = p.position.Offset
		p.fetched.Store(p.position.Offset)
		d.b.progress.setEnd(n, end)
		d.b.progress.set(n, p.position.Offset)
		parts = append(parts, p)
	}
	if err := d.recall.load(ctx, d.b.store.stream, again, stream.Seq, d.b.cfg.Log); err != nil {
		return nil, err
	}
	d.assigned.add(parts)
	return from, nil
}

// doubt says why a stored position does not hold, "" if it does.
func (d *delivery) doubt(ctx context.Context, n int32, p position, start, end int64, stream, newest life) (string, error) {
	switch {
	case p.TopicID == "":
		return "there is none", nil
	case p.TopicID != d.id.String():
		return "it is of another life of the topic", nil
	case p.Offset > end:
		return fmt.Sprintf("the log has become shorter: it ends at %d", end), nil
	case !p.Stream.in(stream):
		return "the stream of final candles is not what it was", nil
	case !p.Newest.in(newest):
		return "the bucket of newest candles is not what it was", nil
	}
	if p.Hash == "" || p.Offset <= start {
		return "", nil
	}
	rec, err := kafka.Read(ctx, d.admin, d.b.cfg.Topic, kafka.TopicID(d.id), n, p.Offset-1)
	if err != nil {
		return "", err
	}
	// Compaction may have taken that very record; then there is nothing to hold
	// against.
	if rec != nil && rec.Offset == p.Offset-1 && hashText(kafka.Hash(rec)) != p.Hash {
		return "the log has other content than it had", nil
	}
	return "", nil
}

func hashText(hash uint64) string { return strconv.FormatUint(hash, 16) }

// bounds asks where each partition's log starts and ends.
func (d *delivery) bounds(ctx context.Context) (starts, ends map[int32]int64, _ error) {
	admin := kadm.NewClient(d.admin)
	offsets := func(list func(context.Context, ...string) (kadm.ListedOffsets, error)) (map[int32]int64, error) {
		got, err := list(ctx, d.b.cfg.Topic)
		if err == nil {
			err = got.Error()
		}
		if err != nil {
			return nil, fmt.Errorf("kafka: ask for the bounds of %s: %w", d.b.cfg.Topic, err)
		}
		m := map[int32]int64{}
		got.Each(func(o kadm.ListedOffset) { m[o.Partition] = o.Offset })
		return m, nil
	}
	starts, err := offsets(admin.ListStartOffsets)
	if err == nil {
		ends, err = offsets(admin.ListEndOffsets)
	}
	return starts, ends, err
}
