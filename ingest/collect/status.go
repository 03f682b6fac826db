package collect

import (
	"sync/atomic"
	"time"

	"millrace/ingest/binance"
	"millrace/internal/latency"
	"millrace/schema"
)

type stats struct {
	Fill   latency.Histogram // from a hole's discovery to its last id handed over
	filled atomic.Int64
	open   atomic.Int64 // gaps that the processor tells of
}

// Status is what an operator sees of collecting.
type Status struct {
	Connections []ConnectionStatus
	Symbols     []SymbolStatus
	// Begun says that all connections are listed: at the start the symbols are
	// prepared connection by connection.
	Begun bool
	// Waiting is why the exchange's symbols, without which nothing begins, are
	// still waited for; "" if they are not.
	Waiting string
	// OpenGaps are those that the processor tells of for these symbols.
	OpenGaps int64
	// Filled holes, and how long each took from its discovery.
	Filled int64
	Fill   latency.Snapshot
	Budget binance.BudgetStats
	Calls  binance.CallStats
	// Offset is by how much the exchange's clock is ahead of the local one.
	Offset      time.Duration
	OffsetKnown bool
}

// ConnectionStatus is that of a group of symbols and its connection.
type ConnectionStatus struct {
	Symbols        int
	Up             bool
	Since          time.Time // when it stood; zero while it does not
	Lost           time.Time // when it was lost; zero while it stands, and before it ever did
	Losses, Renews int64
	Why            string    // the last loss, failure or renewal
	WhyAt          time.Time // when that was; zero: there was none
	Trades         int64     // received, of the symbols of the moment
	// Polled says that REST is asked in place of a connection, and Answered when
	// it last told what is new.
	Polled   bool
	Answered time.Time
	binance.Counts
}

// SymbolStatus is that of one symbol.
type SymbolStatus struct {
	Symbol string
	Status schema.TradingStatus
	Next   int64 // the next id
	Trades int64 // received
	Copies int64 // of them had been seen before
	Filled int64 // ids fetched
	// Elsewhere is how many ids were missed here and found in the log, brought by
	// another ingestor.
	Elsewhere int64
	Held      bool      // marks promise nothing of it
	Since     time.Time // when it was held; zero while it is not
	Heard     time.Time
	Silent    bool // for long against its own pace
	Holes     []HoleStatus
}

// HoleStatus is a stretch of ids that are missing here.
type HoleStatus struct {
	First, Last int64
	Since       time.Time
	Why         string // why it can't be had; "" while it is being fetched
	// Trouble is why the last call for it failed, which will be made again; ""
	// if it did not.
	Trouble string
}

// Status gives how collecting stands. It is not of one moment.
func (l *Live) Status() Status {
	now := time.Now()
	s := Status{Begun: l.begun.Load(), OpenGaps: l.stats.open.Load(), Filled: l.stats.filled.Load(), Fill: l.stats.Fill.Snapshot()}
	if r := l.Source.REST; r != nil {
		s.Budget, s.Calls = r.Budget().Stats(), r.Calls()
		s.Offset, _, s.OffsetKnown = r.Clock().Offset()
	}
	if w := l.awaited.Load(); w != nil {
		s.Waiting = *w
	}
	for _, g := range l.all() {
		var counts binance.Counts
		if g.source != nil { // it is not polled
			counts = g.source.Counts()
		}
		g.mu.Lock()
		c := ConnectionStatus{Symbols: len(g.series), Up: g.up, Losses: g.losses, Renews: g.renews, Why: g.why, WhyAt: g.whyAt, Polled: g.source == nil, Answered: g.replied, Counts: counts}
		if g.up {
			c.Since = g.stood
		} else {
			c.Lost = g.lost
		}
		for _, name := range sortedKeys(g.series) {
			y := g.series[name]
			x := SymbolStatus{Symbol: name, Status: y.status, Next: y.next, Trades: y.trades, Copies: y.copies, Filled: y.filled, Elsewhere: y.elsewhere, Held: y.held, Heard: y.heard, Silent: y.silent(now, silentAtLeast)}
			if y.held {
				x.Since = y.since
			}
			for _, h := range y.holes {
				x.Holes = append(x.Holes, HoleStatus{h.first, h.last, h.whole.found, h.why, h.trouble})
			}
			c.Trades += y.trades
			s.Symbols = append(s.Symbols, x)
		}
		s.Connections = append(s.Connections, c)
		g.mu.Unlock()
	}
	return s
}

// tellOffset has the lag of trades measured by the exchange's clock. While that
// is not known, the offset that was known last counts.
func (l *Live) tellOffset() {
	offset, _, ok := l.Source.REST.Clock().Offset()
	if !ok {
		return
	}
	for _, g := range l.all() {
		if g.source != nil {
			g.source.SetOffset(offset)
		}
	}
}
