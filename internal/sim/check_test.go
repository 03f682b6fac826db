//go:build synctests

package sim

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	sqlsink "millrace/processor/sink/sql"
	"millrace/schema"
	"millrace/state"
)

// check holds everything against the log.
func (w *world) check(told map[string]bool) {
	want := map[string]string{}
	symbols := map[string]string{} // their gaps
	for p := range w.plan.Partitions {
		recs, err := w.read(w.topics.Ticks, p)
		if err != nil {
			w.fault("read the log: %v", err)
			return
		}
		owner := w.owner(p)
		if owner == nil {
			w.fault("nobody owns partition %d", p)
			return
		}
		// What retention took was applied before, but for what the owner's state
		// had not seen by then.
		recs = append(slices.Clone(w.gone[p]), recs...)
		o := newOracle()
		v, done := w.state(owner, p)
		if v == nil {
			return
		}
		defer done()
		var skips [][2]int64
		for from, to := range v.Skipped {
			skips = append(skips, [2]int64{from, to})
			if n := len(w.gone[p]); !w.relaxed["set back"] && (n == 0 || w.gone[p][n-1].Offset < to-1) {
				w.fault("state: partition %d says that it skipped %d to %d, which the log had", p, from, to)
			}
		}
		if slices.ContainsFunc(skips, func(s [2]int64) bool { return s[0] == 0 }) {
			o.settle(&w.plan.Settings, nil) // as the processor does who finds none
		}
		for _, r := range recs {
			if !slices.ContainsFunc(skips, func(s [2]int64) bool { return s[0] <= r.Offset && r.Offset < s[1] }) {
				o.apply(&entry{r.Offset, schema.FromStd(r.Timestamp), r.Value})
			}
		}
		if len(skips) > 0 {
			told["log skipped"] = true
		}
		rows := o.rows()
		maps.Copy(want, rows)
		maps.Copy(w.past, o.past)
		for _, l := range o.symbols {
			if l.opened > 0 {
				symbols[l.name] = l.gaps()
			}
		}
		maps.Copy(told, o.told)
		w.checkMarks(p, recs)
		w.checkDead(p, o)
		w.checkGaps(p, o)
		w.checkCandles(p, rows)
		w.checkState(v, p, rows)
	}
	w.checkSQL(want, symbols)
}

// differ reports where rows are not what they should be.
//
// Where a state skipped a stretch of the log, the sinks may know more from one
// that had not: they must not know less.
func (w *world) differ(where string, got, want map[string]string) {
	if w.relaxed["skipped"] && where != "state" {
		for k := range got {
			// A window that isn't final may hold as many trades, but others.
			if v := version(want[k]); version(got[k]) > v || version(got[k]) == v && v&3 != int64(schema.Final) {
				want = maps.Clone(want)
				want[k] = got[k]
			}
		}
	}
	if where != "state" { // of a period that was switched off
		got = maps.Clone(got)
		maps.DeleteFunc(got, func(k, _ string) bool { return want[k] == "" && w.past[k] })
	}
	if w.relaxed[where] { // what it lacks is forgotten, and the processor said so
		for k := range want {
			// Of what one state has forgotten another may know less.
			g, ok := got[k]
			if lacks := !ok || w.relaxed["skipped"] && version(g) < version(want[k]); lacks && strings.Contains(want[k], " final ") {
				want = maps.Clone(want)
				delete(want, k)
				got = maps.Clone(got)
				delete(got, k)
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if g, ok := got[k]; !ok {
			w.fault("%s: %s is missing; the log says %s", where, k, want[k])
		} else if g != want[k] {
			w.fault("%s: %s is\n      %s\n  not %s", where, k, g, want[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok {
			w.fault("%s: %s is %s; the log says nothing of it", where, k, got[k])
		}
	}
}

// checkMarks holds the marks to what they promise: what the stream was given
// before is before them in the log.
func (w *world) checkMarks(p int32, recs []*kgo.Record) {
	if w.relaxed["set back"] {
		return
	}
	type trade struct {
		symbol string
		id     int64
	}
	stands := map[trade]int64{}
	var t schema.Tick
	for _, r := range recs {
		if t.Decode(r.Value) != nil || t.Kind != schema.KindTrades {
			continue
		}
		for i := range t.Batch.Trades {
			for id := t.Batch.Trades[i].ID; id <= t.Batch.Trades[i].Last; id++ {
				if k := (trade{string(t.Batch.Symbol), id}); stands[k] == 0 {
					stands[k] = r.Offset
				}
			}
		}
	}
	by := map[string][]handed{}
	for _, c := range w.collectors {
		for _, h := range c.handed {
			if schema.Partition(h.symbol, w.plan.Partitions) == p {
				by[h.stream] = append(by[h.stream], h)
			}
		}
	}
	for _, r := range recs {
		if t.Decode(r.Value) != nil || t.Kind != schema.KindMark {
			continue
		}
		if t.Mark.W > schema.FromStd(r.Timestamp)+10*schema.Second {
			continue // refused: it may be a forged one
		}
		for _, h := range by[t.Mark.Ingestor] {
			at, ok := stands[trade{h.symbol, h.id}]
			if h.at <= t.Mark.W && (!ok || at > r.Offset) && !slices.Contains(t.Mark.Excepted, h.symbol) {
				w.fault("mark: partition %d at %d: %s promises %v, but trade %d of %s at %v stands at %d", p, r.Offset, t.Mark.Ingestor, t.Mark.W, h.id, h.symbol, h.at, at)
				return
			}
		}
	}
}

// checkGaps holds the topic of gaps against the log. Of a symbol's sets the
// newer one counts, as ingestors read it.
func (w *world) checkGaps(p int32, o *oracle) {
	recs, err := w.read(w.topics.Gaps(), p)
	if err != nil {
		w.fault("read gaps: %v", err)
		return
	}
	sets := map[string]schema.GapSet{}
	for _, r := range recs {
		g, err := schema.DecodeGapSet(r.Value)
		if err != nil {
			w.fault("gaps: partition %d at %d: %v", p, r.Offset, err)
			continue
		}
		if old, ok := sets[g.Symbol]; !ok || cmp.Or(cmp.Compare(g.Applied, old.Applied), cmp.Compare(g.Opened, old.Opened)) >= 0 {
			sets[g.Symbol] = g
		}
	}
	if w.relaxed["skipped"] {
		return
	}
	for name, l := range o.symbols {
		g, ok := sets[name]
		if got := gapSetLine(&g); l.opened > 0 && (!ok || got != l.gaps()) {
			w.fault("gaps: %s: %s, the log says %s", name, got, l.gaps())
		}
	}
}

func (w *world) checkDead(p int32, o *oracle) {
	recs, err := w.read(w.topics.Dead(), p)
	if err != nil {
		w.fault("read the dead letters: %v", err)
		return
	}
	got := map[refusal]string{}
	for _, r := range recs {
		var at refusal
		why := ""
		for _, h := range r.Headers {
			switch h.Key {
			case schema.HeaderOffset:
				at.offset = number(h.Value)
			case schema.HeaderIndex:
				at.index = int(number(h.Value))
			case schema.HeaderReason:
				why = string(h.Value)
			}
		}
		got[at] = why
	}
	if w.relaxed["skipped"] { // another state may have refused what this one never saw
		maps.DeleteFunc(got, func(at refusal, _ string) bool { return o.refused[at] == "" })
	}
	for at, why := range o.refused {
		if got[at] != why {
			w.fault("dead letters: partition %d, offset %d, tick %d is refused as %q by the log, its letter says %q", p, at.offset, at.index, why, got[at])
		}
	}
	for at, why := range got {
		if o.refused[at] == "" {
			w.fault("dead letters: partition %d, offset %d, tick %d was refused as %q, though the log says nothing against it", p, at.offset, at.index, why)
		}
	}
}

// version reads the version of a line.
func version(line string) (v int64) {
	for _, c := range strings.TrimPrefix(line, "v") {
		if c < '0' || c > '9' {
			break
		}
		v = 10*v + int64(c-'0')
	}
	return v
}

func number(b []byte) (n int64) {
	for _, c := range b {
		n = 10*n + int64(c-'0')
	}
	return n
}

// checkCandles holds the topic's last records against the log, and all of them
// against the promises.
func (w *world) checkCandles(p int32, rows map[string]string) {
	recs, err := w.read(w.topics.Candles, p)
	if err != nil {
		w.fault("read candles: %v", err)
		return
	}
	got, final := map[string]string{}, map[string]string{}
	highest := map[string]schema.Version{}
	all := slices.Clone(w.candles[p])
	for _, r := range recs {
		all = append(all, stood{w.lives, r})
	}
	slices.SortStableFunc(all, func(a, b stood) int { return cmp.Or(a.life-b.life, int(a.Offset-b.Offset)) })
	all = slices.CompactFunc(all, func(a, b stood) bool { return a.life == b.life && a.Offset == b.Offset })
	for _, r := range all {
		c, err := schema.DecodeCandle(r.Value)
		if err != nil {
			w.fault("candles: partition %d at %d: %v", p, r.Offset, err)
			continue
		}
		k := string(r.Key)
		by := fmt.Sprint(r.life, " ")
		for _, h := range r.Headers {
			if h.Key == schema.HeaderWriter {
				by += string(h.Value)
			}
		}
		if !strings.HasSuffix(by, zombie) {
			if c.Version < highest[by+" "+k] {
				w.fault("candles: partition %d at %d: writer %s lowers %s from version %d to %d", p, r.Offset, by, k, highest[by+" "+k], c.Version)
			}
			highest[by+" "+k] = c.Version
			if f := final[k]; f != "" && c.Status == schema.Final && f != line(&c) {
				w.fault("candles: partition %d at %d: the final %s changed from %s to %s", p, r.Offset, k, f, line(&c))
			}
			if c.Status == schema.Final {
				final[k] = line(&c)
			}
		}
		if r.life == w.lives {
			got[k] = line(&c)
		}
	}
	w.differ("candles", got, rows)
}

// state opens a store as an operator could, after its processor has ended.
func (w *world) state(owner *machine, p int32) (v *state.View, done func()) {
	owner.stop()
	s, err := state.Open(state.Options{Dir: state.PartitionDir(dataDir, w.topics.Ticks, p), FS: owner.disk}, w.lineage, p)
	if err != nil {
		w.fault("open the state of partition %d: %v", p, err)
		return nil, nil
	}
	if v, err = s.View(); err != nil {
		w.fault("view the state of partition %d: %v", p, errors.Join(err, s.Close()))
		return nil, nil
	}
	return v, func() {
		if err := errors.Join(v.Close(), s.Close()); err != nil {
			w.fault("close the state of partition %d: %v", p, err)
		}
	}
}

func (w *world) checkState(v *state.View, p int32, rows map[string]string) {
	if err := v.Check(); err != nil {
		w.fault("state: partition %d: %v", p, err)
	}
	got := map[string]string{}
	err := v.Since(0, 1000, func(c *state.Changes) error {
		for i := range c.Candles {
			got[key(&c.Candles[i])] = line(&c.Candles[i])
		}
		for i := range c.Runs {
			c.Runs[i].Expand(c.Calendar, func(e *schema.Candle) bool { got[key(e)] = line(e); return true })
		}
		return nil
	})
	if err != nil {
		w.fault("read the state of partition %d: %v", p, err)
		return
	}
	if v.Forgotten() > 0 { // what is forgotten is missing there, and only there
		all := rows
		rows = map[string]string{}
		for k := range got {
			if all[k] != "" {
				rows[k] = all[k]
			}
		}
	}
	w.differ("state", got, rows)
}

// owner is the machine that has the partition.
func (w *world) owner(p int32) *machine { return w.machines[w.owners[p]] }

func (w *world) checkSQL(want, gaps map[string]string) {
	db, err := sqlsink.Open(w.ctx, sqlsink.Config{DSN: "sqlite:" + w.db.file, ReadOnly: true})
	if err != nil {
		w.fault("open the database: %v", err)
		return
	}
	defer db.Close()
	w.checkBroken()
	got := map[string]string{}
	for _, l := range w.market {
		for p := schema.P1s; p.Valid(); p++ {
			rows, err := db.Candles(w.ctx, l.name, p, schema.MinTime, schema.MaxTime, 0)
			if err != nil {
				w.fault("read the database: %v", err)
				return
			}
			for i := range rows {
				got[key(&rows[i])] = line(&rows[i])
			}
		}
	}
	w.differ("sql", got, want)
	for _, l := range w.market {
		list, err := db.Gaps(w.ctx, l.name)
		if err != nil {
			w.fault("read the gaps: %v", err)
			return
		}
		set := schema.GapSet{Symbol: l.name, Gaps: list}
		// What a set says of itself stands beside its rows.
		if err := w.db.raw.QueryRow("SELECT applied, opened FROM gap_sets WHERE symbol = ?", l.name).Scan(&set.Applied, &set.Opened); err != nil {
			if gaps[l.name] != "" && !w.relaxed["skipped"] {
				w.fault("sql: the gaps of %s are missing: %v; the log says %s", l.name, err, gaps[l.name])
			}
			continue
		}
		if got := gapSetLine(&set); got != gaps[l.name] && !w.relaxed["skipped"] {
			w.fault("sql: gaps of %s: %s, the log says %s", l.name, got, gaps[l.name])
		}
	}
}

// checkBroken reads what the database's triggers have seen.
func (w *world) checkBroken() {
	rows, err := w.db.raw.Query("SELECT what FROM broken")
	if err != nil {
		w.fault("read what the triggers saw: %v", err)
		return
	}
	defer rows.Close()
	for rows.Next() {
		var what string
		if err := rows.Scan(&what); err != nil {
			w.fault("read what the triggers saw: %v", err)
			return
		}
		w.fault("%s", what)
	}
	if err := rows.Err(); err != nil {
		w.fault("read what the triggers saw: %v", err)
	}
}
