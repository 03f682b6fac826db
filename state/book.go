package state

import (
	"fmt"
	"slices"
	"strings"

	"millrace/schema"
)

// book is what a partition knows under one name: the id series at hand, those
// that ended, and repairs. Each is a symbol of its own, with its own ids and
// windows, and publishes its own part of time:
//
//	id series      windows that start behind the newest trade of the series before
//	repair         windows wholly in its stretch, once all of its ids have come
//
// A window belongs to the one of the highest era that publishes it, so taking
// ids away from nobody it can be counted anew, in a version that is higher.
type book struct {
	former  []*symbol // by era
	repairs []*symbol // by era
}

// repair is what makes a symbol one of a repair.
type repair struct {
	from, to    schema.Time
	first, last int64 // the ids that it is made of
	// shown is the record with which it was complete; -1 before. What it
	// publishes was changed then.
	shown int64
}

// of gives all of a book whose series at hand is now.
func (b *book) of(now *symbol) []*symbol {
	return slices.Concat(b.repairs, []*symbol{now}, b.former)
}

// A symbol's id is its name, or tells which one of the name's it is: the byte
// after the mark is the era. A name has no such characters.
const (
	markSeries = '\x01'
	markRepair = '\x02'
)

func symbolID(name string, mark byte, era uint8) string { return name + string([]byte{mark, era}) }

// named takes a symbol's id apart.
func named(id string) (name string, mark byte) {
	if i := strings.IndexAny(id, "\x01\x02"); i >= 0 {
		return id[:i], id[i]
	}
	return id, 0
}

// byID finds any symbol; nil if there is none.
func (p *Partition) byID(id string) *symbol {
	if y := p.shelved[id]; y != nil {
		return y
	}
	name, _ := named(id)
	if y := p.symbols[name]; y != nil && y.id == id {
		return y
	}
	return nil
}

// ids gives every symbol's id, in order.
func (p *Partition) ids() []string {
	ids := make([]string, 0, len(p.symbols)+len(p.shelved))
	for _, y := range p.symbols {
		ids = append(ids, y.id)
	}
	for id := range p.shelved {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// all calls f with every symbol, by id.
func (p *Partition) all(f func(*symbol) error) error {
	for _, id := range p.ids() {
		if err := f(p.byID(id)); err != nil {
			return err
		}
	}
	return nil
}

// shelve puts a symbol aside that is not the id series at hand.
func (p *Partition) shelve(y *symbol) {
	p.shelved[y.id] = y
	list := &y.book.former
	if y.repair != nil {
		list = &y.book.repairs
	}
	i, _ := slices.BinarySearchFunc(*list, y.era, func(x *symbol, era uint8) int { return int(x.era) - int(era) })
	*list = slices.Insert(*list, i, y)
}

// still reports whether nothing of the symbol can change any more.
func (y *symbol) still() bool { return y.former || y.repair != nil && y.repair.shown >= 0 }

// shown is the record before which nothing of the symbol was published.
func (y *symbol) shown() int64 {
	if y.repair == nil {
		return -1
	}
	return y.repair.shown
}

// published reports whether windows of r that start at start are published by
// this symbol.
func (y *symbol) published(cal schema.Calendar, r *series, start schema.Time) bool {
	if start <= y.history || start <= r.since || start <= y.floor {
		return false
	}
	if y.repair != nil && (y.repair.shown < 0 || !y.repair.holds(cal, r.period, start)) {
		return false
	}
	for i := len(y.book.repairs) - 1; i >= 0 && y.book.repairs[i].era > y.era; i-- {
		if q := y.book.repairs[i]; q.repair.shown >= 0 && q.repair.holds(cal, r.period, start) && q.keeps(r.period, start) {
			return false
		}
	}
	return true
}

// holds reports whether a window lies wholly in the repair's stretch.
func (q *repair) holds(cal schema.Calendar, p schema.Period, start schema.Time) bool {
	return start >= q.from && start < q.to && cal.End(p, start) <= q.to
}

// keeps reports whether the symbol keeps windows of the period that start then.
func (y *symbol) keeps(p schema.Period, start schema.Time) bool {
	for _, r := range y.series {
		if r.period == p {
			return start > r.since
		}
	}
	return false
}

// fit gives the symbol that a record begins an era of; nil, and refuses the
// record, if nothing is known of it or it has that era already.
func (p *Partition) fit(what, name string, era uint8) *symbol {
	y := p.symbols[name]
	switch {
	case y == nil:
		p.refuse(0, name, Unfit, fmt.Sprintf("%s of %s, of which nothing is known", what, name), nil)
	case era <= y.granted:
		p.refuse(0, name, Unfit, fmt.Sprintf("%s of %s in the era %d, which has the era %d already", what, name, era, y.granted), nil)
		y = nil
	}
	return y
}

// applyNewSeries ends the symbol's id series and begins another.
func (p *Partition) applyNewSeries(n *schema.NewSeries) {
	old := p.fit("a new series", n.Symbol, n.Era)
	if old == nil {
		return
	}
	p.flushDelta(old)
	p.touch(old)
	// Nobody has promised anything of the new series: who collects it begins it
	// with a watch of its own.
	for len(old.watches) > 0 {
		p.unwatch(old, len(old.watches)-1)
	}
	y := newSymbol(n.Symbol, p.settings)
	y.id, y.book, y.era, y.granted = symbolID(n.Symbol, markSeries, n.Era), old.book, n.Era, n.Era
	y.before = old.before + old.count
	y.opened = old.opened + 1
	y.begins = max(old.begins, old.newest)
	y.floor = max(old.floor, old.history, old.newest, old.watermark-1)
	y.sealed = old.sealed
	y.status = old.status
	if n := len(old.breaks); n > 0 && old.breaks[n-1].to == schema.MaxTime {
		y.breaks = []span{old.breaks[n-1]}
	}
	old.former = true
	for _, r := range old.series {
		for _, w := range r.win {
			p.rule(old, w)
		}
	}
	p.shelve(old)
	p.symbols[n.Symbol], p.last = y, y
	p.gapsChanged(y)
}

// applyRepair begins a repair. One of before that is not complete is dropped.
func (p *Partition) applyRepair(r *schema.Repair) {
	y := p.fit("a repair", r.Symbol, r.Era)
	if y == nil {
		return
	}
	y.granted = r.Era
	y.opened++
	p.gapsChanged(y)
	for i := len(y.book.repairs) - 1; i >= 0; i-- {
		if q := y.book.repairs[i]; !q.still() {
			y.book.repairs = slices.Delete(y.book.repairs, i, i+1)
			delete(p.shelved, q.id)
			q.gone = true
			p.touch(q)
		}
	}
	q := newSymbol(r.Symbol, p.settings)
	q.id, q.book, q.era, q.granted = symbolID(r.Symbol, markRepair, r.Era), y.book, r.Era, r.Era
	q.repair = &repair{from: r.From, to: r.To, first: r.First, last: r.Last, shown: -1}
	p.shelve(q)
	p.touch(q)
}

// applyRepaired takes the trades of a repair. None is late, and no ruling is
// made: nothing of it is published before all have come, and then all is.
func (p *Partition) applyRepaired(b *schema.Batch, latest schema.Time) {
	y := p.symbols[string(b.Symbol)]
	var q *symbol
	if y != nil {
		q = p.shelved[symbolID(y.name, markRepair, b.Repair)]
	}
	if q == nil {
		p.refuse(0, string(b.Symbol), Unfit, fmt.Sprintf("%d trades of the repair %d of %s, which there is not", len(b.Trades), b.Repair, b.Symbol), nil)
		return
	}
	p.touch(q)
	p.counts.Trades += int64(len(b.Trades))
	for i := range b.Trades {
		t := &b.Trades[i]
		have := q.applied.overlap(t.ID, t.Last)
		switch {
		case t.Void:
			p.refuse(i, q.name, Unsupported, voidText, t)
		case t.Time > latest:
			p.refuse(i, q.name, Future, p.futureText(t), t)
		case t.ID < q.repair.first || t.Last > q.repair.last:
			p.refuse(i, q.name, Unfit, fmt.Sprintf("trade %d is none of the ids %d to %d of the repair %d", t.ID, q.repair.first, q.repair.last, q.era), t)
		case have == t.Count():
			p.counts.Duplicates++
		case have > 0:
			p.refuse(i, q.name, Straddle, straddleText(have, t), t)
		case !p.count(q, t, b.Received):
			p.refuseOverflow(q, i, t)
		default:
			p.insertIDs(q, t)
		}
	}
	if r := q.repair; r.shown < 0 && len(q.applied) == 1 && q.applied[0].first == r.first && q.applied[0].last == r.last && q.proven(r.from, r.to) {
		p.flushDelta(q)
		r.shown = p.offset
		p.reread = true
		y.opened++
		p.gapsChanged(y)
	}
}

// applySeal makes windows unchangeable. What is proven later all the same
// changes their status, and no figure.
func (p *Partition) applySeal(s *schema.Seal) {
	y := p.symbols[s.Symbol]
	if y == nil {
		p.refuse(0, s.Symbol, Unfit, fmt.Sprintf("a seal of %s, of which nothing is known", s.Symbol), nil)
		return
	}
	if s.Before > p.logTime-p.settings.SealAfter {
		p.refuse(0, s.Symbol, Unfit, fmt.Sprintf("a seal of %s before %v: windows stay open for %d s after their end", s.Symbol, s.Before, p.settings.SealAfter/schema.Second), nil)
		return
	}
	before := p.cal.Start(p.settings.Periods[0], s.Before)
	if before <= y.sealed {
		return
	}
	p.touch(y)
	y.sealed = before
	y.opened++
	p.gapsChanged(y)
}

// sealedAt reports whether window i of r may be forgotten though it is not
// proven: no trade comes for it or for the next one, so none will lie between.
func (y *symbol) sealedAt(r *series, i int) bool {
	return i+1 < len(r.win) && r.win[i].end <= y.sealed && r.win[i+1].end <= y.sealed
}

const voidText = "void ids are not counted by this version"

func straddleText(have int64, t *schema.Trade) string {
	return fmt.Sprintf("%d of the trades %d to %d are applied already", have, t.ID, t.Last)
}

func (p *Partition) futureText(t *schema.Trade) string {
	return fmt.Sprintf("trade %d has the time %v, more than %d s after it was appended to the log", t.ID, t.Time, p.settings.FutureBound/schema.Second)
}

// String names the symbol in errors.
func (y *symbol) String() string {
	switch {
	case y.repair != nil:
		return fmt.Sprintf("%s, repair %d", y.name, y.era)
	case y.era > 0:
		return fmt.Sprintf("%s, series %d", y.name, y.era)
	}
	return y.name
}
