package state

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// seedLog is a log of two made-up symbols.
func seedLog(seed uint64) (*rand.Rand, []entry) {
	r := rand.New(rand.NewPCG(seed, 7))
	return r, makeLog(r, []market{makeMarket(r, "SYM0"), makeMarket(r, "SYM1")})
}

// churn makes the store write files at random, as a large one does by itself.
func churn(t testing.TB, r *rand.Rand, s *Store) {
	t.Helper()
	var err error
	switch r.IntN(60) {
	case 0:
		err = s.db.Flush()
	case 1:
		_, err = s.db.AsyncFlush()
	case 2:
		err = s.Sync()
	case 3:
		err = s.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// resume opens a store on what a crash has left, replays the log from where it
// stands, and gives its rows.
func resume(t testing.TB, fs vfs.FS, log []entry) (from int64, rows map[string]string) {
	t.Helper()
	h := &harness{TB: t}
	var err error
	if h.s, err = Open(Options{Dir: "state", FS: fs}, [16]byte{1}, 0); err != nil {
		t.Fatalf("open after the crash: %v", err)
	}
	defer closeStore(t, h)
	from = h.s.Partition().Position().Offset
	for i := from; i < int64(len(log)); i++ {
		h.s.Partition().Apply(Record{Offset: i, Hash: uint64(i), Appended: log[i].at}, log[i].tick(t), nil)
	}
	if _, err := h.s.Commit(); err != nil {
		t.Fatal(err)
	}
	return from, h.rows()
}

// TestFullDiskIsNoDamage: whoever takes a disk without room for a damaged state
// sets a good one aside.
func TestFullDiskIsNoDamage(t *testing.T) {
	for _, no := range []error{syscall.ENOSPC, syscall.EROFS} {
		full := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpCreate {
				return no
			}
			return nil
		}))
		s, err := Open(Options{Dir: "state", FS: full}, [16]byte{1}, 0)
		if err == nil {
			t.Fatal(s.Close(), "it opened")
		}
		if !errors.Is(err, ErrDisk) || errors.Is(err, ErrDamaged) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: got %v", no, err)
		}
	}
}

func TestPowerCut(t *testing.T) {
	lost := 0
	for seed := range uint64(20) {
		r, log := seedLog(seed)
		if seed%2 == 1 {
			log, _ = erasLog(r)
		}
		one := play(t, log, always, never)
		ref := one.rows()
		closeStore(t, one)
		fs := vfs.NewCrashableMem()
		s, err := Open(Options{Dir: "state", FS: fs}, [16]byte{1}, 0)
		if err != nil {
			t.Fatal(err)
		}
		type cut struct {
			fs *vfs.MemFS
			at int64
		}
		var cuts []cut
		for i, e := range log {
			s.Partition().Apply(Record{Offset: int64(i), Hash: uint64(i), Appended: e.at}, e.tick(t), nil)
			if r.IntN(3) == 0 {
				if _, err := s.Commit(); err != nil {
					t.Fatal(err)
				}
			}
			churn(t, r, s)
			if r.IntN(len(log)) < 4 {
				cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 100, r.IntN(101)}[r.IntN(3)], RNG: r}
				cuts = append(cuts, cut{fs.CrashClone(cfg), s.p.committed + 1})
			}
		}
		closeStore(t, &harness{s: s})
		for k, c := range cuts {
			from, got := resume(t, c.fs, log)
			if from > c.at {
				t.Fatalf("seed %d, cut %d: stands at %d, %d was committed", seed, k, from, c.at)
			}
			if from < c.at {
				lost++
			}
			if !maps.Equal(got, ref) {
				t.Fatalf("seed %d, cut %d at %d (was %d): %s", seed, k, from, c.at, diff(got, ref))
			}
		}
	}
	if lost == 0 {
		t.Error("no cut took anything")
	}
}

// TestDiskRefusesWrites: from some write on the disk takes nothing more into a
// kind of file. The owner is told, and what is on the disk is right.
func TestDiskRefusesWrites(t *testing.T) {
	told := 0
	for seed := range uint64(30) {
		r, log := seedLog(seed)
		// So few that Pebble needs no second log: it ends the process if it
		// cannot begin one.
		log = log[:min(len(log), 100)]
		one := play(t, log, always, never)
		ref := one.rows()
		closeStore(t, one)
		mem := vfs.NewCrashableMem()
		suffix, after := []string{".log", ".sst"}[seed%2], r.IntN(60)
		var writes atomic.Int64
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind != errorfs.OpFileWrite || !strings.HasSuffix(op.Path, suffix) {
				return nil
			}
			if writes.Add(1) <= int64(after) {
				return nil
			}
			return errorfs.ErrInjected
		}))
		s, err := Open(Options{Dir: "state", FS: fs}, [16]byte{1}, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range log {
			s.Partition().Apply(Record{Offset: int64(i), Hash: uint64(i), Appended: e.at}, e.tick(t), nil)
			if _, err = s.Commit(); err != nil {
				break
			}
			if suffix == ".log" {
				if err = s.Sync(); err != nil {
					break
				}
			}
			if suffix == ".sst" && r.IntN(20) == 0 {
				if _, err := s.db.AsyncFlush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err != nil {
			told++
			if !errors.Is(err, ErrDisk) {
				t.Fatalf("seed %d: %v is no ErrDisk", seed, err)
			}
		}
		crashed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: r})
		closing := s.Close()
		if err == nil && closing != nil {
			told++
		}
		if _, got := resume(t, crashed, log); !maps.Equal(got, ref) {
			t.Fatalf("seed %d: %s", seed, diff(got, ref))
		}
	}
	if told == 0 {
		t.Error("nothing failed")
	}
}

// TestDamagedStore: a byte of a file is another, a file is cut short or gone.
// What is read is refused, and the files are left as they are; what is not
// noticed must be right.
func TestDamagedStore(t *testing.T) {
	_, log := seedLog(3)
	one := play(t, log, always, never)
	ref := one.rows()
	closeStore(t, one)
	dir := t.TempDir()
	build(t, dir, log)
	refused := map[string]int{}
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 5))
		hurt := filepath.Join(t.TempDir(), "state")
		if err := os.CopyFS(hurt, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		name := damage(t, r, hurt)
		before := contents(t, hurt)
		s, err := Open(Options{Dir: hurt}, [16]byte{1}, 0)
		if err == nil {
			if _, err := readAll(s); err != nil {
				if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "move it away") {
					t.Fatalf("seed %d, %s: %v", seed, name, err)
				}
				refused[filepath.Ext(name)]++
				_ = s.Close() // of a damaged store nothing is expected
				continue
			}
			closeStore(t, &harness{s: s})
			if _, got := resumeDir(t, hurt, log); !maps.Equal(got, ref) {
				t.Fatalf("seed %d, %s: damage went unnoticed: %s", seed, name, diff(got, ref))
			}
			continue
		}
		refused[filepath.Ext(name)]++
		if !errors.Is(err, ErrDamaged) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "move it away") {
			t.Fatalf("seed %d, %s: %v", seed, name, err)
		}
		after := contents(t, hurt)
		for f, b := range before { // the log of a store that opens moves into tables
			if after[f] != b && (strings.HasPrefix(f, "MANIFEST") || strings.HasSuffix(f, ".sst")) {
				t.Errorf("seed %d, %s: opening changed %s: %v", seed, name, f, err)
			}
		}
	}
	t.Log(refused)
	if refused[".sst"] == 0 {
		t.Error("no damage of a table was seen")
	}
}

// build makes a store in dir whose rows are partly in tables, partly in the log.
func build(t *testing.T, dir string, log []entry) {
	t.Helper()
	s, err := Open(Options{Dir: dir}, [16]byte{1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range log {
		s.Partition().Apply(Record{Offset: int64(i), Hash: uint64(i), Appended: e.at}, e.tick(t), nil)
		if i%50 == 0 || i == len(log)-1 {
			if _, err := s.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		if i == len(log)/3 || i == len(log)*2/3 {
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	closeStore(t, &harness{s: s})
}

// damage hurts one file that matters.
func damage(t *testing.T, r *rand.Rand, dir string) string {
	t.Helper()
	var files []string
	for f := range contents(t, dir) {
		if f != "LOCK" && !strings.HasPrefix(f, "OPTIONS") && !strings.HasPrefix(f, "marker") {
			files = append(files, f)
		}
	}
	slices.Sort(files)
	name := files[r.IntN(len(files))]
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	switch r.IntN(4) {
	case 0:
		err = os.Remove(path)
	case 1:
		err = os.WriteFile(path, b[:r.IntN(len(b)+1)], 0o644)
	default:
		if len(b) > 0 {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
		err = os.WriteFile(path, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		m[e.Name()] = string(b)
	}
	return m
}

// readAll reads everything that a sink reads.
func readAll(s *Store) (n int, err error) {
	v, err := s.View()
	if err != nil {
		return 0, err
	}
	err = v.Since(0, 100, func(c *Changes) error { n += len(c.Candles); return nil })
	return n, errors.Join(err, v.Close())
}

func resumeDir(t *testing.T, dir string, log []entry) (int64, map[string]string) {
	t.Helper()
	mem := vfs.NewMem()
	if _, err := vfs.Clone(vfs.Default, mem, dir, "state"); err != nil {
		t.Fatal(err)
	}
	return resume(t, mem, log)
}

func TestStoreIsOneProcesss(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir}, [16]byte{1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, &harness{s: s})
	if _, err := Open(Options{Dir: dir}, [16]byte{1}, 0); !errors.Is(err, ErrLocked) {
		t.Fatalf("opened twice: %v", err)
	}
}

func TestAnotherLogsStore(t *testing.T) {
	_, log := seedLog(1)
	dir := t.TempDir()
	build(t, dir, log)
	before := contents(t, dir)
	for _, c := range []struct {
		id        [16]byte
		partition int32
	}{{[16]byte{2}, 0}, {[16]byte{1}, 1}} {
		if _, err := Open(Options{Dir: dir}, c.id, c.partition); !errors.Is(err, ErrLineage) {
			t.Fatalf("%v: %v", c, err)
		}
	}
	s, err := Open(Options{Dir: dir}, [16]byte{1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if s.Partition().Position().Offset != int64(len(log)) {
		t.Error("the refused openings changed it: ", fmt.Sprint(len(before)))
	}
	closeStore(t, &harness{s: s})
}
