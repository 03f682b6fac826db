//go:build synctests

package sim

import (
	"flag"
	"fmt"
	"testing"
	"testing/synctest"
)

var (
	seed  = flag.Uint64("sim.seed", 0, "run this seed alone, and tell its story")
	seeds = flag.Uint64("sim.seeds", 100, "how many seeds to run")
)

func TestSeeds(t *testing.T) {
	if _, err := template(); err != nil {
		t.Fatal(err)
	}
	if *seed != 0 {
		o := play(t, makePlan(*seed))
		for _, s := range o.story {
			fmt.Println(s)
		}
		for _, s := range o.broken {
			t.Error(s)
		}
		return
	}
	for s := uint64(1); s <= *seeds; s++ {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			t.Parallel()
			for _, b := range play(t, makePlan(s)).broken {
				t.Error(b)
			}
		})
	}
}

func play(t *testing.T, p *plan) (o outcome) {
	synctest.Test(t, func(t *testing.T) { o = run(t, p) })
	return o
}
