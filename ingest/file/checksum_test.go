package file

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// summed writes a file and its checksum, which the test may spoil.
func summed(t *testing.T, name string, data []byte, spoil func(string) string) string {
	t.Helper()
	path := write(t, name, data)
	sum := fmt.Sprintf("%x  %s\n", sha256.Sum256(data), name)
	if err := os.WriteFile(path+checksumEnding, []byte(spoil(sum)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestChecksumComesBeforeTheRows(t *testing.T) {
	const name = "LINKUSDT-trades-2025-01-01.zip"
	data := zipped("a.csv", spotTrades)
	same := func(s string) string { return s }
	for _, c := range []struct {
		name  string
		spoil func(string) string
		says  string // "" does
	}{
		{"as sha256sum writes it", same, ""},
		{"binary mode", func(s string) string { return strings.Replace(s, "  ", " *", 1) }, ""},
		{"carriage return", func(s string) string { return strings.Replace(s, "\n", "\r\n", 1) }, ""},
		{"capitals", func(s string) string { return strings.ToUpper(s[:64]) + s[64:] }, ""},
		{"among others", func(s string) string { return strings.Repeat("0", 64) + "  other.zip\n" + s }, ""},
		{"another digest", func(s string) string { return strings.Repeat("0", 64) + s[64:] }, strings.Repeat("0", 64)},
		{"another name", func(s string) string { return strings.Replace(s, "LINK", "LUNA", 1) }, "no line in the form of sha256sum"},
		{"cut", func(s string) string { return s[1:] }, "no SHA-256"},
		{"not hexadecimal", func(s string) string { return "x" + s[1:] }, "no SHA-256"},
		{"no name", func(s string) string { return s[:64] }, "no line"},
		{"empty", func(string) string { return "" }, "no line"},
		{"a page", func(string) string { return strings.Repeat("<html>", 100000) }, "no line"},
	} {
		path := summed(t, name, data, c.spoil)
		all, d, err := readAll(t, path, Options{RequireChecksum: true})
		if c.says == "" {
			if err != nil || len(all) != 2 || d.Digest != sha256.Sum256(data) {
				t.Errorf("%s: %d rows, %v", c.name, len(all), err)
			}
			continue
		}
		if !errors.Is(err, ErrChecksum) || len(all) > 0 || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) || len(err.Error()) > 700 {
			t.Errorf("%s: %d rows, %v", c.name, len(all), err)
		}
	}
	// Both digests are told.
	path := summed(t, name, data, same)
	if err := os.WriteFile(path, data[:len(data)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := readAll(t, path, Options{})
	for _, digest := range []Digest{sha256.Sum256(data), sha256.Sum256(data[:len(data)-1])} {
		if err == nil || !strings.Contains(err.Error(), digest.String()) {
			t.Errorf("a cut file: %v", err)
		}
	}
}

func TestMissingChecksum(t *testing.T) {
	path := write(t, "LINKUSDT-trades-2025-01-01.csv", []byte(spotTrades))
	if all, _, err := readAll(t, path, Options{}); err != nil || len(all) != 2 {
		t.Errorf("%d rows, %v", len(all), err)
	}
	_, _, err := readAll(t, path, Options{RequireChecksum: true})
	if !errors.Is(err, ErrChecksum) || !strings.Contains(err.Error(), "a checksum is required") {
		t.Error(err)
	}
	if _, err := OpenFramesVerified(t.Context(), path, Options{RequireChecksum: true}); !errors.Is(err, ErrChecksum) {
		t.Error(err)
	}
	f, err := OpenFramesVerified(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Digest() != sha256.Sum256([]byte(spotTrades)) {
		t.Errorf("digest %v", f.Digest())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := OpenDump(ctx, path, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

func TestReadIsCounted(t *testing.T) {
	for _, data := range [][]byte{[]byte(spotTrades), gz(spotTrades), zipped("a.csv", spotTrades)} {
		var n atomic.Int64
		if _, _, err := readAll(t, write(t, "some", data), Options{Symbol: "A", Read: &n}); err != nil {
			t.Fatal(err)
		}
		if got := int(n.Load()); got < len(data)/2 || got > 10*len(data) {
			t.Errorf("%d bytes read of %d", got, len(data))
		}
	}
}

func TestBombsAreRefused(t *testing.T) {
	row := []byte(strings.SplitAfter(spotTrades, "\n")[0])
	rows := bytes.Repeat(row, freeUnpacked/len(row)*5/4)
	var lying []byte
	{
		data := zipped("a.csv", string(rows))
		lying = slices.Clone(data)
		at := bytes.LastIndex(lying, []byte("PK\x01\x02")) + 24 // the unpacked size in the directory
		copy(lying[at:], []byte{100, 0, 0, 0})
		_, _, err := readAll(t, write(t, "some.zip", data), Options{Symbol: "A"})
		if !errors.Is(err, ErrBomb) || !strings.Contains(err.Error(), "some.zip") {
			t.Errorf("zip: %v", err)
		}
	}
	all, _, err := readAll(t, write(t, "some.zip", lying), Options{Symbol: "A"})
	if err == nil || !errors.Is(err, ErrBomb) && !errors.Is(err, zip.ErrFormat) || len(all) > len(rows)/len(row) {
		t.Errorf("a zip that lies: %d rows, %v", len(all), err)
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if all, _, err = readAll(t, write(t, "some.gz", packed.Bytes()), Options{Symbol: "A"}); !errors.Is(err, ErrBomb) || len(all) > freeUnpacked/len(row) {
		t.Errorf("gzip: %d rows, %v", len(all), err)
	}
	if tooMuch(maxUnpacked, maxUnpacked/5) != nil || tooMuch(maxUnpacked+1, maxUnpacked/5) == nil {
		t.Error("the bound in bytes")
	}
}

func TestFindGivesDaysInOrder(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		"daily/trades/BBB/BBB-trades-2024-08-01.zip", "daily/trades/BBB/BBB-trades-2024-08-02.zip", "daily/trades/AAA/AAA-trades-2024-08-02.zip",
		"AAA-trades-2024-08-01.csv", "a/AAA-aggTrades-2024-08-01.zip", "CCC-trades-2024-07.zip",
		"AAA-1m-2024-08-01.zip", "AAA-trades-2024-08-03.zip.part", "AAA-trades-2024-08-01.zip.CHECKSUM", "notes.txt", "DDD-trades-2024-08-01.zip/x",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dir     string
		symbols []string
		want    []string
	}{
		{dir, nil, []string{"CCC-trades-2024-07.zip", "AAA-trades-2024-08-01.csv", "AAA-aggTrades-2024-08-01.zip", "BBB-trades-2024-08-01.zip", "AAA-trades-2024-08-02.zip", "BBB-trades-2024-08-02.zip"}},
		{link + "/", []string{"BBB", "ZZZ"}, []string{"BBB-trades-2024-08-01.zip", "BBB-trades-2024-08-02.zip"}},
	} {
		paths, err := Find(c.dir, c.symbols)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range paths {
			got = append(got, filepath.Base(p))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("found %v", got)
		}
	}
	if _, err := Find(filepath.Join(dir, "nowhere"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
