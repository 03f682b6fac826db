//go:build synctests

package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"millrace/ingest"
	"millrace/internal/kafka"
	"millrace/schema"
	"millrace/schema/schemapb"
)

// collector is the ingestor's side: a real Ingestor and Stream, fed with a
// market instead of Binance. It is started again when it ends.
type collector struct {
	w       *world
	n       int
	symbols []listing
	feed    []delivery // by time
	next    int        // in feed
	// at is the last delivery that was handed to an Ingestor; what of it was
	// acknowledged, the log's tail tells the next one.
	life *life
	// handed are the trades that a stream was given before it was told that all
	// of their time had come.
	handed []handed
	told   schema.Time // the newest time that the stream was told so

	mu      sync.Mutex // guards what follows
	stream  *ingest.Stream
	lies    time.Duration // its clock is wrong by that much
	silent  bool          // the connection to the exchange is lost
	waiting []delivery    // what was missed meanwhile
}

type handed struct {
	stream, symbol string
	id             int64
	at             schema.Time
}

// life is one process: what it is connected by and how it is ended.
type life struct {
	wire   *wire
	tap    *tap
	ctx    context.Context
	cancel context.CancelFunc
	killed bool
	done   chan struct{}

	mu   sync.Mutex
	fuse fuse
}

func (w *world) newLife() *life {
	l := &life{wire: &wire{to: &w.net}, tap: newTap(w), done: make(chan struct{})}
	l.wire.life, l.tap.life = l, l
	l.ctx, l.cancel = context.WithCancel(w.ctx)
	return l
}

// kill ends the process as kill -9 does: from here on nothing of what it does
// reaches anybody. Its goroutines wind down beside the others.
func (l *life) kill() {
	l.killed = true
	l.tap.die()
	l.wire.cut(true)
	l.cancel()
}

func (c *collector) start() {
	c.life = c.w.newLife()
	c.w.group.Go(func() { c.run(c.life) })
}

func (c *collector) kill() {
	c.w.note("collector %d killed", c.n)
	c.life.kill()
	<-c.life.done
	c.start()
}

func (c *collector) run(l *life) {
	defer close(l.done)
	for {
		err := c.collect(l)
		if l.ctx.Err() != nil || err == nil {
			return
		}
		c.w.note("collector %d ended: %v", c.n, err)
		if !c.w.wait(l.ctx, time.Second) {
			return
		}
	}
}

// id is that of its stream in the log, or "".
func (c *collector) id() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream == nil {
		return ""
	}
	return c.stream.ID()
}

func (c *collector) lie(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lies = d
}

func (c *collector) status(r *rand.Rand, s schema.TradingStatus) {
	c.mu.Lock()
	stream := c.stream
	c.mu.Unlock()
	if stream != nil {
		if err := stream.Status(c.symbols[r.IntN(len(c.symbols))].name, s); err != nil {
			c.w.note("  status: %v", err)
		}
	}
}

// silence loses the connection to the exchange, or brings it back: what came
// meanwhile is fetched then.
func (c *collector) silence(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream == nil || c.silent == on {
		return
	}
	c.silent = on
	if on {
		c.stream.Down()
		return
	}
	if err := c.back(); err != nil {
		c.w.note("collector %d: up again: %v", c.n, err)
	}
}

func (c *collector) back() error {
	if err := c.stream.Up(c.w.exchange()); err != nil {
		return err
	}
	for _, d := range c.waiting {
		if err := c.stream.Fill(d.symbol, d.trades, schema.FromStd(time.Now()), schemapb.Source_SOURCE_REST); err != nil {
			return err
		}
	}
	c.waiting = nil
	for _, s := range c.symbols {
		if err := c.stream.Release(s.name); err != nil {
			return err
		}
	}
	return nil
}

// collect opens an Ingestor and feeds it until something fails or l ends.
func (c *collector) collect(l *life) error {
	w := c.w
	cfg := ingest.Config{
		Kafka: w.kafkaConfig(l.wire), Partitions: w.plan.Partitions, Compression: "none", MarkEvery: w.plan.MarkEvery,
		BatchMax: w.plan.BatchMax, Rand: w.rand(fmt.Sprint("collector", c.n, c.next)), CloseWait: 3 * time.Second,
	}
	in, err := ingest.Open(l.ctx, cfg)
	if err != nil {
		return err
	}
	defer in.Close()
	ctx, cancel := context.WithCancel(l.ctx)
	ran := make(chan error, 1)
	go func() { ran <- in.Run(ctx) }()
	defer func() {
		cancel()
		<-ran //nolint:errcheck // what it ends with, the log shows
	}()
	names := make([]string, len(c.symbols))
	for i, s := range c.symbols {
		names[i] = s.name
	}
	bound, stop := context.WithTimeout(l.ctx, 30*time.Second)
	tail, err := in.Tail(bound, names)
	stop()
	if err != nil {
		return err
	}
	now := w.exchange()
	var list []ingest.Symbol
	for _, s := range c.symbols {
		x := ingest.Symbol{Name: s.name, From: now, Status: schemapb.TradingStatus_TRADING_STATUS_TRADING, Held: c.next > 0}
		if _, known := tail[s.name]; !known && w.plan.Anchors {
			x.Anchor = s.anchor
		}
		list = append(list, x)
	}
	stream, err := in.Stream(schemapb.Source_SOURCE_WEBSOCKET, list...)
	if err != nil {
		return err
	}
	if c.next > 0 {
		if err := c.resume(stream, tail); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.stream, c.silent, c.waiting, c.told = stream, false, nil, schema.MinTime
	c.mu.Unlock()
	held := map[string]int{}
	for {
		if err := c.deliver(stream, held); err != nil {
			return err
		}
		c.told = max(c.told, c.promise(held))
		stream.Progress(c.told)
		pause := 200 * time.Millisecond
		if c.next < len(c.feed) {
			pause = min(pause, max(c.feed[c.next].at-w.passed(), time.Millisecond))
		}
		select {
		case err := <-ran:
			ran <- err
			return err
		case <-time.After(pause):
		case <-l.ctx.Done():
			return nil
		case <-w.over:
			bound, stop := context.WithTimeout(l.ctx, 20*time.Second)
			defer stop()
			c.silence(false)
			if w.plan.SayEnd {
				return stream.Close(bound, c.promise(held))
			}
			<-l.ctx.Done()
			return nil
		}
	}
}

// deliver hands on what is due.
func (c *collector) deliver(stream *ingest.Stream, held map[string]int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.next < len(c.feed) && c.feed[c.next].at <= c.w.passed() {
		d := &c.feed[c.next]
		received := schema.FromStd(time.Now())
		if c.silent && d.kind != missed {
			c.waiting = append(c.waiting, *d)
			c.next++
			continue
		}
		switch d.kind {
		case missed:
			held[d.symbol]++
			if err := stream.Hold(d.symbol); err != nil {
				return err
			}
		case fetched:
			if err := stream.Fill(d.symbol, d.trades, received, schemapb.Source_SOURCE_REST); err != nil {
				return err
			}
			if held[d.symbol] > 0 {
				if held[d.symbol]--; held[d.symbol] == 0 {
					if err := stream.Release(d.symbol); err != nil {
						return err
					}
				}
			}
		default:
			for i := range d.trades {
				if err := stream.Trade([]byte(d.symbol), &d.trades[i], received); err != nil {
					return err
				}
				if t := &d.trades[i]; held[d.symbol] == 0 && t.Time > c.told {
					c.handed = append(c.handed, handed{stream.ID(), d.symbol, t.ID, t.Time})
				}
			}
		}
		c.next++
	}
	return nil
}

// promise gives W: nothing at or before it is still to come, but for symbols
// that are held and for what was not noticed to be missing.
func (c *collector) promise(held map[string]int) schema.Time {
	w := c.w.exchange() - 300*schema.Millisecond
	for _, d := range c.feed[c.next:] {
		if d.kind == live && held[d.symbol] == 0 {
			w = min(w, d.trades[0].Time-1)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return w + schema.Time(c.lies.Microseconds())
}

// resume fetches what came while nobody collected, from the log's end on.
func (c *collector) resume(stream *ingest.Stream, tail map[string]ingest.Last) error {
	for _, s := range c.symbols {
		last, known := tail[s.name]
		var lack []schema.Trade
		seen := map[int64]bool{}
		for _, d := range c.feed[:c.next] {
			for _, t := range d.trades {
				if d.symbol == s.name && d.kind != missed && (!known || t.ID > last.ID) && !seen[t.ID] {
					seen[t.ID] = true
					lack = append(lack, t)
				}
			}
		}
		slices.SortFunc(lack, func(a, b schema.Trade) int { return int(a.ID - b.ID) })
		if err := stream.Fill(s.name, lack, schema.FromStd(time.Now()), schemapb.Source_SOURCE_REST); err != nil {
			return err
		}
		if err := stream.Release(s.name); err != nil {
			return err
		}
	}
	return nil
}

// mend writes all of the market once more, as one who fetches every gap would.
func (w *world) mend() error {
	in, err := ingest.Open(w.ctx, ingest.Config{Kafka: w.kafkaConfig(&wire{to: &w.net}), Partitions: w.plan.Partitions, Compression: "none", Rand: w.rand("mend")})
	if err != nil {
		return err
	}
	defer in.Close()
	ctx, cancel := context.WithCancel(w.ctx)
	ran := make(chan error, 1)
	go func() { ran <- in.Run(ctx) }()
	defer func() {
		cancel()
		<-ran //nolint:errcheck // what it ends with, the log shows
	}()
	for _, s := range w.market {
		stream, err := in.Stream(schemapb.Source_SOURCE_REST, ingest.Symbol{Name: s.name, From: w.exchange()})
		if err == nil {
			err = stream.Fill(s.name, s.trades, schema.FromStd(time.Now()), schemapb.Source_SOURCE_REST)
		}
		if err == nil {
			err = stream.Close(ctx, schema.MinTime)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// kafkaConfig reaches the simulated Kafka over a wire.
func (w *world) kafkaConfig(n *wire) kafka.Config {
	return kafka.Config{Brokers: []string{broker}, Dial: n.dial}
}
