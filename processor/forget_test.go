package processor

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"millrace/state"
)

// TestForgottenByState: the state keeps a minute only. Tables are whole all the
// same; and a database that lacks what was forgotten gets it from the log.
func TestForgottenByState(t *testing.T) {
	w := newFakeWorld(t)
	r := rand.New(rand.NewPCG(15, 1))
	w.market(r, 5, 800)
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "x.db")
	dsn := "sqlite:" + file
	short := func(p *Processor) {
		oftenLooked(p)
		p.cfg.Keep = time.Minute
	}
	cfg := w.config(dir, dsn)
	cfg.MaxRecords = 100
	p := w.run(cfg, short)
	w.log(r, 0, 100)
	w.caughtUp(p)
	conn := openFile(t, file)
	backup := filepath.Join(t.TempDir(), "old.db")
	execute(t, conn, "PRAGMA busy_timeout = 5000")
	execute(t, conn, "VACUUM INTO '"+backup+"'")
	for i := 100; i < 700; i += 50 {
		w.log(r, i, i+50)
		w.caughtUp(p)
	}
	topic := p.Lineage().Ticks
	p.stop()
	for partition := range int32(partitions) {
		s, err := state.Open(state.Options{Dir: state.PartitionDir(dir, w.topics.Ticks, partition)}, topic, partition)
		if err != nil {
			t.Fatal(err)
		}
		if s.Partition().Forgotten() == 0 {
			t.Errorf("partition %d forgot nothing", partition)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// A new database: the log gives what the state doesn't have.
	fresh := "sqlite:" + filepath.Join(t.TempDir(), "y.db")
	p = w.run(w.config(dir, fresh), short)
	w.log(r, 700, 750)
	w.caughtUp(p)
	p.stop()
	// The first one again, set back far while the processor lives.
	p = w.run(w.config(dir, dsn), short)
	for i := 750; i < 800; i += 10 {
		w.log(r, i, i+10)
		w.caughtUp(p)
	}
	same(t, w, dsn)
	restore(t, conn, backup)
	select {
	case err := <-p.done:
		if err == nil {
			t.Fatal("it ended without a word")
		}
		t.Log(err)
	case <-time.After(20 * time.Second):
		t.Fatal("the database lacks rows, and nobody says so")
	}
	p.Close()
	p = w.run(w.config(dir, dsn), short)
	w.caughtUp(p)
	p.stop()
	same(t, w, dsn)
	p = w.run(w.config(dir, fresh), short)
	w.caughtUp(p)
	p.stop()
	same(t, w, fresh)
}
