package bridge

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"millrace/schema"
)

const (
	// SchemaHeader tells the version of the payload's format.
	SchemaHeader = "Millrace-Schema"
	// SchemaVersion grows when a field changes its meaning, never when one is
	// added.
	SchemaVersion = "1"
	// ContentType of every message.
	ContentType = "application/json"

	contentTypeHeader = "Content-Type"
)

// writers bounds how many entries of the buckets are written at once.
const writers = 64

// errCut reports that the connection was lost or replaced: what was sent on it
// and not confirmed may be lost.
var errCut = errors.New("the connection to nats was cut")

// session is one unbroken connection to NATS. A core publish has no answer of
// its own, so a batch counts as sent once the server has answered a ping after
// it on the same connection, and the stream has acknowledged its candles. When
// the connection breaks, the next session sends everything again that was not
// settled, in order: so the last message of a window stays its newest, and
// subscribers see a repeat at worst.
type session struct {
	d     *delivery
	epoch uint64      // of the connection
	sent  chan *batch // to the settler
}

// deliver runs one session after another until batches ends and all is
// settled, or ctx ends.
func (d *delivery) deliver(ctx context.Context, batches <-chan *batch) error {
	var pause pauser
	for {
		before := d.b.count.rounds.Load()
		err := d.session(ctx, batches)
		if err == nil || errors.Is(err, errAnew) || errors.Is(err, errDenied) {
			return err
		}
		if ctx.Err() != nil || d.b.conn.IsClosed() {
			return err
		}
		if d.b.count.rounds.Load() > before {
			pause.reset()
		}
		d.b.cfg.Log.Warn("sending again what nats has not confirmed", "batches", len(d.unsettled.all()), "err", err)
		if !pause.wait(ctx) {
			return err
		}
	}
}

func (d *delivery) session(ctx context.Context, batches <-chan *batch) error {
	conn := d.b.conn
	if err := awaitConnected(ctx, conn); err != nil {
		return err
	}
	s := &session{d: d, epoch: conn.Stats().Reconnects, sent: make(chan *batch, 64)}
	err := s.run(ctx, batches)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		// The connection stands but nothing answers on it: get a new one, or
		// what is still in the old one could come after what is sent next.
		if reconnectErr := conn.ForceReconnect(); reconnectErr != nil {
			err = errors.Join(err, reconnectErr)
		}
	}
	return err
}

func (s *session) run(ctx context.Context, batches <-chan *batch) error {
	d, conn := s.d, s.d.b.conn
	readyCtx, cancel := context.WithTimeout(ctx, d.b.cfg.AnswerWait)
	defer cancel()
	if err := s.ready(readyCtx); err != nil {
		return err
	}
	cut := conn.StatusChanged(nats.RECONNECTING, nats.DISCONNECTED, nats.CLOSED)
	defer conn.RemoveStatusListener(cut)

	g, ctx := errgroup.WithContext(ctx)
	done := make(chan struct{})
	g.Go(func() error { return s.publish(ctx, batches) })
	g.Go(func() error {
		defer close(done)
		return s.settle(ctx)
	})
	g.Go(func() error {
		select {
		case <-cut:
			return errCut
		case <-d.b.denied.told:
			return d.b.denied.err
		case <-done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	return g.Wait()
}

// ready sees that NATS is laid out, is still the one that the positions speak
// of, and what of the unsettled it has already.
func (s *session) ready(ctx context.Context) error {
	d := s.d
	if _, err := openStore(ctx, d.b.conn, &d.b.cfg); err != nil {
		return err
	}
	stream, newest, err := d.b.store.lives(ctx)
	if err != nil {
		return err
	}
	for _, p := range d.assigned.all() {
		if !p.position.Stream.in(stream) || !p.position.Newest.in(newest) {
			return fmt.Errorf("%w: nats is not what it was: a stream was emptied, restored or made anew", errAnew)
		}
	}
	again := stream.Seq + 1
	for _, b := range d.unsettled.all() {
		for _, e := range b.ends {
			again = min(again, e.part.position.Stream.Seq+1)
		}
	}
	return d.recall.load(ctx, d.b.store.stream, again, stream.Seq, d.b.cfg.Log)
}

// publish sends what is unsettled, then what comes.
func (s *session) publish(ctx context.Context, batches <-chan *batch) error {
	defer close(s.sent)
	for _, b := range s.d.unsettled.all() {
		if err := s.send(ctx, b); err != nil {
			return err
		}
	}
	for {
		select {
		case b, ok := <-batches:
			if !ok {
				return nil
			}
			s.d.unsettled.push(b)
			if err := s.send(ctx, b); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *session) send(ctx context.Context, b *batch) error {
	d := s.d
	if !b.admitted {
		if err := d.window.Acquire(ctx, b.weight); err != nil {
			return context.Cause(ctx)
		}
		b.admitted = true
	}
	atSend.Hit()
	core := newMessage()
	for i := range b.messages {
		if err := s.sendOne(&b.messages[i], core); err != nil {
			return err
		}
	}
	atSent.Hit()
	now := schema.FromStd(d.b.cfg.Now())
	count := &d.b.count
	if b.sent {
		count.resent.Add(int64(len(b.messages)))
	} else {
		b.sent = true
		count.published.Add(int64(len(b.messages)))
		for i := range b.messages {
			m := &b.messages[i]
			if m.received > 0 {
				count.received.Observe(time.Duration(now-m.received) * time.Microsecond)
			}
			if m.committed > 0 {
				count.committed.Observe(time.Duration(now-m.committed) * time.Microsecond)
			}
		}
	}
	select {
	case s.sent <- b:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// newMessage has everything that does not change from candle to candle.
func newMessage() *nats.Msg {
	return &nats.Msg{Header: nats.Header{
		jetstream.MsgIDHeader: {""}, contentTypeHeader: {ContentType}, SchemaHeader: {SchemaVersion},
	}}
}

// sendOne publishes a candle; core is used again and again, since the client
// copies what it sends. A message for the stream it keeps until the answer.
func (s *session) sendOne(m *message, core *nats.Msg) error {
	core.Subject, core.Data = m.series.subject, m.data
	core.Header[jetstream.MsgIDHeader][0] = m.id
	if err := s.d.b.conn.PublishMsg(core); err != nil {
		return fmt.Errorf("publish on %s: %w", core.Subject, err)
	}
	if m.ack = nil; !m.final || m.seq > 0 {
		return nil
	}
	if seq, ok := s.d.recall.take(m.id); ok {
		m.seq = seq
		s.d.b.count.recalled.Add(1)
		s.d.b.count.acked.Add(1)
		return nil
	}
	final := newMessage()
	final.Subject, final.Data = m.series.final, m.data
	final.Header[jetstream.MsgIDHeader][0] = m.id
	// No tries of the client's own: it would send one candle after its successor.
	ack, err := s.d.b.store.js.PublishMsgAsync(final, jetstream.WithRetryAttempts(0))
	if err != nil {
		return fmt.Errorf("publish on %s: %w", final.Subject, err)
	}
	m.ack = ack
	return nil
}
