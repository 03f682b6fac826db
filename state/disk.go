package state

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
)

// disk is where a store's Pebble lies. It is Pebble's logger, and counts what is
// denied in the background, where Pebble tries again for ever: even while it is
// opened.
type disk struct {
	Options
	denials atomic.Int32
	gone    chan error // takes the last straw
	opening atomic.Bool
	writing atomic.Int32 // how many goroutines of ours write
}

func newDisk(o Options) *disk { return &disk{Options: o, gone: make(chan error, 1)} }

// mostDenials is after how many in a row a disk is given up; they come within a
// fraction of a second.
const mostDenials = 20

func (d *disk) failed(err error) {
	if denied(err) && d.denials.Add(1) == mostDenials {
		d.give(err)
	}
}

func (d *disk) give(err error) {
	select {
	case d.gone <- err:
	default: // it is given up already
	}
}

// New rows come to the end of each series, so all over the keys: what is written
// lately touches a table of every symbol. Small tables, and little gathered
// above the lowest levels, keep what compactions rewrite, and so what a
// checkpoint uploads, near to what has changed.
const (
	tableSize     = 1 << 20
	baseLevelSize = 8 << 20
)

// open opens the Pebble, or makes it.
func (d *disk) open(readOnly bool) (*pebble.DB, error) {
	options := &pebble.Options{
		FS:       d.FS,
		ReadOnly: readOnly,
		Logger:   d,
		EventListener: &pebble.EventListener{
			DataCorruption:  func(pebble.DataCorruptionInfo) {}, // who reads has the error
			BackgroundError: d.failed,
			FlushEnd: func(i pebble.FlushInfo) {
				if i.Err == nil && i.Done {
					d.denials.Store(0)
				}
			},
		},
		FormatMajorVersion: pebble.FormatNewest,
		// A partition's hot rows fit in one small memtable; there is a Pebble
		// for each partition of the process.
		MemTableSize: 8 << 20,
		// The log is the source of truth: the write-ahead log only shortens the
		// replay after a crash, so it is written but never waited for.
		WALBytesPerSync: 1 << 20,
		LBaseMaxBytes:   baseLevelSize,
	}
	for i := range options.TargetFileSizes {
		options.TargetFileSizes[i] = tableSize
	}
	db, err := d.openUnlessFull(options)
	if err != nil {
		if isLocked(err) {
			return nil, fmt.Errorf("%w: %s: %w", ErrLocked, d.Dir, err)
		}
		if errors.Is(err, ErrDisk) {
			return nil, err
		}
		if denied(err) {
			return nil, refused(d.Dir, err)
		}
		return nil, damaged(d.Dir, err)
	}
	return db, nil
}

// openUnlessFull opens a Pebble. One that can't write what its log holds would
// wait for room for ever: it is left to do so.
func (d *disk) openUnlessFull(options *pebble.Options) (*pebble.DB, error) {
	type opened struct {
		db       *pebble.DB
		err      error
		panicked any
	}
	got := make(chan opened, 1)
	d.opening.Store(true)
	go func() {
		var o opened
		defer func() {
			o.panicked = recover()
			got <- o
		}()
		o.db, o.err = pebble.Open(d.Dir, options)
	}()
	select {
	case o := <-got:
		d.opening.Store(false)
		if why := trouble(o.panicked); why != nil {
			return nil, refused(d.Dir, why)
		}
		return o.db, o.err
	case err := <-d.gone:
		go func() {
			if o := <-got; o.db != nil {
				_ = o.db.Close() // nobody has used it
			}
		}()
		return nil, refused(d.Dir, err)
	}
}

// denied tells what a disk or a system without room or rights says from damage:
// a state must not be set aside for it.
func denied(err error) bool {
	for _, no := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EPERM} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// Infof, Errorf and Fatalf are Pebble's logger. The last one must not return.
func (d *disk) Infof(string, ...any) {}

// Errorf tells what goes wrong in the background.
func (d *disk) Errorf(format string, args ...any) { d.Complain(fmt.Sprintf(format, args...)) }

// Fatalf is told what Pebble can't go on after, by whichever goroutine met it.
func (d *disk) Fatalf(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	switch {
	case d.opening.Load():
		d.give(errors.New(what))
		select {} // who opens goes on without it
	case d.writing.Load() > 0:
		d.Complain(what)
		panic(fatal(what))
	}
	d.Fatal(refused(d.Dir, errors.New(what)))
}

// fatal is what Fatalf panics with where a writer of ours may recover it.
type fatal string

// trouble gives what Pebble panicked for where that is the disk's; nil if it did
// not.
func trouble(panicked any) error {
	switch r := panicked.(type) {
	case nil:
		return nil
	case fatal:
		return errors.New(string(r))
	case runtime.Error:
		panic(r)
	case error:
		return r
	default:
		panic(r)
	}
}

// refused says in one line what to do about a disk that takes no more.
func refused(dir string, err error) error {
	return fmt.Errorf("%w: %s: %s; see to the disk or make room and start again: nothing is lost, the log gives back what isn't kept", ErrDisk, dir, strings.ReplaceAll(err.Error(), "\n", "; "))
}
