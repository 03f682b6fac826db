package testenv

import (
	"errors"
	"strings"
	"testing"
)

func TestAMissingToolNamesItsInstallCommand(t *testing.T) {
	_, err := tool("no-such-server", "the-package")
	if err == nil || !strings.Contains(err.Error(), "apt-get install the-package") {
		t.Errorf("error %v does not say what to install", err)
	}
}

func TestPortsDiffer(t *testing.T) {
	seen := map[int]bool{}
	for range 50 {
		port, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] {
			t.Fatalf("port %d was given twice", port)
		}
		seen[port] = true
	}
}

// A cache folder that could not be filled is not left half full.
func TestCachedIsWholeOrNothing(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	broken := errors.New("connection lost")
	if _, err := cached("jars", func(string) error { return broken }); !errors.Is(err, broken) {
		t.Fatalf("error %v, want %v", err, broken)
	}
	calls := 0
	for range 2 {
		if _, err := cached("jars", func(string) error { calls++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if calls != 1 {
		t.Errorf("filled %d times, want once", calls)
	}
}
