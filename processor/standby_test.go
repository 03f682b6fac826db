package processor

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/failpoint"
	"millrace/internal/testenv"
	"millrace/schema"
	"millrace/state"
)

// until waits for a condition.
func (w *world) until(what string, ok func() bool) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			w.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// ends gives the log's ends.
func (w *world) ends() map[int32]int64 {
	w.Helper()
	ends, err := kadm.NewClient(w.client).ListEndOffsets(w.Context(), w.topics.Ticks)
	if err != nil {
		w.Fatal(err)
	}
	out := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) { out[o.Partition] = o.Offset })
	return out
}

// warm waits until a processor keeps all partitions warm that it does not own,
// up to the log's end, and gives which.
func (w *world) warm(r *running) (out []int32) {
	w.Helper()
	ends := w.ends()
	w.until("all that is not owned is warm", func() bool {
		out = nil
		for _, s := range r.Standbys() {
			if s.Open && s.Offset >= ends[s.Partition] {
				out = append(out, s.Partition)
			}
		}
		return len(out) > 0 && len(out)+len(r.Status()) == partitions
	})
	return out
}

// standing is a configuration that stands by, and what it says.
func (w *world) standing(dir, dsn string) (Config, *words) {
	c, said := w.config(dir, dsn), &words{}
	c.Standby = 1
	c.Log = slog.New(slog.NewTextHandler(io.MultiWriter(w.Output(), said), nil))
	return c, said
}

var assignedWarm = regexp.MustCompile(`msg="partition assigned" partition=(\d+) offset=(\d+) "kept warm"=true`)

// tookOver gives the offsets from which warm partitions were taken over.
func tookOver(said string) map[int32]int64 {
	out := map[int32]int64{}
	for _, m := range assignedWarm.FindAllStringSubmatch(said, -1) {
		p, _ := strconv.Atoi(m[1])
		out[int32(p)], _ = strconv.ParseInt(m[2], 10, 64)
	}
	return out
}

// TestStandbyTakesOver: of two processors one is killed. The other goes on with
// its own partitions while nobody has the dead one's, and then with these from
// where it had kept them warm: nothing is applied a second time.
func TestStandbyTakesOver(t *testing.T) {
	w := newFakeWorld(t)
	r := rand.New(rand.NewPCG(31, 1))
	w.market(r, 9, 400)
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "x.db")
	cfg, said := w.standing(t.TempDir(), dsn)
	p := w.run(cfg)
	c := w.spawn(t.TempDir(), dsn, "TEST_STANDBY=1")
	w.log(r, 0, 200)
	warm := w.warm(p)
	stood := w.ends()
	said.take()
	c.kill()
	w.log(r, 200, 300)
	ends := w.ends()
	w.until("its own partitions go on while it keeps the others warm", func() bool {
		for _, s := range p.Status() {
			if s.Offset < ends[s.Partition] {
				return false
			}
		}
		return true
	})
	if got := w.warm(p); !slices.Equal(got, warm) {
		t.Fatalf("the group has given %v away already, of %v: what follows shows nothing", got, warm)
	}
	w.caughtUp(p)
	took := tookOver(said.take())
	if !slices.Equal(slices.Sorted(maps.Keys(took)), warm) {
		t.Fatalf("took over %v of %v", took, warm)
	}
	for partition, from := range took {
		if from < stood[partition] || from != ends[partition] {
			t.Errorf("partition %d was taken over at %d: it had been warm up to %d", partition, from, ends[partition])
		}
	}
	if len(p.Standbys()) > 0 {
		t.Errorf("stands by for %v, which it owns", p.Standbys())
	}
	w.log(r, 300, 400)
	w.caughtUp(p)
	p.stop()
	same(t, w, dsn)
}

// TestStandbyEqualsTheOwner: three processors, each partition with an owner and
// a standby: their states differ in nothing. Then they leave one after the other.
func TestStandbyEqualsTheOwner(t *testing.T) {
	w := newFakeWorld(t)
	r := rand.New(rand.NewPCG(32, 1))
	w.market(r, 9, 400)
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "x.db")
	var ps []*running
	var heard []*words
	for range 3 {
		cfg, said := w.standing(t.TempDir(), dsn)
		ps, heard = append(ps, w.run(cfg)), append(heard, said)
	}
	w.log(r, 0, 300)
	for range 5 {
		w.at("SYM0USDT", []byte("not a tick"))
	}
	w.caughtUp(ps...)
	ends := w.ends()
	owned, warm := map[int32]*state.Store{}, map[int32]*state.Store{}
	w.until("each has one and keeps one warm", func() bool {
		clear(owned)
		clear(warm)
		for _, p := range ps {
			p.mu.Lock()
			for partition, o := range p.owners {
				o.mu.Lock()
				if o.opened && o.status.Offset == ends[partition] {
					owned[partition] = o.store
				}
				o.mu.Unlock()
			}
			for partition, s := range p.standbys {
				if x := s.status(); x.Open && x.Offset == ends[partition] && x.Behind == 0 {
					warm[partition] = s.store
				}
			}
			p.mu.Unlock()
		}
		return len(owned) == partitions && len(warm) == partitions
	})
	for partition := range int32(partitions) {
		a, err := owned[partition].View()
		if err != nil {
			t.Fatal(err)
		}
		b, err := warm[partition].View()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		err = state.Diff(a, b, func(a, b *schema.Candle) error {
			n++
			t.Errorf("partition %d: the owner has %+v, the standby %+v", partition, a, b)
			return nil
		})
		if err != nil || a.Position() != b.Position() || a.Position().Offset != ends[partition] {
			t.Errorf("partition %d: %v, %+v, %+v", partition, err, a.Position(), b.Position())
		}
		if err := b.Check(); err != nil {
			t.Error(err)
		}
		a.Close()
		b.Close()
	}
	if n := len(w.records(w.topics.Dead())); n != 5 {
		t.Errorf("%d dead letters, wanted 5: a standby writes none", n)
	}
	for _, x := range heard {
		x.take()
	}
	ps[0].stop()
	w.caughtUp(ps[1:]...)
	if got := tookOver(heard[1].take() + heard[2].take()); len(got) != 1 {
		t.Errorf("who was left took over warm: %v", got)
	}
	w.log(r, 300, 400)
	w.caughtUp(ps[1:]...)
	ps[1].stop()
	w.caughtUp(ps[2])
	ps[2].stop()
	same(t, w, dsn)
}

// TestStandbyLosesNoDeadLetter: the owner is killed before it could write dead
// letters. The standby has not gone beyond them, and writes them when it owns.
func TestStandbyLosesNoDeadLetter(t *testing.T) {
	fake := testenv.StartFake(t, kfake.GroupMinSessionTimeout(testSession))
	w := newWorld(t, fake.Brokers)
	w.fake = true
	r := rand.New(rand.NewPCG(33, 1))
	w.market(r, 9, 200)
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "x.db")
	cfg, said := w.standing(t.TempDir(), dsn)
	p := w.run(cfg)
	c := w.spawn(t.TempDir(), dsn, "TEST_STANDBY=1")
	w.log(r, 0, 100)
	warm := w.warm(p)
	name := ""
	for n := range w.trades {
		if slices.Contains(warm, schema.Partition(n, partitions)) {
			name = n
		}
	}
	tried, open := w.refuseDead(fake)
	partition, offset := w.at(name, []byte("not a tick"))
	<-tried
	w.log(r, 100, 200)
	said.take()
	c.kill()
	w.expire([]*running{p})
	w.until("the other owns it", func() bool { return len(p.Status()) == partitions })
	if _, ok := tookOver(said.take())[partition]; !ok {
		t.Error("what was warm was not taken over")
	}
	if got := p.committed(partition); got > offset {
		t.Errorf("committed up to %d, beyond the letter of %d that nobody has written", got, offset)
	}
	close(open)
	w.caughtUp(p)
	p.stop()
	if got := w.dead(); len(got) != 1 {
		t.Errorf("dead letters: %v", got)
	}
	same(t, w, dsn)
}

// committed gives where a partition's state stands on the disk.
func (r *running) committed(partition int32) int64 {
	r.w.Helper()
	r.mu.Lock()
	store := r.owners[partition].store
	r.mu.Unlock()
	v, err := store.View()
	if err != nil {
		r.w.Fatal(err)
	}
	defer v.Close()
	return v.Position().Offset
}

// gate is a disk on which one folder can't be opened for a while.
type gate struct {
	vfs.FS
	dir  string
	shut chan struct{}
	met  atomic.Int64
}

func (g *gate) MkdirAll(dir string, perm os.FileMode) error {
	if strings.HasSuffix(dir, g.dir) {
		g.met.Add(1)
		<-g.shut
	}
	return g.FS.MkdirAll(dir, perm)
}

// TestSlowRestore: a state that takes longer to open than the group's session
// lasts holds up no other partition, and does not cost the session.
func TestSlowRestore(t *testing.T) {
	fake := testenv.StartFake(t, kfake.GroupMinSessionTimeout(testSession))
	w := newWorld(t, fake.Brokers)
	w.fake = true
	var beats atomic.Int64
	fake.ControlKey(int16(kmsg.Heartbeat), func(kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		beats.Add(1)
		return nil, nil, false
	})
	r := rand.New(rand.NewPCG(34, 1))
	w.market(r, 9, 400)
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "x.db")
	cfg, said := w.standing(t.TempDir(), dsn)
	g := &gate{FS: vfs.Default, dir: fmt.Sprintf("%s-%d", w.topics.Ticks, 1), shut: make(chan struct{})}
	cfg.FS = g
	p := w.run(cfg)
	w.until("one is being opened", func() bool { return g.met.Load() > 0 })
	for i := range 4 { // three beats are 0.9 s, half of the session
		w.log(r, i*100, (i+1)*100)
		ends, from := w.ends(), beats.Load()
		w.until("the others go on, and the member is alive", func() bool {
			n := 0
			for _, s := range p.Status() {
				if s.Partition != 1 && s.Offset >= ends[s.Partition] {
					n++
				}
			}
			return n == partitions-1 && beats.Load() >= from+3
		})
	}
	close(g.shut)
	w.caughtUp(p)
	if heard := said.take(); strings.Contains(heard, "lost touch") || strings.Contains(heard, "given up") {
		t.Errorf("the session was lost:\n%s", heard)
	}
	p.stop()
	same(t, w, dsn)
}

// TestStandbyDies: a standby is killed at each of its steps and started again.
// What it takes over afterwards is right.
func TestStandbyDies(t *testing.T) {
	for _, step := range []string{"standby.applied", "standby.committed"} {
		t.Run(step, func(t *testing.T) {
			w := newFakeWorld(t)
			r := rand.New(rand.NewPCG(35, 1))
			w.market(r, 9, 300)
			dsn, dir := "sqlite:"+filepath.Join(t.TempDir(), "x.db"), t.TempDir()
			cfg, _ := w.standing(t.TempDir(), dsn)
			p := w.run(cfg)
			c := w.spawn(dir, dsn, "TEST_STANDBY=1", failpoint.Variable+"="+step+"@3")
			dead := make(chan string, 1)
			go func() { dead <- fmt.Sprint(c.cmd.Wait()) }()
			for i := 0; len(dead) == 0; i = (i + 10) % 200 { // the same trades again do no harm
				w.log(r, i, i+10)
				w.pass(r, 50*time.Millisecond)
			}
			if how := <-dead; how != "signal: killed" {
				t.Fatal(how)
			}
			w.log(r, 0, 200)
			other, said := w.standing(dir, dsn)
			q := w.run(other)
			w.until("it has some again", func() bool { return len(q.Status()) > 0 })
			warm := w.warm(q)
			said.take()
			p.stop()
			w.log(r, 200, 300)
			w.caughtUp(q)
			if took := tookOver(said.take()); len(took) != len(warm) {
				t.Errorf("took over %v, kept warm %v", took, warm)
			}
			q.stop()
			same(t, w, dsn)
		})
	}
}

// TestLeftStateIsDropped: a processor keeps the state of a partition that is
// another's, and drops it after a while; never what it owns or keeps warm.
func TestLeftStateIsDropped(t *testing.T) {
	w := newFakeWorld(t)
	r := rand.New(rand.NewPCG(36, 1))
	w.market(r, 9, 100)
	dsn, dir := "sqlite:"+filepath.Join(t.TempDir(), "x.db"), t.TempDir()
	p := w.run(w.config(dir, dsn))
	w.log(r, 0, 50)
	w.caughtUp(p)
	q := w.run(w.config(t.TempDir(), dsn))
	w.until("both have a share", func() bool {
		return len(q.Status()) > 0 && len(p.Status())+len(q.Status()) == partitions
	})
	half := state.PartitionDir(dir, w.topics.Ticks, 99) + droppedEnd
	if err := os.Mkdir(half, 0o755); err != nil {
		t.Fatal(err)
	}
	since, now := map[int32]time.Time{}, time.Now()
	there := func() (n int) {
		for _, partition := range p.told().Kept {
			n++
			if owned := slices.ContainsFunc(q.Status(), func(s PartitionStatus) bool { return s.Partition == partition }); !owned {
				n += 10
			}
		}
		return n
	}
	mine := len(p.Status())
	for _, step := range []struct {
		after time.Duration
		left  int
	}{{0, partitions + 10*mine}, {leftFor - time.Second, partitions + 10*mine}, {leftFor, 11 * mine}, {3 * leftFor, 11 * mine}} {
		if err := p.dropLeft(since, now.Add(step.after)); err != nil {
			t.Fatal(err)
		}
		if got := there(); got != step.left {
			t.Errorf("after %v: %d, wanted %d", step.after, got, step.left)
		}
	}
	if _, err := os.Stat(half); !os.IsNotExist(err) {
		t.Error("what was half removed is there:", err)
	}
	q.stop()
	w.log(r, 50, 100)
	w.caughtUp(p)
	p.stop()
	same(t, w, dsn)
}

// TestStandbyForgets: what every sink has, and no more than that.
func TestStandbyForgets(t *testing.T) {
	w := newFakeWorld(t)
	r := rand.New(rand.NewPCG(37, 1))
	w.market(r, 9, 800)
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "x.db")
	short := func(p *Processor) { p.cfg.Keep = time.Minute }
	cfg, _ := w.standing(t.TempDir(), dsn)
	cfg.MaxRecords = 100
	p := w.run(cfg, short)
	cfg, said := w.standing(t.TempDir(), dsn)
	cfg.MaxRecords = 100
	q := w.run(cfg, short)
	w.until("both have a share", func() bool {
		return len(p.Status()) > 0 && len(p.Status())+len(q.Status()) == partitions && len(p.Standbys())+len(q.Standbys()) == partitions
	})
	for i := 0; i < 700; i += 50 {
		w.log(r, i, i+50)
		w.caughtUp(p, q)
		w.warm(q)
	}
	for _, partition := range w.warm(q) {
		q.mu.Lock()
		store := q.standbys[partition].store
		q.mu.Unlock()
		v, err := store.View()
		if err != nil {
			t.Fatal(err)
		}
		if v.Forgotten() == 0 || v.Forgotten() > w.ends()[partition] {
			t.Errorf("partition %d forgot what was before %d", partition, v.Forgotten())
		}
		v.Close()
	}
	said.take()
	p.stop()
	w.log(r, 700, 800)
	w.caughtUp(q)
	if strings.Contains(said.take(), "forgotten") {
		t.Error("it forgot more than the sinks had")
	}
	q.stop()
	same(t, w, dsn)
}
