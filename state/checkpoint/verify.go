package checkpoint

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/klauspost/compress/zstd"
	"gocloud.dev/gcerrors"
	"golang.org/x/sync/errgroup"

	"millrace/state"
)

// Progress is told how many bytes of how many are done. May be nil; it is
// called by several goroutines.
type Progress func(done, total int64)

// atOnce is how many files are downloaded beside one another.
const atOnce = 4

// Fetch downloads a checkpoint into a folder that isn't there, holding every
// byte against the manifest, opens it, and runs the state's own checker. Errors
// wrap ErrRefused where the checkpoint is to blame, or ErrGone.
func (s *Store) Fetch(ctx context.Context, m *Manifest, dir string, fs vfs.FS, progress Progress) (err error) {
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("fetch checkpoint: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, fs.RemoveAll(dir))
		}
	}()
	var done atomic.Int64
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, f := range m.Files {
		group.Go(func() error {
			return s.fetch(inner, f, fs.PathJoin(dir, f.Name), fs, func(n int64) {
				if d := done.Add(n); progress != nil {
					progress(d, m.stored())
				}
			})
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("checkpoint %v: %w", m.Ref, err)
	}
	d, err := fs.OpenDir(dir)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if err != nil {
		return fmt.Errorf("fetch checkpoint: %w", err)
	}
	if err := m.checkState(dir, fs); err != nil {
		return fmt.Errorf("checkpoint %v: %w: %w", m.Ref, ErrRefused, err)
	}
	return nil
}

// fetch downloads one file.
func (s *Store) fetch(ctx context.Context, f File, to string, fs vfs.FS, more func(int64)) (err error) {
	w, err := fs.Create(to, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("write its file %s: %w", f.Name, err)
	}
	if f.Size == 0 {
		return errors.Join(w.Sync(), w.Close())
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	r, err := s.bucket.NewReader(ctx, f.Key, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return fmt.Errorf("%w: its file %s: %w", ErrRefused, f.Name, ErrGone)
	}
	if err != nil {
		return fmt.Errorf("read its file %s: %w", f.Name, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	h := sha256.New()
	source := &watched{r: counted{r, more}}
	in := source
	if f.Packed > 0 {
		z, err := zstd.NewReader(source, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUnpack))
		if err != nil {
			return fmt.Errorf("fetch its file %s: %w", f.Name, err)
		}
		defer z.Close()
		in = &watched{r: z}
	}
	n, err := io.Copy(w, io.TeeReader(io.LimitReader(in, f.Size+1), h))
	if in.err != nil && source.err == nil { // it came as it is, and can't be unpacked
		return fmt.Errorf("%w: its file %s is damaged: %w", ErrRefused, f.Name, in.err)
	}
	if err == nil {
		err = w.Sync()
	}
	if err != nil {
		return fmt.Errorf("fetch its file %s: %w", f.Name, err)
	}
	if n != f.Size {
		return fmt.Errorf("%w: its file %s has not the %d bytes that the manifest says", ErrRefused, f.Name, f.Size)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != f.SHA256 {
		return fmt.Errorf("%w: its file %s is damaged: its hash is %s, the manifest says %s", ErrRefused, f.Name, got[:12], f.SHA256[:12])
	}
	return nil
}

// maxUnpack bounds the memory that unpacking takes.
const maxUnpack = 64 << 20

// watched remembers what its reader failed with.
type watched struct {
	r   io.Reader
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

type counted struct {
	r    io.Reader
	more func(int64)
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.more(int64(n))
	return n, err
}

// checkState opens what was fetched and holds it against itself and the
// manifest.
func (m *Manifest) checkState(dir string, fs vfs.FS) (err error) {
	v, err := state.OpenView(state.Options{Dir: dir, FS: fs})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	at := v.Position()
	at.History = 0 // the manifest doesn't tell
	if at != m.Position() {
		return fmt.Errorf("the state inside stands at %d of another log or record than the manifest's %d", v.Position().Offset, m.Offset)
	}
	return v.Check()
}

// Verify fetches a checkpoint into a scratch folder, as Fetch does, and throws
// it away.
func (s *Store) Verify(ctx context.Context, r Ref, scratch string, progress Progress) (m *Manifest, err error) {
	s.mu.Lock()
	delete(s.read, r.key) // what is verified is what is there now
	s.mu.Unlock()
	if m, err = s.Manifest(ctx, r); err != nil {
		return nil, err
	}
	if err := s.Fetch(ctx, m, scratch, vfs.Default, progress); err != nil {
		return m, err
	}
	return m, vfs.Default.RemoveAll(scratch)
}
