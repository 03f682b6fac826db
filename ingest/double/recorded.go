package double

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"sync/atomic"
	"time"

	"millrace/ingest/binance"
	"millrace/ingest/file"
	"millrace/schema"
)

// recorded is the market of one or several recordings. The trades' frames are
// kept in memory, some 250 bytes each: REST must be able to answer from them.
type recorded struct {
	names  []string
	frames []recordedFrame // by local time
	books  map[string]*book
	time   atomic.Int64 // the exchange's time

	speed float64
}

type recordedFrame struct {
	local int64 // ns
	book  *book
	e     schema.Time
	trade schema.Trade
	frame []byte
	data  []byte // within frame
}

// loadRecorded reads the recordings' trade frames. A frame that is no trade is
// passed over, one that cannot be read is an error: a double that left it out
// would hide what the collector must see.
func loadRecorded(files []string) (*recorded, error) {
	m := &recorded{books: make(map[string]*book)}
	first := schema.MaxTime
	for _, path := range files {
		if err := m.load(path); err != nil {
			return nil, err
		}
	}
	if len(m.frames) == 0 {
		return nil, fmt.Errorf("no trade in %d recordings", len(files))
	}
	sort.SliceStable(m.frames, func(i, j int) bool { return m.frames[i].local < m.frames[j].local })
	for i := range m.frames {
		f := &m.frames[i]
		f.book.all = append(f.book.all, f.trade)
		first = min(first, f.trade.Time)
	}
	for _, b := range m.books {
		b.build()
		m.names = append(m.names, b.symbol)
	}
	sort.Strings(m.names)
	m.time.Store(int64(first - schema.Millisecond))
	return m, nil
}

func (m *recorded) load(path string) error {
	in, err := file.OpenFrames(path)
	if err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	defer func() { _ = in.Close() }() // only read
	var d binance.Decoder
	var ev binance.Event
	var arena []byte
	for {
		local, frame, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("recording: %w", err)
		}
		if otherStream(frame) {
			continue
		}
		if err := d.Decode(frame, &ev); err != nil {
			return fmt.Errorf("recording: %s: line %d: %w", in.Path(), in.Line(), err)
		}
		if ev.Kind != binance.Trade {
			continue
		}
		at := bytes.Index(frame, []byte(`"data":`))
		if len(ev.Stream) == 0 || at < 0 {
			return fmt.Errorf("recording: %s: line %d: a trade without the wrapper of combined streams", in.Path(), in.Line())
		}
		if len(arena)+len(frame) > cap(arena) {
			arena = make([]byte, 0, 1<<20)
		}
		from := len(arena)
		arena = append(arena, frame...)
		kept := arena[from:len(arena):len(arena)]
		data := bytes.TrimSpace(kept[at+len(`"data":`):])
		m.frames = append(m.frames, recordedFrame{
			local: local, book: m.book(string(ev.Symbol)), e: ev.EventTime, trade: ev.Trade,
			frame: kept, data: bytes.TrimSpace(data[:len(data)-1]),
		})
	}
}

// otherStream finds the frames of other streams by their beginning: most of a
// recording's bytes are the book's. What does not look whole is left to the
// decoder.
func otherStream(frame []byte) bool {
	rest, ok := bytes.CutPrefix(frame, []byte(`{"stream":"`))
	name, _, closed := bytes.Cut(rest, []byte(`"`))
	return ok && closed && frame[len(frame)-1] == '}' && !bytes.HasSuffix(name, []byte("@trade")) && !bytes.ContainsRune(name, '\\')
}

func (m *recorded) book(symbol string) *book {
	b := m.books[symbol]
	if b == nil {
		b = &book{symbol: symbol}
		m.books[symbol] = b
	}
	return b
}

// pace sets how the recording is replayed, and gives the symbols that must have
// a subscriber first.
func (m *recorded) pace(cfg *Config) ([]string, error) {
	m.speed = cfg.Speed
	switch {
	case cfg.StartAtOnce:
		return nil, nil
	case len(cfg.WaitFor) == 0:
		return m.names, nil
	}
	for _, s := range cfg.WaitFor {
		if m.books[s] == nil {
			return nil, fmt.Errorf("symbol %s is in none of the recordings: they hold %v", s, m.names)
		}
	}
	return cfg.WaitFor, nil
}

func (m *recorded) symbols() []string { return m.names }

func (m *recorded) hours(string) *hours { return nil }

func (m *recorded) now() schema.Time { return schema.Time(m.time.Load()) }

// run replays.
func (m *recorded) run(ctx context.Context, emit func(*event)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var ev event
	begin, first := time.Now(), m.frames[0].local
	for i := range m.frames {
		f := &m.frames[i]
		if m.speed > 0 {
			due := begin.Add(time.Duration(float64(f.local-first) / m.speed))
			if wait := time.Until(due); wait > 0 {
				timer.Reset(wait)
				select {
				case <-timer.C:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b := f.book
		b.happen(f.trade.ID)
		a, ok := b.endsAt(f.trade.ID)
		ev = event{symbol: b.symbol, trade: f.trade, e: f.e, frame: f.frame, data: f.data}
		if ok {
			ev.fills = b.fills(&b.aggs[a])
		}
		emit(&ev)
		if ok {
			ev = event{symbol: b.symbol, aggregate: true, trade: b.aggs[a], aggID: int64(a), e: f.e}
			emit(&ev)
		}
		// Only now: who asks for the time and then pings must find what was
		// sent up to it in front of the pong.
		if int64(f.e) > m.time.Load() {
			m.time.Store(int64(f.e))
		}
	}
	return nil
}

func (m *recorded) tape(symbol string, aggregates bool) tape {
	b := m.books[symbol]
	if b == nil {
		return nil
	}
	if aggregates {
		return aggTape{b}
	}
	return tradeTape{b}
}

func (m *recorded) truth(symbol string, from, to schema.Time) []schema.Trade {
	b := m.books[symbol]
	if b == nil {
		return nil
	}
	out := []schema.Trade{}
	for _, t := range b.all {
		if t.Time >= from && t.Time < to {
			out = append(out, t)
		}
	}
	return out
}

// whole gives all of a symbol's trades, also those that have not been replayed.
func (m *recorded) whole(symbol string, _ schema.Time) tape {
	b := m.books[symbol]
	if b == nil {
		return nil
	}
	all := slices.Clone(b.all)
	sort.SliceStable(all, func(i, j int) bool { return all[i].Time < all[j].Time })
	return byTime(all)
}
