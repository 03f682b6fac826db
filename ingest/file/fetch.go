package file

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// maxDump bounds a dump as it lies on the server; the largest month so far
	// has under 5 GB.
	maxDump = 16 << 30
	// maxPause bounds the pause between two tries, maxWait what a server may ask.
	maxPause = 30 * time.Second
	maxWait  = 2 * time.Minute
	// maxFails is how many tries in a row may bring nothing: half a minute of
	// pauses. maxTries bounds those that bring a little each.
	maxFails = 6
	maxTries = 200

	etagEnding = ".etag"
	maxETag    = 1024
)

// retry is a failure that may pass. after is what the server asked for.
type retry struct {
	err   error
	after time.Duration
}

func (r *retry) Error() string { return r.err.Error() }
func (r *retry) Unwrap() error { return r.err }

func (s *Store) url(r Ref) string { return s.cfg.Base + "/" + r.address() }

// checksum asks the server for a dump's.
func (s *Store) checksum(ctx context.Context, r Ref) (d Digest, data []byte, err error) {
	err = s.tries(ctx, r, func() (bool, error) {
		ctx, stalled, stop := s.watch(ctx)
		defer stop()
		res, err := s.get(ctx, s.url(r)+checksumEnding, nil)
		if err != nil {
			return false, err
		}
		defer res.Body.Close()
		data, err = io.ReadAll(io.LimitReader(alive{res.Body, stalled}, maxChecksum))
		if err != nil {
			return false, &retry{err: cause(ctx, err)}
		}
		d, err = parseChecksum(data, r.Name())
		return false, err
	})
	if err != nil {
		return d, nil, fmt.Errorf("fetch %s%s: %w", s.url(r), checksumEnding, err)
	}
	return d, data, nil
}

// complete fetches what part lacks of a dump.
func (s *Store) complete(ctx context.Context, r Ref, part string) error {
	err := s.tries(ctx, r, func() (bool, error) {
		n, err := s.piece(ctx, s.url(r), part)
		return n > 0, err
	})
	if err != nil {
		return fmt.Errorf("fetch %s: %w", s.url(r), err)
	}
	return nil
}

// tries calls once until it succeeds, fails for good, or has failed too often.
func (s *Store) tries(ctx context.Context, r Ref, once func() (some bool, err error)) error {
	fails := 0
	for try := 1; ; try++ {
		some, err := once()
		var again *retry
		if err == nil || !errors.As(err, &again) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if fails++; some {
			fails = 1
		}
		if fails >= maxFails || try >= maxTries {
			return fmt.Errorf("%w: tried %d times: %w", ErrAway, try, again.err)
		}
		pause := min(s.cfg.MinPause<<(fails-1), maxPause)
		pause = max(pause/2+rand.N(pause/2+1), min(again.after, maxWait))
		s.cfg.Log.Warn("fetching broke off", "file", r.Name(), "err", again.err, "again in", pause.Round(time.Millisecond))
		if err := wait(ctx, pause); err != nil {
			return err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// get asks for a page and gives it only if the server has it.
func (s *Store) get(ctx context.Context, url string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	res, err := s.client.Do(req)
	if err != nil {
		var untrusted *tls.CertificateVerificationError
		if errors.Is(err, errRedirect) || errors.As(err, &untrusted) {
			return nil, err // it will be no other the next time
		}
		return nil, &retry{err: cause(ctx, err)}
	}
	switch c := res.StatusCode; {
	case c == http.StatusOK, c == http.StatusPartialContent && header != nil, c == http.StatusRequestedRangeNotSatisfiable && header != nil:
		return res, nil
	case c == http.StatusNotFound:
		err = ErrNotPublished
	case c >= 500, c == http.StatusTooManyRequests, c == http.StatusRequestTimeout:
		seconds, _ := strconv.Atoi(res.Header.Get("Retry-After")) // a date is as good as nothing
		err = &retry{fmt.Errorf("the server answers %s", res.Status), time.Duration(max(seconds, 0)) * time.Second}
	default:
		err = fmt.Errorf("the server answers %s", res.Status)
	}
	res.Body.Close()
	return nil, err
}

// piece asks for what is missing behind part's end, or for all where the server
// can't say that it has the same version still. It gives how much came.
func (s *Store) piece(ctx context.Context, url, part string) (n int64, err error) {
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	at, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	etag, err := readETag(part)
	if err != nil {
		return 0, err
	}
	var header http.Header
	if at > 0 && etag != "" {
		header = http.Header{"Range": {fmt.Sprintf("bytes=%d-", at)}, "If-Range": {etag}}
	}
	ctx, stalled, stop := s.watch(ctx)
	defer stop()
	res, err := s.get(ctx, url, header)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK || !goesOn(res, at, etag) {
		at = 0
		// Empty before the other version's name stands: bytes of two versions
		// never meet in one file.
		if err := f.Truncate(0); err != nil {
			return 0, err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
		if res.StatusCode != http.StatusOK {
			return 0, &retry{err: fmt.Errorf("the server does not go on at byte %s, but answers %s", header.Get("Range"), res.Status)}
		}
		if err := writeETag(part, res.Header.Get("ETag")); err != nil {
			return 0, err
		}
	}
	if at+res.ContentLength > maxDump {
		return 0, fmt.Errorf("it has %d bytes, more than a dump may have (%d)", at+res.ContentLength, int64(maxDump))
	}
	to := &keeping{w: f}
	n, err = io.Copy(to, io.LimitReader(alive{counting{s, res.Body}, stalled}, maxDump+1-at))
	switch {
	case to.err != nil:
		return n, to.err // a full disk, which another try doesn't empty
	case err != nil:
		return n, &retry{err: cause(ctx, err)}
	}
	if at+n > maxDump {
		return n, fmt.Errorf("it has more bytes than a dump may have (%d)", int64(maxDump))
	}
	return n, f.Sync()
}

// goesOn reports whether an answer begins where part ends, in the same version.
func goesOn(res *http.Response, at int64, etag string) bool {
	if res.StatusCode != http.StatusPartialContent {
		return false
	}
	if e := res.Header.Get("ETag"); e != "" && e != etag {
		return false
	}
	return strings.HasPrefix(res.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", at))
}

// readETag tells which version part is of; "" is not known.
func readETag(part string) (string, error) {
	data, err := os.ReadFile(part + etagEnding)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(data)), err
}

// writeETag keeps a version's name. A weak one, W/"…", vouches for no byte.
func writeETag(part, etag string) error {
	if len(etag) < 2 || len(etag) > maxETag || etag[0] != '"' || etag[len(etag)-1] != '"' {
		return remove(part + etagEnding)
	}
	return os.WriteFile(part+etagEnding, []byte(etag), 0o644)
}

var errStalled = errors.New("the server sent nothing for too long")

// watch ends a request that has brought nothing for a while. The function it
// gives says that something came.
func (s *Store) watch(parent context.Context) (_ context.Context, came func(), stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	t := time.AfterFunc(s.cfg.Stall, func() { cancel(errStalled) })
	return ctx, func() { t.Reset(s.cfg.Stall) }, func() {
		t.Stop()
		cancel(nil)
	}
}

// cause puts why ctx ended in the place of what that made of a request.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// keeping keeps what writing failed with, apart from what reading did.
type keeping struct {
	w   io.Writer
	err error
}

func (k *keeping) Write(p []byte) (n int, err error) {
	n, k.err = k.w.Write(p)
	return n, k.err
}

// alive tells came of each read that brings something.
type alive struct {
	r    io.Reader
	came func()
}

func (a alive) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	if n > 0 {
		a.came()
	}
	return n, err
}

// counting counts what comes for Fetched.
type counting struct {
	s *Store
	r io.Reader
}

func (c counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.s.fetched.Add(int64(n))
	return n, err
}
