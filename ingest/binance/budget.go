package binance

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Priority orders the calls that wait for a Budget: the greater goes first.
type Priority uint8

const (
	// PriorityRest is for lists of symbols and the day's figures.
	PriorityRest Priority = iota
	// PriorityHistory is for what lies further back.
	PriorityHistory
	// PriorityFill is for gaps in what is being collected.
	PriorityFill
	// PriorityClock is for the server's time, by which progress is known.
	PriorityClock

	priorities = 4
)

func (p Priority) String() string {
	switch p {
	case PriorityHistory:
		return "history"
	case PriorityFill:
		return "fill"
	case PriorityClock:
		return "clock"
	}
	return "rest"
}

type priorityKey struct{}

// WithPriority gives the calls made with the context a priority. Without it
// each has one by its sort.
func WithPriority(ctx context.Context, p Priority) context.Context {
	return context.WithValue(ctx, priorityKey{}, min(p, PriorityClock))
}

func priorityOf(ctx context.Context, usual Priority) Priority {
	if p, ok := ctx.Value(priorityKey{}).(Priority); ok {
		return p
	}
	return usual
}

// BudgetConfig is what a budget starts from. Zero means default.
type BudgetConfig struct {
	// Limit is the weight that the exchange allows an address in a minute:
	// 6000.
	Limit int64
	// Requests is the number of calls that it allows in five minutes: 300,000.
	Requests int64
	// Share is the part of both that may be used: 0.5. Others may call from the
	// same address, and a ban costs days.
	Share float64
}

// EnsureDefaults fills what was left zero.
func (c *BudgetConfig) EnsureDefaults() {
	if c.Limit == 0 {
		c.Limit = 6000
	}
	if c.Requests == 0 {
		c.Requests = 300_000
	}
	if c.Share == 0 {
		c.Share = 0.5
	}
}

// Validate checks the settings after EnsureDefaults.
func (c *BudgetConfig) Validate() error {
	switch {
	case c.Limit < 1 || c.Limit > maxLimit:
		return fmt.Errorf("binance budget: limit of %d a minute is not within 1 and %d", c.Limit, int64(maxLimit))
	case c.Requests < 1 || c.Requests > maxLimit:
		return fmt.Errorf("binance budget: %d requests in five minutes are not within 1 and %d", c.Requests, int64(maxLimit))
	case !(c.Share > 0 && c.Share <= 1): // NaN too
		return fmt.Errorf("binance budget: share %v is not above 0 and at most 1", c.Share)
	}
	return nil
}

// Budget bounds what all calls of a process weigh together. The exchange counts
// by address, so all clients of one address share one budget. It holds to
// these rules:
//
//   - in no 60 seconds do its calls weigh more than share × limit. So they do
//     not in any minute of the server's either, wherever those begin;
//   - what the server says to have counted in its minute, from all who share
//     the address, stays within share × limit too;
//   - after http 429 or 418 nothing is sent before the server's time is up;
//   - a part is kept free for gaps, a small one for the clock, so that neither
//     waits for history. Calls of one priority go in the order they came.
type Budget struct {
	share float64

	mu      sync.Mutex // guards what follows
	account account
	queues  [priorities][]*waiter
	timer   *time.Timer // wakes the first in line; nil if nobody waits for time
}

// waiter is a call in line.
type waiter struct {
	weight int64
	p      Priority
	since  time.Time
	call   *Call         // set, or err, before ready is closed
	err    error         //
	ready  chan struct{} // closed when it may go
}

// restGrace is how much longer than history the rest waits. Without a bound a
// list of symbols would wait until years of history are fetched.
const restGrace = time.Minute

// NewBudget makes a budget. Settings that are not valid count as not set.
func NewBudget(cfg BudgetConfig) *Budget {
	cfg.EnsureDefaults()
	if cfg.Validate() != nil {
		cfg = BudgetConfig{}
		cfg.EnsureDefaults()
	}
	b := &Budget{share: cfg.Share}
	b.account.weight.span = time.Minute
	b.account.calls.span = 5 * time.Minute
	b.account.weightCap = part(cfg.Share, cfg.Limit)
	b.account.callCap = part(cfg.Share, cfg.Requests)
	return b
}

// part gives share × limit, at least 1.
func part(share float64, limit int64) int64 { return max(1, int64(share*float64(limit))) }

// SetLimits takes over the limits of exchangeInfo: REQUEST_WEIGHT of one
// minute and RAW_REQUESTS of some minutes. Others, and figures that cannot be,
// change nothing.
func (b *Budget) SetLimits(limits []RateLimit) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range limits {
		if l.Interval != "MINUTE" || l.Limit < 1 || l.Limit > maxLimit || l.IntervalNum < 1 || l.IntervalNum > 60 {
			continue
		}
		switch {
		case l.Type == "REQUEST_WEIGHT" && l.IntervalNum == 1:
			b.account.weightCap = part(b.share, l.Limit)
		case l.Type == "RAW_REQUESTS":
			b.account.calls.span = time.Duration(l.IntervalNum) * time.Minute
			b.account.callCap = part(b.share, l.Limit)
		}
	}
	b.dispatch(time.Now())
}

// Call is a call that may be sent. Done must follow, or its weight counts for
// ever.
type Call struct {
	b      *Budget
	weight int64
	sent   time.Time
	done   bool // guarded by the budget's lock
}

// Acquire waits until a call of the weight fits. It fails when ctx ends, or
// where the call is heavier than the budget will ever allow.
func (b *Budget) Acquire(ctx context.Context, weight int64, p Priority) (*Call, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("wait for the weight budget: %w", err)
	}
	b.mu.Lock()
	now := time.Now()
	w := &waiter{weight: max(weight, 1), p: min(p, PriorityClock), since: now, ready: make(chan struct{})}
	b.queues[w.p] = append(b.queues[w.p], w)
	b.dispatch(now)
	b.mu.Unlock()
	select {
	case <-w.ready:
		return w.call, w.err
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now = time.Now()
	select {
	case <-w.ready: // both at once: what it got goes back unused
		if w.call != nil {
			w.call.done = true
			b.account.unsent(w.weight)
		}
	default:
		b.leave(w)
	}
	b.dispatch(now)
	return nil, fmt.Errorf("wait for the weight budget: %w", ctx.Err())
}

func (b *Budget) leave(w *waiter) {
	q := b.queues[w.p]
	for i := range q {
		if q[i] == w {
			b.queues[w.p] = append(q[:i:i], q[i+1:]...)
			return
		}
	}
}

// first gives who is next in line.
func (b *Budget) first() *waiter {
	for p := PriorityClock; p >= PriorityFill; p-- {
		if q := b.queues[p]; len(q) > 0 {
			return q[0]
		}
	}
	history, rest := b.queues[PriorityHistory], b.queues[PriorityRest]
	switch {
	case len(history) == 0 && len(rest) == 0:
		return nil
	case len(rest) == 0 || len(history) > 0 && history[0].since.Before(rest[0].since.Add(restGrace)):
		return history[0]
	}
	return rest[0]
}

// dispatch lets go who may. Nobody overtakes the first in line, not even a
// lighter call, or the heavier would never go.
func (b *Budget) dispatch(now time.Time) {
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	for {
		w := b.first()
		if w == nil {
			return
		}
		if bound := b.account.bound(w.p); w.weight > bound {
			w.err = fmt.Errorf("a call of weight %d is above the budget of %d a minute for %v: raise the share", w.weight, bound, w.p)
		} else {
			at, known := b.account.free(now, w.weight, w.p)
			if !known {
				return // an answer is awaited, which comes back here
			}
			if at.After(now) {
				b.timer = time.AfterFunc(at.Sub(now), b.wake)
				return
			}
			b.account.send(w.weight)
			w.call = &Call{b: b, weight: w.weight, sent: now}
		}
		b.queues[w.p] = b.queues[w.p][1:]
		close(w.ready)
	}
}

func (b *Budget) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dispatch(time.Now())
}

// Done tells what became of the call: the answer's status and header, or 0 and
// nil where none came. Only the first word counts.
func (c *Call) Done(status int, h http.Header) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if c.done {
		return
	}
	c.done = true
	now := time.Now()
	c.b.account.answered(now, c.sent, c.weight, status, h)
	c.b.dispatch(now)
}

// BudgetStats is what a budget has seen.
type BudgetStats struct {
	// Used is the weight of own calls in the last minute, those on their way
	// among them, and Cap the most that it may be. Calls and CallCap are their
	// number in five minutes.
	Used, Cap, Calls, CallCap int64
	// ServerUsed is the weight that the server said to have counted in its
	// minute, by the answer that came at ServerAt; zero if it never did.
	ServerUsed int64
	ServerAt   time.Time
	// Waiting is how many calls wait, by Priority.
	Waiting [priorities]int
	// Limited and Banned count answers of http 429 and 418.
	Limited, Banned int64
	// BlockedUntil is when calls may go on; zero if they may.
	BlockedUntil time.Time
}

// Stats tells what the budget has seen.
func (b *Budget) Stats() BudgetStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	a, now := &b.account, time.Now()
	a.weight.forget(now)
	a.calls.forget(now)
	s := BudgetStats{
		Used: a.weight.sum + a.flying, Cap: a.weightCap, Calls: a.calls.sum + a.flights, CallCap: a.callCap,
		ServerUsed: a.word.used, ServerAt: a.word.at, Limited: a.limited, Banned: a.banned,
	}
	if a.block.After(now) {
		s.BlockedUntil = a.block
	}
	for p, q := range b.queues {
		s.Waiting[p] = len(q)
	}
	return s
}
