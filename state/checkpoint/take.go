package checkpoint

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/klauspost/compress/zstd"

	"millrace/internal/failpoint"
	"millrace/state"
)

// The steps at which a process may die; a folder's rename and those of collecting
// and restoring are beside them.
var (
	atCopy     = failpoint.New("checkpoint.copy")
	atCopied   = failpoint.New("checkpoint.copied")
	atUpload   = failpoint.New("checkpoint.upload")
	atUploaded = failpoint.New("checkpoint.uploaded")
	atManifest = failpoint.New("checkpoint.manifest")
	atTaken    = failpoint.New("checkpoint.taken")
)

// Taker takes the checkpoints of one open state. It is used by one goroutine,
// which need not be the owner's.
type Taker struct {
	Store   *Store
	State   *state.Store
	Topic   string
	Scratch string // a folder of the taker's own, on the disk of the state
	FS      vfs.FS // the state's; the real one unless set
	Program string // its version
	// Rate gives how many records a second are applied; may be nil.
	Rate func() float64

	hashes map[string]File // of tables, which never change while a state is open
}

// Cost is what a checkpoint took.
type Cost struct {
	Copied   time.Duration // making the copy by hard links
	Took     time.Duration
	Files    int // uploaded
	Bytes    int64
	Known    bool // the store had a checkpoint of this very position
	Repaired int  // files of the one before that were not there any more
}

// Take makes a checkpoint of what is committed now and uploads what the store
// lacks. The owner goes on meanwhile. full uploads everything, whatever the
// store has.
func (t *Taker) Take(ctx context.Context, full bool) (m *Manifest, c Cost, err error) {
	if t.FS == nil {
		t.FS = vfs.Default
	}
	if t.hashes == nil {
		t.hashes = map[string]File{}
	}
	began := t.Store.o.Now()
	if err := t.FS.RemoveAll(t.Scratch); err != nil {
		return nil, c, fmt.Errorf("checkpoint: %w", err)
	}
	defer func() { err = errors.Join(err, t.FS.RemoveAll(t.Scratch)) }()
	if err := t.Store.o.Failpoint("checkpoint-copy"); err != nil {
		return nil, c, err
	}
	atCopy.Hit()
	if err := t.State.Copy(t.Scratch); err != nil {
		return nil, c, err
	}
	atCopied.Hit()
	c.Copied = t.Store.o.Now().Sub(began)
	v, err := state.OpenView(state.Options{Dir: t.Scratch, FS: t.FS})
	if err != nil {
		return nil, c, fmt.Errorf("checkpoint: %w", err)
	}
	sum := v.Summary()
	if err := v.Close(); err != nil {
		return nil, c, fmt.Errorf("checkpoint: %w", err)
	}
	m = newManifest(t.Topic, sum, t.Program, began)
	if t.Rate != nil {
		m.Rate = math.Round(t.Rate())
	}
	if m, err = t.upload(ctx, m, full, &c); err != nil {
		return nil, c, fmt.Errorf("checkpoint of partition %d at %d: %w", sum.Position.Partition, sum.Position.Offset, err)
	}
	c.Took = t.Store.o.Now().Sub(began)
	return m, c, nil
}

// errSlow ends a checkpoint that could lose files to a collector.
var errSlow = errors.New("it took longer than half the grace of collection")

// upload brings the files of the copy into the store, and the manifest last.
func (t *Taker) upload(ctx context.Context, m *Manifest, full bool, c *Cost) (*Manifest, error) {
	s := t.Store
	// By two clocks: one that stands still while the machine is suspended, and
	// one that may be set.
	ctx, cancel := context.WithTimeoutCause(ctx, s.o.Grace/2, errSlow)
	defer cancel()
	began := s.o.Now().Round(0)
	here, err := s.list(ctx, m.Log().dir())
	if err != nil {
		return nil, err
	}
	base := map[string]File{}
	if newest := s.newest(ctx, here); newest != nil && !full {
		if newest.Offset == m.Offset && newest.Hash == m.Hash && newest.StateFormat == m.StateFormat && newest.missing(here) == 0 {
			c.Known = true
			return newest, nil
		}
		sizes := sizesOf(here)
		for _, f := range newest.Files {
			if f.Size == 0 {
				continue
			}
			if size, ok := sizes[f.Key]; ok && size == f.stored() {
				base[f.SHA256] = f
			} else {
				c.Repaired++
			}
		}
	}
	if m.Files, err = t.files(); err != nil {
		return nil, err
	}
	for i := range m.Files {
		f := &m.Files[i]
		m.Size += f.Size
		if f.Size == 0 {
			continue
		}
		if had, ok := base[f.SHA256]; ok && had.Size == f.Size {
			f.Key, f.Packed = had.Key, had.Packed
			continue
		}
		f.Key = m.Log().files() + f.SHA256 + "-" + nonce()
		if err := t.put(ctx, f); err != nil {
			return nil, fmt.Errorf("upload %s: %w", f.Name, cmp.Or(context.Cause(ctx), err))
		}
		base[f.SHA256] = *f
		c.Files++
		c.Bytes += f.stored()
	}
	if err := s.o.Failpoint("checkpoint-manifest"); err != nil {
		return nil, err
	}
	key, b, err := m.encode()
	if err != nil {
		return nil, err
	}
	if s.o.Now().Round(0).Sub(began) > s.o.Grace/2 {
		return nil, errSlow
	}
	atManifest.Hit()
	if err := s.bucket.WriteAll(ctx, key, b, nil); err != nil {
		return nil, fmt.Errorf("write the manifest: %w", cmp.Or(context.Cause(ctx), err))
	}
	atTaken.Hit()
	c.Bytes += int64(len(b))
	m.Ref, _ = parseKey(key)
	return m, s.stands(ctx, m, key)
}

// stands looks whether all of a new checkpoint's files are there, and takes it
// back if not.
func (s *Store) stands(ctx context.Context, m *Manifest, key string) error {
	here, err := s.list(ctx, m.Log().files())
	if err != nil {
		return fmt.Errorf("look at what was uploaded: %w", err)
	}
	if n := m.missing(here); n > 0 {
		return errors.Join(fmt.Errorf("%d of its %d files are not in the store although they were uploaded", n, len(m.Files)), s.bucket.Delete(ctx, key))
	}
	return nil
}

func sizesOf(all []object) map[string]int64 {
	m := map[string]int64{}
	for _, o := range all {
		m[o.key] = o.size
	}
	return m
}

// missing counts the files that are not among objects, in their size.
func (m *Manifest) missing(here []object) (n int) {
	sizes := sizesOf(here)
	for _, f := range m.Files {
		if size, ok := sizes[f.Key]; f.Size > 0 && (!ok || size != f.stored()) {
			n++
		}
	}
	return n
}

// newest gives the manifest that the store got last, nil if there is none that
// can be read: then all is uploaded.
func (s *Store) newest(ctx context.Context, here []object) *Manifest {
	refs := refsOf(here)
	if len(refs) == 0 {
		return nil
	}
	byAge(refs)
	m, err := s.Manifest(ctx, refs[0])
	if err != nil {
		return nil
	}
	return m
}

// files gives the copy's files with their hashes, by name.
func (t *Taker) files() ([]File, error) {
	names, err := t.FS.List(t.Scratch)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var files []File
	seen := map[string]File{}
	for _, name := range names {
		if name == "LOCK" {
			continue
		}
		f, err := t.hash(name)
		if err != nil {
			return nil, err
		}
		if strings.HasSuffix(name, ".sst") {
			seen[name] = f
		}
		files = append(files, f)
	}
	t.hashes = seen
	return files, nil
}

func (t *Taker) hash(name string) (f File, err error) {
	r, err := t.FS.Open(t.FS.PathJoin(t.Scratch, name))
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	i, err := r.Stat()
	if err != nil {
		return f, err
	}
	if known, ok := t.hashes[name]; ok && known.Size == i.Size() {
		return known, nil
	}
	h := sha256.New()
	n, err := io.Copy(h, r)
	return File{Name: name, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, err
}

// put uploads one file. What arrives is what was hashed, or nothing. Tables are
// packed by Pebble; the log of what was written last becomes a fifth.
func (t *Taker) put(ctx context.Context, f *File) (err error) {
	if err := t.Store.o.Failpoint("checkpoint-upload"); err != nil {
		return err
	}
	r, err := t.FS.Open(t.FS.PathJoin(t.Scratch, f.Name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w, err := t.Store.bucket.NewWriter(ctx, f.Key, nil)
	if err != nil {
		return err
	}
	atUpload.Hit()
	h := sha256.New()
	out := &bounded{ctx: ctx, w: w, limit: t.Store.limit}
	var n int64
	if strings.HasSuffix(f.Name, ".sst") {
		n, err = io.Copy(io.MultiWriter(out, h), r)
	} else {
		n, err = pack(out, io.TeeReader(r, h))
		f.Packed = out.n
	}
	if err == nil && (n != f.Size || hex.EncodeToString(h.Sum(nil)) != f.SHA256) {
		err = errors.New("it has changed since it was hashed")
	}
	if err != nil {
		cancel(err) // a writer that is cancelled writes nothing
		_ = w.Close()
		return err
	}
	err = w.Close()
	atUploaded.Hit()
	return err
}

// pack copies r into w, packed.
func pack(w io.Writer, r io.Reader) (int64, error) {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(z, r)
	return n, errors.Join(err, z.Close())
}
