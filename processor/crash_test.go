package processor

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// pass waits for a moment at random, up to d.
func (w *world) pass(r *rand.Rand, d time.Duration) {
	select {
	case <-time.After(time.Duration(r.Int64N(int64(d)))):
	case <-w.Context().Done():
	}
}

// TestKilled: a processor is killed at random moments while the log grows, and
// started again on its folder, on a copy that is older, or on none.
func TestKilled(t *testing.T) {
	w := newFakeWorld(t)
	r := rand.New(rand.NewPCG(2, 1))
	const rounds, slice = 9, 150
	w.market(r, 7, (rounds+1)*slice)
	base, dsn := t.TempDir(), "sqlite:"+filepath.Join(t.TempDir(), "x.db")
	dir := filepath.Join(base, "now")
	var older []string
	for i := range rounds {
		c := w.spawn(dir, dsn)
		for k := range 3 {
			w.log(r, i*slice+k*slice/3, i*slice+(k+1)*slice/3)
			w.pass(r, 150*time.Millisecond)
		}
		c.kill()
		switch {
		case i%3 == 1:
			copied := filepath.Join(base, string(rune('a'+i)))
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			older = append(older, copied)
		case i%3 == 0 && len(older) > 0:
			dir = older[r.IntN(len(older))]
			t.Logf("round %d: an older folder", i)
		case i == 5:
			dir = filepath.Join(base, "none")
			t.Logf("round %d: no folder", i)
		}
	}
	w.log(r, rounds*slice, (rounds+1)*slice)
	p := w.run(w.config(dir, dsn))
	w.caughtUp(p)
	p.stop()
	same(t, w, dsn)
}

// TestJoinAndLeave: processors of one group come and go while the log grows.
func TestJoinAndLeave(t *testing.T) {
	w := newFakeWorld(t)
	r := rand.New(rand.NewPCG(3, 1))
	const rounds, slice = 8, 120
	w.market(r, 9, (rounds+1)*slice)
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "x.db")
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	ps := make([]*running, len(dirs))
	for i := range rounds {
		k := r.IntN(len(ps))
		if ps[k] == nil {
			ps[k] = w.run(w.config(dirs[k], dsn))
		} else {
			ps[k].stop()
			ps[k] = nil
		}
		w.log(r, i*slice, (i+1)*slice)
		w.pass(r, 400*time.Millisecond)
	}
	w.log(r, rounds*slice, (rounds+1)*slice)
	var live []*running
	for k := range ps {
		if ps[k] == nil {
			ps[k] = w.run(w.config(dirs[k], dsn))
		}
		live = append(live, ps[k])
	}
	w.caughtUp(live...)
	for _, p := range live {
		p.stop()
	}
	same(t, w, dsn)
}

// TestEverythingThreeTimes: each batch is sent three times, the last time all
// over again from the start.
func TestEverythingThreeTimes(t *testing.T) {
	w := newFakeWorld(t)
	r := rand.New(rand.NewPCG(4, 1))
	w.market(r, 5, 400)
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "x.db")
	p := w.run(w.config(t.TempDir(), dsn))
	w.log(r, 0, 200)
	w.log(r, 100, 400)
	w.log(r, 0, 400)
	w.caughtUp(p)
	p.stop()
	same(t, w, dsn)
}
