package double

import (
	"encoding/json"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
)

// Counters are what clients did and what the server did to them, since it
// began. What the limits refused and what faults refused stand apart: a client
// that keeps to the limits leaves TooMany, Banned and Refused at 0 whatever the
// faults are.
type Counters struct {
	Calls      int64 `json:"calls"`       // of REST
	WeightPeak int64 `json:"weight_peak"` // most weight counted in one minute for one address
	TooMany    int64 `json:"too_many"`    // 429s answered for weight
	Banned     int64 `json:"banned"`      // 418s answered for weight

	Attempts     int64 `json:"attempts"`      // to open a websocket
	AttemptsPeak int   `json:"attempts_peak"` // most of one address within five minutes
	Refused      int64 `json:"refused"`       // attempts refused, by the limit or for what they asked
	MessagesPeak int64 `json:"messages_peak"` // most messages of a client within a second on one connection
	StreamsPeak  int64 `json:"streams_peak"`  // most streams on one connection

	Weights map[string]int64 `json:"weights"` // of REST calls, by path

	Closes map[string]int64 `json:"closes"` // connections ended, by reason
	Faults map[string]int64 `json:"faults"` // faults begun, by kind
}

// The reasons for which a connection ends.
const (
	byClient    = "client"            // it left, or the network between
	byRate      = "too many messages" // more than five in a second
	bySize      = "message too long"
	bySlowness  = "too slow" // it did not read
	byNoPong    = "no pong"
	byTheDouble = "closing" // Run ended, or Cut was called
)

// tally holds the figures that connections count.
type tally struct {
	calls, refused    atomic.Int64
	messages, streams atomic.Int64

	mu      sync.Mutex // guards what is below
	weights map[string]int64
	closes  map[string]int64
	faults  map[string]int64
}

func newTally() *tally {
	return &tally{weights: make(map[string]int64), closes: make(map[string]int64), faults: make(map[string]int64)}
}

func raise(peak *atomic.Int64, n int64) {
	for {
		old := peak.Load()
		if n <= old || peak.CompareAndSwap(old, n) {
			return
		}
	}
}

// called counts a call, and gives its number.
func (t *tally) called(path string, weight int64) uint64 {
	t.mu.Lock()
	t.weights[path] += weight
	t.mu.Unlock()
	return uint64(t.calls.Add(1))
}

func (t *tally) closed(reason string) {
	t.mu.Lock()
	t.closes[reason]++
	t.mu.Unlock()
}

// serveCounters is no path of Binance's: a test of whole processes reads them
// there.
func (d *Double) serveCounters(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(d.Counters()) // a client that left has nobody to be told
}

// Counters gives the figures of the moment.
func (d *Double) Counters() Counters {
	t, m := d.tally, d.meter
	c := Counters{Calls: t.calls.Load(), Refused: t.refused.Load(), MessagesPeak: t.messages.Load(), StreamsPeak: t.streams.Load()}
	m.mu.Lock()
	c.WeightPeak, c.TooMany, c.Banned = m.weightPeak, m.tooMany, m.bans
	c.Attempts, c.AttemptsPeak = m.attempted, m.peak
	m.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	c.Weights, c.Closes, c.Faults = maps.Clone(t.weights), maps.Clone(t.closes), maps.Clone(t.faults)
	return c
}

func (t *tally) fault(kind string) {
	t.mu.Lock()
	t.faults[kind]++
	t.mu.Unlock()
}
