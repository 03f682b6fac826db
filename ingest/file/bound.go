package file

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

const (
	// maxUnpacked bounds what a packed file may become: the largest month that
	// Binance has published unpacks to under 20 GB.
	maxUnpacked = 64 << 30
	// maxRatio bounds how many times larger it may become. Rows of trades pack
	// to a quarter or a tenth, nothing but zeros to a thousandth.
	maxRatio = 200
	// freeUnpacked is not held against maxRatio.
	freeUnpacked = 16 << 20
)

// ErrBomb reports a file that unpacks to far more than a dump could.
var ErrBomb = errors.New("unpacks to more than a dump can hold")

// tooMuch refuses n unpacked bytes from a file of size bytes.
func tooMuch(n, size int64) error {
	switch {
	case n > maxUnpacked:
		return fmt.Errorf("%w: over %d GB", ErrBomb, maxUnpacked>>30)
	case n > freeUnpacked && n/maxRatio > size:
		return fmt.Errorf("%w: over %d bytes from a file of %d", ErrBomb, n-n%(1<<20), size)
	}
	return nil
}

// bounded is what comes out of a packed file of size bytes.
type bounded struct {
	r    io.Reader
	size int64
	n    int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.n += int64(n)
	if over := tooMuch(b.n, b.size); over != nil {
		return 0, over
	}
	return n, err
}

// counted counts what is read of a file, for who watches.
type counted struct {
	r interface {
		io.Reader
		io.ReaderAt
	}
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func (c counted) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.r.ReadAt(p, off)
	c.n.Add(int64(n))
	return n, err
}
