package double

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"millrace/schema"
)

// event is one trade or aggregate on its way to the subscribers.
type event struct {
	symbol    string
	aggregate bool
	trade     schema.Trade
	aggID     int64
	e         schema.Time    // when the exchange sends it
	frame     []byte         // as recorded, in the wrapper of combined streams; else empty
	data      []byte         // the payload within frame
	fills     []schema.Trade // of the order, with one of its trades; else empty
}

// kept gives a copy of the event that stays when the market's goroutine goes on.
func (e *event) kept() event {
	k := *e
	k.fills = slices.Clone(e.fills)
	return k
}

// listeners are the subscribers of one symbol. The lists are replaced, never
// changed: the market's goroutine reads them without a lock.
type listeners struct {
	trades, aggregates atomic.Pointer[[]*client]
}

// hub knows who listens to what.
type hub struct {
	bySymbol map[string]*listeners // fixed after newHub; upper case
	byStream map[string]*listeners // lower case, without the @
	patient  bool                  // wait for slow clients
	changed  chan struct{}         // someone subscribed

	mu sync.Mutex // guards the replacing of lists

	forms [5][]byte // of the event at hand; the market's goroutine only
}

func newHub(symbols []string) *hub {
	h := &hub{bySymbol: make(map[string]*listeners), byStream: make(map[string]*listeners), changed: make(chan struct{}, 1)}
	for _, s := range symbols {
		l := &listeners{}
		h.bySymbol[s] = l
		h.byStream[strings.ToLower(s)] = l
	}
	return h
}

// list finds the list for a stream's name; nil for a stream that stays silent.
func (h *hub) list(stream string) *atomic.Pointer[[]*client] {
	symbol, what, _ := strings.Cut(stream, "@")
	l := h.byStream[symbol]
	switch {
	case l == nil:
		return nil
	case what == "trade":
		return &l.trades
	case what == "aggTrade":
		return &l.aggregates
	}
	return nil
}

func (h *hub) subscribe(c *client, stream string) {
	l := h.list(stream)
	if l == nil || c.sbe && !strings.HasSuffix(stream, "@trade") { // SBE has no aggregates
		return
	}
	h.mu.Lock()
	var all []*client
	if old := l.Load(); old != nil {
		all = append(all, *old...)
	}
	all = append(all, c)
	l.Store(&all)
	h.mu.Unlock()
	h.signal()
}

func (h *hub) unsubscribe(c *client, stream string) {
	l := h.list(stream)
	if l == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*client
	if old := l.Load(); old != nil {
		for _, o := range *old {
			if o != c {
				all = append(all, o)
			}
		}
	}
	l.Store(&all)
}

func (h *hub) signal() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// heard reports whether a symbol has a subscriber.
func (h *hub) heard(symbol string) bool {
	l := h.bySymbol[symbol]
	if l == nil {
		return false
	}
	t, a := l.trades.Load(), l.aggregates.Load()
	return t != nil && len(*t) > 0 || a != nil && len(*a) > 0
}

// await waits until each of the symbols has a subscriber.
func (h *hub) await(ctx context.Context, symbols []string) error {
	for _, s := range symbols {
		for !h.heard(s) {
			select {
			case <-h.changed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// emit queues an event for its subscribers. Only the market's goroutine calls
// it, or who holds the faults' lock.
func (h *hub) emit(e *event) (heard bool) {
	clients := h.listeners(e)
	if len(clients) == 0 {
		return h.heard(e.symbol)
	}
	h.fresh()
	for _, c := range clients {
		h.send(e, c)
	}
	return true
}

// listeners gives an event's subscribers.
func (h *hub) listeners(e *event) []*client {
	l := h.bySymbol[e.symbol]
	list := &l.trades
	if e.aggregate {
		list = &l.aggregates
	}
	if clients := list.Load(); clients != nil {
		return *clients
	}
	return nil
}

// fresh forgets the forms of the last event.
func (h *hub) fresh() {
	for i := range h.forms {
		h.forms[i] = h.forms[i][:0]
	}
}

// send queues an event for one client.
func (h *hub) send(e *event, c *client) {
	if c.sbe && len(e.fills) == 0 {
		return // it has come, or will, with another fill of its order
	}
	if !c.queue.add(h.form(e, c), c.sbe, h.patient) {
		c.drop(bySlowness)
	}
}

// form gives the event as a client wants it, made at most once for all.
func (h *hub) form(e *event, c *client) []byte {
	if c.sbe {
		if len(h.forms[4]) == 0 {
			h.forms[4] = appendSBE(h.forms[4], e.symbol, e.fills, e.e)
		}
		return h.forms[4]
	}
	combined := c.combined.Load()
	if len(e.frame) > 0 && !c.micros {
		if combined {
			return e.frame
		}
		return e.data
	}
	i := 0
	if combined {
		i = 1
	}
	if c.micros {
		i += 2
	}
	if len(h.forms[i]) == 0 {
		h.forms[i] = appendEvent(h.forms[i], e, combined, c.micros)
	}
	return h.forms[i]
}

// close lets whoever waits for a subscriber look at its context.
func (h *hub) close() { h.signal() }
