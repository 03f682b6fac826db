package processor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"millrace/state"
	"millrace/state/checkpoint"
)

// found is how a partition's state was found.
type found struct {
	restored int64 // where the checkpoint stands that it came from; 0: from none
	distrust bool  // a checkpoint was damaged
}

// find opens the partition's state. Where there is a store for checkpoints, a
// state that is absent, damaged, or of another log than is there now is replaced
// by the newest checkpoint that verifies and matches the log, and if there is
// none, by nothing: it comes back from the log. Each step is said, and what
// stood in the folder is set aside.
func (p *Processor) find(ctx context.Context, dir string, partition int32) (*state.Store, found, error) {
	if p.cfg.Checkpoints == nil {
		store, err := p.openIdentified(ctx, dir, partition)
		return store, found{}, err
	}
	store, why, err := p.usable(ctx, dir, partition)
	if err != nil || why == "" {
		return store, found{}, err
	}
	at := int64(0) // a checkpoint must be farther
	if store != nil {
		at = store.Partition().Position().Offset
	}
	m, f, err := p.fetch(ctx, dir, partition, at)
	if store != nil {
		if err != nil || m == nil {
			if err == nil {
				return store, f, nil // as it is, it is the best there is
			}
			return nil, f, errors.Join(err, store.Close())
		}
		err = store.Close()
	}
	if err != nil {
		return nil, f, err
	}
	if err := p.replace(dir, partition, m, why); err != nil {
		return nil, f, err
	}
	store, err = p.openStore(dir, partition)
	return store, f, err
}

// openIdentified opens the state as it is, or says what to do about it.
func (p *Processor) openIdentified(ctx context.Context, dir string, partition int32) (*state.Store, error) {
	if err := p.cfg.FS.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("state of partition %d: %w", partition, err)
	}
	store, err := p.openStore(dir, partition)
	if err != nil {
		return nil, err
	}
	if err := p.identify(ctx, store.Partition().Position()); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return store, nil
}

// usable opens the state in a folder, if it can be gone on from. If not, why
// says so; the store may come with it, open, if it is only behind.
func (p *Processor) usable(ctx context.Context, dir string, partition int32) (store *state.Store, why string, err error) {
	files, err := p.cfg.FS.List(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(files) == 0 {
		return nil, "there is no state", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("state of partition %d: %w", partition, err)
	}
	store, err = p.openStore(dir, partition)
	if errors.Is(err, state.ErrDamaged) {
		return nil, err.Error(), nil
	}
	if err != nil {
		return nil, "", err
	}
	pos := store.Partition().Position()
	held, why, err := p.holds(ctx, partition, pos.Offset, pos.Hash)
	switch {
	case err != nil:
		return nil, "", errors.Join(fmt.Errorf("check the log of partition %d: %w", partition, err), store.Close())
	case !held:
		return nil, fmt.Sprintf("it stands at %d, but %s", pos.Offset, why), store.Close()
	}
	start, _, err := p.bounds(ctx, partition)
	if err != nil {
		return nil, "", errors.Join(err, store.Close())
	}
	if pos.Offset == 0 || start > pos.Offset {
		return store, fmt.Sprintf("it stands at %d, the log begins at %d", pos.Offset, start), nil
	}
	return store, "", nil
}

// fetch brings the best checkpoint that stands beyond an offset into a folder
// beside the state's.
func (p *Processor) fetch(ctx context.Context, dir string, partition int32, beyond int64) (*checkpoint.Manifest, found, error) {
	c := p.cfg.Checkpoints
	m, refused, err := c.Store.Restore(ctx, checkpoint.Want{
		Log: p.logOf(partition), Scratch: dir + ".restoring", FS: p.cfg.FS, Beyond: beyond,
		Holds: func(ctx context.Context, offset int64, hash uint64) (bool, string, error) {
			return p.holds(ctx, partition, offset, hash)
		},
		Progress: p.sayProgress(partition),
	})
	f := found{}
	for _, r := range refused {
		f.distrust = f.distrust || r.Damaged
		p.log.Warn("checkpoint refused", "partition", partition, "checkpoint", r.Ref.String(), "store", c.Store.Name(), "why", r.Why)
	}
	if err != nil {
		return nil, f, fmt.Errorf("restore partition %d: %w; with --checkpoints none it would begin from the log's start", partition, err)
	}
	if m != nil {
		f.restored = m.Offset
	}
	return m, f, nil
}

// sayEvery is how often a long restore says where it is.
const sayEvery = 5 * time.Second

func (p *Processor) sayProgress(partition int32) checkpoint.Progress {
	var said atomic.Int64
	began := time.Now()
	return func(done, total int64) {
		n := said.Load()
		if time.Since(began) >= time.Duration(n+1)*sayEvery && said.CompareAndSwap(n, int64(time.Since(began)/sayEvery)) {
			p.log.Info("restoring", "partition", partition, "bytes", done, "of", total)
		}
	}
}

// replace puts what was fetched in the state's place; m is nil if that is
// nothing. What was there is set aside until the next time.
func (p *Processor) replace(dir string, partition int32, m *checkpoint.Manifest, why string) error {
	from, aside := "", dir+".aside"
	if m != nil {
		from = dir + ".restoring"
	}
	set, err := checkpoint.Place(from, dir, aside, p.cfg.FS)
	if err != nil {
		return fmt.Errorf("state of partition %d: %w", partition, err)
	}
	if !set {
		aside = ""
	}
	switch {
	case m != nil:
		p.log.Info("state restored from a checkpoint; the log gives back the rest", "partition", partition, "why", why, "checkpoint", m.Ref.String(), "offset", m.Offset, "taken", m.Taken, "bytes", m.Size, "old state", aside)
	case set:
		p.log.Warn("state can't be used and there is no checkpoint; it comes back from the log's start", "partition", partition, "why", why, "old state", aside)
	}
	return p.cfg.FS.MkdirAll(dir, 0o755)
}
