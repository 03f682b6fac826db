package processor

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	sqlsink "millrace/processor/sink/sql"
	"millrace/schema"
	"millrace/state/checkpoint"
)

// Traps into which others have fallen, by name. Those of transactions stand
// where transactions do. "A sink that connects but hangs" is a case of cmd's
// TestChaos on a real database; "acknowledgement lost, then replay" is here for
// what comes in, and for what goes out the steps candles.produced and
// sql.committed of cmd's TestEveryFailpoint.
func TestTraps(t *testing.T) {
	for name, trap := range map[string]func(*testing.T, *rand.Rand){
		"committed offset below the log's start": trapCommittedOffset,
		"empty topic whose start is not zero":    trapEmptyTopic,
		"acknowledgement lost, then replay":      trapAcknowledgementLost,
		"idle partition":                         trapIdlePartition,
		"watermark ahead of a replay":            trapWatermarkAhead,
		"rebalance during a restore":             trapRebalanceDuringRestore,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trap(t, rand.New(rand.NewPCG(41, uint64(len(name)))))
		})
	}
}

// trim deletes all that the log holds now; its start is behind it.
func (w *world) trim() {
	w.Helper()
	admin := kadm.NewClient(w.client)
	ends, err := admin.ListEndOffsets(w.Context(), w.topics.Ticks)
	if err != nil {
		w.Fatal(err)
	}
	done, err := admin.DeleteRecords(w.Context(), ends.Offsets())
	if err == nil {
		err = done.Error()
	}
	if err != nil {
		w.Fatal(err)
	}
}

// The group's commits are for displays: one that retention has passed, or that
// somebody set back, moves nobody.
func trapCommittedOffset(t *testing.T, r *rand.Rand) {
	w := newFakeWorld(t)
	w.market(r, 5, 200)
	dir, dsn := t.TempDir(), "sqlite:"+filepath.Join(t.TempDir(), "x.db")
	p := w.run(w.config(dir, dsn))
	w.log(r, 0, 100)
	w.caughtUp(p)
	p.stop()
	w.trim()
	set := kadm.Offsets{}
	for partition := range int32(partitions) {
		set.Add(kadm.Offset{Topic: w.topics.Ticks, Partition: partition, At: 1})
	}
	if err := kadm.NewClient(w.client).CommitAllOffsets(t.Context(), p.cfg.Group, set); err != nil {
		t.Fatal(err)
	}
	w.log(r, 100, 200)
	p = w.run(w.config(dir, dsn))
	w.caughtUp(p)
	for _, s := range p.Status() {
		if s.Counts.Refused > 0 {
			t.Errorf("%+v", s)
		}
	}
	p.stop()
	same(t, w, dsn)
}

// A log whose records are all gone is neither new nor an error: what comes is
// applied, by the settings in force.
func trapEmptyTopic(t *testing.T, r *rand.Rand) {
	w := newFakeWorld(t)
	w.market(r, 5, 100)
	w.log(r, 0, 100)
	w.trim()
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "x.db")
	p := w.run(w.config(t.TempDir(), dsn))
	w.log(r, 0, 100)
	w.caughtUp(p)
	p.stop()
	same(t, w, dsn)
}

// Who gets no acknowledgement writes again, perhaps as another: all that it did
// since, in the order of before, behind what others wrote meanwhile.
func trapAcknowledgementLost(t *testing.T, r *rand.Rand) {
	w := newFakeWorld(t)
	w.market(r, 5, 200)
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "x.db")
	p := w.run(w.config(t.TempDir(), dsn))
	for _, cut := range []int{60, 120, 200} {
		w.log(r, max(0, cut-80), cut) // arrived
		w.log(r, max(0, cut-20), cut) // its end, once more
	}
	w.caughtUp(p)
	refused := int64(0)
	for _, s := range p.Status() {
		refused += s.Counts.Refused
	}
	p.stop()
	if refused > 0 {
		t.Errorf("%d trades were refused", refused)
	}
	same(t, w, dsn)
}

// Partitions without a symbol hold up nobody, and their sinks' progress moves.
func trapIdlePartition(t *testing.T, r *rand.Rand) {
	w := newFakeWorld(t)
	w.market(r, 12, 100)
	for name := range w.trades {
		if schema.Partition(name, partitions) != 1 {
			delete(w.trades, name)
		}
	}
	if len(w.trades) == 0 {
		t.Fatal("no symbol has partition 1")
	}
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "x.db")
	p := w.run(w.config(t.TempDir(), dsn))
	w.log(r, 0, 50)
	w.caughtUp(p)
	w.log(r, 50, 100)
	w.caughtUp(p) // in the idle ones too
	p.stop()
	same(t, w, dsn)
}

// Time has been promised far beyond a replay's trades: they count all the same,
// and windows that were called closed are revised.
func trapWatermarkAhead(t *testing.T, r *rand.Rand) {
	w := newFakeWorld(t)
	w.market(r, 5, 100)
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "x.db")
	p := w.run(w.config(t.TempDir(), dsn))
	w.log(r, 0, 30)
	newest := schema.MinTime
	for _, all := range w.trades {
		newest = max(newest, all[len(all)-1].Time)
	}
	value, err := schema.AppendControl(nil, schema.Mark{Ingestor: "live", W: newest + schema.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for name := range w.trades {
		w.send(name, value)
	}
	w.log(r, 30, 100)
	w.caughtUp(p)
	for _, s := range p.Status() {
		if s.Counts.Refused > 0 {
			t.Errorf("%+v", s)
		}
	}
	p.stop()
	db, err := sqlsink.Open(t.Context(), sqlsink.Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if got, want := finals(dump(t, db)), finals(w.truth()); got != want {
		t.Fatalf("final candles differ:\n%s", firstDiff(got, want))
	}
}

// finals are the rows of a dump that are final.
func finals(table string) string {
	var b strings.Builder
	for row := range strings.Lines(table) {
		if strings.Fields(row)[14] == "final" {
			b.WriteString(row)
		}
	}
	return b.String()
}

// Another member joins while the first one restores: partitions move, one of them
// perhaps in mid-restore, and nothing is applied twice or left out.
func trapRebalanceDuringRestore(t *testing.T, r *rand.Rand) {
	k, _ := newKeeping(t, 42, 300)
	p := k.run(k.config(t.TempDir()))
	k.log(r, 0, 100)
	k.caughtUp(p)
	p.stop()
	k.forgetLog()

	var held atomic.Bool
	began, release := make(chan struct{}), make(chan struct{})
	slow, err := checkpoint.Open(t.Context(), k.where, checkpoint.Options{Now: time.Now, Failpoint: func(step string) error {
		if step == "restore-fetch" && held.CompareAndSwap(false, true) {
			close(began)
			<-release
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slow.Close() })
	first := k.config(t.TempDir())
	first.Checkpoints.Store = slow
	a := k.run(first)
	<-began
	b := k.run(k.config(t.TempDir()))
	k.log(r, 100, 200)
	k.until("the second is in the group", func() bool {
		got, err := kadm.NewClient(k.client).DescribeGroups(t.Context(), b.cfg.Group)
		return err == nil && len(got[b.cfg.Group].Members) == 2
	})
	close(release)
	k.log(r, 200, 300)
	k.caughtUp(a, b)
	a.stop()
	b.stop()
	same(t, k.world, k.dsn)
}

// TestStoreFull: a store without room for checkpoints stops nobody; it is said
// once, and again when there is room.
func TestStoreFull(t *testing.T) {
	k, r := newKeeping(t, 43, 200)
	var full atomic.Bool
	store, err := checkpoint.Open(t.Context(), k.where, checkpoint.Options{Now: time.Now, Failpoint: func(step string) error {
		if step == "checkpoint-upload" && full.Load() {
			return fmt.Errorf("write: %w", syscall.ENOSPC)
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	cfg := k.config(t.TempDir())
	cfg.Checkpoints.Store, cfg.Checkpoints.Every = store, 50*time.Millisecond
	p := k.run(cfg)
	full.Store(true)
	k.log(r, 0, 100)
	k.caughtUp(p)
	said := ""
	hears := func(what string) {
		k.eventually(what, func() bool { said += k.said.take(); return strings.Contains(said, what) })
	}
	hears("no space left on device")
	hears("no checkpoint: the one before stays the newest; trying again")
	k.log(r, 100, 200)
	k.caughtUp(p)
	full.Store(false)
	hears("checkpoints are taken again")
	p.stop()
	same(t, k.world, k.dsn)
	p = k.run(k.config(t.TempDir())) // without state
	k.caughtUp(p)
	p.stop()
	same(t, k.world, k.dsn)
}
