package processor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"millrace/schema"
	"millrace/state"
)

// forget makes the store forget old windows, now and then as the log's own time
// passes. Only what every sink has is forgotten.
func (o *owner) forget(newest schema.Time) error {
	keep := schema.Time(o.p.cfg.Keep.Microseconds())
	if keep < 0 || newest == schema.MinTime || newest < o.forgetAt {
		return nil
	}
	have := o.store.Partition().Position().Offset
	o.mu.Lock()
	all := len(o.boxes) > 0 && len(o.status.Sinks) == len(o.boxes) // without any they are not there yet
	for _, offset := range o.status.Sinks {
		have = min(have, offset)
	}
	o.mu.Unlock()
	if !all {
		return nil
	}
	n, err := o.store.Forget(newest-keep, have)
	if n == 0 { // else there may be more
		o.forgetAt = newest + keep/100
	}
	return err
}

// forget does the same in a standby's store, by what the sinks' progress says
// where it stands. What can't be asked is asked the next time.
func (s *standby) forget(ctx context.Context, newest schema.Time) error {
	keep := schema.Time(s.p.cfg.Keep.Microseconds())
	if keep < 0 || newest == schema.MinTime || newest < s.forgetAt {
		return nil
	}
	bound, cancel := context.WithTimeout(ctx, lookTimeout)
	have, err := s.p.sunk(bound, s.store.Partition())
	cancel()
	n := 0
	if err == nil && have > 0 {
		if n, err = s.store.Forget(newest-keep, have); err != nil {
			return err
		}
	}
	if err != nil {
		s.p.log.Debug("a standby does not know what the sinks have", "partition", s.partition, "err", err)
	}
	if n == 0 {
		s.forgetAt = newest + keep/100
	}
	return nil
}

// sunk gives up to where every sink has a partition's candles, as they say
// themselves; 0 where one says nothing that holds for this log.
func (p *Processor) sunk(ctx context.Context, part *state.Partition) (int64, error) {
	pos := part.Position()
	have := pos.Offset
	said, ok, err := p.reader.Progress(ctx, p.cfg.Topics.Candles, pos.Partition, pos.TopicID)
	if err != nil || !ok {
		return 0, err
	}
	marks := []state.Position{said}
	if p.db != nil {
		row, ok, err := p.db.Load(ctx, pos.TopicID, pos.Partition)
		if err != nil || !ok {
			return 0, err
		}
		marks = append(marks, state.Position{Offset: row.Offset, Hash: row.Hash, History: row.History})
	}
	for _, m := range marks {
		held, _, err := p.holds(ctx, pos.Partition, m.Offset, m.Hash)
		if err != nil || !held || !part.Shares(m) {
			return 0, err
		}
		have = min(have, m.Offset)
	}
	return have, nil
}

// lookTimeout bounds the look at the database when a partition is opened.
const lookTimeout = 5 * time.Second

// remember sees to it that the database lacks nothing that the state has
// forgotten. If it does, as a new or a restored one may, the state is dropped
// and comes back from the log, unless the log's beginning is gone: then partial
// says that nothing can be done.
func (p *Processor) remember(ctx context.Context, dir string, store *state.Store) (_ *state.Store, partial bool, err error) {
	part := store.Partition()
	pos, forgotten := part.Position(), part.Forgotten()
	if forgotten == 0 || p.db == nil {
		return store, false, nil
	}
	bound, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	row, exists, err := p.db.Load(bound, pos.TopicID, pos.Partition)
	if err != nil { // its sink says so, and finds out later
		return store, false, nil
	}
	have := int64(0)
	if exists {
		held, _, err := p.holds(ctx, pos.Partition, row.Offset, row.Hash)
		if err != nil {
			return nil, false, errors.Join(fmt.Errorf("compare the database's progress with the log: %w", err), store.Close())
		}
		if held && part.Shares(state.Position{Offset: row.Offset, History: row.History}) {
			have = row.Offset
		}
	}
	if have >= forgotten {
		return store, false, nil
	}
	start, _, err := p.bounds(ctx, pos.Partition)
	if err != nil {
		return nil, false, errors.Join(err, store.Close())
	}
	if start > 0 {
		p.log.Error("the database lacks candles that state has forgotten and whose ticks the log no longer has; restore a newer backup of it",
			"partition", pos.Partition, "database stands at", have, "state forgot before", forgotten, "log begins", start)
		return store, true, nil
	}
	p.log.Warn("the database lacks candles that state has forgotten; making the state anew from the log's start",
		"partition", pos.Partition, "database stands at", have, "state forgot before", forgotten)
	if err := errors.Join(store.Close(), p.cfg.FS.RemoveAll(dir), p.cfg.FS.MkdirAll(dir, 0o755)); err != nil {
		return nil, false, fmt.Errorf("drop the state of partition %d: %w", pos.Partition, err)
	}
	store, err = p.openStore(dir, pos.Partition)
	return store, false, err
}
