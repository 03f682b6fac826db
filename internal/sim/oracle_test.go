//go:build synctests

package sim

import (
	"maps"
	"math"
	"slices"

	"millrace/schema"
	"millrace/schema/schemapb"
)

// entry is one record of `ticks` as it was read.
type entry struct {
	offset   int64
	appended schema.Time
	value    []byte
}

// oracle says what a partition's log makes, the naive way: trades in a map,
// every question asked of all of them anew. It shares no code with state but
// the words of schema.
type oracle struct {
	settings  *schema.Settings
	cal       schema.Calendar
	base      schema.Period
	now       schema.Time // the newest append time
	ingestors map[string]*watcher
	symbols   map[string]*ledger
	refused   map[refusal]string // the reason, by where the tick stands
	past      map[string]bool    // what was published before the periods changed
	told      map[string]bool    // what the scenario wants to know that it met
}

type refusal struct {
	offset int64
	index  int
}

// watcher is an ingestor as the log tells of it.
type watcher struct {
	w      schema.Time
	except map[string]bool
}

type watching struct {
	by     string
	from   schema.Time
	except bool
	held   schema.Time
}

type stretch struct{ from, to schema.Time }

type hole struct {
	found schema.Time
	open  bool
}

// ledger is what the log tells of one symbol.
type ledger struct {
	name      string
	trades    map[int64]schema.Trade // applied, by first id
	ids       map[int64]schema.Time  // applied, one by one
	newest    schema.Time
	highest   int64
	stopped   bool
	anchors   map[int64]schema.Anchor
	history   schema.Time
	watches   []watching
	watermark schema.Time
	cover     []stretch
	breaks    []stretch
	status    schema.TradingStatus
	since     map[schema.Period]schema.Time
	holes     map[int64]hole
	opened    int64
	filled    map[int64]bool
}

// foot is the trade that an empty window stands on.
type foot struct {
	id    int64
	price schema.Decimal
}

func newOracle() *oracle {
	return &oracle{now: schema.MinTime, ingestors: map[string]*watcher{}, symbols: map[string]*ledger{}, refused: map[refusal]string{}, told: map[string]bool{}, past: map[string]bool{}}
}

func (o *oracle) ledger(name string) *ledger {
	l := o.symbols[name]
	if l == nil {
		l = &ledger{
			name: name, trades: map[int64]schema.Trade{}, ids: map[int64]schema.Time{}, newest: schema.MinTime, highest: -1,
			anchors: map[int64]schema.Anchor{}, history: schema.MinTime, watermark: schema.MinTime,
			since: map[schema.Period]schema.Time{}, holes: map[int64]hole{}, filled: map[int64]bool{},
		}
		for _, p := range o.settings.Periods {
			l.since[p] = schema.MinTime
		}
		o.symbols[name] = l
	}
	return l
}

func (o *oracle) apply(e *entry) {
	if e.appended > o.now {
		o.now = e.appended
		for _, l := range o.symbols {
			l.age(o.now, o.settings.GapAfter)
		}
	}
	refuse := func(i int, why string) { o.refused[refusal{e.offset, i}] = why }
	var t schema.Tick
	if err := t.Decode(e.value); err != nil {
		refuse(0, "undecodable")
		return
	}
	if t.Kind == schema.KindSettings {
		o.settle(&t.Settings, refuse)
		return
	}
	if o.settings == nil {
		refuse(0, "unsettled")
		return
	}
	late := o.now + o.settings.FutureBound
	switch t.Kind {
	case schema.KindTrades:
		l := o.ledger(string(t.Batch.Symbol))
		for i := range t.Batch.Trades {
			if why := o.trade(l, &t.Batch.Trades[i], e.appended+o.settings.FutureBound); why != "" {
				refuse(i, why)
			}
		}
	case schema.KindMark:
		if t.Mark.W > late {
			refuse(0, "future")
			return
		}
		o.mark(&t.Mark)
	case schema.KindAnchor:
		if t.Anchor.Time > late {
			refuse(0, "future")
			return
		}
		o.ledger(t.Anchor.Symbol).anchor(t.Anchor)
	case schema.KindWatch:
		if t.Watch.On && t.Watch.From > late {
			refuse(0, "future")
			return
		}
		o.watch(&t.Watch)
	case schema.KindSeal: // none here is as old as it has to be
		if o.symbols[t.Seal.Symbol] == nil || t.Seal.Before > o.now-o.settings.SealAfter {
			refuse(0, "unfit")
			return
		}
		panic("the oracle knows of no seal that is taken")
	default:
		refuse(0, "unsupported")
	}
}

func (o *oracle) settle(s *schema.Settings, refuse func(int, string)) {
	if o.settings != nil {
		if o.settings.Diff(s) == "" {
			return
		}
		if s.Revision <= o.settings.Revision {
			refuse(0, "unsupported")
			return
		}
		o.told["settings changed"] = true
		for k := range o.rows() {
			o.past[k] = true
		}
	}
	old := o.settings
	own := *s
	own.Periods = slices.Clone(s.Periods)
	for _, l := range o.symbols {
		for _, p := range own.Periods {
			if !slices.Contains(old.Periods, p) {
				l.since[p] = l.newest
			}
		}
	}
	o.settings, o.cal, o.base = &own, own.Calendar(), min(own.Periods[0], schema.P1m)
}

// trade counts one, or says why not.
func (o *oracle) trade(l *ledger, t *schema.Trade, latest schema.Time) string {
	switch {
	case t.Void:
		return "unsupported"
	case t.Time > latest:
		return "future"
	case !l.stopped && l.anew(t.ID, t.Time-o.settings.SeriesBound):
		l.stopped = true
	}
	if l.stopped {
		return "series"
	}
	have := int64(0)
	for id := t.ID; id <= t.Last; id++ {
		if _, ok := l.ids[id]; ok {
			have++
		}
	}
	if have == t.Count() {
		o.told["a copy"] = true
		return ""
	}
	if have > 0 {
		return "straddle"
	}
	p := o.settings.Periods[0]
	start := o.cal.Start(p, t.Time)
	end := o.cal.End(p, start)
	if end <= l.newest && l.emptyProven(start, end) {
		w := schema.Candle{Period: p, Start: start}
		if start > l.since[p] {
			for _, x := range l.trades {
				if x.Time >= start && x.Time < end {
					w.Add(&x)
				}
			}
		}
		if w.Trades == 0 || l.final(&w, end) {
			return "final"
		}
	}
	l.trades[t.ID] = *t
	fresh := len(l.ids) == 0
	lowest := int64(math.MaxInt64)
	for id := range l.ids {
		lowest = min(lowest, id)
	}
	for id := t.ID; id <= t.Last; id++ {
		if h, ok := l.holes[id]; ok && h.open {
			l.filled[id] = true
		}
		delete(l.holes, id)
		l.ids[id] = t.Time
	}
	if !fresh {
		for id := l.highest + 1; id < t.ID; id++ {
			l.holes[id] = hole{found: o.now}
		}
		for id := t.Last + 1; id < lowest; id++ {
			l.holes[id] = hole{found: o.now}
		}
	}
	l.highest = max(l.highest, t.Last)
	l.newest = max(l.newest, t.Time)
	return ""
}

// anew: the ids right behind a trade, or around it, are older than it can be.
func (l *ledger) anew(id int64, than schema.Time) bool {
	if _, ok := l.ids[id]; ok {
		_, _, _, maxT := l.run(id)
		return maxT < than
	}
	next := int64(math.MaxInt64)
	for x := range l.ids {
		if x > id {
			next = min(next, x)
		}
	}
	t, ok := l.ids[next]
	return ok && t < than
}

// age makes gaps of the holes that are old enough.
func (l *ledger) age(now, after schema.Time) {
	ids := slices.Sorted(maps.Keys(l.holes))
	for i, id := range ids {
		h := l.holes[id]
		if h.open || now < h.found+after {
			continue
		}
		h.open = true
		l.holes[id] = h
		if i == 0 || ids[i-1] != id-1 {
			l.opened++
		}
	}
}

// run is the stretch of applied ids around id, and the times in it.
func (l *ledger) run(id int64) (first, last int64, minT, maxT schema.Time) {
	first, last, minT, maxT = id, id, l.ids[id], l.ids[id]
	for {
		t, ok := l.ids[first-1]
		if !ok {
			break
		}
		first, minT, maxT = first-1, min(minT, t), max(maxT, t)
	}
	for {
		t, ok := l.ids[last+1]
		if !ok {
			break
		}
		last, minT, maxT = last+1, min(minT, t), max(maxT, t)
	}
	return first, last, minT, maxT
}

func (l *ledger) begins(first int64, start schema.Time) bool {
	a, ok := l.anchors[first-1]
	return first == 0 || ok && a.Time < start
}

// emptyProven: one stretch of ids goes from before start to end or beyond.
func (l *ledger) emptyProven(start, end schema.Time) bool {
	for id := range l.ids {
		if _, ok := l.ids[id-1]; ok {
			continue
		}
		first, _, minT, maxT := l.run(id)
		if maxT >= end && (minT < start || l.begins(first, start)) {
			return true
		}
	}
	return false
}

// final: promise 4. All ids from the trade before the window to the one behind.
func (l *ledger) final(c *schema.Candle, end schema.Time) bool {
	first, last, minT, maxT := l.run(c.First)
	return last > c.Last && maxT >= end && (first < c.First && minT < c.Start || l.begins(first, c.Start))
}

func (l *ledger) anchor(a schema.Anchor) {
	if a.ID < 0 {
		a.HasPrice, a.Price = false, schema.Decimal{}
	}
	_, applied := l.ids[a.ID]
	if old, ok := l.anchors[a.ID]; ok {
		if old.HasPrice || !a.HasPrice || old.Time != a.Time {
			return
		}
	} else if applied && a.Time >= l.history {
		return
	}
	l.anchors[a.ID] = a
	if len(l.ids) == 0 && l.history == schema.MinTime || l.history != schema.MinTime && a.Time < l.history {
		l.history = a.Time
	}
}

func (o *oracle) watch(w *schema.Watch) {
	l := o.ledger(w.Symbol)
	l.trading(w.Status, max(w.From, l.watermark, l.newest))
	i := slices.IndexFunc(l.watches, func(x watching) bool { return x.by == w.Ingestor })
	switch {
	case w.On && i < 0:
		if o.ingestors[w.Ingestor] == nil {
			o.ingestors[w.Ingestor] = &watcher{w: schema.MinTime, except: map[string]bool{}}
		}
		l.watches = append(l.watches, watching{by: w.Ingestor, from: max(w.From, 0)})
	case w.On:
		l.watches[i].from = max(w.From, 0)
	case i >= 0:
		o.unwatch(l, i)
	}
}

func (o *oracle) unwatch(l *ledger, i int) {
	by := l.watches[i].by
	l.watches = slices.Delete(l.watches, i, i+1)
	delete(o.ingestors[by].except, l.name)
	for _, x := range o.symbols {
		if x.watched(by) != nil {
			return
		}
	}
	delete(o.ingestors, by)
}

func (l *ledger) watched(by string) *watching {
	for i := range l.watches {
		if l.watches[i].by == by {
			return &l.watches[i]
		}
	}
	return nil
}

func (l *ledger) trading(s schema.TradingStatus, from schema.Time) {
	silent := func(s schema.TradingStatus) bool {
		return s == schemapb.TradingStatus_TRADING_STATUS_BREAK || s == schemapb.TradingStatus_TRADING_STATUS_DELISTED
	}
	if s == schemapb.TradingStatus_TRADING_STATUS_UNKNOWN || s == l.status {
		return
	}
	if silent(s) && !silent(l.status) {
		l.breaks = append(l.breaks, stretch{from, schema.MaxTime})
	}
	if n := len(l.breaks); !silent(s) && n > 0 && l.breaks[n-1].to == schema.MaxTime {
		l.breaks[n-1].to = max(from, l.breaks[n-1].from)
	}
	l.status = s
}

func (o *oracle) mark(m *schema.Mark) {
	g := o.ingestors[m.Ingestor]
	if g == nil {
		return
	}
	old, released := g.w, false
	except := map[string]bool{}
	for _, name := range m.Excepted {
		if l := o.symbols[name]; l != nil && l.watched(m.Ingestor) != nil {
			except[name] = true
			if w := l.watched(m.Ingestor); !w.except {
				w.except, w.held = true, g.w
			}
		}
	}
	for name := range g.except {
		if w := o.symbols[name].watched(m.Ingestor); !except[name] && w != nil {
			w.except, released = false, true
		}
	}
	g.except = except
	g.w = max(g.w, m.W)
	if !released && o.cal.Start(o.base, g.w) == o.cal.Start(o.base, old) {
		return
	}
	for _, l := range o.symbols {
		if l.watched(m.Ingestor) != nil {
			o.advance(l)
		}
	}
}

// advance brings the watermark up to the lowest promise of those that live.
func (o *oracle) advance(l *ledger) {
	if l.stopped {
		return
	}
	highest := schema.MinTime
	for _, w := range l.watches {
		highest = max(highest, o.ingestors[w.by].w)
	}
	low, from := schema.MaxTime, schema.MaxTime
	for i := 0; i < len(l.watches); i++ {
		w := l.watches[i]
		promise := o.ingestors[w.by].w
		if promise != schema.MinTime && promise < highest-schema.Hour {
			o.unwatch(l, i)
			i--
			continue
		}
		if promise < highest-o.settings.AliveBound {
			continue
		}
		if w.except {
			promise = w.held
		}
		low, from = min(low, promise), min(from, w.from)
	}
	mark := schema.MinTime
	if low != schema.MaxTime && low > l.watermark {
		mark = o.cal.Start(o.base, low)
	}
	if mark <= l.watermark {
		return
	}
	l.watermark = mark
	if n := len(l.cover); n > 0 && from <= l.cover[n-1].to {
		l.cover[n-1].to = mark
	} else if from < mark {
		l.cover = append(l.cover, stretch{from, mark})
	}
}
