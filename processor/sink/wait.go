package sink

import (
	"context"
	"time"
)

// backoff waits longer after each failure, up to 10 s.
type backoff struct{ n int }

const longest = 7 // 50 ms << 7 = 6.4 s

func (b *backoff) max() { b.n = longest }

func (b *backoff) wait(ctx context.Context) bool {
	d := 50 * time.Millisecond << min(b.n, longest)
	b.n++
	return sleep(ctx, d)
}

// sleep waits for d; it reports false where ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
