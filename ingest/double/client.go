package double

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"millrace/schema"
)

// Binance's bounds of what a client sends.
const (
	maxControl    = 4096 // bytes of a control message
	maxStreams    = 1024
	maxMessages   = 5 // a second, pings and pongs among them
	illegalStatus = websocket.StatusCode(3001)
)

// client is one websocket connection. Three goroutines share it: the reader
// (which is the request's own), the writer and the pinger.
type client struct {
	ws       *websocket.Conn
	conn     *corked
	queue    *queue
	hub      *hub
	micros   bool
	sbe      bool // events are binary
	flat     bool // errors as the documents have them
	combined atomic.Bool

	streams  []string               // subscribed; the reader's
	arrivals [maxMessages]time.Time // of the last messages, a ring; the reader's
	next     int

	kick chan kick // to the writer: close with a word

	serial uint64 // the n-th of the double
	opened time.Time
	tally  *tally
	why    atomic.Pointer[string] // the first reason to end it; the client's if none
}

type kick struct {
	code   websocket.StatusCode
	reason string
}

// drop cuts the connection without a word.
func (c *client) drop(why string) {
	c.because(why)
	c.conn.Close()
}

// because keeps the first reason for which the connection ends.
func (c *client) because(why string) { c.why.CompareAndSwap(nil, &why) }

// serveStream serves /ws, /ws/NAME and /stream?streams=NAMES, and the same under
// /sbe: what the real one has on a host of its own.
func (d *Double) serveStream(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	var names []string
	path, sbe := strings.CutPrefix(r.URL.Path, "/sbe")
	combined := path == "/stream"
	list := strings.TrimPrefix(strings.TrimPrefix(path, "/ws"), "/")
	if combined {
		list = r.URL.Query().Get("streams")
	}
	for _, n := range strings.Split(list, "/") {
		if n != "" {
			names = append(names, n)
		}
	}
	if d.faults != nil && d.faults.refuses(d.attempts.Add(1)) {
		_ = d.meter.attempt(addressOf(r), time.Now()) // it counts all the same
		panic(http.ErrAbortHandler)
	}
	if !d.meter.attempt(addressOf(r), time.Now()) {
		d.tally.refused.Add(1)
		http.Error(w, "Too many connections", http.StatusTooManyRequests)
		return
	}
	if sbe && !d.admitted(w, r) {
		return
	}
	for _, n := range names {
		if !validStream(n) {
			d.tally.refused.Add(1)
			http.Error(w, "Invalid request: invalid stream", http.StatusBadRequest)
			return
		}
	}
	if len(names) > maxStreams {
		d.tally.refused.Add(1)
		http.Error(w, "Too many subscriptions", http.StatusBadRequest)
		return
	}
	c := &client{queue: newQueue(), hub: d.hub, kick: make(chan kick, 1), flat: d.cfg.FlatErrors, tally: d.tally}
	c.combined.Store(combined)
	c.micros = isMicros(r.URL.Query())
	c.sbe = sbe
	h := &corkable{ResponseWriter: w, timeout: d.cfg.WriteTimeout}
	ws, err := websocket.Accept(h, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // pages may look in, as they may at the real one
		OnPingReceived:     func(ctx context.Context, _ []byte) bool { return c.pinged(ctx) },
		OnPongReceived:     func(context.Context, []byte) { c.count() },
	})
	if err != nil {
		return // Accept has answered
	}
	c.ws, c.conn = ws, h.conn
	ws.SetReadLimit(1 << 20) // what is over maxControl is answered, not cut
	c.opened = time.Now()
	d.mu.Lock()
	d.serial++
	c.serial = d.serial
	d.clients[c] = struct{}{}
	d.mu.Unlock()
	c.serve(ctx, d.cfg, names)
	d.mu.Lock()
	delete(d.clients, c)
	d.mu.Unlock()
	c.because(byClient)
	d.tally.closed(*c.why.Load())
}

func isMicros(q url.Values) bool { return strings.EqualFold(q.Get("timeUnit"), "MICROSECOND") }

// serve runs the client until its connection ends.
func (c *client) serve(ctx context.Context, cfg Config, names []string) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { c.drop(byTheDouble) })
	ended := make(chan struct{}, 2)
	go func() { c.drop(c.write(ctx)); ended <- struct{}{} }()
	go func() { c.drop(c.ping(ctx, cfg.PingEvery, cfg.PongTimeout)); ended <- struct{}{} }()
	for _, n := range names {
		c.add(n)
	}
	c.read()
	c.because(byClient)
	for _, n := range c.streams {
		c.hub.unsubscribe(c, n)
	}
	cancel()
	c.queue.close()
	<-ended
	<-ended
	stop()
	_ = c.ws.CloseNow() // it is of no more use
}

func (c *client) subscribed(name string) bool {
	for _, s := range c.streams {
		if s == name {
			return true
		}
	}
	return false
}

func (c *client) add(name string) {
	if !c.subscribed(name) {
		c.streams = append(c.streams, name)
		c.hub.subscribe(c, name)
		raise(&c.tally.streams, int64(len(c.streams)))
	}
}

func (c *client) remove(name string) {
	for i, s := range c.streams {
		if s == name {
			c.streams = append(c.streams[:i], c.streams[i+1:]...)
			c.hub.unsubscribe(c, name)
			return
		}
	}
}

// read answers control messages until the connection ends.
func (c *client) read() {
	for {
		_, msg, err := c.ws.Read(context.Background())
		if err != nil {
			return
		}
		c.count()
		if len(msg) >= maxControl {
			c.because(bySize)
			c.close(illegalStatus, "illegal request")
			continue
		}
		c.queue.add(c.control(msg), false, true)
	}
}

// count counts a message of the client; too many within a second end it.
func (c *client) count() {
	now := time.Now()
	oldest := c.arrivals[c.next]
	c.arrivals[c.next] = now
	c.next = (c.next + 1) % maxMessages
	n := int64(0)
	for _, t := range c.arrivals {
		if !t.IsZero() && now.Sub(t) < time.Second {
			n++
		}
	}
	over := !oldest.IsZero() && now.Sub(oldest) < time.Second
	if over {
		n++
	}
	raise(&c.tally.messages, n)
	if over {
		c.because(byRate)
		c.close(websocket.StatusPolicyViolation, "Too many requests")
	}
}

// pinged runs on the reader's goroutine. The pong goes out once all that was
// queued before has been written.
func (c *client) pinged(ctx context.Context) bool {
	c.count()
	c.queue.flushed(ctx)
	return true
}

// shutdown is the word that the server will be gone soon.
func (c *client) shutdown(at schema.Time) []byte {
	data := append(appendTime([]byte(`{"e":"serverShutdown","E":`), at, c.micros), '}')
	if c.combined.Load() && !c.sbe {
		return append(append([]byte(`{"stream":"!serverShutdown","data":`), data...), '}')
	}
	return data
}

// closeAfter closes the connection, as announced.
func (c *client) closeAfter(lead time.Duration) {
	time.AfterFunc(lead, func() {
		c.because(faultShutdown)
		c.close(websocket.StatusGoingAway, "server shutdown")
	})
}

func (c *client) close(code websocket.StatusCode, reason string) {
	select {
	case c.kick <- kick{code, reason}:
	default:
	}
}

// write sends what is queued, as much as there is in one go, and tells why it
// ended.
func (c *client) write(ctx context.Context) string {
	var buf []byte
	for {
		select {
		case <-ctx.Done():
			return byTheDouble
		case k := <-c.kick:
			_ = c.ws.Close(k.code, k.reason) // the client may have left
			return byTheDouble
		case <-c.queue.wake:
		}
		for {
			buf = c.queue.take(buf)
			if len(buf) == 0 {
				break
			}
			if err := c.send(buf); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					return bySlowness
				}
				return byClient
			}
		}
	}
}

// send writes the frames in buf, each led by its length.
func (c *client) send(buf []byte) error {
	c.conn.cork()
	n := int64(0)
	for len(buf) > 0 {
		lead, kind := binary.LittleEndian.Uint32(buf), websocket.MessageText
		if lead&binaryFrame != 0 {
			kind = websocket.MessageBinary
		}
		l := 4 + int(lead&^binaryFrame)
		// No context: one that can be cancelled costs an allocation a frame,
		// and the deadline of each write bounds it.
		if err := c.ws.Write(context.Background(), kind, buf[4:l]); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		buf = buf[l:]
		n++
	}
	if err := c.conn.uncork(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	c.queue.wrote(n)
	return nil
}

// ping pings the client, which has a time to answer, and tells why it ended.
func (c *client) ping(ctx context.Context, every, timeout time.Duration) string {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return byTheDouble
		}
		if c.conn.muted() {
			continue
		}
		pctx, cancel := context.WithTimeout(ctx, timeout)
		err := c.ws.Ping(pctx)
		cancel()
		switch {
		case err == nil || c.conn.muted():
		case errors.Is(err, context.DeadlineExceeded):
			return byNoPong
		default:
			return byClient
		}
	}
}
