package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"gocloud.dev/gcerrors"
)

// TestURLs: what can't be a store is refused with a word, and no secret is in
// it, nor in the name of one that can.
func TestURLs(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"", "no store"},
		{"ftp://host/x", "no known kind"},
		{"s3://", "names no bucket"},
		{"s3://AKIAX:secret@bucket/x", "environment"},
		{"s3://bucket/x%zz?key=secret", "cannot be read"},
		{"file://host/x", "another machine"},
		{"s3://bucket/x?secret_key=secret", "parameter secret_key"},
		{"s3://bucket/x?endpoint=https://user:secret@host", "endpoint"},
	} {
		_, err := Open(t.Context(), c.url, Options{Now: time.Now})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret@") || strings.Contains(err.Error(), "=secret") {
			t.Errorf("%s: %v, wanted one with %q", c.url, err, c.want)
		}
	}
	s, err := Open(t.Context(), s3Server(t), Options{Now: time.Now})
	if err != nil || s.Name() != "s3://millrace/some/where" {
		t.Fatalf("%v, %v", s.Name(), err)
	}
}

// TestObjects: what a driver promises, of each that is our own.
func TestObjects(t *testing.T) {
	eachStore(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		big := make([]byte, 2*partSize+12345) // sent in parts
		for i := range big {
			big[i] = byte(rand.Uint32())
		}
		for key, b := range map[string][]byte{"a/one": []byte("1"), "a/b/two": []byte("22"), "ab": big} {
			if err := s.bucket.WriteAll(ctx, key, b, nil); err != nil {
				t.Fatal(err)
			}
			got, err := s.bucket.ReadAll(ctx, key)
			if err != nil || !bytes.Equal(got, b) {
				t.Fatalf("%s: %d bytes came back of %d: %v", key, len(got), len(b), err)
			}
		}
		if got, err := s.list(ctx, "a/"); err != nil || len(got) != 2 || got[0].key != "a/b/two" || got[1].size != 1 || time.Since(got[1].modtime) > time.Minute {
			t.Fatalf("%v, %v", got, err)
		}
		if got, err := s.list(ctx, "nothing/"); err != nil || len(got) != 0 {
			t.Fatalf("%v, %v", got, err)
		}
		for _, size := range []int{1, 2*partSize + 1} { // a writer that is cancelled writes nothing
			inner, cancel := context.WithCancel(ctx)
			w, err := s.bucket.NewWriter(inner, "never", nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(big[:size]); err != nil {
				t.Fatal(err)
			}
			cancel()
			if err := w.Close(); err == nil {
				t.Fatal("a cancelled writer closed as if it had written")
			}
			if _, err := s.bucket.ReadAll(ctx, "never"); gcerrors.Code(err) != gcerrors.NotFound {
				t.Fatal(err)
			}
		}
		r, err := s.bucket.NewRangeReader(ctx, "a/b/two", 1, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		part := make([]byte, 9)
		if n, _ := r.Read(part); n != 1 || part[0] != '2' {
			t.Fatalf("%q", part[:n])
		}
		r.Close()
		if err := s.bucket.Delete(ctx, "a/one"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.bucket.Attributes(ctx, "a/one"); gcerrors.Code(err) != gcerrors.NotFound {
			t.Fatal(err)
		}
		now, err := s.clock(ctx, testLog)
		if d := time.Since(now); err != nil || d > time.Minute || d < -time.Minute {
			t.Fatalf("%v, %v", now, err)
		}
	})
}

// TestListingThatCannotSeeAll: a folder that can't be read isn't an empty one.
func TestListingThatCannotSeeAll(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), dir, Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.bucket.WriteAll(t.Context(), "a/b", []byte("x"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.list(t.Context(), "a/b/c/"); err == nil { // a file where a folder should be
		t.Fatal("what can't be read was listed as nothing")
	}
}

// TestFolderLeavesNoHalves: what a power cut leaves of a file that was being
// written has another name.
func TestFolderLeavesNoHalves(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), dir, Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.bucket.NewWriter(t.Context(), "x/y", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.bucket.ReadAll(t.Context(), "x/y"); gcerrors.Code(err) != gcerrors.NotFound {
		t.Fatal(err)
	}
	names, err := s.list(t.Context(), "x/")
	if err != nil || len(names) != 1 || !strings.Contains(names[0].key, temporary) {
		t.Fatalf("%v, %v", names, err)
	}
	if err := errors.Join(w.Close()); err != nil {
		t.Fatal(err)
	}
}
