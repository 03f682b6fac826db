package processor

import (
	"context"
	"errors"
	"sync"

	"millrace/state"
)

// door lets other goroutines than the owner's look at a store, and none once it
// is to be closed.
type door struct {
	mu     sync.RWMutex
	closed bool
}

// shut waits for those who look, and lets nobody in any more.
func (d *door) shut() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
}

// Views calls f with a view of each partition that this process has now, one
// after the other, as it was last committed. What f does must end soon: a
// partition that is given up waits for it.
func (p *Processor) Views(ctx context.Context, f func(*state.View) error) error {
	for _, o := range p.all() {
		if err := o.look(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

func (o *owner) look(ctx context.Context, f func(*state.View) error) error {
	o.door.mu.RLock()
	defer o.door.mu.RUnlock()
	o.mu.Lock()
	opened := o.opened
	o.mu.Unlock()
	if !opened || o.door.closed || ctx.Err() != nil {
		return ctx.Err()
	}
	v, err := o.store.View()
	if err != nil {
		return err
	}
	return errors.Join(f(v), v.Close())
}
