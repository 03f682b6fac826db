package collect

import (
	"sync"
	"time"
)

// refusals keeps what is refused from filling the log: a server may send
// thousands of frames a second that are of no use. The zero one is ready.
type refusals struct {
	mu     sync.Mutex // guards what follows
	told   time.Time
	untold int64
}

// tellRefusals is the time between two lines.
const tellRefusals = 10 * time.Second

// due counts one that was refused, and says whether it is time to tell of it,
// and how many there were since the last time.
func (r *refusals) due(now time.Time) (n int64, tell bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.untold++
	if !r.told.IsZero() && now.Sub(r.told) < tellRefusals {
		return 0, false
	}
	n, r.told, r.untold = r.untold, now, 0
	return n, true
}
