//go:build synctests

package sim

import (
	"fmt"
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
	Anchors    bool // collectors say where history begins
	SayEnd     bool // collectors end their streams with a word
	Mend       bool // at the end every hole is filled
	Troubles   troubles
	MarkEvery, MicroBatch,
	SQLEvery, CandlesEvery time.Duration
	BatchMax, MaxRecords int
	Faults               []fault
	Cut                  int // the most trades of a symbol; 0 is all
}

// fault is one thing that goes wrong.
type fault struct {
	At   time.Duration
	Kind string
	Who  int
	Rand uint64
	Off  bool // left out, to see whether the run fails without it
}

func (f *fault) String() string {
	return fmt.Sprintf("%s of %d at %.3f s", f.Kind, f.Who, f.At.Seconds())
}

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
		Length: time.Duration(20+r.IntN(100)) * time.Second, Anchors: r.IntN(4) > 0, SayEnd: r.IntN(2) == 0, Mend: r.IntN(3) > 0,
		Troubles:  troubles{swaps: some(.2), misses: some(.1), blinds: some(.1), copies: some(.2), lost: some(.05), aggregates: some(1)},
		MarkEvery: pick(200*time.Millisecond, time.Second), MicroBatch: pick(0, 0, 0, 300*time.Millisecond),
		SQLEvery: pick(20*time.Millisecond, time.Second), CandlesEvery: pick(2*time.Millisecond, 100*time.Millisecond, time.Second),
		BatchMax: []int{1, 3, 500}[r.IntN(3)], MaxRecords: []int{1, 7, 50_000}[r.IntN(3)],
		Keep: pick(24*time.Hour, 24*time.Hour, 20*time.Second),
	}
	if p.MicroBatch > 0 {
		p.MaxRecords = 50_000
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
	slices.SortFunc(p.Faults, func(a, b fault) int { return int(a.At - b.At) })
	return p
}

func (f *fault) befall(w *world) {}
