package processor

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/failpoint"
	"millrace/schema"
	"millrace/state"
)

// The steps at which a process may die.
var (
	atStandby     = failpoint.New("standby.applied")
	atStandbyDone = failpoint.New("standby.committed")
)

// standby keeps the state of a partition warm that another member owns: it
// applies the log and commits, and that is all. When the group gives the
// partition to this process, the owner takes the open store and what is fetched
// already, and goes on.
//
// It has no sinks and writes no dead letters. So it must not commit what was
// refused before the owner's dead letters are known to be written: else, if the
// owner died just then, nobody would write them. What the owner has committed to
// the group tells it; until then a standby waits where something was refused,
// and whoever takes over from it writes them himself.
//
// It forgets what every sink has: it reads their progress, now and then.
type standby struct {
	p         *Processor
	partition int32
	dir       string
	cancel    context.CancelCauseFunc
	hand      chan struct{} // closed: this process is to own the partition
	done      chan struct{}
	tick      schema.Tick
	forgetAt  schema.Time // the applied time at which the store is made to forget again

	// What an owner takes over, once done is closed; store is nil if there is
	// nothing to take. The records of pending are applied and not committed.
	store   *state.Store
	found   found
	q       *queue
	pending []*kgo.Record

	mu     sync.Mutex // guards what follows
	opened bool
	offset int64
	queue  *queue
}

// StandbyStatus is where a partition stands that this process keeps warm.
type StandbyStatus struct {
	Partition int32
	Open      bool  // false while its state is looked for
	Offset    int64 // next record to apply
	Behind    int64 // records of the log that it has not applied, as of the last fetch
}

func (p *Processor) newStandby(partition int32) *standby {
	s := &standby{p: p, partition: partition, dir: state.PartitionDir(p.cfg.Dir, p.cfg.Topics.Ticks, partition), forgetAt: schema.MinTime, hand: make(chan struct{}), done: make(chan struct{})}
	var ctx context.Context
	ctx, s.cancel = context.WithCancelCause(p.ctx)
	go func() {
		defer close(s.done)
		s.run(ctx)
	}()
	return s
}

// standbyAgain is after how long a standby that failed tries again.
const standbyAgain = 10 * time.Second

// run stands by until ctx ends or the partition is this process's own. A standby
// is a help: whatever happens to it is said, and ends nothing else.
func (s *standby) run(ctx context.Context) {
	for {
		err := s.follow(ctx)
		if err == nil {
			return
		}
		s.drop()
		if ctx.Err() != nil {
			return
		}
		s.p.log.Warn("can't stand by for a partition; trying again", "partition", s.partition, "in", standbyAgain, "err", err)
		again := time.NewTimer(standbyAgain)
		select {
		case <-ctx.Done():
		case <-s.hand:
		case <-again.C:
			continue
		}
		again.Stop()
		return
	}
}

// drop gives back what is open.
func (s *standby) drop() {
	if s.q != nil {
		s.p.feed.remove(s.q)
	}
	if s.store != nil {
		if err := s.store.Close(); err != nil {
			s.p.log.Warn("close the state of a partition that was stood by for", "partition", s.partition, "err", err)
		}
	}
	s.store, s.q, s.pending, s.found = nil, nil, nil, found{}
	s.mu.Lock()
	s.opened, s.queue = false, nil
	s.mu.Unlock()
}

// follow opens the state and applies the log. It gives nil, and leaves all open,
// once the partition is this process's own.
func (s *standby) follow(ctx context.Context) (err error) {
	if s.store, s.found, err = s.p.openChecked(ctx, s.dir, s.partition); err != nil {
		return err
	}
	if err := s.p.assume(ctx, s.store); err != nil {
		return err
	}
	from, err := s.p.feedFrom(ctx, s.store)
	if err != nil {
		return err
	}
	s.q = newQueue(s.p.feed, s.partition, true)
	s.mu.Lock()
	s.opened, s.offset, s.queue = true, from, s.q
	s.mu.Unlock()
	s.p.feed.add(s.q, from)
	s.p.log.Info("standing by", "partition", s.partition, "offset", from)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.hand:
			return nil
		case <-s.q.wake:
		}
		if err := s.q.failed(); err != nil {
			return err
		}
		recs := s.q.take(s.p.cfg.MaxRecords)
		for len(recs) > 0 {
			n, err := s.p.turn(s.store, recs)
			if err != nil {
				return err
			}
			left, handed, err := s.microBatch(ctx, recs[:n])
			if err != nil {
				return err
			}
			if recs = recs[n-left:]; handed {
				s.q.back(recs)
				return nil
			}
		}
	}
}

// microBatch applies and commits. handed says that the partition is this
// process's own before something that was refused could be left to its owner, and
// left how many records were not applied then.
func (s *standby) microBatch(ctx context.Context, recs []*kgo.Record) (left int, handed bool, err error) {
	part := s.store.Partition()
	var oldest schema.Time // nobody asks for it
	for len(recs) > 0 {
		n := apply(part, &s.tick, recs, &oldest)
		s.pending = recs[:n]
		if recs = recs[n:]; part.Refused() > 0 {
			if handed, err := s.buried(ctx, part.Position().Offset); handed || err != nil {
				return len(recs), handed, err
			}
			part.TakeRefusals()
		}
		atStandby.Hit()
		changes, err := s.store.Commit()
		if err != nil {
			return 0, false, err
		}
		atStandbyDone.Hit()
		s.pending = nil
		if err := s.forget(ctx, changes.Newest); err != nil {
			return 0, false, err
		}
	}
	s.mu.Lock()
	s.offset = part.Position().Offset
	s.mu.Unlock()
	return 0, false, nil
}

// buriedEvery is how often the group is asked how far an owner has come.
const buriedEvery = 500 * time.Millisecond

// buried waits until the owner has committed up to an offset, and so has written
// the dead letters of what was refused before.
func (s *standby) buried(ctx context.Context, offset int64) (handed bool, err error) {
	t := time.NewTicker(buriedEvery)
	defer t.Stop()
	for {
		bound, cancel := context.WithTimeout(ctx, 10*buriedEvery)
		got, err := kadm.NewClient(s.p.asker).FetchOffsets(bound, s.p.cfg.Group)
		cancel()
		if at, ok := got.Lookup(s.p.cfg.Topics.Ticks, s.partition); err == nil && ok && at.Err == nil && at.At >= offset {
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-s.hand:
			return true, nil
		case <-t.C:
		}
	}
}

func (s *standby) status() StandbyStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := StandbyStatus{Partition: s.partition, Open: s.opened, Offset: s.offset}
	if s.queue != nil {
		out.Behind = max(s.queue.logEnd()-s.offset, 0)
	}
	return out
}

// settle brings about what the group has this process stand by for.
func (p *Processor) settle(word []int32) {
	p.mu.Lock()
	var gone []*standby
	for partition, s := range p.standbys {
		if !slices.Contains(word, partition) || p.owners[partition] != nil {
			gone = append(gone, s)
			delete(p.standbys, partition)
		}
	}
	p.mu.Unlock()
	p.dismiss(gone)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, partition := range word {
		if p.standbys[partition] == nil && p.owners[partition] == nil && p.ctx.Err() == nil {
			p.standbys[partition] = p.newStandby(partition)
		}
	}
}

func (p *Processor) dismiss(gone []*standby) {
	for _, s := range gone {
		s.cancel(errStopped)
	}
	for _, s := range gone {
		<-s.done
		s.drop() // it may have been handed over, and nobody took it
		p.log.Info("no longer standing by", "partition", s.partition)
	}
}

// inherit gives what a standby of this process has of a partition; store is nil
// if it has nothing.
func (o *owner) inherit(ctx context.Context, s *standby) (*state.Store, found, error) {
	close(s.hand)
	select {
	case <-s.done:
	case <-ctx.Done():
		s.cancel(errStopped)
		<-s.done
	}
	o.q, o.pending = s.q, s.pending
	if s.store == nil {
		return nil, found{}, nil
	}
	give := func(err error) (*state.Store, found, error) {
		o.q, o.pending = nil, nil
		s.drop()
		return nil, found{}, err
	}
	if ctx.Err() != nil {
		return give(ctx.Err())
	}
	if err := s.q.strict(); err != nil {
		return give(nil)
	}
	pos := s.store.Partition().Position()
	held, why, err := o.p.holds(ctx, o.partition, pos.Offset, pos.Hash)
	if err != nil {
		return give(fmt.Errorf("check the log of partition %d: %w", o.partition, err))
	}
	if !held {
		o.p.log.Warn("what was kept warm is of no use", "partition", o.partition, "offset", pos.Offset, "why", why)
		return give(nil)
	}
	return s.store, s.found, nil
}

// Standbys gives what this process keeps warm for others.
func (p *Processor) Standbys() []StandbyStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]StandbyStatus, 0, len(p.standbys))
	for _, s := range p.standbys {
		out = append(out, s.status())
	}
	slices.SortFunc(out, func(a, b StandbyStatus) int { return int(a.Partition - b.Partition) })
	return out
}

// told gives what this process says of itself when it joins the group.
func (p *Processor) told() told {
	t := told{Standby: p.cfg.Standby}
	p.mu.Lock()
	defer p.mu.Unlock()
	for partition, s := range p.standbys {
		if s.status().Open {
			t.Warm = append(t.Warm, partition)
		}
	}
	slices.Sort(t.Warm)
	names, err := p.cfg.FS.List(p.cfg.Dir)
	if err != nil {
		return t
	}
	for _, name := range names {
		if partition, ok := state.PartitionOf(name, p.cfg.Topics.Ticks); ok {
			t.Kept = append(t.Kept, partition)
		}
	}
	slices.Sort(t.Kept)
	return t
}
