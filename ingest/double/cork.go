package double

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"time"
)

// corkBytes is how much a corked connection holds back at most.
const corkBytes = 64 << 10

// corked is a connection that can hold its writes back, so that many websocket
// frames, each of which the library flushes, go out in one write.
type corked struct {
	net.Conn
	timeout time.Duration // of one write

	mu   sync.Mutex // guards what is below
	held bool
	dead bool // what is written goes nowhere
	buf  []byte
}

// mute lets the connection stay open and sends nothing by it any more.
func (c *corked) mute() {
	c.mu.Lock()
	c.dead = true
	c.buf = c.buf[:0]
	c.mu.Unlock()
}

func (c *corked) muted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

func (c *corked) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return len(p), nil
	}
	if !c.held {
		return c.write(p)
	}
	if len(c.buf)+len(p) > corkBytes {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	c.buf = append(c.buf, p...)
	return len(p), nil
}

func (c *corked) write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *corked) flush() error {
	if len(c.buf) == 0 {
		return nil
	}
	_, err := c.write(c.buf)
	c.buf = c.buf[:0]
	return err
}

// cork holds writes back until uncork.
func (c *corked) cork() {
	c.mu.Lock()
	c.held = true
	c.mu.Unlock()
}

func (c *corked) uncork() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
	return c.flush()
}

// corkable hands out a corked connection when the websocket library takes it
// over.
type corkable struct {
	http.ResponseWriter
	timeout time.Duration
	conn    *corked
}

// Hijack is called by the websocket library.
func (w *corkable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.conn = &corked{Conn: c, timeout: w.timeout}
	rw.Writer.Reset(w.conn)
	return w.conn, rw, nil
}
