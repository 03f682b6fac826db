package double

import (
	"math"
	"time"
)

// generator makes faults up, one after the other, each from its own number.
type generator struct {
	Random
	n uint64
}

func newGenerator(r *Random) *generator {
	g := &generator{Random: *r}
	if len(g.Kinds) == 0 {
		g.Kinds = randomKinds()
	}
	if g.Longest == 0 {
		g.Longest = 5 * time.Second
	}
	return g
}

// next gives the fault that follows one at a moment. The gaps between them are
// those of chance (exponential), so that some overlap.
func (g *generator) next(after time.Duration) planned {
	g.n++
	draws := uint64(0)
	unit := func() float64 { // above 0, up to 1
		draws++
		return (float64(mix(g.Seed, g.n, draws)>>11) + 1) / (1 << 53)
	}
	within := func(lo, hi time.Duration) time.Duration { return lo + time.Duration(unit()*float64(hi-lo)) }
	at := after + time.Duration(-math.Log(unit())*float64(time.Minute)/g.PerMinute) + 1
	f := &Fault{Kind: g.Kinds[int(unit()*float64(len(g.Kinds)))%len(g.Kinds)], Market: g.Market}
	f.For = within(g.Longest/10, g.Longest)
	if f.Kind == faultBan || f.Kind == fault429 { // told in whole seconds
		f.For = max(f.For, time.Millisecond)
	}
	if has(f.Kind, "symbols") {
		f.SymbolShare = 0.05 + 0.95*unit()
	}
	if has(f.Kind, "connections") && unit() < 0.5 {
		f.Connections = 0.5
	}
	if has(f.Kind, "share") {
		f.Share = unit() * unit()
	}
	if has(f.Kind, "window") {
		f.Window = 2 + int(unit()*20)
	}
	if has(f.Kind, "delay") || has(f.Kind, "lead") {
		f.Delay = within(g.Longest/100, g.Longest/2)
	}
	if has(f.Kind, "skew") {
		f.Skew = within(-2*time.Second, 2*time.Second)
	}
	return planned{fault: f, draw: mix(g.Seed, g.n, 0), at: at, gen: g}
}
