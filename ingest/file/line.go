package file

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
)

// maxLine bounds a line. The longest frame recorded so far, a snapshot of the
// book, has 64 KB.
const maxLine = 8 << 20

// ErrLine reports a line that cannot be used. The error that wraps it names
// the file and the line.
var ErrLine = errors.New("bad line")

// lines reads a file line by line, unpacking it on the way.
type lines struct {
	path   string
	r      *bufio.Reader
	close  []io.Closer // in the order to be closed
	number int         // of the line returned last, from 1
	long   []byte      // a line longer than the reader's buffer
	digest Digest      // of the file, where it was verified
}

// openLines opens path and finds out how it is packed.
func openLines(path string) (*lines, error) { return openFile(path, nil, nil) }

// openVerified is openLines behind a look at the file's checksum. It is the
// same open file whose digest was taken and that is then read.
func openVerified(ctx context.Context, path string, o *Options) (*lines, error) {
	var digest Digest
	l, err := openFile(path, o.Read, func(f *os.File) (err error) {
		digest, err = verify(ctx, f, o.RequireChecksum)
		return err
	})
	if err == nil {
		l.digest = digest
	}
	return l, err
}

func openFile(path string, read *atomic.Int64, check func(*os.File) error) (_ *lines, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	l := &lines{path: path, close: []io.Closer{f}}
	defer func() {
		if err != nil {
			_ = l.Close() // only read
		}
	}()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	if check != nil {
		if err := check(f); err != nil {
			return nil, err
		}
	}
	if read == nil {
		read = new(atomic.Int64)
	}
	from := counted{f, read}
	br := bufio.NewReaderSize(from, 64<<10)
	magic, err := br.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var in io.Reader
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("%s: gzip: %w", path, err)
		}
		in, l.close = &bounded{r: z, size: st.Size()}, []io.Closer{z, f}
	case bytes.HasPrefix(magic, []byte("PK\x03\x04")), bytes.HasPrefix(magic, []byte("PK\x05\x06")):
		member, err := openZip(from, st.Size())
		if err != nil {
			return nil, fmt.Errorf("%s: zip: %w", path, err)
		}
		in, l.close = &bounded{r: member, size: st.Size()}, []io.Closer{member, f}
	default:
		l.r = br
		return l, nil
	}
	l.r = bufio.NewReaderSize(in, 64<<10)
	return l, nil
}

// openZip opens the one csv in a zip.
func openZip(f io.ReaderAt, size int64) (io.ReadCloser, error) {
	z, err := zip.NewReader(f, size)
	if err != nil {
		return nil, err
	}
	var csv *zip.File
	for _, m := range z.File {
		if !strings.HasSuffix(strings.ToLower(m.Name), ".csv") {
			continue
		}
		if csv != nil {
			return nil, fmt.Errorf("holds more than one csv (%q and %q): unpack it and name the one to read", csv.Name, m.Name)
		}
		csv = m
	}
	if csv == nil {
		return nil, errors.New("holds no csv")
	}
	// What it says of itself is refused before a row is read; bounded sees to
	// the case that it lies.
	if err := tooMuch(int64(min(csv.UncompressedSize64, 1<<62)), size); err != nil {
		return nil, err
	}
	return csv.Open()
}

// Next gives the next line without its end, which may be \n or \r\n, and
// io.EOF behind the last. The line holds until the next call.
func (l *lines) Next() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		l.long = append(l.long[:0], line...)
		for errors.Is(err, bufio.ErrBufferFull) && len(l.long) <= maxLine {
			line, err = l.r.ReadSlice('\n')
			l.long = append(l.long, line...)
		}
		if len(l.long) > maxLine {
			l.number++
			return nil, l.bad(fmt.Errorf("longer than %d bytes", maxLine))
		}
		line = l.long
	}
	if err != nil && !errors.Is(err, io.EOF) {
		// A file cut short or a wrong checksum: the row it happened in is lost.
		return nil, fmt.Errorf("%s: behind line %d: %w", l.path, l.number, err)
	}
	if errors.Is(err, io.EOF) && len(line) == 0 {
		return nil, io.EOF
	}
	l.number++
	line = bytes.TrimSuffix(line, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), nil
}

// bad says which line err is about.
func (l *lines) bad(err error) error {
	return fmt.Errorf("%s: line %d: %w: %w", l.path, l.number, ErrLine, err)
}

// Close closes what openLines opened. Unpackers say again here what Next has
// said, so only the file's own word counts, which is the last.
func (l *lines) Close() (err error) {
	for _, c := range l.close {
		err = c.Close()
	}
	l.close = nil
	return err
}

// snippet bounds what an error shows of a line.
func snippet(line []byte) string {
	if len(line) > 120 {
		return fmt.Sprintf("%q…", line[:120])
	}
	return fmt.Sprintf("%q", line)
}
