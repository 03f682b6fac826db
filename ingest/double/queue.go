package double

import (
	"context"
	"encoding/binary"
	"sync"
)

// maxPending bounds what waits for one client.
const maxPending = 4 << 20

// binaryFrame marks the length of a frame that is no text.
const binaryFrame = 1 << 31

// queue holds the frames that wait for one client's writer, each led by its
// length and kind. The market's goroutine puts, the writer takes all there is.
type queue struct {
	mu      sync.Mutex // guards what is below
	changed sync.Cond  // taken, written, closed
	pending []byte
	put     int64 // frames ever put
	written int64 // frames that have gone to the socket
	closed  bool
	wake    chan struct{} // tells the writer
}

func newQueue() *queue {
	q := &queue{wake: make(chan struct{}, 1)}
	q.changed.L = &q.mu
	return q
}

// add puts a frame. Where too much waits already, a patient caller waits for
// room; for an impatient one ok is false: the client is too slow.
func (q *queue) add(frame []byte, isBinary, patient bool) (ok bool) {
	lead := uint32(len(frame))
	if isBinary {
		lead |= binaryFrame
	}
	q.mu.Lock()
	for len(q.pending) > maxPending && !q.closed {
		if !patient {
			q.mu.Unlock()
			return false
		}
		q.changed.Wait()
	}
	wake := len(q.pending) == 0
	if !q.closed {
		q.pending = binary.LittleEndian.AppendUint32(q.pending, lead)
		q.pending = append(q.pending, frame...)
		q.put++
	}
	q.mu.Unlock()
	if wake {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// take gives all that waits, and puts the emptied buffer of the last time in
// its place.
func (q *queue) take(emptied []byte) []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.pending
	q.pending = emptied[:0]
	q.changed.Broadcast()
	return all
}

// wrote counts frames that have gone to the socket.
func (q *queue) wrote(n int64) {
	q.mu.Lock()
	q.written += n
	q.changed.Broadcast()
	q.mu.Unlock()
}

// close lets all who wait go.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.changed.Broadcast()
	q.mu.Unlock()
}

// flushed waits until what has been put so far has gone to the socket, or the
// client is gone, or ctx ends.
func (q *queue) flushed(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		q.mu.Lock()
		q.changed.Broadcast()
		q.mu.Unlock()
	})
	defer stop()
	q.mu.Lock()
	defer q.mu.Unlock()
	for goal := q.put; q.written < goal && !q.closed && ctx.Err() == nil; {
		q.changed.Wait()
	}
}
