package checkpoint

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"gocloud.dev/blob"
)

// crashAt makes a store in which from call n on nothing happens any more, with
// or without the write of call n itself having arrived.
func crashAt(mem *memory, n int, arrived bool) {
	n += mem.calls
	mem.before = func(op, key string, call int) error {
		if call > n || call == n && (!arrived || op != "write" && op != "delete") {
			return errCrash
		}
		return nil
	}
}

func revive(mem *memory) { mem.before = func(string, string, int) error { return nil } }

// whole checks that every checkpoint in the store verifies.
func (w *world) whole(name string) []Ref {
	w.Helper()
	s := testStore(w.store.bucket, w.store.o)
	refs, err := s.List(w.Context(), testLog)
	if err != nil {
		w.Fatal(err)
	}
	for _, r := range refs {
		m, err := s.Manifest(w.Context(), r)
		if err == nil {
			err = s.Fetch(w.Context(), m, "verify", w.fs, nil)
		}
		if err != nil {
			w.Fatalf("%s: %v", name, err)
		}
		if err := w.fs.RemoveAll("verify"); err != nil {
			w.Fatal(err)
		}
	}
	return refs
}

// TestTakeCrashes: whatever call to the store is the last one, all that is
// listed verifies, and the next checkpoint is as good as any.
func TestTakeCrashes(t *testing.T) {
	for _, arrived := range []bool{false, true} {
		for n, done := 1, false; !done; n++ {
			name := fmt.Sprintf("call %d, arrived %v", n, arrived)
			mem := newMemory()
			w := newWorld(t, testStore(blob.NewBucket(mem), Options{}), vfs.NewMem(), 5)
			w.trade(100)
			first, _ := w.take(false)
			w.trade(100)
			crashAt(mem, n, arrived)
			m, _, err := w.taker.Take(t.Context(), false)
			revive(mem)
			done = err == nil && !arrived || n > 40
			refs := w.whole(name)
			at, refused := w.restore()
			if want := max(first.Offset, refs[0].Offset); at != want || len(refused) > 0 || err == nil && at != m.Offset {
				t.Fatalf("%s: restored %d, wanted %d: %v, %v", name, at, want, refused, err)
			}
			w.trade(10)
			third, _ := w.take(false)
			w.whole(name)
			if at, _ := w.restore(); at != third.Offset {
				t.Fatalf("%s: then restored %d, wanted %d", name, at, third.Offset)
			}
			w.close()
		}
	}
}

// TestTakeOnADiskThatFails: an error of the disk under the copy fails the
// checkpoint, not the state, and never makes one that isn't whole.
func TestTakeOnADiskThatFails(t *testing.T) {
	failed := 0
	for n, done := 0, false; !done; n++ {
		mem := newMemory()
		left := -1
		var mu sync.Mutex // Pebble closes files in the background
		fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if left < 0 || !strings.Contains(op.Path, ".copy") {
				return nil
			}
			if left--; left < 0 {
				return errCrash
			}
			return nil
		}))
		w := newWorld(t, testStore(blob.NewBucket(mem), Options{}), fs, 3)
		w.trade(50)
		w.take(false)
		w.trade(50)
		mu.Lock()
		left = n
		mu.Unlock()
		_, _, err := w.taker.Take(t.Context(), false)
		mu.Lock()
		done = left >= 0 // that many operations there are not
		left = -1
		mu.Unlock()
		if err != nil {
			failed++
		}
		w.whole(fmt.Sprintf("operation %d", n))
		w.trade(5)
		m, _ := w.take(false)
		if at, _ := w.restore(); at != m.Offset {
			t.Fatalf("operation %d: restored %d, wanted %d: %v", n, at, m.Offset, err)
		}
		w.close()
	}
	if failed < 20 {
		t.Fatalf("only %d operations failed a checkpoint", failed)
	}
}

// TestCollect: the newest stay, and the young; the rest goes with the files that
// nobody else needs, once the grace has passed.
func TestCollect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := newMemory()
		w := newWorld(t, testStore(blob.NewBucket(mem), Options{Grace: 6 * time.Minute}), vfs.NewMem(), 5)
		var offsets []int64
		for range 6 {
			w.trade(50)
			m, _ := w.take(false)
			offsets = append(offsets, m.Offset)
			<-time.After(time.Minute)
		}
		left := func() (at []int64) {
			for _, r := range w.whole("collected") {
				at = append(at, r.Offset)
			}
			slices.Reverse(at)
			return at
		}
		collect := func(k Keep, dry bool) Collected {
			c, err := w.store.Collect(t.Context(), testLog, k, dry)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		if c := collect(Keep{Count: 2}, false); len(c.Checkpoints)+c.Files != 0 { // all younger than the grace
			t.Fatalf("took %+v", c)
		}
		<-time.After(8 * time.Minute) // 14, …, 9 minutes old
		if c := collect(Keep{Count: 2, For: 11*time.Minute + time.Second}, false); len(c.Checkpoints) != 3 || c.Files == 0 || c.Bytes == 0 || c.Kept != 3 {
			t.Fatalf("took %+v", c)
		}
		if got := left(); !slices.Equal(got, offsets[3:]) {
			t.Fatalf("left %v of %v", got, offsets)
		}
		before := len(mem.objects)
		if c := collect(Keep{Count: 1}, true); len(c.Checkpoints) != 2 || len(mem.objects) != before {
			t.Fatalf("a dry one took %+v", c)
		}
		collect(Keep{Count: 1}, false)
		if got := left(); !slices.Equal(got, offsets[5:]) {
			t.Fatalf("left %v of %v", got, offsets)
		}
		m, err := w.store.Manifest(t.Context(), w.whole("last")[0])
		if err != nil || len(mem.objects) != objects(m)+1 {
			t.Fatalf("%d objects are left for %d files: %v", len(mem.objects), objects(m), err)
		}
	})
}

// TestCollectCrashes: whatever call is a collector's last one, what is listed
// verifies, and the next collector ends its work.
func TestCollectCrashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, arrived := range []bool{false, true} {
			for n, done := 1, false; !done; n++ {
				name := fmt.Sprintf("call %d, arrived %v", n, arrived)
				mem := newMemory()
				o := Options{Grace: time.Second}
				w := newWorld(t, testStore(blob.NewBucket(mem), o), vfs.NewMem(), 3)
				for range 4 {
					w.trade(20)
					w.take(false)
				}
				<-time.After(10 * time.Second)
				fresh := testStore(w.store.bucket, o)
				crashAt(mem, n, arrived)
				_, err := fresh.Collect(t.Context(), testLog, Keep{Count: 1}, false)
				revive(mem)
				done = err == nil || n > 100
				w.whole(name)
				<-time.After(10 * time.Second) // the clock's object may have been left
				if _, err := fresh.Collect(t.Context(), testLog, Keep{Count: 1}, false); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				refs := w.whole(name)
				m, err := fresh.Manifest(t.Context(), refs[0])
				if err != nil || len(refs) != 1 || len(mem.objects) != objects(m)+1 {
					t.Fatalf("%s: %d checkpoints, %d objects are left: %v", name, len(refs), len(mem.objects), err)
				}
				w.close()
			}
		}
	})
}

// TestCollectOnlyWhatItUnderstands: what a newer program's checkpoint needs
// can't be known, so nothing is collected; one that is damaged doesn't count
// among the newest.
func TestCollectOnlyWhatItUnderstands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := newMemory()
		o := Options{Grace: time.Second}
		w := newWorld(t, testStore(blob.NewBucket(mem), o), vfs.NewMem(), 3)
		good, _ := w.take(false)
		<-time.After(time.Second)
		w.trade(20)
		bad, _ := w.take(false)
		x := *bad
		x.Format = 2
		key, b, _ := x.encode()
		mem.objects[key] = thing{b, time.Now()}
		<-time.After(10 * time.Second)
		if _, err := testStore(w.store.bucket, o).Collect(t.Context(), testLog, Keep{Count: 1}, false); !errors.Is(err, ErrNewer) {
			t.Fatal(err)
		}
		delete(mem.objects, key)
		mem.objects[bad.Ref.key] = thing{[]byte("{}"), mem.objects[bad.Ref.key].at}
		c, err := testStore(w.store.bucket, o).Collect(t.Context(), testLog, Keep{Count: 1}, false)
		if err != nil || len(c.Checkpoints) != 1 || c.Checkpoints[0].Offset != bad.Offset || c.Kept != 1 {
			t.Fatalf("%+v, %v", c, err)
		}
		if at, _ := w.restore(); at != good.Offset {
			t.Fatalf("restored %d", at)
		}
	})
}

// TestFailpoints: each step that writes can be made to fail by its name, and
// what is listed then verifies.
func TestFailpoints(t *testing.T) {
	for _, step := range []string{"checkpoint-copy", "checkpoint-upload", "checkpoint-manifest", "collect-manifest", "collect-file", "restore-fetch"} {
		synctest.Test(t, func(t *testing.T) {
			armed, met := false, 0
			o := Options{Grace: time.Second, Failpoint: func(at string) error {
				if !armed || at != step {
					return nil
				}
				met++
				return errCrash
			}}
			mem := newMemory()
			w := newWorld(t, testStore(blob.NewBucket(mem), o), vfs.NewMem(), 3)
			for range 3 {
				w.trade(20)
				w.take(false)
				<-time.After(2 * time.Second)
			}
			w.trade(20)
			armed = true
			_, _, took := w.taker.Take(t.Context(), false)
			_, collected := w.store.Collect(t.Context(), testLog, Keep{Count: 1}, false)
			_, _, restored := w.store.Restore(t.Context(), w.want())
			if met == 0 || !errors.Is(errors.Join(took, collected, restored), errCrash) {
				t.Errorf("%s was met %d times: %v, %v, %v", step, met, took, collected, restored)
			}
			armed = false
			w.whole(step)
			m, _ := w.take(false)
			if at, refused := w.restore(); at != m.Offset || len(refused) > 0 {
				t.Errorf("%s: restored %d, wanted %d; refused %v", step, at, m.Offset, refused)
			}
		})
	}
}
