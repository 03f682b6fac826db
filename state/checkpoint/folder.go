package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gocloud.dev/blob/driver"
	"gocloud.dev/gcerrors"

	"millrace/internal/failpoint"
)

// atRename is before a file of a folder gets its name.
var atRename = failpoint.New("checkpoint.rename")

// folder is a store in a folder. gocloud's own doesn't sync what it writes, so
// that a power cut may leave a manifest of empty files; and its listing passes
// over folders that can't be read, after which collection would take what it
// didn't see to be needless.
type folder struct{ dir string }

// temporary leads the names of files that are being written. One that was left
// behind is listed, and collected like any that nobody needs.
const temporary = ".writing-"

var errNotDone = errors.New("a store in a folder doesn't do this")

func (folder) ErrorCode(err error) gcerrors.ErrorCode {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return gcerrors.NotFound
	case errors.Is(err, fs.ErrPermission):
		return gcerrors.PermissionDenied
	case errors.Is(err, errNotDone):
		return gcerrors.Unimplemented
	}
	return gcerrors.Unknown
}

func (folder) As(any) bool             { return false }
func (folder) ErrorAs(error, any) bool { return false }
func (folder) Close() error            { return nil }

func (f folder) path(key string) string { return filepath.Join(f.dir, filepath.FromSlash(key)) }

func (f folder) Attributes(_ context.Context, key string) (*driver.Attributes, error) {
	i, err := os.Stat(f.path(key))
	if err != nil {
		return nil, err
	}
	return &driver.Attributes{ModTime: i.ModTime(), Size: i.Size(), AsFunc: func(any) bool { return false }}, nil
}

// ListPaged gives all at once: a folder holds thousands, not millions.
func (f folder) ListPaged(_ context.Context, o *driver.ListOptions) (*driver.ListPage, error) {
	if o.Delimiter != "" {
		return nil, errNotDone
	}
	page := &driver.ListPage{}
	root := f.dir
	if i := strings.LastIndexByte(o.Prefix, '/'); i >= 0 {
		root = f.path(o.Prefix[:i])
	}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // it went while we walked
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(f.dir, p)
		if err != nil {
			return err
		}
		key := filepath.ToSlash(rel)
		if !strings.HasPrefix(key, o.Prefix) {
			return nil
		}
		i, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		page.Objects = append(page.Objects, &driver.ListObject{Key: key, ModTime: i.ModTime(), Size: i.Size(), AsFunc: func(any) bool { return false }})
		return nil
	})
	slices.SortFunc(page.Objects, func(a, b *driver.ListObject) int { return cmp.Compare(a.Key, b.Key) })
	return page, err
}

func (f folder) NewRangeReader(_ context.Context, key string, offset, length int64, _ *driver.ReaderOptions) (driver.Reader, error) {
	file, err := os.Open(f.path(key))
	if err != nil {
		return nil, err
	}
	i, err := file.Stat()
	if err == nil && i.IsDir() {
		err = fmt.Errorf("%s: %w", key, fs.ErrNotExist)
	}
	if err == nil {
		_, err = file.Seek(offset, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	r := &folderReader{file: file, Reader: file, attrs: driver.ReaderAttributes{ModTime: i.ModTime(), Size: i.Size()}}
	if length >= 0 {
		r.Reader = io.LimitReader(file, length)
	}
	return r, nil
}

type folderReader struct {
	io.Reader
	file  *os.File
	attrs driver.ReaderAttributes
}

func (r *folderReader) Close() error                         { return r.file.Close() }
func (r *folderReader) Attributes() *driver.ReaderAttributes { return &r.attrs }
func (r *folderReader) As(any) bool                          { return false }

// NewTypedWriter writes beside and renames: a key is there whole and synced, or
// not at all.
func (f folder) NewTypedWriter(ctx context.Context, key, _ string, _ *driver.WriterOptions) (driver.Writer, error) {
	to := f.path(key)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(filepath.Dir(to), temporary+nonce()))
	if err != nil {
		return nil, err
	}
	return &folderWriter{ctx: ctx, File: file, to: to}, nil
}

type folderWriter struct {
	ctx context.Context
	*os.File
	to string
}

func (w *folderWriter) Close() error {
	err := context.Cause(w.ctx)
	if err == nil {
		err = w.Sync()
	}
	err = errors.Join(err, w.File.Close())
	if err == nil {
		atRename.Hit()
		err = os.Rename(w.Name(), w.to)
	}
	if err != nil {
		return errors.Join(err, os.Remove(w.Name()))
	}
	return syncDir(filepath.Dir(w.to))
}

// syncDir makes a rename safe against a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (folder) Copy(context.Context, string, string, *driver.CopyOptions) error { return errNotDone }

func (f folder) Delete(_ context.Context, key string, _ *driver.DeleteOptions) error {
	return os.Remove(f.path(key))
}

func (folder) SignedURL(context.Context, string, *driver.SignedURLOptions) (string, error) {
	return "", errNotDone
}
