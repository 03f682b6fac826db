package latency

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestQuantileIsAtMostAQuarterTooLong(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	var all []time.Duration
	for range 20_000 {
		d := time.Duration(r.ExpFloat64() * float64(5*time.Millisecond)).Truncate(time.Microsecond)
		all = append(all, d)
		h.Observe(d)
	}
	slices.Sort(all)
	s := h.Snapshot()
	if s.Count != uint64(len(all)) {
		t.Fatalf("counted %d of %d", s.Count, len(all))
	}
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[min(int(q*float64(len(all))), len(all)-1)]
		got := s.Quantile(q)
		if got <= want || float64(got) > 1.26*float64(want)+2000 {
			t.Errorf("quantile %v is %v, the exact one %v", q, got, want)
		}
	}
	if (Snapshot{}).Quantile(0.5) != 0 {
		t.Error("nothing has a quantile")
	}
}

func TestBucketsHoldTheirValues(t *testing.T) {
	for us := int64(0); us < 1<<40; us += 1 + us/7 {
		i := bucketOf(us)
		if us >= upper(i) || i > 0 && us < upper(i-1) {
			t.Fatalf("%d µs is in bucket %d, from %d to %d", us, i, upper(i-1), upper(i))
		}
	}
	if n := testing.AllocsPerRun(100, func() { new(Histogram).Observe(-time.Second) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func TestMergedSnapshotsAreOneHistogram(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var a, b, both Histogram
	for range 2000 {
		d := time.Duration(r.ExpFloat64() * float64(3*time.Millisecond))
		if r.IntN(3) == 0 {
			d *= 100
			a.Observe(d)
		} else {
			b.Observe(d)
		}
		both.Observe(d)
	}
	want := both.Snapshot()
	for _, got := range []Snapshot{a.Snapshot().Merge(b.Snapshot()), b.Snapshot().Merge(a.Snapshot()), want.Merge(Snapshot{}), Snapshot{}.Merge(want)} {
		if got.Count != want.Count || got.Sum != want.Sum || !slices.Equal(got.Buckets, want.Buckets) {
			t.Errorf("merged %+v, want %+v", got, want)
		}
	}
}

func TestOctavesCountExactly(t *testing.T) {
	var h Histogram
	var all []int64
	for us := int64(0); us < 5000; us += 1 + us/40 {
		h.Observe(time.Duration(us) * time.Microsecond)
		all = append(all, us)
	}
	got := h.Snapshot().Octaves(0, 12)
	if len(got) != 13 {
		t.Fatalf("%d bounds", len(got))
	}
	for k, b := range got {
		want := uint64(0)
		for _, us := range all {
			if us < 1<<k {
				want++
			}
		}
		if b.Below != time.Microsecond<<k || b.Count != want {
			t.Errorf("%d durations below %v, want %d below %v", b.Count, b.Below, want, time.Microsecond<<k)
		}
	}
}
