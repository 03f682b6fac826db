package double

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"millrace/schema"
)

// faultStep is how often is looked for faults to begin and to end, and for late
// events to send.
const faultStep = 2 * time.Millisecond

// maxHeld bounds the late events; what would be more is not late.
const maxHeld = 1 << 20

// faults carries a scenario out.
//
//	planned ──begin──▶ running ──end──▶ (planned again, with every)
//
// One goroutine moves faults on. Events pass through here while a fault of
// streams runs; the lock keeps the two apart.
type faults struct {
	d        *Double
	scenario *Scenario
	pace     float64 // of the market's time

	mu       sync.Mutex // guards what is below, and the hub's forms
	now      time.Time  // of the step
	began    time.Time
	market   schema.Time // when it began
	planned  []planned
	running  []*running
	streams  []*running // those of the running that events pass through
	picked   []*running // of the event at hand
	held     []held     // late events
	over     bool
	releases uint64
}

// planned is a fault that is still to come, for the n-th time.
type planned struct {
	fault *Fault
	draw  uint64 // tells it apart
	n     int
	at    time.Duration // from the beginning, on its own clock
	gen   *generator    // it was made up; the next follows it
}

// running is a fault at work.
type running struct {
	*Fault
	draw    uint64
	end     time.Duration // on its own clock; never, if negative
	left    int           // events it may still hit; without bound, if negative
	clients map[*client]bool
	window  []held
	flush   time.Time // when the window is sent, full or not
}

// held is an event kept back from a client.
type held struct {
	c     *client
	event event
	due   time.Time
}

func newFaults(d *Double, s *Scenario) *faults {
	if len(s.Faults) == 0 && s.Random == nil {
		return nil
	}
	f := &faults{d: d, scenario: s, pace: 1}
	if d.cfg.Synthetic.Start != 0 {
		f.pace = d.cfg.Synthetic.Pace
	}
	if len(d.cfg.Files) > 0 && d.cfg.Speed > 0 {
		f.pace = d.cfg.Speed
	}
	return f
}

// begin lays the plan out, when the market begins.
func (f *faults) begin(now time.Time, market schema.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now, f.began, f.market = now, now, market
	for i := range f.scenario.Faults {
		fault := &f.scenario.Faults[i]
		if fault.Kind == faultVoids {
			f.tell(fault)
			continue
		}
		at := fault.At
		if fault.Moment != 0 {
			at = time.Duration(fault.Moment-market) * time.Microsecond
		}
		f.planned = append(f.planned, planned{fault: fault, draw: mix(f.scenario.Seed, uint64(i), 0), at: at})
	}
	if r := f.scenario.Random; r != nil {
		g := newGenerator(r)
		f.planned = append(f.planned, g.next(0))
	}
}

// run moves faults on until ctx ends.
func (f *faults) run(ctx context.Context) {
	tick := time.NewTicker(faultStep)
	defer tick.Stop()
	for {
		f.step(time.Now(), f.d.market.now())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// stop ends all faults, at the market's end or the double's: what was held
// back is sent.
func (f *faults) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	f.planned = nil
	for _, r := range f.running {
		f.finish(r)
	}
	f.running, f.streams = nil, nil
	f.release(math.MaxInt64)
}

// step begins and ends what is due.
func (f *faults) step(now time.Time, market schema.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return
	}
	f.now = now
	gone := [...]time.Duration{now.Sub(f.began), time.Duration(market-f.market) * time.Microsecond}
	clock := func(onMarket bool) time.Duration {
		if onMarket {
			return gone[1]
		}
		return gone[0]
	}
	f.running = slices.DeleteFunc(f.running, func(r *running) bool {
		ended := r.end >= 0 && clock(r.onMarket()) >= r.end || r.left == 0
		if ended {
			f.finish(r)
		}
		return ended
	})
	for i := 0; i < len(f.planned); i++ {
		// One of the same again in the same step only if it is due by then.
		for p := &f.planned[i]; clock(p.fault.onMarket()) >= p.at; {
			f.start(p)
			if p.gen != nil {
				*p = p.gen.next(p.at)
				continue
			}
			p.n++
			if p.fault.Every == 0 || p.fault.Times > 0 && p.n >= p.fault.Times {
				f.planned = slices.Delete(f.planned, i, i+1)
				i--
				break
			}
			p.at += p.fault.Every
		}
	}
	f.streams = f.streams[:0]
	for _, r := range f.running {
		switch r.Kind {
		case faultStall, faultDrop, faultDouble, faultReorder, faultLate:
			f.streams = append(f.streams, r)
		case faultAge:
			f.retire(r)
		}
		if len(r.window) > 0 && !now.Before(r.flush) {
			f.shuffle(r)
		}
	}
	f.release(now.Sub(f.began))
}

func (f *Fault) onMarket() bool { return f.Market || f.Moment != 0 }

// wall turns a duration on a fault's clock into the wall's.
func (f *faults) wall(r *Fault, d time.Duration) time.Duration {
	if r.onMarket() {
		return time.Duration(float64(d) / f.pace)
	}
	return d
}

// hits reports whether a fault is about a connection.
func (r *running) hits(c *client) bool { return share(r.Connections, mix(r.draw, 2, c.serial)) }

// tell lets be known that a fault begins.
func (f *faults) tell(fault *Fault) {
	f.d.tally.fault(fault.Kind)
	if f.d.cfg.OnFault != nil {
		f.d.cfg.OnFault(fault)
	}
}

// start begins a fault.
func (f *faults) start(p *planned) {
	defer f.tell(p.fault) // who is told finds it at work
	r := &running{Fault: p.fault, draw: mix(p.draw, 3, uint64(p.n)), end: -1, left: -1}
	if r.For > 0 {
		r.end = p.at + r.For
	}
	if r.Count > 0 {
		r.left = r.Count
	}
	switch r.Kind {
	case faultCut:
		for _, c := range f.d.snapshot() {
			if r.hits(c) {
				c.drop(faultCut)
			}
		}
		return
	case faultShutdown:
		for _, c := range f.d.snapshot() {
			if r.hits(c) {
				c.queue.add(c.shutdown(f.d.market.now()), false, false)
				c.closeAfter(f.wall(r.Fault, r.Delay))
			}
		}
		return
	case faultStatus, faultList, faultDelist:
		return // it is in the market already
	case faultHalfDead, faultStall:
		r.clients = make(map[*client]bool)
		for _, c := range f.d.snapshot() {
			if r.hits(c) {
				r.clients[c] = true
				if r.Kind == faultHalfDead {
					c.conn.mute()
				}
			}
		}
	}
	f.running = append(f.running, r)
}

// finish ends a fault.
func (f *faults) finish(r *running) {
	switch r.Kind {
	case faultHalfDead:
		for c := range r.clients {
			c.drop(faultHalfDead)
		}
	case faultReorder:
		f.shuffle(r)
	}
}

// retire closes the connections that are too old.
func (f *faults) retire(r *running) {
	age := f.wall(r.Fault, r.Delay)
	for _, c := range f.d.snapshot() {
		if f.now.Sub(c.opened) >= age && r.hits(c) {
			c.drop(faultAge)
		}
	}
}

// emit gives an event to its subscribers, less what faults do to it.
func (f *faults) emit(e *event) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.picked = f.picked[:0]
	for _, r := range f.streams {
		if r.picks(e) {
			f.picked = append(f.picked, r)
		}
	}
	if len(f.picked) == 0 {
		return f.d.hub.emit(e)
	}
	f.d.hub.fresh()
	clients := f.d.hub.listeners(e)
	for _, c := range clients {
		f.pass(c, e)
	}
	for _, r := range f.picked {
		if r.left > 0 && len(clients) > 0 {
			r.left--
		}
	}
	return len(clients) > 0 || f.d.hub.heard(e.symbol)
}

// picks reports whether a fault is about an event. It depends on the event's
// id only, so that it is the same in each run.
func (r *running) picks(e *event) bool {
	if r.left == 0 || !r.about(e.symbol, r.draw) {
		return false
	}
	id := e.trade.ID
	if e.aggregate {
		id = -1 - id
	}
	return share(r.Share, mix(r.draw, textSeed(e.symbol), uint64(id)))
}

// pass gives an event to one client. The first fault that is about both
// decides.
func (f *faults) pass(c *client, e *event) {
	for _, r := range f.picked {
		if r.Kind == faultStall {
			if r.clients[c] {
				return
			}
			continue
		}
		if !r.hits(c) {
			continue
		}
		switch r.Kind {
		case faultDrop:
			return
		case faultDouble:
			f.d.hub.send(e, c)
		case faultLate:
			if len(f.held) >= maxHeld {
				break
			}
			delay := f.wall(r.Fault, r.Delay)
			h := held{c: c, event: e.kept(), due: f.now.Add(delay)}
			h.event.e += micros(time.Duration(float64(delay) * f.pace))
			h.event.frame, h.event.data = nil, nil // its E is another
			f.held = append(f.held, h)
			return
		case faultReorder:
			if len(r.window) == 0 {
				r.flush = f.now.Add(time.Second)
				if r.Delay > 0 {
					r.flush = f.now.Add(f.wall(r.Fault, r.Delay))
				}
			}
			r.window = append(r.window, held{c: c, event: e.kept()})
			if n := len(r.window); n == r.Window || n == maxWindow {
				f.shuffle(r)
			}
			return
		}
		break
	}
	f.d.hub.send(e, c)
}

// shuffle sends a window of events in another order.
func (f *faults) shuffle(r *running) {
	w := r.window
	r.window = nil
	f.releases++
	for i := len(w) - 1; i > 0; i-- {
		j := int(mix(r.draw, f.releases, uint64(i)) % uint64(i+1))
		w[i], w[j] = w[j], w[i]
	}
	for i := range w {
		f.d.hub.fresh()
		f.d.hub.send(&w[i].event, w[i].c)
	}
}

// release sends the late events that are due.
func (f *faults) release(gone time.Duration) {
	kept := f.held[:0]
	for i := range f.held {
		h := &f.held[i]
		if h.due.Sub(f.began) > gone {
			kept = append(kept, *h)
			continue
		}
		f.d.hub.fresh()
		f.d.hub.send(&h.event, h.c)
	}
	clear(f.held[len(kept):])
	f.held = kept
}
