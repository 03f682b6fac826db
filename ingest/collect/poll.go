package collect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"millrace/ingest/binance"
	"millrace/schema"
)

const (
	// pollEvery is the least time between two rounds.
	pollEvery = time.Second
	// pollLag is by how much the REST side's last ids may be behind its clock:
	// they come from other servers than the time. Half of it has been seen
	// between a trade on a stream and the same trade by REST.
	pollLag = schema.Second
	// pollShare is the part of the weight budget that asking for last ids may
	// take, one in so many; the rest is for the trades.
	pollShare = 2
	// aggWeight is what a page of trades weighs.
	aggWeight = 4
	// pollWait bounds the questions of a round.
	pollWait = 30 * time.Second
	// pollAway is after how long without an answer the streams count as down.
	pollAway = 3 * time.Second
	// pollStall is how long a round waits for trades while none comes and no
	// call waits for the budget. Then it goes on without those symbols.
	pollStall = 10 * time.Second
)

// poller collects by REST alone, in rounds:
//
//	server's time s ─▶ every symbol's last id ─▶ a hole at each end that moved ─▶ filled ─▶ W = s − margin − lag
//
// A trade with T ≤ W had its id told in the round, or in one before. So W is
// promised when all that the round found missing has come. A symbol whose trades
// take too long is named in the marks, and told of again once they have come;
// until then nothing tells what else it lacks.
type poller struct {
	*Live
	good  time.Time // when the last ids were told last
	quiet bool      // that REST is away has been said
	// fetched is how many symbols the last round fetched trades of.
	fetched int64
}

// asked is a symbol of a round.
type asked struct {
	g *group
	y *series
}

// poll makes rounds until ctx ends.
func (l *Live) poll(ctx context.Context) error {
	p := &poller{Live: l, good: time.Now()}
	for ctx.Err() == nil {
		began := time.Now()
		cost, err := p.round(ctx)
		if ctx.Err() != nil {
			return nil // its streams may be closed already
		}
		for _, g := range l.all() {
			g.mu.Lock()
			failed := g.err
			g.mu.Unlock()
			if failed != nil {
				return failed
			}
		}
		wait := pollPause(cost, p.fetched*aggWeight, l.Source.REST.Budget().Stats().Cap, p.history()) - time.Since(began)
		if err != nil {
			again, _ := binance.Retryable(err)
			l.trouble.failed(time.Now(), again)
			p.failed(err)
			wait = max(l.trouble.wait(time.Now()), troubleLeast)
		}
		l.pause(ctx, max(wait, 0))
	}
	return nil
}

// pollPause gives the time from one round's beginning to the next one's, after
// what its questions and its trades weighed. Smaller rounds come evenly so,
// instead of all at once and then none for the rest of a minute; and history,
// whose calls go behind those of rounds, comes at all.
func pollPause(questions, trades, most int64, history bool) time.Duration {
	share := time.Duration(9) // tenths of the budget
	if history {
		share = 6
	}
	minute := func(weight int64) time.Duration {
		return time.Minute * time.Duration(weight) / time.Duration(max(most, 1))
	}
	return max(pollEvery, pollShare*minute(questions), minute(questions+trades)*10/share)
}

// history reports whether a long history is still being fetched.
func (p *poller) history() bool {
	for _, g := range p.all() {
		g.mu.Lock()
		for _, y := range g.series {
			for i := range y.holes {
				if h := &y.holes[i]; !h.waived && !h.foreign && h.whole.last-h.whole.first >= longHistory {
					g.mu.Unlock()
					return true
				}
			}
		}
		g.mu.Unlock()
	}
	return false
}

var errNoTime = errors.New("the exchange does not tell its time")

// round asks once, and waits until what is missing has come. It gives what the
// questions weighed.
func (p *poller) round(ctx context.Context) (cost int64, err error) {
	if until := p.Source.REST.Budget().Stats().BlockedUntil; !until.IsZero() {
		return 0, fmt.Errorf("the exchange wants no calls before %v", until.Round(time.Second))
	}
	bound, cancel := context.WithTimeout(binance.WithPriority(ctx, binance.PriorityFill), pollWait)
	defer cancel()
	groups := p.all()
	of := map[string]asked{}
	for _, g := range groups {
		g.mu.Lock()
		for name, y := range g.series {
			of[name] = asked{g, y}
		}
		g.mu.Unlock()
	}
	if len(of) == 0 {
		return 0, nil // not begun yet
	}
	s := p.Source.REST.Clock().Fresh(bound)
	if s == 0 {
		return 1, errNoTime
	}
	lasts, cost, err := p.lastIDs(bound, sortedKeys(of))
	if err != nil {
		return cost, err
	}
	p.good = time.Now()
	p.trouble.over()
	if p.quiet {
		p.quiet = false
		p.Log.Info("the exchange answers again")
	}
	for _, g := range groups {
		if err := g.answered(s); err != nil {
			return cost, err
		}
	}
	var open []asked
	for name, a := range of {
		last, ok := lasts[name]
		if a.g.polled(a.y, last, ok) {
			open = append(open, a)
		}
	}
	p.fetched = int64(len(open))
	if !p.await(ctx, open) {
		return cost, nil
	}
	w := s - schema.Time(p.Source.Margin.Microseconds()) - pollLag
	for _, g := range groups {
		g.Progress(w)
	}
	return cost, nil
}

// answered says that the exchange answers, and at which time of its own.
func (g *group) answered(s schema.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.replied = time.Now()
	g.brought(sortedKeys(g.series))
	if !g.up {
		return g.lift(s)
	}
	return nil
}

// polled takes the last id of a symbol; ok is false if the exchange told none.
// It reports whether the round waits for the symbol.
func (g *group) polled(y *series, last int64, ok bool) (wait bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.series[y.name] != y || y.early || g.err != nil:
		return false
	case !ok, y.next < 0 && last < 0, y.held && y.holes.wait():
		// What it lacks is not known, or what a round before found is still
		// being fetched: marks go on to name it.
		y.unproven = true
		g.keep(g.hold(y))
		return false
	case y.next < 0:
		y.next, y.floor = last+1, last+1
	case y.unproven: // the day's figures don't name a trade that is older than a day
		last = max(last, y.known)
	}
	routine := !y.unproven
	y.unproven = false
	if last < y.next {
		g.keep(g.settle(y))
		return false
	}
	long := last-y.next >= longHistory
	y.end(last, time.Now(), routine)
	if long {
		g.keep(g.hold(y)) // the others need not wait for it
	}
	g.live.mend(g, y)
	return !long
}

// end opens a hole at the symbol's end, to be fetched at once. It is routine
// where nothing was missed: that is how polling finds what is new.
func (y *series) end(last int64, now time.Time, routine bool) {
	y.open(y.next, last, now, 0)
	h := &y.holes[len(y.holes)-1]
	h.due, h.since, h.whole.routine = now, time.Time{}, routine
	y.next = last + 1
}

// grow lets the symbol's last hole reach to the end of a page that was fetched
// for it. What has come since the last id was told is not asked for again then,
// and no aggregate is cut in two.
func (y *series) grow(trades []schema.Trade, now time.Time) {
	for i := range trades {
		t := &trades[i]
		if t.Last < y.next {
			continue
		}
		if n := len(y.holes); n > 0 && y.holes[n-1].last == y.next-1 && !y.holes[n-1].foreign && t.ID <= y.next {
			h := &y.holes[n-1]
			h.whole.left += t.Last - h.last
			h.last, h.whole.last = t.Last, t.Last
			y.next = t.Last + 1
			continue
		}
		if t.ID != y.next {
			return
		}
		y.end(t.Last, now, true)
	}
}

// await waits until nothing is missing of the symbols any more. Those that come
// no further are named in the marks from then on. It is false if the round is
// broken off.
func (p *poller) await(ctx context.Context, open []asked) bool {
	look := time.NewTicker(500 * time.Millisecond)
	defer look.Stop()
	moved := time.Now()
	for {
		open = slices.DeleteFunc(open, func(a asked) bool {
			a.g.mu.Lock()
			defer a.g.mu.Unlock()
			return a.g.series[a.y.name] != a.y || !a.y.holes.wait()
		})
		if len(open) == 0 {
			return true
		}
		select {
		case <-p.moved:
			moved = time.Now()
		case now := <-look.C:
			b := p.Source.REST.Budget().Stats()
			if b.BlockedUntil.After(now.Add(pollAway)) {
				return false
			}
			if b.Waiting[binance.PriorityFill]+b.Waiting[binance.PriorityHistory] > 0 {
				moved = now // it is the budget
			}
			if now.Sub(moved) < pollStall {
				continue
			}
			for _, a := range open {
				a.g.mu.Lock()
				if err := a.g.hold(a.y); err != nil {
					a.g.err = err
				}
				a.g.mu.Unlock()
			}
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// failed notes a round without an answer. After some time of that the streams
// are down, as those of a lost connection.
func (p *poller) failed(err error) {
	if time.Since(p.good) < pollAway && p.Source.REST.Budget().Stats().BlockedUntil.Before(time.Now().Add(pollAway)) {
		return
	}
	for _, g := range p.all() {
		g.mu.Lock()
		if g.up {
			g.losses++
			g.unprove()
			g.stream.Down()
		}
		g.note(err.Error())
		g.mu.Unlock()
	}
	if !p.quiet {
		p.quiet = true
		p.Log.Warn("the exchange does not answer; what is missed will be fetched once it does", "err", err)
	}
}
