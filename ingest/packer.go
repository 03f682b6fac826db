package ingest

import (
	"fmt"

	"millrace/schema"
)

// packer holds the trades of one symbol that wait for company. It belongs to
// its stream's lock.
type packer struct {
	symbol   string
	key      []byte // never changed: records share it
	lane     *lane
	watch    schema.Watch // as last written
	held     bool
	dirty    bool // stands in Stream.dirty
	trades   []schema.Trade
	received schema.Time // of the first of them
}

// Trade takes a trade in. An error that wraps schema.ErrTrade or ErrSymbol
// means that this one was not taken and is to be refused; any other is final.
func (s *Stream) Trade(symbol []byte, t *schema.Trade, received schema.Time) error {
	if err := t.Validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	p := s.last
	if p == nil || p.symbol != string(symbol) {
		if p = s.packers[string(symbol)]; p == nil {
			return fmt.Errorf("%w: %q", ErrSymbol, symbol)
		}
		s.last = p
	}
	if len(p.trades) == 0 {
		p.received = received
	}
	p.trades = append(p.trades, *t)
	if len(p.trades) >= s.in.cfg.BatchMax {
		s.flush(p)
		return nil
	}
	if !p.dirty {
		p.dirty = true
		s.dirty = append(s.dirty, p)
		if len(s.dirty) == 1 {
			signal(s.in.dirty)
		}
	}
	return nil
}

// Fill takes in trades that were fetched because they were missed. They go
// into records of their own, behind what was taken before. All of them are of
// one symbol; an error is as that of Trade, and then none was taken.
func (s *Stream) Fill(symbol string, trades []schema.Trade, received schema.Time, source schema.Source) error {
	for j := range trades {
		if err := trades[j].Validate(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.of(symbol)
	if err != nil {
		return err
	}
	s.flush(p)
	for len(trades) > 0 {
		n := min(len(trades), s.in.cfg.BatchMax)
		s.pack(p, trades[:n], received, source)
		trades = trades[n:]
	}
	return nil
}

// sweep sends what has waited for the linger.
func (s *Stream) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.dirty {
		p.dirty = false
		s.flush(p)
	}
	s.dirty = s.dirty[:0]
}

// flushAll sends everything. The caller holds mu.
func (s *Stream) flushAll() {
	for _, l := range s.lanes {
		s.flushLane(l)
	}
}

func (s *Stream) flushLane(l *lane) {
	for _, p := range l.packers {
		s.flush(p)
	}
}

// flush sends p's trades. The caller holds mu.
func (s *Stream) flush(p *packer) {
	s.pack(p, p.trades, p.received, s.source)
	p.trades = p.trades[:0]
}

// pack writes trades as records: one, or more where their scales cannot be
// shared. They have been validated, so each record holds at least one.
func (s *Stream) pack(p *packer, trades []schema.Trade, received schema.Time, source schema.Source) {
	for len(trades) > 0 {
		r := s.in.next(p.lane, s.in.cfg.Ticks, p.key)
		var n int
		r.Value, n = schema.AppendTrades(r.Value, p.symbol, trades, received, source)
		if n == 0 {
			s.in.fail(fmt.Errorf("ingest: pack trade %d of %s: %w", trades[0].ID, p.symbol, schema.ErrTrade))
			return
		}
		r.trades, r.received, r.filled = n, received, source != s.source
		s.in.send(r)
		trades = trades[n:]
	}
}
