package binance

import (
	"context"
	"sync"
	"time"
)

// Binance allows 300 attempts to connect from an address in 5 minutes, and bans
// who goes on. A process keeps to half of them: another may run beside it.
const (
	dialsMax    = 150
	dialsWindow = 5 * time.Minute
)

// Dials is the process's budget of attempts to connect, shared by its sources.
// The zero one is ready.
type Dials struct {
	mu    sync.Mutex // guards what follows
	times []time.Time
}

// wait takes one attempt, and waits where none is left. A nil Dials has no bound.
func (d *Dials) wait(ctx context.Context) error {
	if d == nil {
		return nil
	}
	for {
		left := d.take(time.Now())
		if left <= 0 {
			return nil
		}
		t := time.NewTimer(left)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

// take takes an attempt, or says how long to wait for one.
func (d *Dials) take(now time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.times) > 0 && now.Sub(d.times[0]) >= dialsWindow {
		d.times = d.times[1:]
	}
	if len(d.times) >= dialsMax {
		return dialsWindow - now.Sub(d.times[0])
	}
	d.times = append(d.times, now)
	return 0
}
