//go:build synctests

package sim

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seed   = flag.Uint64("sim.seed", 0, "run this seed alone, and tell its story")
	only   = flag.String("sim.only", "", "with -sim.seed: the faults that befall, by number; - is none")
	cut    = flag.Int("sim.cut", 0, "with -sim.seed: the most trades of a symbol")
	tries  = flag.Int("sim.tries", 1, "with -sim.seed: how often to run it, until it fails")
	from   = flag.Uint64("sim.from", 1, "the first seed to run")
	seeds  = flag.Uint64("sim.seeds", 1000, "how many seeds to run")
	first  = flag.Bool("sim.first", false, "end with the first seed that fails, unshrunk")
	shrink = flag.Duration("sim.shrink", time.Minute, "how long to make a failing seed smaller")
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // a seed leaves little behind
	code := m.Run()
	if last != "" {
		say("%s\n", last)
	}
	os.Exit(code)
}

// last is the line that a run of seeds ends in.
var last string

// TestSeeds runs seeds, several at once, each in a bubble of its own.
func TestSeeds(t *testing.T) {
	if _, err := template(); err != nil {
		t.Fatal(err)
	}
	if *seed != 0 {
		one(t)
		return
	}
	began := time.Now()
	var mu sync.Mutex
	passed, failed := 0, 0
	told := map[string]int{}
	t.Run("seeds", func(t *testing.T) {
		for s := *from; s < *from+*seeds; s++ {
			t.Run(strconv.FormatUint(s, 10), func(t *testing.T) {
				t.Parallel()
				mu.Lock()
				enough := *first && failed > 0
				mu.Unlock()
				if enough {
					return
				}
				p := makePlan(s)
				o := play(t, p)
				mu.Lock()
				defer mu.Unlock()
				for k := range o.told {
					told[k]++
				}
				if len(o.broken) == 0 {
					passed++
					return
				}
				failed++
				t.Fail()
				say("SEED %d %s\n", s, strings.Join(o.broken[:min(len(o.broken), 3)], "\n    "))
				if !*first && *shrink > 0 && failed <= 3 {
					smaller(t, p, time.Now().Add(*shrink))
				}
				say("  run it again: %s\n", command(p))
			})
		}
	})
	say("met: %v\n", told)
	last = fmt.Sprintf("%d passed, %d failed, in %v", passed, failed, time.Since(began).Round(time.Second))
}

// one runs a single plan and tells its story.
func one(t *testing.T) {
	p := makePlan(*seed)
	p.Cut = *cut
	if *only != "" {
		for i := range p.Faults {
			p.Faults[i].Off = !slices.Contains(strings.Split(*only, ","), strconv.Itoa(i))
		}
	}
	for range *tries {
		o := play(t, p)
		if len(o.broken) == 0 && *tries > 1 {
			continue
		}
		say("%v\n", p)
		say("%s\n", strings.Join(o.story, "\n"))
		for _, s := range o.broken {
			t.Error(s)
		}
		return
	}
}

// smaller leaves out faults and trades as long as the plan still fails. What
// goroutines do in between is not the seed's to decide, so each is tried twice.
func smaller(t *testing.T, p *plan, until time.Time) {
	fails := func() bool {
		for range 2 {
			if time.Now().After(until) {
				return false
			}
			if o := play(t, p); len(o.broken) > 0 {
				return true
			}
		}
		return false
	}
	for i := range p.Faults {
		p.Faults[i].Off = true
		if !fails() {
			p.Faults[i].Off = false
		}
	}
	for n := 128; n >= 1; n /= 2 {
		old := p.Cut
		p.Cut = n
		if !fails() {
			p.Cut = old
			break
		}
	}
}

// command is the line that runs a plan again.
func command(p *plan) string {
	var on []string
	for i := range p.Faults {
		if !p.Faults[i].Off {
			on = append(on, strconv.Itoa(i))
		}
	}
	faults := "-"
	if len(on) > 0 {
		faults = strings.Join(on, ",")
	}
	s := fmt.Sprintf("go test -tags synctests ./internal/sim -run TestSeeds -sim.seed %d -sim.only %s -sim.tries 20", p.Seed, faults)
	if p.Cut > 0 {
		s += fmt.Sprintf(" -sim.cut %d", p.Cut)
	}
	return s
}

// play runs a plan in a bubble. A run that never ends is told with the stacks of
// all goroutines.
func play(t *testing.T, p *plan) (o outcome) {
	watch := time.AfterFunc(2*time.Minute, func() {
		buf := make([]byte, 4<<20)
		say("seed %d does not end:\n%v\n%s\n", p.Seed, p, buf[:runtime.Stack(buf, true)])
		os.Exit(1)
	})
	defer watch.Stop()
	synctest.Test(t, func(t *testing.T) { o = run(t, p) })
	for _, f := range p.Faults {
		if o.told != nil && !f.Off {
			o.told[f.Kind] = true
		}
	}
	return o
}

// say writes what the runner has to tell: it is not part of a test's log, which
// is shown only when one fails.
func say(format string, args ...any) { _, _ = fmt.Fprintf(os.Stdout, format, args...) }
