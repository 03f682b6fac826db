package processor

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"millrace/schema"
	"millrace/state"
	"millrace/state/checkpoint"
)

// words keeps what was logged.
type words struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (x *words) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(p)
}

func (x *words) take() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.b.String()
	x.b.Reset()
	return s
}

// keeping is a world whose processors keep checkpoints in a folder.
type keeping struct {
	*world
	where string
	store *checkpoint.Store
	said  words
	dsn   string
}

func newKeeping(t *testing.T, seed uint64, n int) (*keeping, *rand.Rand) {
	t.Helper()
	k := &keeping{world: newFakeWorld(t), where: filepath.Join(t.TempDir(), "checkpoints"), dsn: "sqlite:" + filepath.Join(t.TempDir(), "x.db")}
	var err error
	if k.store, err = checkpoint.Open(t.Context(), k.where, checkpoint.Options{Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.store.Close() })
	r := rand.New(rand.NewPCG(seed, 1))
	k.market(r, 7, n)
	return k, r
}

func (k *keeping) config(dir string) Config {
	c := k.world.config(dir, k.dsn)
	c.Checkpoints = &Checkpoints{Store: k.store, Every: time.Hour, Program: "test", LastTime: time.Minute}
	c.Log = slog.New(slog.NewTextHandler(io.MultiWriter(k.Output(), &k.said), &slog.HandlerOptions{Level: slog.LevelDebug}))
	return c
}

// says holds what was logged since against words that must be there.
func (k *keeping) says(want ...string) {
	k.Helper()
	got := k.said.take()
	for _, x := range want {
		if !strings.Contains(got, x) {
			k.Errorf("nothing was said of %q:\n%s", x, got)
		}
	}
}

// forgetLog deletes of the log what the newest checkpoints stand for: who goes
// on can only do so from them.
func (k *keeping) forgetLog() {
	k.Helper()
	refs, err := k.store.List(k.Context(), checkpoint.Log{})
	if err != nil {
		k.Fatal(err)
	}
	to := kadm.Offsets{}
	for i := len(refs) - 1; i >= 0; i-- { // the farthest comes first
		to.Add(kadm.Offset{Topic: k.topics.Ticks, Partition: refs[i].Partition, At: refs[i].Offset})
	}
	done, err := kadm.NewClient(k.client).DeleteRecords(k.Context(), to)
	if err == nil {
		err = done.Error()
	}
	if err != nil {
		k.Fatal(err)
	}
}

// TestRestoredWithoutState: a processor that has nothing goes on from the
// checkpoints which another one took when it stopped, although the log no longer
// reaches back.
func TestRestoredWithoutState(t *testing.T) {
	k, r := newKeeping(t, 21, 400)
	p := k.run(k.config(t.TempDir()))
	k.log(r, 0, 200)
	k.caughtUp(p)
	p.stop()
	k.says("msg=checkpoint")
	k.forgetLog()
	// The one before died between setting the old state aside and putting the
	// new one in its place.
	dir := t.TempDir()
	place := state.PartitionDir(dir, k.topics.Ticks, 0)
	for _, name := range []string{".aside", ".restoring", ".copy"} {
		if err := os.MkdirAll(place+name, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(place+name, "000004.sst"), []byte("left behind"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p = k.run(k.config(dir))
	k.log(r, 200, 400)
	k.caughtUp(p)
	for _, s := range p.Status() {
		if s.Checkpointed == 0 {
			t.Errorf("partition %d was not restored", s.Partition)
		}
	}
	p.stop()
	k.says("state restored from a checkpoint", "there is no state")
	same(t, k.world, k.dsn)
}

// TestRestoredFromTheOneBefore: of two checkpoints the newer is damaged, and so
// is the state. It is said, the older is used, and the state stands aside.
func TestRestoredFromTheOneBefore(t *testing.T) {
	k, r := newKeeping(t, 22, 400)
	dir := t.TempDir()
	for i := range 2 {
		p := k.run(k.config(dir))
		k.log(r, 150*i, 150*i+150)
		k.caughtUp(p)
		p.stop()
	}
	place := state.PartitionDir(dir, k.topics.Ticks, 0)
	tables, err := filepath.Glob(filepath.Join(place, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	for _, f := range tables {
		if err := flip(f); err != nil {
			t.Fatal(err)
		}
	}
	refs, err := k.store.List(t.Context(), checkpoint.Log{Topic: k.topics.Ticks, TopicID: k.lineage(), Partition: 0})
	if err != nil || len(refs) != 2 {
		t.Fatalf("%v, %v", refs, err)
	}
	m, err := k.store.Manifest(t.Context(), refs[0])
	if err != nil {
		t.Fatal(err)
	}
	older, err := k.store.Manifest(t.Context(), refs[1])
	if err != nil {
		t.Fatal(err)
	}
	had := map[string]bool{}
	for _, f := range older.Files {
		had[f.Key] = true
	}
	for _, f := range m.Files {
		if f.Size > 1000 && !had[f.Key] {
			if err := flip(filepath.Join(k.where, f.Key)); err != nil {
				t.Fatal(err)
			}
		}
	}
	k.said.take()
	p := k.run(k.config(dir))
	k.log(r, 300, 400)
	k.caughtUp(p)
	p.stop()
	k.says("checkpoint refused", "is damaged", "state restored from a checkpoint", refs[1].String(), state.ErrDamaged.Error())
	if _, err := os.Stat(place + ".aside"); err != nil {
		t.Error(err)
	}
	same(t, k.world, k.dsn)
	// The damaged one is not relied upon by what was taken since.
	refs, err = k.store.List(t.Context(), refs[0].Log)
	if err == nil {
		_, err = k.store.Verify(t.Context(), refs[0], filepath.Join(t.TempDir(), "v"), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (k *keeping) lineage() [16]byte {
	k.Helper()
	refs, err := k.store.List(k.Context(), checkpoint.Log{})
	if err != nil || len(refs) == 0 {
		k.Fatalf("no checkpoints: %v", err)
	}
	return refs[0].TopicID
}

// TestRestoredWhenTheLogWasRewritten: the state and the newest checkpoint stand
// for records that the log doesn't have. The one before matches and is used.
func TestRestoredWhenTheLogWasRewritten(t *testing.T) {
	k, r := newKeeping(t, 23, 300)
	dir := t.TempDir()
	p := k.run(k.config(dir))
	k.log(r, 0, 150)
	k.caughtUp(p)
	p.stop()
	const partition = 0
	place := state.PartitionDir(dir, k.topics.Ticks, partition)
	s, err := state.Open(state.Options{Dir: place}, p.Lineage().Ticks, partition)
	if err != nil {
		t.Fatal(err)
	}
	value, err := schema.AppendControl(nil, schema.Mark{Ingestor: "nobody", W: 1})
	if err != nil {
		t.Fatal(err)
	}
	var tick schema.Tick
	err = tick.Decode(value)
	good := s.Partition().Position().Offset
	s.Partition().Apply(state.Record{Offset: good, Hash: 1}, &tick, err)
	if _, err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	taker := checkpoint.Taker{Store: k.store, State: s, Topic: k.topics.Ticks, Scratch: place + ".copy"}
	bad, _, err := taker.Take(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	k.log(r, 150, 300)
	k.said.take()
	p = k.run(k.config(dir))
	k.caughtUp(p)
	p.stop()
	k.says("holds another record", "checkpoint refused", bad.Ref.String(), "state restored from a checkpoint", fmt.Sprint("offset=", good))
	same(t, k.world, k.dsn)
}

// TestNothingToRestore: without a checkpoint that is of any use a damaged state
// comes back from the log's start, with a word.
func TestNothingToRestore(t *testing.T) {
	k, r := newKeeping(t, 24, 200)
	dir := t.TempDir()
	p := k.run(k.config(dir))
	k.log(r, 0, 200)
	k.caughtUp(p)
	p.stop()
	manifests, err := filepath.Glob(filepath.Join(k.where, "*", "*", "*", "manifests", "*"))
	if err != nil || len(manifests) != partitions {
		t.Fatalf("%v, %v", manifests, err)
	}
	for _, m := range manifests {
		if err := flip(m); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "MANIFEST*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	k.said.take()
	p = k.run(k.config(dir))
	k.caughtUp(p)
	p.stop()
	k.says("manifest is damaged", "comes back from the log's start", "level=WARN")
	same(t, k.world, k.dsn)
}

// TestCheckpointsOnASchedule: they are taken while the log grows, and a
// processor that is killed and has lost its folder goes on from the last ones.
func TestCheckpointsOnASchedule(t *testing.T) {
	k, r := newKeeping(t, 25, 900)
	cfg := k.config(t.TempDir())
	cfg.Checkpoints.Every = 50 * time.Millisecond
	p := k.run(cfg)
	var at int64
	for i := range 8 {
		k.log(r, 100*i, 100*i+100)
		k.caughtUp(p)
		k.eventually("a checkpoint beyond the one before", func() bool {
			var sum int64
			for _, s := range p.Status() {
				sum += s.Checkpointed
			}
			if sum <= at {
				return false
			}
			at = sum
			return true
		})
	}
	p.stop()
	k.forgetLog()
	q := k.run(k.config(t.TempDir()))
	k.log(r, 800, 900)
	k.caughtUp(q)
	q.stop()
	same(t, k.world, k.dsn)
}

func (k *keeping) eventually(what string, ok func() bool) {
	k.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	end := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			k.Fatalf("never: %s", what)
		}
	}
}

// TestStoreAway: a store that can't be used harms nobody but the one who has no
// state.
func TestStoreAway(t *testing.T) {
	k, r := newKeeping(t, 26, 200)
	dir := t.TempDir()
	cfg := k.config(dir)
	cfg.Checkpoints.Every = 20 * time.Millisecond
	p := k.run(cfg)
	k.log(r, 0, 100)
	k.caughtUp(p)
	n := 0
	k.eventually("a file in the folder's place", func() bool { // takers make the folder again
		n++
		_ = os.Rename(k.where, fmt.Sprint(k.where, n))
		return os.WriteFile(k.where, nil, 0o644) == nil
	})
	k.log(r, 100, 200)
	k.caughtUp(p)
	k.eventually("a word on it", func() bool { return strings.Contains(k.said.take(), "no checkpoint") })
	p.stop()
	p = k.run(k.config(dir))
	k.caughtUp(p)
	p.stop()
	same(t, k.world, k.dsn)
	k.said.take()
	k.fails(k.config(t.TempDir()), "restore partition", "--checkpoints none")
}
