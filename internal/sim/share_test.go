//go:build !synctests

package sim

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// share is how many seeds every test run plays: two and a half minutes of CPU.
// `make sim` plays more.
const share = "1000"

// TestShare plays some seeds in a test binary of their own: it has the build tag
// that Kafka's client asks for in a bubble, and no race detector, with which
// SQLite takes many times as long.
func TestShare(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 18*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-v", "-count=1", "-tags=synctests", "-run=^TestSeeds$", ".", "-sim.seeds="+share)
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	said := strings.TrimSpace(out.String())
	if err != nil || !strings.Contains(said, share+" passed, 0 failed") {
		t.Fatalf("%v\n%s", err, said)
	}
}

// TestMutantsFit: each planted bug fits the sources, else nobody looks for it.
func TestMutantsFit(t *testing.T) {
	patches, err := filepath.Glob("mutants/*.patch")
	if err != nil || len(patches) == 0 {
		t.Fatal("no planted bugs: ", err)
	}
	for _, p := range patches {
		cmd := exec.CommandContext(t.Context(), "git", "apply", "--check", "internal/sim/"+p)
		cmd.Dir = "../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", p, err, out)
		}
	}
}
