package state

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/internal/failpoint"
	"millrace/schema"
)

var (
	// ErrLocked reports a store that another process has open.
	ErrLocked = errors.New("state is in use by another process")
	// ErrDamaged reports a store that cannot be read. It must be set aside:
	// state is a function of the log and comes back from there.
	ErrDamaged = errors.New("state is damaged")
	// ErrDisk reports a disk that refused a write, or to open. The store is of no
	// more use in this process; opened again it is as a power cut would have left it.
	ErrDisk = errors.New("the disk of the state refused a write")
	// ErrNewer reports a store that a newer program has written. It is not damaged
	// and must not be set aside as if it were.
	ErrNewer = errors.New("state is of a newer millrace")
	// ErrLineage reports a store of another topic's life or another partition.
	ErrLineage = errors.New("state belongs to another log")
)

// The steps at which a process may die.
var (
	atCommit    = failpoint.New("state.commit")
	atCommitted = failpoint.New("state.committed")
	atForget    = failpoint.New("state.forget")
)

// Options say where a store is and how it is kept.
type Options struct {
	Dir string
	FS  vfs.FS // the real one unless set
	// Complain is told what goes wrong in the background, like a full disk. May be
	// nil.
	Complain func(what string)
	// Fatal is called, by a goroutine of Pebble's, where it can't go on at all and
	// nobody is there to be told. It must not return; by default it panics.
	Fatal func(error)
	// Program is the version that the store is marked with, so that an older
	// program can say which one it takes. May be empty.
	Program string
}

func (o *Options) ensureDefaults() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Complain == nil {
		o.Complain = func(string) {}
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
}

// Store is a partition's state on disk: one Pebble for each. State and the
// position it stands for are one write. No write is synced: what a power cut
// takes, replay gives back, the same.
type Store struct {
	db     *pebble.DB
	p      *Partition
	dir    string
	disk   *disk
	broken atomic.Bool // a write was refused
	mark   string      // the program, until a commit has written it
	row    []byte
	key    []byte
}

// Open opens the store of a partition, or makes it. Errors wrap ErrLocked,
// ErrDamaged or ErrLineage where one of them is the reason.
func Open(o Options, topicID [16]byte, partition int32) (*Store, error) {
	o.ensureDefaults()
	disk := newDisk(o)
	db, err := disk.open(false)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, disk: disk, p: NewPartition(topicID, partition), dir: o.Dir, mark: o.Program}
	if err := marked(s.db, s.load()); err != nil {
		if errors.Is(err, errDamaged) {
			err = damaged(o.Dir, err)
		}
		_ = db.Close() // of a store that cannot be read it says nothing new
		return nil, err
	}
	return s, nil
}

// damaged says in one line what to do; Pebble's own words may take several.
func damaged(dir string, err error) error {
	return fmt.Errorf("%w: %s: %s; move it away and start again: it comes back from the log", ErrDamaged, dir, strings.ReplaceAll(err.Error(), "\n", "; "))
}

// Partition gives the state. It belongs to the goroutine that owns the store.
func (s *Store) Partition() *Partition { return s.p }

// Close closes the store. What was applied and not committed is gone.
func (s *Store) Close() error {
	if s.broken.Load() {
		return nil // Pebble stands still; its files are as a power cut would leave them
	}
	return s.db.Close()
}

func (s *Store) load() error {
	want := s.p.pos
	row, closer, err := s.db.Get([]byte(metaKey))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	err = s.p.decodeMeta(row)
	if err = errors.Join(err, closer.Close()); err != nil {
		return err
	}
	if s.p.pos.TopicID != want.TopicID || s.p.pos.Partition != want.Partition {
		return fmt.Errorf("%w: it is of partition %d of topic id %x, wanted partition %d of %x",
			ErrLineage, s.p.pos.Partition, s.p.pos.TopicID, want.Partition, want.TopicID)
	}
	s.p.committed = s.p.pos.Offset - 1
	if s.p.settings == nil {
		return nil
	}
	if err := symbolsInto(s.p, s.db); err != nil {
		return err
	}
	return s.p.all(func(y *symbol) error {
		if y.still() {
			return nil
		}
		for _, r := range y.series {
			if err := s.loadHot(y, r); err != nil {
				return err
			}
		}
		return nil
	})
}

// symbolsInto reads every symbol's row into p.
func symbolsInto(p *Partition, from pebble.Reader) error {
	err := scan(from, []byte{symbolPrefix}, []byte{symbolPrefix + 1}, func(key, row []byte) error {
		id := string(key[1:])
		name, mark := named(id)
		y := newSymbol(name, p.settings)
		y.id = id
		err := y.decode(row, func(id string) *ingestor {
			g := p.ingestors[id]
			if g == nil {
				g = &ingestor{id: id, w: noTime}
				p.ingestors[id] = g
			}
			return g
		})
		if err != nil {
			return err
		}
		if old := p.symbols[name]; old != nil {
			y.book = old.book
		}
		switch {
		case mark != 0 && y.era != id[len(id)-1], (mark == markRepair) != (y.repair != nil), y.repair != nil && p.symbols[name] == nil:
			return fmt.Errorf("%w: %s has a row that is not its own", errDamaged, y)
		case y.repair != nil:
			p.shelve(y)
		default: // of series the last in the order of keys is at hand
			if old := p.symbols[name]; old != nil {
				p.shelve(old)
			}
			p.symbols[name] = y
		}
		p.newest = max(p.newest, y.newest)
		if y.newest != noTime {
			y.settled = p.cal.Start(p.base, y.newest)
		}
		for i := 1; i < len(y.applied) && !y.still(); i++ {
			if v := &y.applied[i]; !v.open {
				p.gapDue = min(p.gapDue, v.found+p.settings.GapAfter)
			}
		}
		return nil
	})
	if n := len(p.symbols) + len(p.shelved); err == nil && n != p.known {
		err = fmt.Errorf("%w: %d symbols, wanted %d", errDamaged, n, p.known)
	}
	return err
}

// loadHot reads the windows that can still change: those in a stretch of time
// that is not proven, and one on either side of it.
func (s *Store) loadHot(y *symbol, r *series) error {
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: appendSeriesKey(nil, y.id, r.period),
		UpperBound: appendSeriesKey(nil, y.id, r.period+1),
	})
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	add := func() error {
		start := windowStart(it.Key())
		if n := len(r.win); n > 0 && r.win[n-1].start >= start {
			return nil
		}
		w := &window{start: start, end: s.p.cal.End(r.period, start)}
		row, err := it.ValueAndErr()
		if err == nil {
			err = w.decode(row)
		}
		if err != nil {
			return fmt.Errorf("%w: window of %s: %w", errDamaged, y, err)
		}
		w.status = y.ruling(w)
		r.win = append(r.win, w)
		return nil
	}
	for i := 0; i <= len(y.applied) && err == nil; i++ {
		lo, hi := noTime, schema.MaxTime
		if y.repair != nil {
			i = len(y.applied) // all of it
		} else if i > 0 {
			lo = min(y.applied[i-1].maxT, y.applied[i-1].lastT)
		}
		if i < len(y.applied) && y.repair == nil {
			hi = max(y.applied[i].minT, y.applied[i].firstT)
		}
		hi = max(hi, y.history)
		// Two before the stretch: the window that holds lo, which is not
		// proven, and the one before that, up to which all is.
		ok := it.SeekLT(appendWindowKey(nil, y.id, r.period, lo))
		if ok && it.Prev() {
			ok = true
		} else {
			ok = it.First()
		}
		for ; ok && err == nil; ok = it.Next() {
			past := windowStart(it.Key()) > hi
			err = add()
			if past {
				break
			}
		}
	}
	if err = closeIter(it, err); err != nil {
		return err
	}
	return s.link(y, r)
}

// link finds which of the windows in memory have their predecessor there too.
func (s *Store) link(y *symbol, r *series) error {
	for i, w := range r.win {
		it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: appendSeriesKey(nil, y.id, r.period), UpperBound: appendWindowKey(nil, y.id, r.period, w.start)})
		if err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		if it.Last() {
			w.cut = i == 0 || windowStart(it.Key()) != r.win[i-1].start
		}
		w.cut = w.cut || w.gone
		if err := it.Close(); err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		if before := y.runStart(s.p, r, i); before < w.start {
			w.proven = s.p.runProven(y, r, before, w.start)
		}
	}
	return nil
}

// Commit writes all that was applied since the last commit, with the position
// it stands for, in one batch, and gives what changed of what is published.
func (s *Store) Commit() (*Changes, error) {
	p := s.p
	b := s.db.NewBatch()
	c := &Changes{LogTime: p.logTime, Newest: noTime}
	for _, y := range p.touched {
		if y.gone {
			err := errors.Join(b.Delete(appendSymbolKey(nil, y.id), nil), b.DeleteRange(appendSeriesKey(nil, y.id, 0), appendSeriesKey(nil, y.id, schema.NumPeriods+1), nil))
			if err != nil {
				return nil, errors.Join(fmt.Errorf("drop %s: %w", y, err), b.Close())
			}
			continue
		}
		p.flushDelta(y)
		p.collect(y, c)
		for _, per := range y.dropped {
			if err := b.DeleteRange(appendSeriesKey(nil, y.id, per), appendSeriesKey(nil, y.id, per+1), nil); err != nil {
				return nil, errors.Join(fmt.Errorf("drop a period: %w", err), b.Close())
			}
		}
		y.dropped = nil
		for _, r := range y.series {
			for _, w := range r.win {
				if w.dirty || w.unsaved || w.quiet > p.committed {
					w.dirty, w.unsaved = false, false
					s.key = appendWindowKey(s.key[:0], y.id, r.period, w.start)
					s.row = w.append(s.row[:0])
					if err := b.Set(s.key, s.row, nil); err != nil {
						return nil, errors.Join(fmt.Errorf("write window: %w", err), b.Close())
					}
				}
			}
		}
		switch {
		case y.still():
			y.freeze()
		case y.repair == nil: // to a repair anything may still come
			y.cool()
		}
		y.dirty = false
		s.key = appendSymbolKey(s.key[:0], y.id)
		s.row = y.append(s.row[:0])
		if err := b.Set(s.key, s.row, nil); err != nil {
			return nil, errors.Join(fmt.Errorf("write symbol: %w", err), b.Close())
		}
		p.newest = max(p.newest, y.newest)
	}
	p.touched = p.touched[:0]
	meta, err := p.appendMeta(s.row[:0])
	if err == nil {
		err = b.Set([]byte(metaKey), meta, nil)
	}
	if err == nil && s.mark != "" {
		err = b.Set([]byte(programKey), []byte(s.mark), nil)
	}
	if err == nil {
		atCommit.Hit()
		err = s.write(func() error { return errors.Join(b.Commit(pebble.NoSync), b.Close()) })
		atCommitted.Hit()
	}
	if err != nil {
		return nil, fmt.Errorf("commit state at offset %d: %w", p.pos.Offset, err)
	}
	s.mark = ""
	p.committed = p.pos.Offset - 1
	c.Position, c.Newest, c.Calendar = p.pos, p.newest, p.cal
	c.Reread, p.reread = p.reread, false
	return c, nil
}

// write calls f, which writes. Pebble calls it fatal if its log cannot be
// written, or panics with the error, holding its locks: it can't be closed then.
func (s *Store) write(f func() error) (err error) {
	select {
	case why := <-s.disk.gone:
		s.broken.Store(true)
		return refused(s.dir, why)
	default:
	}
	s.disk.writing.Add(1)
	defer func() {
		s.disk.writing.Add(-1)
		if why := trouble(recover()); why != nil {
			s.broken.Store(true)
			err = refused(s.dir, why)
		}
	}()
	return f()
}

// Sync makes what was committed safe against a power cut.
func (s *Store) Sync() error {
	return s.write(func() error { return s.db.LogData(nil, pebble.Sync) })
}

// Copy makes a folder that holds what is committed, by hard links where the disk
// has them: a store of its own that costs little. It may be called by another
// goroutine while the owner works, who does not wait for it; not after Close.
func (s *Store) Copy(dir string) error {
	return s.write(func() (err error) {
		defer func() { // Pebble panics if the new folder can't be synced; the store is as it was
			switch r := recover().(type) {
			case nil:
			case error:
				err = fmt.Errorf("copy the state: %w", r)
			default:
				panic(r)
			}
		}()
		if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
			return fmt.Errorf("copy the state: %w", err)
		}
		return nil
	})
}

// closeIter gives err or what went wrong in the iterator.
func closeIter(it *pebble.Iterator, err error) error {
	if bad := it.Close(); err == nil && bad != nil { // Close repeats Error
		err = fmt.Errorf("%w: %w", errDamaged, bad)
	}
	return err
}

// scan calls f with every row of [from, to).
func scan(r pebble.Reader, from, to []byte, f func(key, row []byte) error) (err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	defer func() { err = closeIter(it, err) }()
	for ok := it.First(); ok; ok = it.Next() {
		row, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
		if err := f(it.Key(), row); err != nil {
			return err
		}
	}
	return nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// isLocked tells Pebble's complaint about its lock file from other errors.
func isLocked(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) || strings.Contains(err.Error(), "lock held by current process")
}

// Lock makes a data folder this process's own until it is given back. Errors
// wrap ErrLocked where another has it.
func Lock(fs vfs.FS, dir string) (io.Closer, error) {
	l, err := fs.Lock(fs.PathJoin(dir, "LOCK"))
	if err != nil && isLocked(err) {
		return nil, fmt.Errorf("%w: %s: %w; end that one, or name another data folder", ErrLocked, dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	return l, nil
}

// PartitionDir gives the folder of a partition's store below dir.
func PartitionDir(dir, topic string, partition int32) string {
	return filepath.Join(dir, fmt.Sprintf("%s-%d", topic, partition))
}

// PartitionOf tells of a name that PartitionDir gives which partition it is of.
func PartitionOf(name, topic string) (partition int32, ok bool) {
	text, ok := strings.CutPrefix(name, topic+"-")
	n, err := strconv.ParseInt(text, 10, 32)
	ok = ok && err == nil && n >= 0 && text == strconv.FormatInt(n, 10)
	return int32(n), ok
}
