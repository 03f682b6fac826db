package collect

import (
	"time"

	"millrace/schema"
)

// series is the continuity of one symbol. It belongs to its group's lock.
type series struct {
	name   string
	era    uint8       // in which its ids began
	made   schema.Time // by the own clock
	key    []byte      // the same
	next   int64       // the id behind the highest one seen; −1: none is known
	floor  int64       // ids from here on were seen by this process, but for the holes
	past   schema.Time // history's boundary, of a day or longer; 0 for others
	known  int64       // an id that the exchange told at the beginning; −1: none
	lastT  schema.Time // of the newest trade
	holes  holes
	held   bool      // the stream's marks name it
	since  time.Time // when it was held last
	status schema.TradingStatus
	// anew: ids that were seen have come with other times, so they have begun
	// anew; told is set once that was said.
	anew, told bool
	// unproven: nothing has told yet what was missed while there was no
	// connection.
	unproven bool
	// lost is when the newest frame came before that; of a new symbol, when it
	// was made.
	lost time.Time
	// early: its anchor is not known yet, so nothing of it may be in the log.
	// What comes meanwhile waits, up to waitingMax; more is let go, and fetched
	// like anything else that was missed.
	early   bool
	waiting []waiting
	// awaits: the connection whose promises count does not bring it yet.
	awaits  bool
	mending bool // a goroutine works on the holes
	dumping bool // another reads a dump for them
	wake    chan struct{}
	calls   time.Time      // before which the mender makes no further call; its own
	asking  int64          // the hole, by its first id, that the mender makes a call for
	quit    func()         // ends that call; nil while there is none
	sent    map[int64]sent // foreign holes that were filled, by first id

	heard time.Time     // when the newest trade came
	pace  time.Duration // the usual time between two, in the mean
	asked time.Time     // when its silence was last looked into

	trades, copies, filled, elsewhere, found int64
}

// waiting is a trade that came before its symbol's anchor was known.
type waiting struct {
	trade    schema.Trade
	received schema.Time
}

const waitingMax = 50_000

// wait keeps a trade until the symbol begins.
func (y *series) wait(t *schema.Trade, received schema.Time) {
	if len(y.waiting) >= waitingMax {
		y.waiting = nil
	}
	y.waiting = append(y.waiting, waiting{*t, received})
}

// sent is a foreign hole that was filled: if it is still told as open later,
// it is filled again.
type sent struct {
	at    time.Time
	tries int
}

func newSeries(name string) *series {
	return &series{name: name, made: schema.FromStd(time.Now()), key: []byte(name), next: -1, known: -1, held: true, since: time.Now(), lost: time.Now(), unproven: true, awaits: true, wake: make(chan struct{}, 1), sent: map[int64]sent{}}
}

// newSeriesAfter: an id that was seen, with a time so much beyond the newest,
// is no copy. The exchange has begun its ids anew, and the processor must know.
const newSeriesAfter = schema.Minute

// place finds a trade's place among the ids. hand is false for one that adds
// nothing: a copy, or an aggregate of which a part was seen and the rest is
// being fetched as single trades.
func (y *series) place(t *schema.Trade, now time.Time) (hand bool) {
	switch {
	case t.ID == y.next:
	case y.next < 0:
		y.floor = t.ID
	case t.ID > y.next:
		y.open(y.next, t.ID-1, now, t.Time)
	default:
		if t.Time > y.lastT+newSeriesAfter && y.lastT != 0 {
			y.anew = true
			return true
		}
		if t.ID < y.floor && y.holes.missing(t.ID, t.Last) == 0 {
			return true // from before this process; the log may have it or not
		}
		if y.holes.missing(t.ID, t.Last) == t.Count() {
			y.close(t.ID, t.Last)
			return true
		}
		y.copies++
		return false
	}
	if y.next < t.Last+1 {
		y.next = t.Last + 1
	}
	y.lastT = max(y.lastT, t.Time)
	return true
}

// open notes that ids were not seen. before is the time of the next one, 0 if
// that is not known.
func (y *series) open(first, last int64, now time.Time, before schema.Time) {
	y.found++
	whole := &stretch{first: first, last: last, left: last - first + 1, found: now}
	if first == y.floor { // nothing was seen before: it is the history
		whole.since, whole.history = y.past, true
	}
	since := y.heard
	if y.lost.After(since) {
		since = y.lost
	}
	y.holes.add(hole{first: first, last: last, after: y.lastT, before: before, cursor: -1, since: since, due: now.Add(elsewhereMost), whole: whole})
}

// fitting gives those of some trades, by rising ids, that lie wholly in holes.
// An aggregate of which a part was seen is of no use: the processor refuses it.
func (y *series) fitting(trades []schema.Trade) (fits []schema.Trade) {
	for i := range trades {
		t := &trades[i]
		if y.holes.missing(t.ID, t.Last) == t.Count() && (len(fits) == 0 || t.ID > fits[len(fits)-1].Last) {
			fits = append(fits, *t)
		}
	}
	return fits
}

func (y *series) close(first, last int64) []*stretch { return y.holes.remove(first, last) }

// hear keeps the usual time between trades.
func (y *series) hear(now time.Time) {
	if !y.heard.IsZero() {
		y.pace += (min(now.Sub(y.heard), time.Hour) - y.pace) / 16
	}
	y.heard = now
}

// silent reports whether the symbol has been silent for long against its own
// pace. A symbol without one yet is not.
func (y *series) silent(now time.Time, atLeast time.Duration) bool {
	return y.pace > 0 && now.Sub(y.heard) > max(atLeast, 20*y.pace)
}
