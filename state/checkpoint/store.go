package checkpoint

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"
	"gocloud.dev/gcerrors"
	"golang.org/x/time/rate"
)

// Options say how a store is used. Zero means the default.
type Options struct {
	// Now gives the time. It bounds how long a checkpoint may take; ages are of
	// the store's own clock.
	Now func() time.Time
	// UploadLimit is how many bytes a second are uploaded at most; 0 is no bound.
	UploadLimit int64
	// Grace is G of the package's comment: what is younger isn't collected, and a
	// checkpoint takes at most half of it.
	Grace time.Duration
	// Failpoint is called before each step that writes; an error fails it. For
	// tests.
	Failpoint func(step string) error
}

// DefaultGrace leaves three hours for an upload; files that nobody needs cost
// their room for six.
const DefaultGrace = 6 * time.Hour

func (o *Options) ensureDefaults() {
	if o.Grace == 0 {
		o.Grace = DefaultGrace
	}
	if o.Failpoint == nil {
		o.Failpoint = func(string) error { return nil }
	}
}

// Store is where checkpoints are kept. It may be used by many goroutines.
type Store struct {
	bucket *blob.Bucket
	name   string
	o      Options
	limit  *rate.Limiter

	mu   sync.Mutex // guards what follows
	read map[string]*Manifest
}

// schemes are what a store's URL may begin with.
const schemes = "a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or azblob://CONTAINER/PREFIX"

// Open opens the store at a URL, or in a folder, which is made if it must be.
// Credentials come from the environment, as the makers of each store have it.
func Open(ctx context.Context, where string, o Options) (*Store, error) {
	o.ensureDefaults()
	if o.Now == nil {
		return nil, errors.New("checkpoint store: Now is not set")
	}
	b, name, err := open(ctx, where)
	if err != nil {
		return nil, err
	}
	return newStore(b, name, o), nil
}

func newStore(b *blob.Bucket, name string, o Options) *Store {
	o.ensureDefaults()
	s := &Store{bucket: b, name: name, o: o, read: map[string]*Manifest{}}
	if o.UploadLimit > 0 {
		s.limit = rate.NewLimiter(rate.Limit(o.UploadLimit), int(max(o.UploadLimit/4, chunk)))
	}
	return s
}

// Check tells whether a URL could be a store's, without asking the store.
func Check(where string) error {
	_, err := parse(where)
	return err
}

// parse gives the URL of a store; a folder's has the scheme file.
func parse(where string) (*url.URL, error) {
	if where == "" {
		return nil, errors.New("no store for checkpoints is named; it may be " + schemes)
	}
	if !strings.Contains(where, "://") {
		return &url.URL{Scheme: "file", Path: where}, nil
	}
	u, err := url.Parse(where)
	if err != nil { // the error may quote what must not be shown
		return nil, errors.New("the checkpoint store's URL cannot be read; it may be " + schemes)
	}
	if u.User != nil {
		return nil, errors.New("the checkpoint store's URL holds a user or password; they come from the environment (AWS_ACCESS_KEY_ID, AZURE_STORAGE_KEY, …)")
	}
	switch u.Scheme {
	case "file":
		if u.Host != "" {
			return nil, fmt.Errorf("the checkpoint store file://%s is on another machine; wanted file:///PATH", u.Host)
		}
	case "s3", "gs", "azblob":
		if u.Host == "" {
			return nil, fmt.Errorf("the checkpoint store %s:// names no bucket", u.Scheme)
		}
	default:
		return nil, fmt.Errorf("the checkpoint store %s:// is of no known kind; it may be %s", u.Scheme, schemes)
	}
	return u, nil
}

// open gives the bucket of a URL, and the name by which it may be shown.
func open(ctx context.Context, where string) (*blob.Bucket, string, error) {
	u, err := parse(where)
	if err != nil {
		return nil, "", err
	}
	name := u.Scheme + "://" + u.Host + u.Path
	prefix := strings.Trim(u.Path, "/")
	var b *blob.Bucket
	switch u.Scheme {
	case "file":
		dir := filepath.Clean(u.Path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, "", fmt.Errorf("folder for checkpoints: %w", err)
		}
		return blob.NewBucket(folder{dir}), dir, nil
	case "azblob":
		bare := url.URL{Scheme: u.Scheme, Host: u.Host, RawQuery: u.RawQuery}
		b, err = blob.OpenBucket(ctx, bare.String())
	default:
		b, err = openS3(u)
	}
	if err != nil {
		return nil, "", fmt.Errorf("open the checkpoint store %s: %w", name, err)
	}
	if prefix != "" {
		b = blob.PrefixedBucket(b, prefix+"/")
	}
	return b, name, nil
}

// The scheme is known to blob.OpenBucket by importing the package.
const _ = azureblob.Scheme

// Close gives the store's connections back.
func (s *Store) Close() error { return s.bucket.Close() }

// Name is the store's URL as it may be shown.
func (s *Store) Name() string { return s.name }

// object is one object of the store.
type object struct {
	key     string
	size    int64
	modtime time.Time
}

// list gives the objects below a prefix.
func (s *Store) list(ctx context.Context, prefix string) ([]object, error) {
	it := s.bucket.List(&blob.ListOptions{Prefix: prefix})
	var all []object
	for {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", strings.TrimSuffix(s.name+"/"+prefix, "/"), err)
		}
		all = append(all, object{o.Key, o.Size, o.ModTime})
	}
}

// clock gives the store's own time, by what it says of an object that was just
// written.
func (s *Store) clock(ctx context.Context, l Log) (time.Time, error) {
	key := l.files() + "clock-" + nonce()
	if err := s.bucket.WriteAll(ctx, key, []byte("what time is it?\n"), nil); err != nil {
		return time.Time{}, fmt.Errorf("write to %s: %w", s.name, err)
	}
	a, err := s.bucket.Attributes(ctx, key)
	if err == nil {
		err = s.bucket.Delete(ctx, key)
	}
	if gcerrors.Code(err) == gcerrors.NotFound { // so old that another collector took it
		return time.Time{}, fmt.Errorf("ask %s for the time: %w", s.name, ErrGone)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("ask %s for the time: %w", s.name, err)
	}
	return a.ModTime, nil
}

// nonce is a random name, so that no key is used twice.
func nonce() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// chunk is what is uploaded at once under a bound.
const chunk = 64 << 10

// bounded writes no faster than the store's bound, and counts.
type bounded struct {
	ctx   context.Context
	w     io.Writer
	limit *rate.Limiter
	n     int64
}

func (b *bounded) Write(p []byte) (done int, err error) {
	for err == nil && done < len(p) {
		piece := p[done:min(len(p), done+chunk)]
		if b.limit != nil {
			if bad := b.limit.WaitN(b.ctx, len(piece)); bad != nil {
				if b.ctx.Err() == nil { // it would be too late by then
					bad = fmt.Errorf("%w: the upload's bound is too low: %w", errSlow, bad)
				}
				return done, bad
			}
		}
		var n int
		n, err = b.w.Write(piece)
		done += n
		b.n += int64(n)
	}
	return done, err
}
