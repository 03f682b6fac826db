package binance

import (
	"net/http"
	"strconv"
	"time"
)

const (
	// maxLimit bounds limits, so that no sum of weights overflows.
	maxLimit = 1 << 40
	// safety lies behind the turn of the server's minute and behind the end of
	// a block: the server tells both in whole seconds.
	safety = time.Second
	// limitWait and banWait are for answers without Retry-After. A ban lasts two
	// minutes at least.
	limitWait = time.Minute
	banWait   = 2 * time.Minute
	// maxBlock bounds a block. The longest ban lasts three days.
	maxBlock = 7 * 24 * time.Hour
	// maxStrikes bounds how often a block doubles: 64 times the first.
	maxStrikes = 6
)

// account is the arithmetic of a Budget. It is pure: now is an argument.
type account struct {
	weightCap, callCap int64

	// A call counts from when it may go until a span after its answer: the
	// server counted it at some moment in between.
	weight, calls   window
	flying, flights int64 // weight and number of those without an answer yet

	word serverWord

	block           time.Time // nothing goes before
	strikes         int       // limits in a row, each after the last one's block
	limited, banned int64
}

// serverWord is what the server has counted from this address.
type serverWord struct {
	used   int64
	minute int64     // the server's, since 1970; 0 if it named none
	turn   time.Time // local; from then on it counts anew
	at     time.Time // local, when the answer came
}

// bound is the most weight in a minute with which a call of the priority goes.
func (a *account) bound(p Priority) int64 {
	b := a.weightCap
	if p < PriorityClock {
		b -= a.weightCap / 50 // a question a second, by default
	}
	if p < PriorityFill {
		b -= a.weightCap / 10
	}
	return b
}

// free tells when a call may go. It is not known where that hangs on calls
// that have no answer yet.
func (a *account) free(now time.Time, weight int64, p Priority) (at time.Time, known bool) {
	bound := a.bound(p)
	at, known = a.weight.room(now, bound-a.flying-weight)
	if !known {
		return at, false
	}
	later, known := a.calls.room(now, a.callCap-a.flights-1)
	if !known {
		return at, false
	}
	if later.After(at) {
		at = later
	}
	if a.block.After(at) {
		at = a.block
	}
	// Those on their way may be in the server's figure already, or not.
	if a.word.turn.After(at) && a.word.used+a.flying+weight > bound {
		at = a.word.turn
	}
	return at, true
}

func (a *account) send(weight int64) {
	a.flying += weight
	a.flights++
}

// unsent takes back what send counted.
func (a *account) unsent(weight int64) {
	a.flying -= weight
	a.flights--
}

// answered counts a call sent at sent, whose answer came now; status is 0 if
// none did.
func (a *account) answered(now, sent time.Time, weight int64, status int, h http.Header) {
	a.unsent(weight)
	a.weight.add(now, weight)
	a.calls.add(now, 1)
	used, err := strconv.ParseInt(h.Get("X-MBX-USED-WEIGHT-1M"), 10, 64)
	if err == nil && used >= 0 && used <= maxLimit {
		date, err := http.ParseTime(h.Get("Date"))
		if err != nil {
			date = time.Time{}
		}
		a.hear(now, used, date)
	} else if now.Before(a.word.turn) {
		a.word.used += weight // it may have been counted
	}
	switch {
	case status == http.StatusTooManyRequests || status == http.StatusTeapot:
		a.limit(now, sent, status, retryAfter(h))
	case status >= 200 && status < 300 && !sent.Before(a.block):
		a.strikes = 0
	}
}

// hear takes the server's figure, told at date by its own clock. Within one
// minute of the server's it only grows, so the greatest holds, in whatever
// order answers come.
func (a *account) hear(now time.Time, used int64, date time.Time) {
	w := serverWord{used: used, at: now, turn: now.Add(time.Minute + safety)}
	if !date.IsZero() {
		s := date.Unix()
		w.minute = s / 60
		w.turn = now.Add(time.Duration(60-s%60)*time.Second + safety)
	}
	if old := a.word; now.Before(old.turn) {
		switch w.minute {
		case old.minute:
			w.used = max(w.used, old.used)
			if w.minute != 0 && old.turn.Before(w.turn) {
				w.turn = old.turn // each is late enough
			}
		case old.minute - 1: // overtaken by an answer of the next minute
			return
		}
	}
	a.word = w
}

// limit takes the server's word to stop, for a call sent at sent.
func (a *account) limit(now, sent time.Time, status int, wait time.Duration) {
	// Calls that were on their way together are told together: that is one.
	if !sent.Before(a.block) {
		a.strikes++
	}
	double := uint(max(0, min(a.strikes-1, maxStrikes)))
	if status == http.StatusTeapot {
		a.banned++
		if wait == 0 {
			wait = banWait << double
		}
	} else {
		a.limited++
		if wait == 0 {
			wait = limitWait
		}
		wait = min(wait, maxBlock) << double
	}
	if until := now.Add(min(wait, maxBlock) + safety); until.After(a.block) {
		a.block = until
	}
}

// retryAfter reads Retry-After, in seconds; 0 if there is none.
func retryAfter(h http.Header) time.Duration {
	if s, err := strconv.ParseInt(h.Get("Retry-After"), 10, 32); err == nil && s > 0 {
		return time.Duration(s) * time.Second
	}
	return 0
}

// window sums what was used in the last span.
type window struct {
	span time.Duration
	uses []use // in the order of time
	sum  int64
}

// use is what was used from from to to.
type use struct {
	from, to time.Time
	n        int64
}

// add counts n. What lies close together becomes one use, so that a window
// holds a thousand at most; it counts until the last of them is old enough.
func (w *window) add(now time.Time, n int64) {
	w.forget(now)
	w.sum += n
	if i := len(w.uses) - 1; i >= 0 && now.Sub(w.uses[i].from) < w.span/1000 {
		w.uses[i].to = now
		w.uses[i].n += n
		return
	}
	w.uses = append(w.uses, use{now, now, n})
}

// forget drops what is older than the span.
func (w *window) forget(now time.Time) {
	i := 0
	for ; i < len(w.uses) && now.Sub(w.uses[i].to) >= w.span; i++ {
		w.sum -= w.uses[i].n
	}
	w.uses = w.uses[i:]
}

// room tells when the sum is no more than most; never where that is negative.
func (w *window) room(now time.Time, most int64) (at time.Time, ok bool) {
	w.forget(now)
	at = now
	sum := w.sum
	for _, u := range w.uses {
		if sum <= most {
			break
		}
		sum -= u.n
		at = u.to.Add(w.span)
	}
	return at, sum <= most
}
