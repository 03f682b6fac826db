package processor

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millrace/schema"
	"millrace/state"
)

// fails runs a processor that must refuse to go on, in one line with these words.
func (w *world) fails(cfg Config, words ...string) {
	w.Helper()
	p := w.run(cfg)
	var err error
	select {
	case err = <-p.done:
	case <-time.After(20 * time.Second):
		p.end()
		err = <-p.done
	}
	p.Close()
	if err == nil {
		w.Fatalf("it ran; wanted an error with %q", words)
	}
	for _, x := range words {
		if !strings.Contains(err.Error(), x) {
			w.Errorf("the error lacks %q: %v", x, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		w.Errorf("the error has more than a line: %v", err)
	}
}

// TestLogRewritten: the state stands for a record that the log doesn't have, or
// has another in its place.
func TestLogRewritten(t *testing.T) {
	w := newFakeWorld(t)
	r := rand.New(rand.NewPCG(11, 1))
	w.market(r, 5, 100)
	dir, dsn := t.TempDir(), "sqlite:"+filepath.Join(t.TempDir(), "x.db")
	p := w.run(w.config(dir, dsn))
	w.log(r, 0, 100)
	w.caughtUp(p)
	p.stop()
	const partition = 0
	place := state.PartitionDir(dir, w.topics.Ticks, partition)
	further := func(hash uint64) { // applies what the log doesn't say
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
		s.Partition().Apply(state.Record{Offset: s.Partition().Position().Offset, Hash: hash}, &tick, err)
		if _, err := s.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	further(1)
	w.fails(w.config(dir, dsn), "lost records", "restore the log, or move "+place+" away")
	further(2)
	w.fails(w.config(dir, dsn), "lost records")
	// The log grows again, with something else in the place.
	w.log(r, 0, 100)
	w.fails(w.config(dir, dsn), "holds another record", "move "+place+" away")
	if err := os.Rename(place, place+".old"); err != nil {
		t.Fatal(err)
	}
	p = w.run(w.config(dir, dsn))
	w.caughtUp(p)
	p.stop()
	same(t, w, dsn)
}

// TestStateDamaged: a file of the state is gone or another. It is said in one
// line, and moved away the state comes back.
func TestStateDamaged(t *testing.T) {
	w := newFakeWorld(t)
	r := rand.New(rand.NewPCG(12, 1))
	w.market(r, 5, 100)
	good, dsn := t.TempDir(), "sqlite:"+filepath.Join(t.TempDir(), "x.db")
	for i := range 3 { // each opening moves the log of before into a table
		p := w.run(w.config(good, dsn))
		w.log(r, 30*i, 30*i+40)
		w.caughtUp(p)
		p.stop()
	}
	for name, harm := range map[string]func(file string) error{
		"a bit of a table":  flip,
		"a table gone":      os.Remove,
		"the manifest gone": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			w.TB = t
			dir := t.TempDir()
			if err := os.CopyFS(filepath.Join(dir, "x"), os.DirFS(good)); err != nil {
				t.Fatal(err)
			}
			dir = filepath.Join(dir, "x")
			place := state.PartitionDir(dir, w.topics.Ticks, 0)
			kind := "*.sst"
			if strings.Contains(name, "manifest") {
				kind = "MANIFEST*"
			}
			files, err := filepath.Glob(filepath.Join(place, kind))
			if err != nil || len(files) == 0 {
				t.Fatalf("no %s: %v", kind, err)
			}
			if err := harm(files[len(files)-1]); err != nil { // older manifests may still lie there
				t.Fatal(err)
			}
			for range 2 { // the first time changes nothing
				w.fails(w.config(dir, dsn), state.ErrDamaged.Error(), place, "move it away")
			}
			if err := os.Rename(place, place+".old"); err != nil {
				t.Fatal(err)
			}
			p := w.run(w.config(dir, dsn))
			w.caughtUp(p)
			p.stop()
			same(t, w, dsn)
		})
	}
}

// flip turns a bit in the middle of a file.
func flip(file string) error {
	b, err := os.ReadFile(file)
	if err == nil {
		b[len(b)/2] ^= 16
		err = os.WriteFile(file, b, 0o644)
	}
	return err
}

// TestFolderInUse: a second processor on a folder is refused, and the first goes
// on as if nothing had been.
func TestFolderInUse(t *testing.T) {
	w := newFakeWorld(t)
	r := rand.New(rand.NewPCG(13, 1))
	w.market(r, 3, 100)
	dir, dsn := t.TempDir(), "sqlite:"+filepath.Join(t.TempDir(), "x.db")
	c := w.spawn(dir, dsn)
	p, err := New(w.config(dir, dsn))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Open(t.Context()); !errors.Is(err, state.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("opened twice: %v", err)
	}
	w.log(r, 0, 100)
	c.kill()
	q := w.run(w.config(dir, dsn))
	w.caughtUp(q)
	// A copy of its folder bears its name in the group: who comes first has to go.
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	other := w.run(w.config(copied, dsn))
	select {
	case err := <-q.done:
		if err == nil || !strings.Contains(err.Error(), "copy of another's") {
			t.Fatalf("ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("two run under one name")
	}
	q.Close()
	w.caughtUp(other)
	other.stop()
	same(t, w, dsn)
}
