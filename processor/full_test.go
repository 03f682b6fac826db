package processor

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kadm"

	sqlsink "millrace/processor/sink/sql"
	"millrace/state"
)

// small is a file system with room for so many bytes more.
type small struct {
	vfs.FS
	room atomic.Int64
}

func (s *small) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, c)
	if err != nil {
		return nil, err
	}
	return &smallFile{f, s}, nil
}

func (s *small) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.ReuseForWrite(from, to, c)
	if err != nil {
		return nil, err
	}
	return &smallFile{f, s}, nil
}

func (s *small) Remove(name string) error {
	i, err := s.Stat(name)
	if err == nil {
		err = s.FS.Remove(name)
	}
	if err == nil && !i.IsDir() {
		s.room.Add(i.Size())
	}
	return err
}

type smallFile struct {
	vfs.File
	on *small
}

func (f *smallFile) Write(p []byte) (int, error) {
	n := int64(len(p))
	if f.on.room.Add(-n) >= 0 {
		return f.File.Write(p)
	}
	f.on.room.Add(n)
	return 0, syscall.ENOSPC
}

// TestDiskFull: a full disk ends the process in one line that says what to do.
// With room it goes on, and nothing was lost.
func TestDiskFull(t *testing.T) {
	w := newFakeWorld(t)
	r := rand.New(rand.NewPCG(31, 1))
	const slices, slice = 30, 10
	w.market(r, 60, slices*slice)
	dir, dsn := t.TempDir(), "sqlite:"+filepath.Join(t.TempDir(), "x.db")
	fed, stopped := 0, 0
	more := func() bool {
		if fed == slices {
			return false
		}
		w.log(r, fed*slice, (fed+1)*slice)
		fed++
		return true
	}
	for _, room := range []int{60_000, 120_000, 1 << 30} {
		said, ended := w.onDisk(room, dir, dsn, more)
		if !ended {
			break
		}
		stopped++
		for _, x := range []string{state.ErrDisk.Error(), "no space left on device", dir, "make room and start again: nothing is lost"} {
			if !strings.Contains(said, x) || strings.Count(said, "\n") != 1 {
				t.Fatalf("full, it said %q; wanted one line with %q", said, x)
			}
		}
	}
	if stopped != 2 {
		t.Errorf("the disk was full %d times, wanted twice", stopped)
	}
	same(t, w, dsn)
}

// onDisk runs a processor in a process of its own, on a disk with so much room,
// until it ends by itself or has brought into the database all that there is.
func (w *world) onDisk(room int, dir, dsn string, more func() bool) (said string, ended bool) {
	w.Helper()
	var errs bytes.Buffer
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+w.brokers, "TEST_DIR="+dir, "TEST_DSN="+dsn, fmt.Sprint("TEST_ROOM=", room))
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // it never ends well
	}()
	bound := time.After(time.Minute)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for w.lacks(dsn) || more() {
		select {
		case <-done:
			return errs.String(), true
		case <-tick.C:
		case <-bound:
			_ = cmd.Process.Kill() // the test fails already
			<-done
			w.Fatalf("it neither goes on nor ends; it said %q", errs.String())
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		w.Fatal(err)
	}
	<-done
	return "", false
}

// lacks tells whether the database lacks something of the log.
func (w *world) lacks(dsn string) bool {
	w.Helper()
	found, err := kadm.NewClient(w.client).ListTopics(w.Context(), w.topics.Ticks)
	if err != nil {
		w.Fatal(err)
	}
	ends, err := kadm.NewClient(w.client).ListEndOffsets(w.Context(), w.topics.Ticks)
	if err != nil {
		w.Fatal(err)
	}
	db, err := sqlsink.Open(w.Context(), sqlsink.Config{DSN: dsn, ReadOnly: true})
	if err != nil {
		return true // it isn't made yet
	}
	defer db.Close()
	for partition := range int32(partitions) {
		end, _ := ends.Lookup(w.topics.Ticks, partition)
		if at, _, err := db.Load(w.Context(), found[w.topics.Ticks].ID, partition); err != nil || at.Offset < end.Offset {
			return true
		}
	}
	return false
}
