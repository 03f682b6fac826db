package testenv

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A server that ends instead of answering fails its start at once, with what it
// printed.
func TestAServerThatDiesSaysWhy(t *testing.T) {
	s := &server{
		name:    "broken",
		log:     filepath.Join(t.TempDir(), "log"),
		command: func() *exec.Cmd { return exec.Command("sh", "-c", "echo no disk left; exit 3") },
		ready:   func(context.Context) error { return errors.New("not there") },
	}
	began := time.Now()
	err := s.Start()
	if err == nil {
		t.Fatal("it started")
	}
	for _, want := range []string{"broken", "exit status 3", "no disk left"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	if took := time.Since(began); took > readyTimeout/2 {
		t.Errorf("it took %v to see that it died", took)
	}
}

// When a test process is killed, nobody is left to stop its servers.
func TestAServerDiesWithItsTest(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(self)
	parent.Env = append(os.Environ(), parentVariable+"="+filepath.Join(t.TempDir(), "log"))
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("read the server's process id: %v", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("the server does not run: %v", err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := parent.Wait(); err == nil {
		t.Fatal("the parent ended by itself")
	}
	if !goneWithin(pid, 10*time.Second) {
		t.Errorf("process %d outlived its test", pid)
	}
}

// goneWithin waits for a process that is no child of ours. One that is dead but
// not yet reaped (state Z) is gone.
func goneWithin(pid int, limit time.Duration) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); time.Now().Before(end); <-tick.C {
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return true
		}
	}
	return false
}
