package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// recallMost bounds what is looked through: a million ids are 100 MB.
	// Behind it the stream's own dedupe window must do.
	recallMost  = 1_000_000
	recallFetch = 1000
)

// recall knows candles that are in the stream although no position says so:
// sent before a crash or a cut, and never confirmed to the sender. They are
// behind the sequence of the last position, so the end of the stream is looked
// through, ids only. Thus a candle comes once even when the bridge was away for
// longer than the stream remembers ids.
type recall struct {
	mu  sync.Mutex
	ids map[string]uint64 // Nats-Msg-Id to the stream's sequence
}

// load reads the ids from the sequence from on.
func (r *recall) load(ctx context.Context, stream jetstream.Stream, from, last uint64, log *slog.Logger) error {
	if from > last {
		return nil
	}
	if last-from >= recallMost {
		log.Warn("the stream has gone on too far to look through all of it; older finals may come twice",
			"stream_seq", last, "position_seq", from, "looked_through", recallMost)
		from = last - recallMost + 1
	}
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
		AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true, MemoryStorage: true, Replicas: 1,
		InactiveThreshold: time.Minute,
	})
	if err != nil {
		return fmt.Errorf("look for candles that are in the stream already: %w", err)
	}
	// By number, not until nothing comes: a consumer that was just made may
	// answer that it has nothing.
	for pending := consumer.CachedInfo().NumPending; pending > 0; {
		pending, err = r.fetch(ctx, consumer, pending)
		if err != nil {
			return fmt.Errorf("look for candles that are in the stream already: %w", err)
		}
	}
	if err := stream.DeleteConsumer(ctx, consumer.CachedInfo().Name); err != nil {
		log.Debug("delete a consumer of the bridge's own; it ends by itself", "err", err)
	}
	return nil
}

// fetch reads some of what is pending and gives how much is left.
func (r *recall) fetch(ctx context.Context, consumer jetstream.Consumer, pending uint64) (uint64, error) {
	messages, err := consumer.Fetch(int(min(pending, recallFetch)), jetstream.FetchMaxWait(time.Second))
	if err != nil {
		return pending, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids == nil {
		r.ids = map[string]uint64{}
	}
	n := 0
	for m := range messages.Messages() {
		n++
		meta, err := m.Metadata()
		if err != nil {
			return pending, err
		}
		pending = meta.NumPending
		if id := m.Headers().Get(jetstream.MsgIDHeader); id != "" {
			r.ids[id] = meta.Sequence.Stream
		}
	}
	if err := messages.Error(); err != nil || n > 0 {
		return pending, err
	}
	// Slow, or what was pending has grown too old meanwhile.
	info, err := consumer.Info(ctx)
	if err != nil {
		return pending, err
	}
	return info.NumPending, nil
}

// take gives the sequence of a candle that is in the stream, and forgets it.
func (r *recall) take(id string) (uint64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seq, ok := r.ids[id]
	delete(r.ids, id)
	return seq, ok
}
