package collect

import (
	"context"
	"math/rand/v2"
	"sync"
)

// turns bounds how many work at once. Who waits is let in by lot: two ingestors
// that lack the same come to each symbol at different times, and each finds half
// of it in the log.
type turns struct {
	mu      sync.Mutex // guards what follows
	free    int
	waiting []chan struct{}
}

// take waits for a turn; it is false if ctx ends before.
func (t *turns) take(ctx context.Context) bool {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return true
	}
	mine := make(chan struct{}, 1)
	t.waiting = append(t.waiting, mine)
	t.mu.Unlock()
	select {
	case <-mine:
		return true
	case <-ctx.Done():
	}
	t.mu.Lock()
	for i, c := range t.waiting {
		if c == mine {
			t.drop(i)
			t.mu.Unlock()
			return false
		}
	}
	t.mu.Unlock()
	t.give() // it was let in just then
	return false
}

// give lets another in.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 {
		t.free++
		return
	}
	i := rand.IntN(len(t.waiting))
	t.waiting[i] <- struct{}{}
	t.drop(i)
}

// drop takes one out of those that wait. The caller holds mu.
func (t *turns) drop(i int) {
	last := len(t.waiting) - 1
	t.waiting[i] = t.waiting[last]
	t.waiting = t.waiting[:last]
}
