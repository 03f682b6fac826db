package checkpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"gocloud.dev/blob"
)

// TestCollectorsBesideTakers: two collectors and two takers of one log at once,
// each call to the store slow by a random while, up to the grace itself; at no
// moment does a manifest lack a file.
func TestCollectorsBesideTakers(t *testing.T) {
	taken, removed := 0, 0
	for seed := range uint64(24) {
		synctest.Test(t, func(t *testing.T) {
			b := besideRun{T: t, r: rand.New(rand.NewPCG(seed, 9)), mem: newMemory(), needs: map[string][]string{}}
			b.run(seed)
			taken += b.taken
			removed += b.removed
		})
	}
	if taken < 300 || removed < 200 {
		t.Fatalf("%d checkpoints taken, %d removed: the runs were too quiet", taken, removed)
	}
}

type besideRun struct {
	*testing.T
	mem            *memory
	needs          map[string][]string // by manifest; under the store's lock
	taken, removed int

	mu sync.Mutex // guards r
	r  *rand.Rand
}

const besideGrace = time.Hour

func (b *besideRun) random(n int64) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.r.Int64N(n)
}

func (b *besideRun) run(seed uint64) {
	slowest := []time.Duration{time.Second, time.Minute, besideGrace / 3, besideGrace}[seed%4]
	b.mem.before = func(string, string, int) error {
		d := time.Duration(b.random(int64(slowest)))
		if b.random(4) > 0 {
			d = time.Duration(b.random(int64(time.Second)))
		}
		<-time.After(d)
		if b.random(50) == 0 {
			return errCrash
		}
		return nil
	}
	b.mem.after = func(op, key string) {
		_, manifest := parseKey(key)
		switch {
		case manifest && op == "write":
			m := &Manifest{}
			if err := json.Unmarshal(b.mem.objects[key].b, m); err != nil {
				b.Error(err)
			}
			for _, f := range m.Files {
				b.needs[key] = append(b.needs[key], f.Key)
			}
			b.taken++
		case manifest:
			delete(b.needs, key)
			b.removed++
		}
		for m, files := range b.needs {
			for _, f := range files {
				if _, ok := b.mem.objects[f]; !ok {
					b.Errorf("seed %d: after %s of %s the checkpoint %s lacks %s", seed, op, key, m, f)
				}
			}
		}
	}
	ctx, cancel := context.WithTimeout(b.Context(), 60*besideGrace)
	defer cancel()
	var all sync.WaitGroup
	for i := range 2 {
		all.Go(func() { b.take(ctx, i) })
		all.Go(func() { b.collect(ctx) })
	}
	all.Wait()
}

// take uploads a folder of made-up files again and again; each time a few are
// others.
func (b *besideRun) take(ctx context.Context, who int) {
	s := testStore(blob.NewBucket(b.mem), Options{Grace: besideGrace})
	fs := vfs.NewMem()
	if err := fs.MkdirAll("copy", 0o755); err != nil {
		b.Error(err)
	}
	for n := int64(1); ctx.Err() == nil; n++ {
		for range 2 {
			name := fmt.Sprintf("copy/%d.dat", b.random(6))
			f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
			if err == nil {
				_, err = fmt.Fprintf(f, "%s %d", name, b.random(4)) // what was there once comes back
			}
			if err = errors.Join(err, f.Close()); err != nil {
				b.Error(err)
			}
		}
		t := Taker{Store: s, Scratch: "copy", FS: fs}
		m := &Manifest{Format: 1, StateFormat: 1, Topic: testLog.Topic, TopicID: fmt.Sprintf("%x", testLog.TopicID), Partition: testLog.Partition,
			Offset: n*10 + int64(who), Hash: fmt.Sprintf("%016x", who), Taken: time.Now()}
		_, err := t.upload(ctx, m, false, &Cost{})
		if err != nil && !errors.Is(err, errCrash) && !errors.Is(err, errSlow) && !strings.Contains(err.Error(), "context") {
			b.Error(err)
		}
		<-time.After(time.Duration(b.random(int64(besideGrace))))
	}
}

func (b *besideRun) collect(ctx context.Context) {
	s := testStore(blob.NewBucket(b.mem), Options{Grace: besideGrace})
	for ctx.Err() == nil {
		_, err := s.Collect(ctx, testLog, Keep{Count: 1}, false)
		if err != nil && !errors.Is(err, errCrash) && !errors.Is(err, ErrGone) && !strings.Contains(err.Error(), "context") {
			b.Error(err)
		}
		<-time.After(time.Duration(b.random(int64(besideGrace))))
	}
}

// TestUploadIsBounded: no faster than the bound says.
func TestUploadIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testStore(blob.NewBucket(newMemory()), Options{UploadLimit: 100 << 10}), vfs.NewMem(), 20)
		w.trade(4000)
		m, cost := w.take(false)
		if least := time.Duration(m.stored()-(100<<10)) * time.Second / (100 << 10); m.stored() < 200<<10 || cost.Took < least || cost.Took > 2*least {
			t.Fatalf("%d bytes took %v, wanted at least %v", m.Size, cost.Took, least)
		}
	})
}

// TestTooSlow: one that takes longer than half the grace is given up, and
// leaves no manifest.
func TestTooSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := newMemory()
		w := newWorld(t, testStore(blob.NewBucket(mem), Options{UploadLimit: 10, Grace: time.Hour}), vfs.NewMem(), 20)
		w.trade(4000)
		if _, _, err := w.taker.Take(t.Context(), false); !errors.Is(err, errSlow) {
			t.Fatal(err)
		}
		if refs := w.whole("slow"); len(refs) != 0 {
			t.Fatal(refs)
		}
	})
}
