//go:build synctests

package sim

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// wire is a process's network: all its connections, and whether they are cut.
type wire struct {
	to   *kfake.VirtualNetwork
	life *life // nil: of the simulator itself

	mu     sync.Mutex // guards what follows
	conns  map[*conn]bool
	closed bool // no new connection either
	moment time.Time
	writes int // since that moment
}

// burst is how much may be written within 20 ms before writing takes time. In virtual time a network is
// infinitely fast: a client that asks again as soon as it is refused (Kafka's
// does where it is fenced before its first record, until it knows the new
// leader) would keep the clock from moving, and so never hear of the leader.
const burst = 500

var errCut = errors.New("sim: the network is cut")

type conn struct {
	net.Conn
	w *wire
}

func (w *wire) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	closed := w.closed
	w.mu.Unlock()
	if closed {
		return nil, errCut
	}
	inner, err := w.to.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &conn{inner, w}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		inner.Close()
		return nil, errCut
	}
	if w.conns == nil {
		w.conns = map[*conn]bool{}
	}
	w.conns[c] = true
	return c, nil
}

// Write takes a millisecond where much is written at once.
func (c *conn) Write(b []byte) (int, error) {
	w := c.w
	w.mu.Lock()
	if now := time.Now(); now.Sub(w.moment) > 20*time.Millisecond {
		w.moment, w.writes = now, 0
	}
	w.writes++
	slow := w.writes > burst
	w.mu.Unlock()
	if slow {
		<-time.After(time.Millisecond)
	}
	if w.life == nil {
		return c.Conn.Write(b)
	}
	w.life.comes(onWire)
	n, err := c.Conn.Write(b)
	w.life.comes(sentWire)
	return n, err
}

func (c *conn) Close() error {
	c.w.mu.Lock()
	delete(c.w.conns, c)
	c.w.mu.Unlock()
	return c.Conn.Close()
}

// cut breaks all connections: what was sent may have arrived, and its answer is
// lost. With stay no new one is made until mend.
func (w *wire) cut(stay bool) {
	w.mu.Lock()
	w.closed = stay
	var all []*conn
	for c := range w.conns {
		all = append(all, c)
	}
	w.mu.Unlock()
	for _, c := range all {
		c.Conn.Close()
	}
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = false
}
