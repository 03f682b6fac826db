//go:build synctests

package sim

import (
	"math/rand/v2"
	"os"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// step is where a process touches the world.
type step uint8

const (
	never       step = iota
	onDisk           // in the middle of a write
	onWire           // before something is sent to Kafka
	sentWire         // right after
	onSQL            // before a statement or a commit
	doneSQL          // right after a commit
	onProduce        // before records are sent
	sentProduce      // right after
	steps
)

// fuse kills its process at the nth time it comes to a step, before that does
// anything more.
type fuse struct {
	at   step
	left int
	blow func()
}

// light has the life's process die at a step to come.
func (l *life) light(f fuse) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fuse = f
}

// comes is called at each step.
func (l *life) comes(at step) {
	l.mu.Lock()
	f := &l.fuse
	if f.at != at {
		l.mu.Unlock()
		return
	}
	if f.left--; f.left > 0 {
		l.mu.Unlock()
		return
	}
	blow := f.blow
	l.fuse = fuse{}
	l.mu.Unlock()
	blow()
}

// burns says whether the process would die at this step, and leaves it to the
// caller to come there.
func (l *life) burns(at step) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fuse.at == at && l.fuse.left == 1
}

// dieAt kills the machine's processor at a step to come, and starts it again
// after a while.
func (m *machine) dieAt(r *rand.Rand, at step, left int) {
	l := m.alive()
	if l == nil {
		return
	}
	f := fuse{at: at, left: left}
	var cut *vfs.CrashCloneCfg
	if r.IntN(3) == 0 {
		cut = &vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: rand.New(rand.NewPCG(r.Uint64(), 1))}
	}
	blown := make(chan struct{})
	f.blow = func() {
		if m.w.calm.Err() == nil && m.killLife(l, cut) {
			m.w.note("machine %d dies at step %d", m.n, f.at)
		}
		close(blown)
	}
	again := time.Duration(r.IntN(8000)) * time.Millisecond
	l.light(f)
	m.w.delayed.Go(func() {
		select {
		case <-blown:
			m.w.wait(m.w.calm, again)
			m.start()
		case <-m.w.calm.Done():
			l.light(fuse{})
		}
	})
}

// lifeFS is the machine's disk as a life has it.
type lifeFS struct {
	vfs.FS
	l    *life
	full func() bool
}

func (f *lifeFS) refuse() error {
	if f.full() {
		return syscall.ENOSPC
	}
	return nil
}

func (f *lifeFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.refuse(); err != nil {
		return nil, err
	}
	return f.wrap(f.FS.Create(name, c))
}

func (f *lifeFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := f.refuse(); err != nil {
		return nil, err
	}
	return f.wrap(f.FS.OpenReadWrite(name, c, opts...))
}

func (f *lifeFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.refuse(); err != nil {
		return nil, err
	}
	return f.wrap(f.FS.ReuseForWrite(old, name, c))
}

func (f *lifeFS) MkdirAll(dir string, perm os.FileMode) error {
	if err := f.refuse(); err != nil {
		return err
	}
	return f.FS.MkdirAll(dir, perm)
}

func (f *lifeFS) Unwrap() vfs.FS { return f.FS }

func (f *lifeFS) wrap(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &lifeFile{file, f.l}, nil
}

type lifeFile struct {
	vfs.File
	l *life
}

// Write may be the one in whose middle the process dies: what was written of it
// is there, as after a power cut.
func (f *lifeFile) Write(b []byte) (int, error) {
	if !f.l.burns(onDisk) || len(b) < 2 {
		f.l.comes(onDisk)
		return f.File.Write(b)
	}
	half := int(time.Now().UnixNano()/1000) % len(b)
	n, err := f.File.Write(b[:half])
	f.l.comes(onDisk)
	if err == nil {
		var more int
		more, err = f.File.Write(b[half:])
		n += more
	}
	return n, err
}
