package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"millrace/internal/failpoint"
)

// The steps at which a process may die.
var (
	atSend      = failpoint.New("bridge.send")
	atSent      = failpoint.New("bridge.sent")
	atConfirmed = failpoint.New("bridge.confirmed")
	atNewest    = failpoint.New("bridge.newest")
	atMoved     = failpoint.New("bridge.moved")
)

// settle confirms what was sent, in rounds, until there is no more.
func (s *session) settle(ctx context.Context) error {
	var last time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var run []*batch
		select {
		case b, ok := <-s.sent:
			if !ok {
				return nil
			}
			run = append(run, b)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		run, err := s.gather(ctx, run, timer, s.d.b.cfg.RoundEvery-time.Since(last))
		if err != nil {
			return err
		}
		last = time.Now()
		if err := s.round(ctx, run); err != nil {
			return err
		}
	}
}

// gather takes what else is sent, until the next round is due or half of what
// may be in flight is there.
func (s *session) gather(ctx context.Context, run []*batch, timer *time.Timer, wait time.Duration) ([]*batch, error) {
	weight := run[0].weight
	timer.Reset(max(wait, 0))
	for 2*weight < int64(s.d.b.cfg.MaxInFlight) {
		select {
		case b, ok := <-s.sent:
			if !ok {
				return run, nil
			}
			run = append(run, b)
			weight += b.weight
		case <-timer.C:
			return run, nil
		case <-ctx.Done():
			return run, context.Cause(ctx)
		}
	}
	return run, nil
}

// round confirms a run of batches, writes the newest candle of each of their
// series, and only then moves the positions.
func (s *session) round(ctx context.Context, run []*batch) error {
	ctx, cancel := context.WithTimeout(ctx, s.d.b.cfg.AnswerWait)
	defer cancel()
	if err := s.confirm(ctx, run); err != nil {
		return err
	}
	atConfirmed.Hit()
	if err := s.writeNewest(ctx, run); err != nil {
		return err
	}
	atNewest.Hit()
	if err := s.move(ctx, run); err != nil {
		return err
	}
	atMoved.Hit()
	s.d.unsettled.pop(len(run))
	for _, b := range run {
		s.d.window.Release(b.weight)
	}
	s.d.b.count.rounds.Add(1)
	s.d.commit(run, time.Now())
	return nil
}

// confirm waits until the server has taken all that was sent before, on the
// connection on which it was sent, and the stream has acknowledged its part.
func (s *session) confirm(ctx context.Context, run []*batch) error {
	conn := s.d.b.conn
	if err := conn.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("wait for nats to take what was sent: %w", err)
	}
	// What the server refused it said before it answered the ping; the handler
	// that is told of it may come later.
	if err := conn.LastError(); errors.Is(err, nats.ErrPermissionViolation) {
		s.d.b.denied.tell(err)
		return s.d.b.denied.or(err)
	}
	for _, b := range run {
		for i := range b.messages {
			m := &b.messages[i]
			if m.ack == nil {
				continue
			}
			select {
			case ack := <-m.ack.Ok():
				m.seq, m.ack = ack.Sequence, nil
				s.d.b.count.acked.Add(1)
			case err := <-m.ack.Err():
				return fmt.Errorf("wait for the stream to take %s: %w", m.id, err)
			case <-ctx.Done():
				return fmt.Errorf("wait for the stream to take %s: %w", m.id, context.Cause(ctx))
			}
		}
	}
	if conn.Stats().Reconnects != s.epoch {
		return errCut
	}
	return nil
}

// writeNewest writes the newest candle of each series of the run: the ones
// before it would only be overwritten.
func (s *session) writeNewest(ctx context.Context, run []*batch) error {
	newest := map[*series]*message{}
	for _, b := range run {
		for i := range b.messages {
			m := &b.messages[i]
			if is := newest[m.series]; is == nil || m.window.newer(is.window) {
				newest[m.series] = m
			}
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for series, m := range newest {
		g.Go(func() error {
			written, err := series.write(ctx, s.d.b.store.newest, m.window, m.data)
			if written {
				s.d.b.count.written.Add(1)
			}
			return err
		})
	}
	return g.Wait()
}

// move stores the positions that the run has reached.
func (s *session) move(ctx context.Context, run []*batch) error {
	parts := map[*partition]position{}
	for _, b := range run {
		for _, e := range b.ends {
			p, ok := parts[e.part]
			if !ok {
				p = e.part.position
			}
			p.TopicID, p.Offset, p.LeaderEpoch, p.Hash = s.d.id.String(), e.offset, e.epoch, hashText(e.hash)
			parts[e.part] = p
		}
	}
	for _, b := range run {
		for i := range b.messages {
			m := &b.messages[i]
			p := parts[m.part]
			p.Stream.Seq = max(p.Stream.Seq, m.seq)
			p.Newest.Seq = max(p.Newest.Seq, m.series.revision)
			parts[m.part] = p
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(writers)
	for part, p := range parts {
		g.Go(func() error {
			revision, err := savePosition(ctx, s.d.b.store.positions, positionKey(s.d.b.cfg.Topic, part.number), p, part.revision)
			if err != nil {
				return err
			}
			part.position, part.revision = p, revision
			if s.d.assigned.get(part.number) == part {
				s.d.b.progress.set(part.number, p.Offset)
			}
			return nil
		})
	}
	return g.Wait()
}
