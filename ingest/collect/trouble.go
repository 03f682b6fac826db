package collect

import (
	"sync"
	"time"
)

// trouble holds back the calls for all holes while the exchange's REST side
// fails: each of a thousand holes trying for itself would spend the weight that
// is needed once it answers again. The zero one is ready.
type trouble struct {
	mu     sync.Mutex // guards what follows
	until  time.Time
	step   time.Duration
	trying bool // a call is on its way to find out whether it is over
}

const (
	troubleLeast = 200 * time.Millisecond
	troubleMost  = 5 * time.Second
)

// failed notes a call that failed and may fare better after wait. Those that
// were on their way at the same time count as one.
func (t *trouble) failed(now time.Time, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.trying && now.Before(t.until) {
		return
	}
	t.trying = false
	t.step = min(max(2*t.step, troubleLeast), troubleMost)
	t.until = now.Add(max(t.step, wait))
}

// over notes a call that was answered.
func (t *trouble) over() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.step, t.until, t.trying = 0, time.Time{}, false
}

// wait gives how long calls are held back.
func (t *trouble) wait(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(t.until.Sub(now), 0)
}

// enter lets a call go, or gives how long to wait before asking again: while
// there is trouble, one at a time finds out whether it is over.
func (t *trouble) enter(now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.step == 0 {
		return 0
	}
	if wait := t.until.Sub(now); wait > 0 {
		return min(wait, troubleLeast)
	}
	t.trying, t.until = true, now.Add(t.step)
	return 0
}
