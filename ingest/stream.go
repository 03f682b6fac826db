package ingest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"millrace/schema"
)

var (
	// ErrSymbol reports a trade of a symbol that the stream was not told of.
	ErrSymbol = errors.New("ingest: symbol is not one of the stream's")
	// ErrClosed reports a call to a stream that is closed.
	ErrClosed = errors.New("ingest: stream is closed")
)

// Symbol is one that a stream sees every trade of, from From on.
type Symbol struct {
	Name   string
	From   schema.Time // exchange time
	Status schema.TradingStatus
	// Anchor is the last trade before the symbol's history, if it is known.
	Anchor *schema.Anchor
	// Held begins as after Hold: no mark speaks for it before Release.
	Held bool
}

// Stream is a connection or a file. Every method may block while Kafka does
// not keep up.
type Stream struct {
	in     *Ingestor
	id     string
	source schema.Source
	acks   chan struct{} // a lane of this stream has nothing on its way

	mu      sync.Mutex
	packers map[string]*packer
	lanes   []*lane // one for each partition it has symbols in
	last    *packer // of the newest trade: often of the next one too
	dirty   []*packer
	w       schema.Time // newest progress
	down    bool
	closed  bool
}

// Stream opens one. Watches and anchors of its symbols are written before any
// of their trades.
func (i *Ingestor) Stream(source schema.Source, symbols ...Symbol) (*Stream, error) {
	i.mu.Lock()
	i.opened++
	s := &Stream{
		in: i, id: fmt.Sprintf("%s.%d", i.id, i.opened), source: source,
		acks: make(chan struct{}, 1), packers: make(map[string]*packer), w: schema.MinTime,
	}
	i.streams = append(i.streams, s)
	i.mu.Unlock()
	if err := s.Add(symbols...); err != nil {
		i.forget(s)
		return nil, err
	}
	return s, nil
}

func (i *Ingestor) forget(s *Stream) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.streams = slices.DeleteFunc(i.streams, func(x *Stream) bool { return x == s })
}

// ID is the stream's as an ingestor in the log.
func (s *Stream) ID() string { return s.id }

// usable says why s takes nothing any more. The caller holds mu.
func (s *Stream) usable() error {
	if err := s.in.failure(); err != nil {
		return err
	}
	if s.closed {
		return ErrClosed
	}
	if s.in.ended.Load() {
		return ErrEnded
	}
	return nil
}

// Add registers more symbols: for each its anchor, if any, and its watch.
func (s *Stream) Add(symbols ...Symbol) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	for _, x := range symbols {
		if err := schema.ValidateSymbol(x.Name); err != nil {
			return fmt.Errorf("ingest: add a symbol: %w", err)
		}
		if s.packers[x.Name] != nil {
			return fmt.Errorf("ingest: add a symbol: %s is there already", x.Name)
		}
		p := &packer{symbol: x.Name, key: []byte(x.Name), lane: s.lane(s.in.partition(x.Name)), held: x.Held, watch: schema.Watch{
			Symbol: x.Name, Ingestor: s.id, On: true, From: x.From, Status: x.Status,
		}}
		if x.Anchor != nil {
			if err := s.control(p, *x.Anchor); err != nil {
				return err
			}
		}
		if err := s.control(p, p.watch); err != nil {
			return err
		}
		p.lane.packers = append(p.lane.packers, p)
		p.lane.except(p.symbol)
		s.packers[x.Name] = p
	}
	return nil
}

// Remove ends the watch of a symbol. Its trades so far are in the log before
// that; a later one is none of the stream's.
func (s *Stream) Remove(symbol string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.of(symbol)
	if err != nil {
		return err
	}
	p.watch.On, p.watch.From = false, max(s.w, p.watch.From)
	if err := s.control(p, p.watch); err != nil {
		return err
	}
	is := func(x *packer) bool { return x == p }
	p.lane.packers = slices.DeleteFunc(p.lane.packers, is)
	s.dirty = slices.DeleteFunc(s.dirty, is)
	delete(s.packers, symbol)
	s.last = nil
	return nil
}

// lane gives that of a partition. The caller holds mu.
func (s *Stream) lane(partition int32) *lane {
	for _, l := range s.lanes {
		if l.partition == partition {
			return l
		}
	}
	l := &lane{partition: partition, acks: s.acks, w: schema.MinTime}
	s.lanes = append(s.lanes, l)
	return l
}

// control writes a record that is no trade, behind p's trades so far. The
// caller holds mu.
func (s *Stream) control(p *packer, body any) error {
	s.flush(p)
	return s.write(p.lane, p.key, body)
}

func (s *Stream) write(l *lane, key []byte, body any) error {
	r := s.in.next(l, s.in.cfg.Ticks, key)
	value, err := schema.AppendControl(r.Value, body)
	if err != nil {
		return fmt.Errorf("ingest: write %T: %w", body, err)
	}
	r.Value = value
	_, r.mark = body.(schema.Mark)
	atControl.Hit()
	s.in.send(r)
	return nil
}

// of gives a symbol's packer, for a call by name. The caller holds mu.
func (s *Stream) of(symbol string) (*packer, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	if p := s.packers[symbol]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("%w: %q", ErrSymbol, symbol)
}

// Anchor writes a symbol's anchor that became known after Add.
func (s *Stream) Anchor(a schema.Anchor) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.of(a.Symbol)
	if err != nil {
		return err
	}
	return s.control(p, a)
}

// Status tells a change of a symbol's trading status.
func (s *Stream) Status(symbol string, status schema.TradingStatus) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.of(symbol)
	if err != nil || p.watch.Status == status {
		return err
	}
	p.watch.Status = status
	return s.control(p, p.watch)
}

// Progress says that every trade with T ≤ w has been handed to Trade, but for
// held symbols. It only rises; a lower one is no news.
func (s *Stream) Progress(w schema.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w = max(s.w, w)
}

// Hold takes a symbol out of what Progress says, until Release: it is being
// filled, or no longer seen. Its trades are taken as before.
func (s *Stream) Hold(symbol string) error { return s.hold(symbol, true) }

// Release ends Hold: what was missing has been handed to Trade or Fill.
func (s *Stream) Release(symbol string) error { return s.hold(symbol, false) }

func (s *Stream) hold(symbol string, held bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.of(symbol)
	if err != nil {
		return err
	}
	p.held = held
	if held {
		p.lane.except(symbol)
	}
	return nil
}

// Down says that the connection is lost: no mark is written until Up, and all
// symbols are held.
func (s *Stream) Down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = true
	for _, p := range s.packers {
		p.held = true
	}
}

// Up says that the connection is there again and sees every trade from from
// on. Each symbol stays held until Release.
func (s *Stream) Up(from schema.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	for _, p := range s.sorted() {
		p.watch.From = from
		if err := s.control(p, p.watch); err != nil {
			return err
		}
	}
	s.down = false
	return nil
}

// sorted lists the packers in an order that does not change from run to run.
func (s *Stream) sorted() []*packer {
	var all []*packer
	for _, p := range s.packers {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *packer) int { return strings.Compare(a.symbol, b.symbol) })
	return all
}
