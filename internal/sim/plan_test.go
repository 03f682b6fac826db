//go:build synctests

package sim

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"millrace/schema"
)

// plan is all that a seed decides.
type plan struct {
	Seed       uint64
	Partitions int32
	Processors int
	Symbols    int
	Collectors [][]int // the symbols of each
	Length     time.Duration
	Settings   schema.Settings
	Keep       time.Duration
	Falling    bool // times fall now and then as ids rise
	Greedy     bool // retention takes what is still needed
	Anchors    bool // collectors say where history begins
	SayEnd     bool // collectors end their streams with a word
	Mend       bool // at the end every hole is filled
	Troubles   troubles
	Standby    int // how many others keep a partition warm
	MarkEvery, MicroBatch,
	SQLEvery, CandlesEvery time.Duration
	Checkpoints          time.Duration // how often; 0: none are taken
	BatchMax, MaxRecords int
	Faults               []fault
	Loud                 bool // tell the story as it happens
	Cut                  int  // the most trades of a symbol; 0 is all
}

func (p *plan) has(kind string) bool {
	return slices.ContainsFunc(p.Faults, func(f fault) bool { return f.Kind == kind && !f.Off })
}

// String tells the plan in a few lines.
func (p *plan) String() string {
	s := fmt.Sprintf("seed %d: %d partitions, %d processors, collectors of %v, %v, periods %v, kept %v, micro-batch %v of %d, sql every %v, candles every %v\n",
		p.Seed, p.Partitions, p.Processors, p.Collectors, p.Length, p.Settings.Periods, p.Keep, p.MicroBatch, p.MaxRecords, p.SQLEvery, p.CandlesEvery)
	s += fmt.Sprintf("  checkpoints every %v, anchors %v, ends %v, mended %v, greedy %v, falling times %v, troubles %+v\n", p.Checkpoints, p.Anchors, p.SayEnd, p.Mend, p.Greedy, p.Falling, p.Troubles)
	for i := range p.Faults {
		if f := &p.Faults[i]; !f.Off {
			s += fmt.Sprintf("  fault %d at %.3f s: %v\n", i, f.At.Seconds(), f)
		}
	}
	return s
}

// makePlan draws the plan of a seed. Windows, holes and faults lie so close
// together that a minute or two of a small market meets what a year would.
func makePlan(seed uint64) *plan {
	r := rand.New(chacha(seed, "plan"))
	pick := func(ds ...time.Duration) time.Duration { return ds[r.IntN(len(ds))] }
	some := func(x float64) float64 {
		if r.IntN(2) == 0 {
			return 0
		}
		return x * r.Float64()
	}
	p := &plan{
		Seed: seed, Partitions: 1 + int32(r.IntN(2)), Processors: 1 + r.IntN(3), Symbols: 1 + r.IntN(4),
		Length: time.Duration(20+r.IntN(70)) * time.Second, Anchors: r.IntN(4) > 0, SayEnd: r.IntN(2) == 0, Mend: r.IntN(3) > 0,
		Troubles:  troubles{swaps: some(.2), misses: some(.1), blinds: some(.1), copies: some(.2), lost: some(.05), aggregates: some(1)},
		MarkEvery: pick(200*time.Millisecond, time.Second), MicroBatch: pick(0, 0, 0, 300*time.Millisecond),
		SQLEvery: pick(50*time.Millisecond, 500*time.Millisecond, 2*time.Second), CandlesEvery: pick(2*time.Millisecond, 100*time.Millisecond, time.Second),
		BatchMax: []int{1, 3, 500}[r.IntN(3)], MaxRecords: []int{1, 7, 50_000}[r.IntN(3)],
		Greedy: r.IntN(4) == 0, Falling: r.IntN(5) == 0, Keep: pick(24*time.Hour, 24*time.Hour, 20*time.Second),
	}
	if p.MicroBatch > 0 {
		p.MaxRecords = 50_000
	}
	if r := rand.New(chacha(seed, "checkpoints")); r.IntN(4) == 0 {
		p.Checkpoints = time.Duration(2+r.IntN(10)) * time.Second
	}
	if r := rand.New(chacha(seed, "standby")); r.IntN(3) == 0 {
		p.Standby = 1
	}
	periods := [][]schema.Period{{schema.P1s, schema.P1m}, {schema.P1m, schema.P5m}, {schema.P1s, schema.P1m, schema.P3m}, {schema.P1m}}
	p.Settings = schema.Settings{Partitions: p.Partitions, Periods: periods[r.IntN(len(periods))], EmptySeconds: r.IntN(4) == 0}
	p.Settings.EnsureDefaults()
	all := make([]int, p.Symbols)
	for i := range all {
		all[i] = i
	}
	switch cut := r.IntN(p.Symbols + 1); r.IntN(3) {
	case 0:
		p.Collectors = [][]int{all}
	case 1: // of different symbols, some of them of both
		p.Collectors = [][]int{all[:max(cut, 1)], all[max(cut-1, 0):]}
		if len(p.Collectors[1]) == 0 {
			p.Collectors = p.Collectors[:1]
		}
	default:
		p.Collectors = [][]int{all, all}
	}
	// A few kinds a seed, so that the same thing may go wrong again and again.
	kinds := slices.Sorted(maps.Keys(faults))
	r.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	kinds = kinds[:1+r.IntN(6)]
	if p.Keep < time.Hour && r.IntN(2) == 0 { // what is forgotten must be everywhere
		kinds = append(kinds, "database away", "database slow")
	}
	// The moments between two steps are short: they are aimed at more often.
	switch r.IntN(8) {
	case 0:
		kinds = append(kinds, "processor killed over a dead letter")
	case 1, 2:
		kinds = append(kinds, "processor killed at a step")
	}
	for _, pair := range [][2]string{{"database set back", "database kept"}, {"kafka set back", "kafka kept"}, {"disk set back", "disk copied"}} {
		if slices.Contains(kinds, pair[0]) && !slices.Contains(kinds, pair[1]) {
			kinds = append(kinds, pair[1])
		}
	}
	for range r.IntN(12) {
		p.Faults = append(p.Faults, fault{
			At: time.Duration(r.Int64N(int64(p.Length + 20*time.Second))), Kind: kinds[r.IntN(len(kinds))], Who: r.IntN(12), Rand: r.Uint64(),
		})
	}
	slices.SortFunc(p.Faults, func(a, b fault) int { return int(a.At - b.At) })
	return p
}
