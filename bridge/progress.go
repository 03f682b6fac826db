package bridge

import (
	"context"
	"sync"
)

// progress is how far each partition of ours is settled: everything before
// the offset is in NATS and acknowledged.
type progress struct {
	mu      sync.Mutex
	at      map[int32]int64
	end     map[int32]int64 // the log's end as the last fetch told it
	changed chan struct{}   // closed at the next change
}

func newProgress() *progress {
	return &progress{at: map[int32]int64{}, end: map[int32]int64{}, changed: make(chan struct{})}
}

func (p *progress) set(partition int32, offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at[partition] = offset
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *progress) setEnd(partition int32, end int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end[partition] = end
}

func (p *progress) drop(partition int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.at, partition)
	delete(p.end, partition)
}

// wait returns once every partition in end is settled up to there.
func (p *progress) wait(ctx context.Context, end map[int32]int64) error {
	for {
		p.mu.Lock()
		done := true
		for partition, want := range end {
			at, ours := p.at[partition]
			done = done && (ours && at >= want || want <= 0)
		}
		changed := p.changed
		p.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// lag gives the records of each partition that are not settled yet.
func (p *progress) lag() map[int32]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	lag := make(map[int32]int64, len(p.at))
	for partition, at := range p.at {
		lag[partition] = max(p.end[partition]-at, 0)
	}
	return lag
}
