package sink

import (
	"sync"

	"millrace/schema"
	"millrace/state"
)

// capacity is how many windows a Mailbox holds before it gives up on keeping
// them: about 70 MB.
const capacity = 200_000

// roomy is the size from which on an emptied map is not used again: it keeps its
// memory, and going through it takes as long as when it was full.
const roomy = 4096

// Work is what a sink has to write next: the latest values of what changed, and
// up to where they bring it. Behind says that the mail was lost (or there was
// none yet): what changed after the sink's progress must be read from state.
type Work struct {
	Behind   bool
	Candles  []schema.Candle
	Runs     []state.Run
	Gaps     []schema.GapSet
	Position state.Position
	Newest   schema.Time
	Calendar schema.Calendar
}

type windowKey struct {
	symbol string
	period schema.Period
	start  schema.Time
}

// Mailbox is where a partition's owner leaves what changed for one sink. The
// owner never waits for the sink.
type Mailbox struct {
	wake chan struct{}

	mu      sync.Mutex // guards what follows
	behind  bool
	candles map[windowKey]schema.Candle
	runs    []state.Run
	empties int64 // windows in runs
	gaps    map[string]schema.GapSet
	last    state.Changes // its lists are not used
	fresh   bool
}

// NewMailbox makes a mailbox whose sink is behind.
func NewMailbox() *Mailbox {
	return &Mailbox{
		wake:    make(chan struct{}, 1),
		behind:  true,
		candles: map[windowKey]schema.Candle{},
		gaps:    map[string]schema.GapSet{},
	}
}

// Wake gives a channel that says when there may be work.
func (m *Mailbox) Wake() <-chan struct{} { return m.wake }

// Offer takes what a micro-batch changed. Of c only the values are kept.
func (m *Mailbox) Offer(c *state.Changes) {
	m.mu.Lock()
	m.last, m.fresh = *c, true
	m.last.Candles, m.last.Runs, m.last.Gaps = nil, nil, nil
	if !m.behind {
		for i := range c.Candles {
			n := &c.Candles[i]
			m.candles[windowKey{n.Symbol, n.Period, n.Start}] = *n
		}
		m.runs = append(m.runs, c.Runs...)
		for i := range c.Runs {
			m.empties += c.Calendar.Count(c.Runs[i].Period, c.Runs[i].From, c.Runs[i].To)
		}
		for _, g := range c.Gaps {
			m.gaps[g.Symbol] = g
		}
		if c.Reread || int64(len(m.candles))+m.empties > capacity {
			m.lose()
		}
	}
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Lose throws the mail away: the sink is behind from now on.
func (m *Mailbox) Lose() {
	m.mu.Lock()
	m.lose()
	m.mu.Unlock()
}

func (m *Mailbox) lose() {
	m.behind = true
	m.empty()
}

func (m *Mailbox) empty() {
	m.candles, m.gaps = emptied(m.candles), emptied(m.gaps)
	m.runs, m.empties = nil, 0
}

func emptied[K comparable, V any](m map[K]V) map[K]V {
	if len(m) > roomy {
		return map[K]V{}
	}
	clear(m)
	return m
}

// Take gives all that is there; ok is false if that is nothing. After Work with
// Behind, the mailbox gathers again: what changes from here on is in the next
// Work, what changed before is in any View opened after Take.
func (m *Mailbox) Take() (w Work, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.behind {
		m.behind, m.fresh = false, false
		return Work{Behind: true}, true
	}
	if !m.fresh {
		return Work{}, false
	}
	m.fresh = false
	w = Work{Position: m.last.Position, Newest: m.last.Newest, Calendar: m.last.Calendar, Runs: m.runs}
	w.Candles = make([]schema.Candle, 0, len(m.candles))
	for _, c := range m.candles {
		w.Candles = append(w.Candles, c)
	}
	for _, g := range m.gaps {
		w.Gaps = append(w.Gaps, g)
	}
	m.empty()
	return w, true
}
