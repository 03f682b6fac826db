package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// child is the program as a process of its own. It is this test binary under
// the program's name (see TestMain): the same main, built once, with the race
// detector where the test has it.
type child struct {
	t    *testing.T
	name string // what it was started with, for messages
	cmd  *exec.Cmd
	out  bytes.Buffer // standard output; read it after done
	log  *lines       // standard error
	done chan struct{}
}

// childBound ends a child that nobody ends, such as one whose test was killed.
const childBound = 5 * time.Minute

// endless are the commands that take --for.
var endless = map[string]bool{"dev": true, "ingest": true, "process": true, "replay": true, "bridge": true, "double": true}

// quickRace is an environment in which the race detector doesn't wait a second
// at each end of a process for races that might still come.
func quickRace() string {
	return "GORACE=" + strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=20")
}

// spawn starts the program in a folder of its own and kills it with the test.
func spawn(t *testing.T, args ...string) *child {
	t.Helper()
	return spawnFor(t, childBound, args...)
}

// spawnFor is spawn with a bound of its own.
func spawnFor(t *testing.T, bound time.Duration, args ...string) *child {
	t.Helper()
	return spawnWith(t, bound, nil, args...)
}

// spawnWith is spawnFor with variables of its own.
func spawnWith(t *testing.T, bound time.Duration, env []string, args ...string) *child {
	t.Helper()
	if endless[args[0]] {
		args = append(args[:len(args):len(args)], "--for", bound.String())
	}
	c := &child{t: t, name: "millrace " + args[0], log: newLines(), done: make(chan struct{})}
	c.cmd = exec.Command(os.Args[0])
	c.cmd.Args = append([]string{"millrace"}, args...)
	c.cmd.Dir = t.TempDir()
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, envPrefix) {
			c.cmd.Env = append(c.cmd.Env, e)
		}
	}
	c.cmd.Env = append(append(c.cmd.Env, quickRace()), env...)
	c.cmd.Stdout, c.cmd.Stderr = &c.out, c.log
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.done)
		var exit *exec.ExitError
		if err := c.cmd.Wait(); err != nil && !errors.As(err, &exit) {
			fmt.Fprintf(c.log, "wait: %v\n", err)
		}
	}()
	t.Cleanup(func() {
		c.kill()
		log := c.log.String()
		if strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic:") {
			t.Errorf("%s:\n%s", c.name, log)
		} else if t.Failed() || *chaotic {
			t.Logf("%s:\n%s", c.name, tail(log))
		}
	})
	return c
}

// tail is the end of a log.
func tail(log string) string {
	const most = 5000
	if len(log) > most {
		return "…" + log[len(log)-most:]
	}
	return log
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// kill is kill -9. It returns when the process is gone.
func (c *child) kill() {
	c.t.Helper()
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Errorf("kill %s: %v", c.name, err)
	}
	<-c.done
}

// running reports whether the process is there.
func (c *child) running() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// signal asks it to end.
func (c *child) signal() {
	c.t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Errorf("signal to %s: %v", c.name, err)
	}
}

// code waits for its end and gives the exit code.
func (c *child) code() int {
	c.t.Helper()
	bound := time.NewTimer(2 * time.Minute)
	defer bound.Stop()
	select {
	case <-c.done:
	case <-bound.C:
		c.kill()
		c.t.Fatalf("%s did not end:\n%s", c.name, tail(c.log.String()))
	}
	return c.cmd.ProcessState.ExitCode()
}

// stop ends it in good order.
func (c *child) stop() {
	c.t.Helper()
	c.signal()
	if code := c.code(); code != exitOK {
		c.t.Errorf("%s, stopped by a signal, ended with %d:\n%s", c.name, code, tail(c.log.String()))
	}
}

// succeed waits for an end by itself.
func (c *child) succeed() {
	c.t.Helper()
	if code := c.code(); code != exitOK {
		c.t.Fatalf("%s ended with %d:\n%s%s", c.name, code, c.out.String(), tail(c.log.String()))
	}
}

// await waits until its log has what the pattern matches.
func (c *child) await(pattern string) string {
	c.t.Helper()
	return c.log.await(c.t, pattern)
}

// lastLine is what a user sees last on standard error.
func (c *child) lastLine() string {
	log := strings.TrimRight(c.log.String(), "\n")
	return log[strings.LastIndexByte(log, '\n')+1:]
}
