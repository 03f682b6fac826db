package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// DefaultBase is where Binance publishes the dumps of its spot market.
const DefaultBase = "https://data.binance.vision/data/spot"

var (
	// ErrNotPublished reports a dump that the server doesn't have: a day's comes
	// on the day after, and none is there for days before a symbol was listed.
	ErrNotPublished = errors.New("not published, or not yet")
	// ErrAway reports a server that could not be reached, broke off or was not
	// able to answer, again and again. Later it may do.
	ErrAway = errors.New("the server of dumps is away")
)

// StoreConfig says where dumps come from and where they are kept.
type StoreConfig struct {
	Base string // default DefaultBase
	Dir  string // laid out as the server is
	CA   string // authorities to trust beside the system's, PEM

	// MinPause is the pause before a second try; it doubles up to 30 s.
	// Default 1 s.
	MinPause time.Duration
	// Stall is the longest a server may send nothing. Default 30 s.
	Stall time.Duration
	Log   *slog.Logger // default discards
}

// EnsureDefaults fills what is not set.
func (c *StoreConfig) EnsureDefaults() {
	c.Base = cmp.Or(c.Base, DefaultBase)
	c.MinPause = cmp.Or(c.MinPause, time.Second)
	c.Stall = cmp.Or(c.Stall, 30*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Store is a folder of Binance's public dumps that fetches what it doesn't
// have. What it has is verified each time. Several goroutines may use it for
// different dumps; one process at a time may use the folder.
//
//	DIR/daily/trades/BTCUSDT/BTCUSDT-trades-2024-08-08.zip
//	                         BTCUSDT-trades-2024-08-08.zip.CHECKSUM
//	                         BTCUSDT-trades-2024-08-09.zip.part       on its way
//	                         BTCUSDT-trades-2024-08-09.zip.part.etag  of which version
type Store struct {
	cfg     StoreConfig
	client  *http.Client
	fetched atomic.Int64
}

// NewStore checks the address and reads the certificates. It touches neither
// the folder nor the network.
func NewStore(cfg StoreConfig) (*Store, error) {
	cfg.EnsureDefaults()
	base, err := baseURL(cfg.Base)
	if err != nil {
		return nil, err
	}
	cfg.Base = base
	client, err := newClient(cfg.CA)
	if err != nil {
		return nil, err
	}
	return &Store{cfg: cfg, client: client}, nil
}

// Close lets idle connections go.
func (s *Store) Close() { s.client.CloseIdleConnections() }

// Fetched is the number of bytes received so far.
func (s *Store) Fetched() int64 { return s.fetched.Load() }

// Digest tells what a dump's checksum says, without fetching the dump: from the
// folder, else from the server.
func (s *Store) Digest(ctx context.Context, r Ref) (Digest, error) {
	if err := r.check(); err != nil {
		return Digest{}, err
	}
	if d, ok, err := checksumOf(s.path(r)); err == nil && ok {
		return d, nil
	}
	d, _, err := s.checksum(ctx, r)
	return d, err
}

// Fetch gives the path of a dump, verified: from the folder, else from the
// server. ErrNotPublished, ErrAway and ErrChecksum tell failures apart.
func (s *Store) Fetch(ctx context.Context, r Ref) (string, error) {
	if err := r.check(); err != nil {
		return "", err
	}
	path := s.path(r)
	mine, err := DigestOf(ctx, path)
	there := err == nil
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if there {
		want, ok, err := checksumOf(path)
		if err == nil && ok && mine == want {
			return path, nil
		}
		s.cfg.Log.Warn("a dump in the folder has no checksum or is not what it says", "file", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("folder of dumps: %w", err)
	}
	want, sum, err := s.checksum(ctx, r)
	if err != nil {
		return "", err
	}
	if !there || mine != want {
		if want, sum, err = s.download(ctx, r, want, sum); err != nil {
			return "", err
		}
	}
	// The dump stands before its checksum does: one without is looked at again.
	if err := writeFile(path+checksumEnding, sum); err != nil {
		return "", fmt.Errorf("keep a checksum: %w", err)
	}
	s.cfg.Log.Debug("fetched", "file", path, "sha256", want)
	return path, nil
}

func (s *Store) path(r Ref) string { return filepath.Join(s.cfg.Dir, filepath.FromSlash(r.path())) }

// download brings a dump into the folder, and gives the checksum that it has
// passed: a file may be published anew between the two.
func (s *Store) download(ctx context.Context, r Ref, want Digest, sum []byte) (Digest, []byte, error) {
	path := s.path(r)
	part := path + ".part"
	for try := 1; ; try++ {
		// What lies there from an earlier run may be whole already.
		got, err := DigestOf(ctx, part)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return want, nil, err
		}
		if err != nil || got != want {
			if err := s.complete(ctx, r, part); err != nil {
				return want, nil, err
			}
			if got, err = DigestOf(ctx, part); err != nil {
				return want, nil, err
			}
		}
		if got == want {
			break
		}
		if err := discard(part); err != nil {
			return want, nil, err
		}
		if try == 2 {
			return want, nil, fmt.Errorf("fetch %s twice: %w", s.url(r), mismatch(path, got, want))
		}
		s.cfg.Log.Warn("what was fetched is not what its checksum says; again from the start", "file", r.Name())
		if want, sum, err = s.checksum(ctx, r); err != nil {
			return want, nil, err
		}
	}
	if err := rename(part, path); err != nil {
		return want, nil, fmt.Errorf("keep a dump: %w", err)
	}
	if err := remove(part + etagEnding); err != nil {
		return want, nil, err
	}
	return want, sum, nil
}

func discard(part string) error {
	return errors.Join(remove(part), remove(part+etagEnding))
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// writeFile writes a small file so that it stands whole or not at all.
func writeFile(path string, data []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return rename(path+".new", path)
}

// rename moves a synced file to its place for good.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(to))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
