package double

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"millrace/schema"
)

// The kinds of faults. All but those of the market touch only sockets and
// answers: what has been traded is the same with and without them.
const (
	// Of connections.
	faultCut      = "cut"                // dropped without a word
	faultHalfDead = "half-dead"          // open, but nothing comes any more, no pong either
	faultShutdown = "shutdown"           // serverShutdown, then closed after lead
	faultAge      = "age"                // closed once they are as old as age
	faultRefuse   = "refuse-connections" // attempts are cut off unanswered
	// Of streams.
	faultStall   = "stall"   // symbols fall silent on the connections of the moment
	faultDrop    = "drop"    // events are left out
	faultDouble  = "double"  // events come twice
	faultReorder = "reorder" // events of a window are shuffled
	faultLate    = "late"    // events come later by delay, with the E of then
	// Of REST.
	faultSlow  = "rest-slow"  // answers come later by delay
	fault5xx   = "rest-5xx"   // 502, 503 and 504
	faultBan   = "rest-ban"   // 418 until the fault's end
	fault429   = "rest-429"   // 429 until the fault's end
	faultSkew  = "clock-skew" // serverTime is off by skew
	faultVoids = "void-aggs"  // void aggregates, from the market's first day on
	// Of the market.
	faultStatus = "status"     // symbols have a status
	faultList   = "list"       // symbols are not there before
	faultDelist = "delist"     // symbols are not there any more
	faultSeries = "new-series" // symbols' ids begin anew at 0; nobody can be asked for the old ones
)

// Scenario is what goes wrong, and when. It is a function of Seed as far as the
// wall's time allows. Faults begin when the market does and end with it.
type Scenario struct {
	Seed   uint64
	Faults []Fault
	Random *Random
}

// Fault is one thing that goes wrong, once or again and again.
type Fault struct {
	Kind string
	// At is when it begins, counted from the market's beginning by the wall, or
	// by the market's time if Market is set. Moment says so absolutely, in the
	// market's time; it stands instead of At and implies Market.
	At     time.Duration
	Moment schema.Time
	Market bool
	// For is how long it lasts; 0 is up to the end. It comes again every Every,
	// Times times altogether (0 is without end).
	For, Every time.Duration
	Times      int

	// Symbols are those that it is about, or else SymbolShare of all; all, if
	// both are left out. Connections and Share are how many of the connections,
	// and of the events, calls or attempts, it hits; all, if 0.
	Symbols     []string
	SymbolShare float64
	Connections float64
	Share       float64
	// Count is how many events it hits each time; without bound, if 0.
	Count int
	// Window is the number of events that reorder shuffles. Where Delay is
	// shorter than they take, it shuffles what came in that time; one of the two
	// can be left out.
	Window int
	// Delay is that of late and rest-slow, shutdown's lead and the age of age.
	Delay time.Duration
	Skew  time.Duration
	// Status is that of status. Behind is how many aggregates stand between
	// void ones.
	Status string
	Behind int64
	// Paths are the REST paths it is about, such as klines; all, if empty.
	Paths []string
}

// Random makes faults that overlap, of random kinds, lengths and places.
type Random struct {
	Seed      uint64
	PerMinute float64
	// Kinds are those it draws from; by default every kind of connections (but
	// age), streams and REST (but void-aggs).
	Kinds []string
	// Longest is the longest that one lasts, 5 s by default.
	Longest time.Duration
	Market  bool // minutes and lengths are the market's
}

func randomKinds() []string {
	return []string{faultCut, faultHalfDead, faultShutdown, faultRefuse, faultStall, faultDrop, faultDouble, faultReorder, faultLate,
		faultSlow, fault5xx, faultBan, fault429, faultSkew}
}

// keysOf gives the keys that a kind has beside kind, at, clock, for, every and
// times; false for no kind.
func keysOf(kind string) (string, bool) {
	switch kind {
	case faultCut, faultHalfDead:
		return "connections", true
	case faultShutdown:
		return "connections lead", true
	case faultAge:
		return "connections age", true
	case faultRefuse:
		return "share", true
	case faultStall:
		return "symbols connections", true
	case faultDrop, faultDouble:
		return "symbols connections share count", true
	case faultReorder:
		return "symbols connections share window delay", true
	case faultLate:
		return "symbols connections share count delay", true
	case faultSlow:
		return "share paths delay", true
	case fault5xx, fault429:
		return "share paths", true
	case faultBan:
		return "", true
	case faultSkew:
		return "skew", true
	case faultVoids:
		return "behind", true
	case faultStatus:
		return "symbols status", true
	case faultList, faultDelist, faultSeries:
		return "symbols", true
	}
	return "", false
}

func has(kind, key string) bool {
	keys, _ := keysOf(kind)
	return slices.Contains(strings.Fields(keys), key)
}

// ofMarket reports whether a fault is part of the market itself.
func (f *Fault) ofMarket() bool {
	return f.Kind == faultStatus || f.Kind == faultList || f.Kind == faultDelist || f.Kind == faultSeries
}

const (
	maxTimes  = 10_000
	maxOffset = 10 * 365 * 24 * time.Hour
	maxWindow = 10_000
)

// check says what is wrong with a fault.
func (f *Fault) check() error {
	if _, ok := keysOf(f.Kind); !ok {
		return fmt.Errorf("unknown kind %q", f.Kind)
	}
	for _, d := range [...]time.Duration{f.At, f.For, f.Every, f.Delay, max(f.Skew, -f.Skew)} {
		if d < 0 || d > maxOffset {
			return fmt.Errorf("%s: a time of %v is not within 0 and ten years", f.Kind, d)
		}
	}
	for _, s := range [...]float64{f.SymbolShare, f.Connections, f.Share} {
		if !(s >= 0 && s <= 1) {
			return fmt.Errorf("%s: a share of %v is not within 0 and 1", f.Kind, s)
		}
	}
	switch {
	case f.Times < 0 || f.Times > maxTimes || f.Count < 0:
		return fmt.Errorf("%s: times or count is not within 0 and %d", f.Kind, maxTimes)
	case f.Every == 0 && f.Times > 1:
		return fmt.Errorf("%s: times without every", f.Kind)
	case f.Every > 0 && f.Every < time.Millisecond:
		return fmt.Errorf("%s: every is shorter than 1ms", f.Kind)
	case f.Window < 0 || f.Window > maxWindow:
		return fmt.Errorf("%s: a window of %d is not within 0 and %d", f.Kind, f.Window, maxWindow)
	case f.Kind == faultReorder && (f.Window == 1 || f.Window == 0 && f.Delay == 0):
		return fmt.Errorf("%s: needs a window of at least 2 events, or a delay", f.Kind)
	case (f.Kind == faultLate || f.Kind == faultSlow || f.Kind == faultAge) && f.Delay == 0:
		return fmt.Errorf("%s: needs a delay, or an age", f.Kind)
	case f.Kind == faultSkew && f.Skew == 0:
		return fmt.Errorf("%s: needs a skew", f.Kind)
	case (f.Kind == faultBan || f.Kind == fault429) && f.For == 0:
		return fmt.Errorf("%s: needs for, which is told in Retry-After", f.Kind)
	case f.Kind == faultVoids && (f.Behind < 1 || f.At != 0 || f.Moment != 0 || f.For != 0 || f.Every != 0):
		return fmt.Errorf("%s: needs behind, and no time: they number all aggregates there ever were", f.Kind)
	case f.Kind == faultStatus && !slices.Contains([]string{trading, halted, broken, cancelOnly}, f.Status):
		return fmt.Errorf("%s: status %q is not TRADING, HALT, BREAK or CANCEL_ONLY", f.Kind, f.Status)
	case f.ofMarket() && f.Moment == 0 && !f.Market:
		return fmt.Errorf("%s: is of the market, so at must be a time or clock: market", f.Kind)
	case f.ofMarket() && f.Every > 0 && f.Times == 0:
		return fmt.Errorf("%s: every needs times", f.Kind)
	case f.Kind != faultStatus && f.ofMarket() && (f.For != 0 || f.Every != 0):
		return fmt.Errorf("%s: happens once and for ever", f.Kind)
	case f.Moment != 0 && f.At != 0:
		return fmt.Errorf("%s: has two times", f.Kind)
	}
	return nil
}

func (r *Random) check() error {
	if !(r.PerMinute > 0 && r.PerMinute <= 600) {
		return fmt.Errorf("random: per-minute %v is not above 0 and at most 600", r.PerMinute)
	}
	if r.Longest < 0 || r.Longest > time.Hour {
		return fmt.Errorf("random: longest %v is not within 0 and an hour", r.Longest)
	}
	for _, k := range r.Kinds {
		if !slices.Contains(randomKinds(), k) {
			return fmt.Errorf("random: kind %q is not one of %s", k, strings.Join(randomKinds(), ", "))
		}
	}
	return nil
}

// Validate checks a scenario.
func (s *Scenario) Validate() error {
	for i := range s.Faults {
		if err := s.Faults[i].check(); err != nil {
			return fmt.Errorf("scenario: fault %d: %w", i+1, err)
		}
	}
	if s.Random != nil {
		if err := s.Random.check(); err != nil {
			return fmt.Errorf("scenario: %w", err)
		}
	}
	return nil
}

// share reports whether a drawn number lies within a share; 0 stands for all.
func share(of float64, drawn uint64) bool {
	return of == 0 || float64(drawn>>11)/(1<<53) < of
}

// textSeed is a hash of a text.
func textSeed(s string) uint64 {
	h := uint64(len(s))
	for i := range len(s) {
		h = mix(h, uint64(s[i]), uint64(i))
	}
	return h
}

// about reports whether a fault is about a symbol. draw tells faults apart.
func (f *Fault) about(symbol string, draw uint64) bool {
	if len(f.Symbols) > 0 {
		return slices.Contains(f.Symbols, symbol)
	}
	return share(f.SymbolShare, mix(draw, 1, textSeed(symbol)))
}

// arrange puts what a scenario says of the market into the market, and finds
// symbols that there are not.
func (s *Scenario) arrange(m market, start schema.Time) error {
	made, synthetic := m.(*synthetic)
	known := m.symbols()
	for i := range s.Faults {
		f := &s.Faults[i]
		for _, name := range f.Symbols {
			if !slices.Contains(known, name) {
				return fmt.Errorf("scenario: fault %d: %s: there is no symbol %s", i+1, f.Kind, name)
			}
		}
		if !f.ofMarket() {
			continue
		}
		if !synthetic {
			return fmt.Errorf("scenario: fault %d: %s: a recording's market is as it was", i+1, f.Kind)
		}
		at := f.Moment
		if at == 0 {
			at = start + micros(f.At)
		}
		for _, c := range made.list {
			if f.about(c.symbol, mix(s.Seed, uint64(i), 0)) {
				f.apply(c, at)
			}
		}
	}
	if synthetic {
		for _, c := range made.list {
			c.hours.settle()
			c.begin()
		}
	}
	return nil
}

func (f *Fault) apply(c *coin, at schema.Time) {
	h := &c.hours
	switch f.Kind {
	case faultSeries:
		c.anew.at = at
	case faultList:
		h.listed = at
	case faultDelist:
		h.delisted = at
	case faultStatus:
		for range max(f.Times, 1) {
			to := at + micros(f.For)
			if f.For == 0 {
				to = schema.MaxTime
			}
			h.stretches = append(h.stretches, stretch{at, to, f.Status})
			at += micros(f.Every)
		}
	}
}

func micros(d time.Duration) schema.Time { return schema.Time(d / time.Microsecond) }
