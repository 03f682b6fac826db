//go:build synctests

package sim

import (
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// step is where a process touches the world.
type step uint8

const (
	never    step = iota
	onDisk        // before a write
	onWire        // before something is sent to Kafka
	sentWire      // right after
	onSQL         // before a statement or a commit
	doneSQL       // right after a commit
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

// dieAt kills the machine's processor at a step to come, and starts it again
// after a while.
func (m *machine) dieAt(r *rand.Rand) {
	l := m.alive()
	if l == nil {
		return
	}
	f := fuse{at: 1 + step(r.IntN(int(steps-1))), left: 1 + r.IntN(25)}
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

// fs is the machine's disk as a life sees it.
func (l *life) fs(disk vfs.FS, full func() bool) vfs.FS {
	return errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpCreate, errorfs.OpReuseForWrite, errorfs.OpRename, errorfs.OpLink, errorfs.OpMkdirAll:
		default:
			return nil
		}
		l.comes(onDisk)
		if full() {
			return syscall.ENOSPC
		}
		return nil
	}))
}
