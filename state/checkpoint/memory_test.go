package checkpoint

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"gocloud.dev/blob/driver"
	"gocloud.dev/gcerrors"
)

// memory is a store in memory that can fail, be slow, and be watched.
type memory struct {
	mu      sync.Mutex // guards what follows
	objects map[string]thing
	calls   int
	// before is called before each call that asks or changes something; an error
	// fails it, and if it is a write or delete it hasn't happened.
	before func(op, key string, call int) error
	// after is called after each change, under the lock.
	after func(op, key string)
}

type thing struct {
	b  []byte
	at time.Time
}

var errNone = errors.New("no such object")

func newMemory() *memory {
	return &memory{objects: map[string]thing{}, before: func(string, string, int) error { return nil }, after: func(string, string) {}}
}

func (m *memory) call(op, key string) error {
	m.mu.Lock()
	m.calls++
	n := m.calls
	m.mu.Unlock()
	return m.before(op, key, n)
}

func (*memory) ErrorCode(err error) gcerrors.ErrorCode {
	if errors.Is(err, errNone) {
		return gcerrors.NotFound
	}
	return gcerrors.Unknown
}
func (*memory) As(any) bool             { return false }
func (*memory) ErrorAs(error, any) bool { return false }
func (*memory) Close() error            { return nil }

func (m *memory) get(key string) (thing, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[key]
	if !ok {
		return o, fmt.Errorf("%s: %w", key, errNone)
	}
	return o, nil
}

func (m *memory) Attributes(_ context.Context, key string) (*driver.Attributes, error) {
	if err := m.call("ask", key); err != nil {
		return nil, err
	}
	o, err := m.get(key)
	return &driver.Attributes{ModTime: o.at, Size: int64(len(o.b)), AsFunc: func(any) bool { return false }}, err
}

func (m *memory) ListPaged(_ context.Context, o *driver.ListOptions) (*driver.ListPage, error) {
	if err := m.call("list", o.Prefix); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	page := &driver.ListPage{}
	for k, v := range m.objects {
		if strings.HasPrefix(k, o.Prefix) {
			page.Objects = append(page.Objects, &driver.ListObject{Key: k, ModTime: v.at, Size: int64(len(v.b)), AsFunc: func(any) bool { return false }})
		}
	}
	slices.SortFunc(page.Objects, func(a, b *driver.ListObject) int { return cmp.Compare(a.Key, b.Key) })
	return page, nil
}

type memoryReader struct{ io.Reader }

func (memoryReader) Close() error                         { return nil }
func (memoryReader) Attributes() *driver.ReaderAttributes { return &driver.ReaderAttributes{} }
func (memoryReader) As(any) bool                          { return false }

func (m *memory) NewRangeReader(_ context.Context, key string, offset, length int64, _ *driver.ReaderOptions) (driver.Reader, error) {
	if err := m.call("read", key); err != nil {
		return nil, err
	}
	o, err := m.get(key)
	if err != nil {
		return nil, err
	}
	b := o.b[offset:]
	if length >= 0 {
		b = b[:length]
	}
	return memoryReader{bytes.NewReader(b)}, nil
}

type memoryWriter struct {
	bytes.Buffer
	ctx context.Context
	m   *memory
	key string
}

func (m *memory) NewTypedWriter(ctx context.Context, key, _ string, _ *driver.WriterOptions) (driver.Writer, error) {
	return &memoryWriter{ctx: ctx, m: m, key: key}, nil
}

func (w *memoryWriter) Close() error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if err := w.m.call("write", w.key); err != nil {
		return err
	}
	if err := w.ctx.Err(); err != nil {
		return err
	}
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	w.m.objects[w.key] = thing{bytes.Clone(w.Bytes()), time.Now()}
	w.m.after("write", w.key)
	return nil
}

func (*memory) Copy(context.Context, string, string, *driver.CopyOptions) error { return errNotDone }
func (*memory) SignedURL(context.Context, string, *driver.SignedURLOptions) (string, error) {
	return "", errNotDone
}

func (m *memory) Delete(_ context.Context, key string, _ *driver.DeleteOptions) error {
	if err := m.call("delete", key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[key]; !ok {
		return fmt.Errorf("%s: %w", key, errNone)
	}
	delete(m.objects, key)
	m.after("delete", key)
	return nil
}
