package testenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// readyTimeout bounds a start. Kafka needs 3 s on two idle cores and has been
	// seen to need 70 s on busy ones. A server that dies is noticed at once.
	readyTimeout = 3 * time.Minute
	// stopTimeout bounds a polite stop before it becomes a kill.
	stopTimeout = 30 * time.Second
	// probeEvery is how often a starting server is asked whether it is there.
	probeEvery = 20 * time.Millisecond
)

// server is a program on a fixed port and folder. Its methods may be called
// from any goroutine, so that a test can kill it in the midst of work.
type server struct {
	name    string
	log     string // file with what it prints
	command func() *exec.Cmd
	ready   func(context.Context) error // nil once it answers

	mu   sync.Mutex
	proc *process // nil when it does not run
}

// Start runs the server, again if it was stopped or killed, on the same port
// with the same data, and returns once it answers.
func (s *server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil && !s.proc.exited() {
		return fmt.Errorf("start %s: it is running", s.name)
	}
	proc, err := startProcess(s.command(), s.log)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	if err := s.await(proc); err != nil {
		return errors.Join(fmt.Errorf("start %s: %w\n%s", s.name, err, s.tail()), proc.kill())
	}
	s.proc = proc
	return nil
}

// await polls until the server answers.
func (s *server) await(proc *process) error {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		// A probe of its own time: one that hangs must not use up the rest.
		probe, done := context.WithTimeout(ctx, 2*time.Second)
		err := s.ready(probe)
		done()
		if err == nil {
			return nil
		}
		select {
		case <-proc.done:
			return fmt.Errorf("exited early: %w", proc.err)
		case <-ctx.Done():
			return fmt.Errorf("no answer in %v: %w", readyTimeout, err)
		case <-tick.C:
		}
	}
}

// Stop asks the server to end (SIGTERM) and waits for it. It is not an error
// if the server does not run.
func (s *server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return nil
	}
	proc := s.proc
	s.proc = nil
	if err := proc.signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop %s: %w", s.name, err)
	}
	late := time.NewTimer(stopTimeout)
	defer late.Stop()
	select {
	case <-proc.done:
		return nil
	case <-late.C:
		return errors.Join(fmt.Errorf("stop %s: still there after %v\n%s", s.name, stopTimeout, s.tail()), proc.kill())
	}
}

// Kill ends the server at once (SIGKILL), as a crash would, and waits until it
// is gone. It is not an error if the server does not run.
func (s *server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return nil
	}
	proc := s.proc
	s.proc = nil
	if err := proc.kill(); err != nil {
		return fmt.Errorf("kill %s: %w", s.name, err)
	}
	return nil
}

// Pause halts the server (SIGSTOP): connections stay open and nothing answers.
func (s *server) Pause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	proc, err := s.running("pause")
	if err != nil {
		return err
	}
	if err := proc.signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("pause %s: %w", s.name, err)
	}
	if err := awaitStopped(proc.cmd.Process.Pid); err != nil {
		return fmt.Errorf("pause %s: wait for it: %w", s.name, err)
	}
	return nil
}

// Resume lets a paused server go on.
func (s *server) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	proc, err := s.running("resume")
	if err != nil {
		return err
	}
	if err := proc.signal(syscall.SIGCONT); err != nil {
		return fmt.Errorf("resume %s: %w", s.name, err)
	}
	return nil
}

// running is the process; the caller holds mu.
func (s *server) running(verb string) (*process, error) {
	if s.proc == nil || s.proc.exited() {
		return nil, fmt.Errorf("%s %s: it does not run", verb, s.name)
	}
	return s.proc, nil
}

// tail is the end of what the server printed.
func (s *server) tail() string {
	text, err := os.ReadFile(s.log)
	if err != nil {
		return fmt.Sprintf("(%s has no log: %v)", s.name, err)
	}
	const most = 6000
	if len(text) > most {
		text = text[len(text)-most:]
		text = text[bytes.IndexByte(text, '\n')+1:]
	}
	return fmt.Sprintf("--- end of the log of %s\n%s---", s.name, text)
}

// endWith kills the server when the test ends: nobody reads its data again, so
// a polite stop would only take time.
func (s *server) endWith(tb testing.TB) {
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Log(s.tail())
		}
		if err := s.Kill(); err != nil {
			tb.Error(err)
		}
	})
}

// process is one run of a server.
//
// On Linux the kernel kills it when the thread that started it ends
// (Pdeathsig). Go ends threads as it likes, so the goroutine that starts the
// program is locked to its thread and stays until the program is gone.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the program is gone and reaped
	err  error         // what Wait said; read it after done
}

func startProcess(cmd *exec.Cmd, log string) (*process, error) {
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		return nil, err
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = dieWithParent()
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		err = errors.Join(err, out.Close())
		started <- err
		if cmd.Process == nil {
			return
		}
		p.err = cmd.Wait()
		if p.err == nil {
			p.err = errors.New("exit status 0")
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// signal sends sig; a process that is gone already is not an error.
func (p *process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (p *process) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}
