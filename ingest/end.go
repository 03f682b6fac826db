package ingest

import (
	"context"
	"fmt"

	"millrace/schema"
)

// Close ends a stream that has come to its end: everything is acknowledged,
// then a last mark with w goes into each of its partitions (none if w is
// schema.MinTime or the stream is down), then each symbol is watched no longer.
// After an error the stream still watches, and its W stands still.
func (s *Stream) Close(ctx context.Context, w schema.Time) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.closed = true // marks that wait are given up
	s.flushAll()
	s.mu.Unlock()
	if err := s.acknowledged(ctx); err != nil {
		return err
	}
	if err := s.end(w); err != nil {
		return err
	}
	if err := s.acknowledged(ctx); err != nil {
		return err
	}
	s.in.forget(s)
	return nil
}

func (s *Stream) end(w schema.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		excepted, ok := l.excepted()
		if w < l.w || w == schema.MinTime || s.down || !ok || len(l.packers) == 0 {
			continue
		}
		if err := s.write(l, nil, schema.Mark{Ingestor: s.id, W: w, Excepted: excepted}); err != nil {
			return err
		}
	}
	for _, p := range s.sorted() {
		p.watch.On, p.watch.From = false, max(w, p.watch.From)
		if err := s.control(p, p.watch); err != nil {
			return err
		}
	}
	return nil
}

// acknowledged waits until nothing of s is on its way.
func (s *Stream) acknowledged(ctx context.Context) error {
	for {
		s.mu.Lock()
		idle := true
		for _, l := range s.lanes {
			l.ending.Store(true)
			idle = idle && l.onWay[0].Load() == 0 && l.onWay[1].Load() == 0
		}
		s.mu.Unlock()
		if err := s.in.failure(); err != nil {
			return err
		}
		if idle {
			signal(s.acks) // the next who waits, if there is one
			return nil
		}
		select {
		case <-s.acks:
		case <-s.in.failed:
		case <-ctx.Done():
			return fmt.Errorf("ingest: wait until stream %s is acknowledged: %w", s.id, context.Cause(ctx))
		}
	}
}
