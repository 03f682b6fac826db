package checkpoint

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestCheckpointOfVersion1: what this version takes, every later one restores.
// The store in testdata/v1 is never written anew: a change of format adds a
// folder and keeps this one. MILLRACE_GOLDEN=write makes it where it is absent.
func TestCheckpointOfVersion1(t *testing.T) {
	dir := filepath.Join("testdata", "v1")
	want := filepath.Join("testdata", "v1.candles")
	if _, err := os.Stat(dir); os.IsNotExist(err) && os.Getenv("MILLRACE_GOLDEN") == "write" {
		s, err := Open(t.Context(), dir, Options{Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, s, vfs.Default, 3)
		w.trade(60)
		w.close()
		w.open() // tables
		w.trade(20)
		w.take(false)
		if err := os.WriteFile(want, []byte(w.published()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(t.Context(), dir, Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	fs := vfs.NewMem()
	m, refused, err := s.Restore(t.Context(), Want{Log: testLog, Scratch: "restored", FS: fs})
	if err != nil || m == nil || len(refused) > 0 {
		t.Fatalf("restored %v, refused %v: %v", m, refused, err)
	}
	candles, err := os.ReadFile(want)
	if err != nil {
		t.Fatal(err)
	}
	if inside(t, "restored", fs) != string(candles) || m.Program != "1.2.3" || m.Symbols != 3 || m.Offset != 81 {
		t.Fatalf("it holds something else than it did: %+v", m)
	}
}
