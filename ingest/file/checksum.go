package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// checksumEnding is what Binance puts behind a file's name for the file that
// holds its digest.
const checksumEnding = ".CHECKSUM"

// maxChecksum bounds a file of checksums: Binance's hold one line.
const maxChecksum = 64 << 10

// ErrChecksum reports a file that is not what its checksum says, or one whose
// checksum is asked for and is not there.
var ErrChecksum = errors.New("checksum")

// Digest is the SHA-256 of a file as it lies on disk.
type Digest [sha256.Size]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// ParseDigest reads 64 hexadecimal digits.
func ParseDigest(s string) (d Digest, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(d) {
		return d, fmt.Errorf("%w: %s is no SHA-256 in hexadecimal digits", ErrChecksum, snippet([]byte(s)))
	}
	copy(d[:], b)
	return d, nil
}

// DigestOf reads a file for its digest.
func DigestOf(ctx context.Context, path string) (Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return Digest{}, fmt.Errorf("open: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	return digestOf(ctx, f)
}

func digestOf(ctx context.Context, f *os.File) (d Digest, err error) {
	h := sha256.New()
	// Nothing but the bytes: a copy by the kernel could not be stopped.
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, untilDone{ctx, f}, make([]byte, 256<<10)); err != nil {
		return d, fmt.Errorf("%s: read for its checksum: %w", f.Name(), err)
	}
	h.Sum(d[:0])
	return d, nil
}

// untilDone reads until ctx ends.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.r.Read(p)
}

// checksumOf gives the digest that the file of checksums beside path has for
// it. ok is false where there is none.
func checksumOf(path string) (_ Digest, ok bool, err error) {
	f, err := os.Open(path + checksumEnding)
	if errors.Is(err, os.ErrNotExist) {
		return Digest{}, false, nil
	}
	if err != nil {
		return Digest{}, false, fmt.Errorf("open: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(f, maxChecksum))
	if err == nil {
		var d Digest
		if d, err = parseChecksum(data, filepath.Base(path)); err == nil {
			return d, true, nil
		}
	}
	return Digest{}, false, fmt.Errorf("%s: %w", path+checksumEnding, err)
}

// parseChecksum finds a file's line in what sha256sum writes: the digest, a
// blank, a blank or an asterisk, the name.
func parseChecksum(data []byte, name string) (Digest, error) {
	for line := range strings.Lines(string(data)) {
		sum, of, ok := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		if ok && len(of) > 1 && (of[0] == ' ' || of[0] == '*') && of[1:] == name {
			return ParseDigest(sum)
		}
	}
	return Digest{}, fmt.Errorf("%w: no line in the form of sha256sum for %s in %s", ErrChecksum, name, snippet(data))
}

// verify compares a file that is open with the checksum beside it, before
// anything of it is used.
func verify(ctx context.Context, f *os.File, required bool) (Digest, error) {
	want, ok, err := checksumOf(f.Name())
	if err != nil {
		return Digest{}, err
	}
	if !ok && required {
		return Digest{}, fmt.Errorf("%s: %w: %s is not there, and a checksum is required", f.Name(), ErrChecksum, filepath.Base(f.Name())+checksumEnding)
	}
	got, err := digestOf(ctx, f)
	if err != nil {
		return Digest{}, err
	}
	if ok && got != want {
		return Digest{}, mismatch(f.Name(), got, want)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Digest{}, fmt.Errorf("%s: go back to its start: %w", f.Name(), err)
	}
	return got, nil
}

func mismatch(path string, got, want Digest) error {
	return fmt.Errorf("%s: %w: the file's SHA-256 is %v, its checksum says %v: it is damaged or another version; fetch it again", path, ErrChecksum, got, want)
}
