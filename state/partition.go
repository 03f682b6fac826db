package state

import (
	"fmt"
	"slices"

	"millrace/schema"
)

// Position is where in which log a partition's state stands.
type Position struct {
	TopicID   [16]byte // Kafka's id of the topic: one life of it
	Partition int32
	Offset    int64  // next record to apply
	Epoch     int32  // leader epoch of the last record applied
	Hash      uint64 // hash of the last record applied
	History   uint64 // of the stretches that were skipped; 0: none was
}

// Record is what one record of the log says, beside its tick.
type Record struct {
	Offset   int64
	Epoch    int32
	Hash     uint64
	Appended schema.Time // the broker's append time
}

// Reason is why a tick was refused. It stands in dead letters.
type Reason string

const (
	Undecodable Reason = "undecodable" // the bytes are no record of this format
	Overflow    Reason = "overflow"    // a sum would not fit
	Straddle    Reason = "straddle"    // an aggregate of which some trades are applied
	Future      Reason = "future"      // its time lies too far beyond its append time
	TooLate     Reason = "final"       // its window is final
	Series      Reason = "series"      // an old id with a new time: ids have begun anew
	Unsettled   Reason = "unsettled"   // no settings in the log before it
	Unsupported Reason = "unsupported" // a kind of record this version does not apply
	Sealed      Reason = "sealed"      // its window was sealed
	Unfit       Reason = "unfit"       // a new series, repair or seal that does not fit what there is
)

// Refusal is one tick that was not applied, and why. Index is its place in its
// record; its id isn't marked as applied.
type Refusal struct {
	Offset int64
	Index  int
	Symbol string
	Reason Reason
	Text   string
	Trade  schema.Trade // zero but for refused trades
}

// Counts are what a partition has met since it was opened.
type Counts struct {
	Records, Trades, Duplicates, Refused int64
}

// Partition is the state of one partition: exactly f(records [0, offset)).
// Nothing else moves it: no clock, no setting that isn't in the log, no way in
// which records were cut into micro-batches. It belongs to one goroutine.
type Partition struct {
	pos      Position
	history  history
	settings *schema.Settings // in force; nil before the first
	cal      schema.Calendar
	base     schema.Period // what a delta spans

	logTime   schema.Time // the newest append time
	ingestors map[string]*ingestor
	symbols   map[string]*symbol // by name: the id series at hand
	shelved   map[string]*symbol // by id: those that ended, and repairs
	known     int                // how many symbols the store should have
	forgotten int64              // windows that no record from here on has changed may be forgotten
	last      *symbol            // the one looked up last: a busy symbol comes in a row
	touched   []*symbol
	newest    schema.Time // the newest applied trade time, as of the last commit
	committed int64       // the last record that is committed
	gapDue    schema.Time // the earliest time at which a hole becomes a gap

	offset   int64 // of the record being applied
	refusals []Refusal
	counts   Counts
	reread   bool // more was published at once than a micro-batch tells
}

// NewPartition makes the state before the first record of a log.
func NewPartition(topicID [16]byte, partition int32) *Partition {
	return &Partition{
		pos:       Position{TopicID: topicID, Partition: partition},
		logTime:   noTime,
		gapDue:    schema.MaxTime,
		newest:    noTime,
		committed: -1,
		ingestors: map[string]*ingestor{},
		symbols:   map[string]*symbol{},
		shelved:   map[string]*symbol{},
	}
}

// Position gives where the state stands.
func (p *Partition) Position() Position { return p.pos }

// Settings gives the settings in force, nil before the log has said any.
func (p *Partition) Settings() *schema.Settings { return p.settings }

// Counts gives what was met since the partition was opened.
func (p *Partition) Counts() Counts { return p.counts }

// Holes gives how many stretches of ids are missing between applied ones, gaps
// or too young to be one.
func (p *Partition) Holes() int {
	n := 0
	for _, y := range p.symbols {
		n += max(len(y.applied)-1, 0)
	}
	return n
}

// Stopped reports whether a symbol's ids have begun anew, and no record has said
// yet that a new series begins.
func (p *Partition) Stopped(name string) bool { y := p.symbols[name]; return y != nil && y.stopped }

// LogTime gives the newest append time met.
func (p *Partition) LogTime() schema.Time { return p.logTime }

// Apply takes one record in. err is why the record could not be decoded, or
// nil; tick is used only until Apply returns.
func (p *Partition) Apply(r Record, tick *schema.Tick, err error) {
	p.offset = r.Offset
	if r.Offset > p.pos.Offset {
		p.history.skip(p.pos.Offset, r.Offset)
		p.pos.History = p.history.hash()
	}
	p.pos.Offset, p.pos.Epoch, p.pos.Hash = r.Offset+1, r.Epoch, r.Hash
	p.counts.Records++
	if r.Appended > p.logTime {
		p.logTime = r.Appended
		if p.logTime >= p.gapDue {
			p.openGaps()
		}
	}
	switch {
	case err != nil:
		p.refuse(0, "", Undecodable, err.Error(), nil)
	case tick.Kind == schema.KindSettings:
		p.applySettings(&tick.Settings)
	case p.settings == nil:
		p.refuse(0, "", Unsettled, "the partition's log holds no settings before this record", nil)
	case p.settings.Allows(tick.Kind) != nil:
		p.refuse(0, "", Unsupported, p.settings.Allows(tick.Kind).Error(), nil)
	case tick.Kind == schema.KindTrades:
		p.applyBatch(&tick.Batch, r.Appended)
	case tick.Kind == schema.KindMark:
		p.applyMark(&tick.Mark)
	case tick.Kind == schema.KindAnchor:
		p.applyAnchor(&tick.Anchor)
	case tick.Kind == schema.KindWatch:
		p.applyWatch(&tick.Watch)
	case tick.Kind == schema.KindNewSeries:
		p.applyNewSeries(&tick.NewSeries)
	case tick.Kind == schema.KindRepair:
		p.applyRepair(&tick.Repair)
	case tick.Kind == schema.KindSeal:
		p.applySeal(&tick.Seal)
	default:
		p.refuse(0, "", Unsupported, fmt.Sprintf("record of kind %d", tick.Kind), nil)
	}
}

func (p *Partition) refuse(index int, symbol string, why Reason, text string, t *schema.Trade) {
	f := Refusal{Offset: p.offset, Index: index, Symbol: symbol, Reason: why, Text: text}
	if t != nil {
		f.Trade = *t
	}
	p.counts.Refused++
	p.refusals = append(p.refusals, f)
}

// Forgotten gives the offset from which on the store has everything: what only
// records before it have changed may be forgotten.
func (p *Partition) Forgotten() int64 { return p.forgotten }

// Refused gives how many refusals wait to be taken.
func (p *Partition) Refused() int { return len(p.refusals) }

// TakeRefusals gives what was refused since the last call.
func (p *Partition) TakeRefusals() []Refusal {
	r := p.refusals
	p.refusals = nil
	return r
}

// lookup gives a symbol's state, new if it must be.
func (p *Partition) lookup(name []byte) *symbol {
	if p.last != nil && p.last.name == string(name) {
		return p.last
	}
	y := p.symbols[string(name)]
	if y == nil {
		y = newSymbol(string(name), p.settings)
		p.symbols[y.name] = y
	}
	p.last = y
	return y
}

// touch notes that the symbol must be written with this micro-batch.
func (p *Partition) touch(y *symbol) {
	if !y.dirty {
		y.dirty = true
		p.touched = append(p.touched, y)
	}
}

func (p *Partition) applySettings(s *schema.Settings) {
	if p.settings != nil && p.settings.Diff(s) == "" {
		return
	}
	if p.settings != nil && s.Revision <= p.settings.Revision {
		p.refuse(0, "", Unsupported, fmt.Sprintf("settings of revision %d after %d", s.Revision, p.settings.Revision), nil)
		return
	}
	_ = p.all(func(y *symbol) error { p.flushDelta(y); p.touch(y); return nil })
	p.force(s)
	_ = p.all(func(y *symbol) error { p.resettle(y); return nil })
}

// Assume puts settings in force before the first record of what is left of a
// log: retention has taken the record that told them.
func (p *Partition) Assume(s *schema.Settings) { p.force(s) }

// force puts settings in force.
func (p *Partition) force(s *schema.Settings) {
	own := *s
	own.Periods = slices.Clone(s.Periods)
	p.settings = &own
	p.cal = own.Calendar()
	p.base = min(own.Periods[0], schema.P1m)
}

// resettle gives the symbol the series of new settings. A new period shows only
// windows that start after the newest applied time; one that is gone is no
// longer kept up.
func (p *Partition) resettle(y *symbol) {
	had := map[schema.Period]*series{}
	var last basis // the newest trade, as every series has it
	for _, r := range y.series {
		had[r.period] = r
		if n := len(r.win); n > 0 {
			last = r.win[n-1].foot()
		} else if r.since != noTime {
			last = r.first
		}
	}
	y.series = nil
	for _, per := range p.settings.Periods {
		r := had[per]
		if r == nil {
			r = &series{period: per, since: y.newest, first: last, tail: p.offset}
			if y.still() { // its windows are not counted anew
				r.since, r.first = max(y.newest, y.watermark, 0), basis{}
			} else if _, from, ok := y.left(p.cal, r); ok {
				r.touch(from, y.watermark)
			}
		}
		delete(had, per)
		y.series = append(y.series, r)
	}
	for per := range had {
		y.dropped = append(y.dropped, per)
	}
}

// applyBatch is the way of a tick through the state: dedupe, rule, count.
func (p *Partition) applyBatch(b *schema.Batch, appended schema.Time) {
	latest := appended + p.settings.FutureBound
	if b.Repair != 0 {
		if err := p.settings.Allows(schema.KindRepair); err != nil {
			p.refuse(0, string(b.Symbol), Unsupported, err.Error(), nil)
		} else {
			p.applyRepaired(b, latest)
		}
		return
	}
	y := p.lookup(b.Symbol)
	p.touch(y)
	p.counts.Trades += int64(len(b.Trades))
	for i := range b.Trades {
		t := &b.Trades[i]
		n := len(y.applied)
		// The fast way: the next id, in the base window at hand, which the
		// newest trade has not left. Such a trade can be neither a copy nor
		// late.
		if n > 0 && t.ID == y.applied[n-1].last+1 && t.Time < y.delta.end && t.Time >= y.delta.start &&
			y.newest < y.delta.end && y.applied[n-1].lastT >= y.delta.start && y.sealed <= y.delta.start && t.Time <= latest && t.Time > y.begins && !t.Void && !y.stopped && y.delta.fig.Trades > 0 {
			if !p.count(y, t, b.Received) {
				p.refuseOverflow(y, i, t)
				continue
			}
			v := &y.applied[n-1]
			v.last, v.lastT = t.Last, t.Time
			v.minT = min(v.minT, t.Time)
			if t.Time > v.maxT {
				v.maxT = t.Time
				y.newest = max(y.newest, t.Time)
			}
			y.count += t.Count()
			continue
		}
		p.applyTrade(y, t, i, latest, b.Received)
	}
	p.settle(y)
}

// applyTrade is the way of any trade.
func (p *Partition) applyTrade(y *symbol, t *schema.Trade, i int, latest, received schema.Time) {
	switch {
	case t.Void:
		p.refuse(i, y.name, Unsupported, voidText, t)
		return
	case t.Time > latest:
		p.refuse(i, y.name, Future, p.futureText(t), t)
		return
	case t.Time <= y.begins:
		p.refuse(i, y.name, Series, fmt.Sprintf("trade %d has the time %v: it is of an id series of %s that has ended", t.ID, t.Time, y.name), t)
		return
	case !y.stopped && y.applied.anew(t.ID, t.Time-p.settings.SeriesBound):
		y.stopped = true
	}
	if y.stopped {
		p.refuse(i, y.name, Series, fmt.Sprintf("trade %d has the time %v although higher ids are older: the ids of %s have begun anew; millrace series --symbol %s goes on with them", t.ID, t.Time, y.name, y.name), t)
		return
	}
	switch have := y.applied.overlap(t.ID, t.Last); {
	case have == t.Count():
		p.counts.Duplicates++
		return
	case have > 0:
		p.refuse(i, y.name, Straddle, straddleText(have, t), t)
		return
	}
	if t.Time < y.sealed {
		p.refuse(i, y.name, Sealed, fmt.Sprintf("trade %d has the time %v; windows of %s that end up to %v are sealed", t.ID, t.Time, y.name, y.sealed), t)
		return
	}
	smallest := p.settings.Periods[0]
	start := p.cal.Start(smallest, t.Time)
	if p.late(y, start, p.cal.End(smallest, start)) {
		p.refuse(i, y.name, TooLate, fmt.Sprintf("trade %d belongs to the window of %v at %v, which is final", t.ID, smallest, start), t)
		return
	}
	if !p.count(y, t, received) {
		p.refuseOverflow(y, i, t)
		return
	}
	p.insertIDs(y, t)
}

// late reports whether the window [start, end) of the smallest period is final;
// then those of the larger ones may be too.
func (p *Partition) late(y *symbol, start, end schema.Time) bool {
	if !y.proven(start, end) {
		return false
	}
	p.flushDelta(y)
	r := y.series[0]
	i := r.find(start)
	return i == len(r.win) || r.win[i].start != start || y.final(r.win[i])
}

func (p *Partition) refuseOverflow(y *symbol, i int, t *schema.Trade) {
	p.refuse(i, y.name, Overflow, fmt.Sprintf("a sum of %s would overflow with trade %d", y.name, t.ID), t)
}

// insertIDs marks the trade's ids as applied.
func (p *Partition) insertIDs(y *symbol, t *schema.Trade) {
	n := len(y.applied)
	atEnd := n > 0 && t.ID == y.applied[n-1].last+1
	if atEnd {
		// The trade before this one may have been the last of a window that the
		// newest had left already; now it is proven.
		if at := y.applied[n-1].lastT; at < p.cal.Start(p.base, y.newest) {
			y.reshaped.from, y.reshaped.to = min(y.reshaped.from, at), max(y.reshaped.to, y.newest)
		}
	}
	found, filled := y.applied.insert(t.ID, t.Last, t.Time, p.logTime)
	y.count += t.Count()
	y.newest = max(y.newest, t.Time)
	if atEnd {
		return
	}
	if filled {
		y.fill(t.ID, t.Last, t.Time, found, p.logTime)
		p.gapsChanged(y)
	}
	if len(y.applied) > n && n > 0 {
		p.gapDue = min(p.gapDue, found+p.settings.GapAfter)
	}
	// What lies between the trade's neighbours may be proven or disproven now.
	from, to := t.Time, t.Time
	for i := range y.applied {
		if v := &y.applied[i]; v.first <= t.ID && t.Last <= v.last {
			from, to = v.minT, v.maxT
			if i+1 < len(y.applied) {
				to = max(to, y.applied[i+1].minT, y.applied[i+1].firstT)
			}
			if i > 0 {
				from = min(from, y.applied[i-1].maxT, y.applied[i-1].lastT)
			} else if y.history != noTime {
				from = min(from, y.history)
			}
		}
	}
	y.reshaped.from, y.reshaped.to = min(y.reshaped.from, from), max(y.reshaped.to, to)
}

func (p *Partition) gapsChanged(y *symbol) {
	y.gapChanged = p.offset
	y.gapsDirty = true
	p.touch(y)
}

// openGaps turns every hole that is old enough into a gap.
func (p *Partition) openGaps() {
	p.gapDue = schema.MaxTime
	for _, y := range p.symbols {
		for i := 1; i < len(y.applied); i++ {
			v := &y.applied[i]
			if v.open {
				continue
			}
			if due := v.found + p.settings.GapAfter; due <= p.logTime {
				v.open = true
				y.opened++
				p.gapsChanged(y)
			} else {
				p.gapDue = min(p.gapDue, due)
			}
		}
	}
}

func (p *Partition) applyAnchor(a *schema.Anchor) {
	if a.Time > p.logTime+p.settings.FutureBound {
		p.refuse(0, a.Symbol, Future, fmt.Sprintf("anchor with the time %v", a.Time), nil)
		return
	}
	own := *a
	if own.ID < 0 { // there is no trade before id 0, so it has no price
		own.HasPrice, own.Price = false, schema.Decimal{}
	}
	y := p.lookup([]byte(a.Symbol))
	if a.ID >= 0 && a.Time <= y.begins {
		p.refuse(0, a.Symbol, Series, fmt.Sprintf("anchor %d has the time %v: it is of an id series of %s that has ended", a.ID, a.Time, a.Symbol), nil)
		return
	}
	old, priced := y.history, y.origin() != nil
	from, changed := y.addAnchor(own)
	if !changed {
		return
	}
	p.touch(y)
	p.flushDelta(y)
	if old != y.history || priced != (y.origin() != nil) { // more windows are published than before
		for _, r := range y.series {
			for i, w := range r.win {
				if w.start > y.history && w.start <= old {
					w.changed, w.dirty = p.offset, true
				}
				if i == 0 {
					w.quiet = p.offset
				}
			}
			if len(r.win) == 0 {
				r.tail = p.offset
			}
			r.touch(from, max(y.newest, y.watermark))
		}
	}
	p.transition(y, from, schema.MaxTime)
}
