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
	for {
		got, err := r.fetch(consumer)
		if err != nil {
			return fmt.Errorf("look for candles that are in the stream already: %w", err)
		}
		if got == 0 {
			break
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if err := stream.DeleteConsumer(ctx, consumer.CachedInfo().Name); err != nil {
		log.Debug("delete a consumer of the bridge's own; it ends by itself", "err", err)
	}
	return nil
}

func (r *recall) fetch(consumer jetstream.Consumer) (n int, _ error) {
	messages, err := consumer.FetchNoWait(recallFetch)
	if err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids == nil {
		r.ids = map[string]uint64{}
	}
	for m := range messages.Messages() {
		n++
		meta, err := m.Metadata()
		if err != nil {
			return n, err
		}
		if id := m.Headers().Get(jetstream.MsgIDHeader); id != "" {
			r.ids[id] = meta.Sequence.Stream
		}
	}
	return n, messages.Error()
}

// take gives the sequence of a candle that is in the stream, and forgets it.
func (r *recall) take(id string) (uint64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seq, ok := r.ids[id]
	delete(r.ids, id)
	return seq, ok
}
