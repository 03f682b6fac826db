package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"millrace/ingest/binance"
	"millrace/ingest/double"
)

func TestExitCodes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, taken := net.Listen("tcp", l.Addr().String())
	l.Close()
	_, refused := net.Dial("tcp", l.Addr().String())
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"none", nil, exitOK},
		{"any", errors.New("x"), exitFailure},
		{"usage", fmt.Errorf("step: %w", usagef("x")), exitUsage},
		{"unknown symbols", fmt.Errorf("x: %w", &binance.UnknownError{}), exitUsage},
		{"no symbol", fmt.Errorf("x: %w", binance.ErrNoSymbol), exitUsage},
		{"no double", fmt.Errorf("x: %w", &double.ConfigError{}), exitUsage},
		{"away", errors.Join(errors.New("x"), awayf("y")), exitAway},
		{"port taken", fmt.Errorf("listen: %w", taken), exitAway},
		{"refused", fmt.Errorf("dial: %w", refused), exitAway},
		{"no such host", fmt.Errorf("dial: %w", &net.DNSError{Err: "no such host"}), exitAway},
		{"signal", fmt.Errorf("play: %w", errInterrupted), exitInterrupted},
		{"cancelled", fmt.Errorf("play: %w", context.Canceled), exitInterrupted},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%s: exit code %d of %v, want %d", c.name, got, c.err, c.want)
		}
	}
	if got := oneLine(errors.Join(errors.New("a\n  b"), errors.New("c"))); got != "a; b; c" {
		t.Errorf("one line is %q", got)
	}
}

// Each code in the code stands in the help.
func TestExitCodesAreDocumented(t *testing.T) {
	_, out, _ := runTest(t, nil, "help", "exit-codes")
	for _, code := range []int{exitOK, exitFailure, exitUsage, exitNotWhole, exitAway, exitInterrupted} {
		if !strings.Contains(out, fmt.Sprintf("\n%5d  ", code)) {
			t.Errorf("help exit-codes doesn't tell of %d", code)
		}
	}
}

func TestDataFolderIsLocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	first, err := lockData(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lockData(dir)
	if err == nil || exitCode(err) != exitAway || !strings.Contains(err.Error(), "in use by another process (pid ") {
		t.Fatalf("second lock: %v, exit code %d", err, exitCode(err))
	}
	if err := first.unlock(); err != nil {
		t.Fatal(err)
	}
	again, err := lockData(dir)
	if err != nil {
		t.Fatalf("after unlock: %v", err)
	}
	if err := again.unlock(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "file"), "")
	if _, err := lockData(filepath.Join(dir, "file")); exitCode(err) != exitUsage {
		t.Errorf("a file as data folder: %v, exit code %d", err, exitCode(err))
	}
}

func TestNearest(t *testing.T) {
	known := []string{"config", "version", "ingest", "replay"}
	for in, want := range map[string]string{
		"confg": " (did you mean config?)", "ocnfig": " (did you mean config?)", "versin": " (did you mean version?)",
		"ingset": " (did you mean ingest?)", "banana": "", "": "",
	} {
		if got := nearest(in, known); got != want {
			t.Errorf("nearest to %q is %q, want %q", in, got, want)
		}
	}
}
