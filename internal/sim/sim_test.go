//go:build synctests

package sim

import (
	"flag"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

var (
	seed  = flag.Uint64("sim.seed", 0, "run this seed alone, and tell its story")
	from  = flag.Uint64("sim.from", 1, "the first seed to run")
	seeds = flag.Uint64("sim.seeds", 100, "how many seeds to run")
)

func TestSeeds(t *testing.T) {
	if _, err := template(); err != nil {
		t.Fatal(err)
	}
	if *seed != 0 {
		p := makePlan(*seed)
		p.Loud = true
		fmt.Println(p)
		o := play(t, p)
		for _, s := range o.broken {
			t.Error(s)
		}
		return
	}
	for s := *from; s < *from+*seeds; s++ {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			t.Parallel()
			o := play(t, makePlan(s))
			for k := range o.told {
				count(k)
			}
			if len(o.broken) > 0 {
				t.Fail()
				fmt.Printf("SEED %d %s\n", s, strings.Join(o.broken, "\n    "))
			}
		})
	}
}

var (
	counts  = map[string]int{}
	countMu sync.Mutex
)

func count(k string) {
	countMu.Lock()
	defer countMu.Unlock()
	counts[k]++
}

func play(t *testing.T, p *plan) (o outcome) {
	synctest.Test(t, func(t *testing.T) { o = run(t, p) })
	return o
}
