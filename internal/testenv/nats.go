package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// NATS is a NATS server with JetStream in the test's own process: quick to
// start and open to inspection. It cannot crash; NATSProcess can.
type NATS struct {
	URL string
	Dir string // JetStream's data

	options natsserver.Options

	mu     sync.Mutex
	server *natsserver.Server // nil when it does not run
}

// StartNATS gives the test a server of its own, in process.
func StartNATS(tb testing.TB) *NATS {
	tb.Helper()
	return StartNATSWith(tb, natsserver.Options{})
}

// StartNATSWith is StartNATS with other settings. Where they leave the address
// or the folder open, the usual ones are taken.
func StartNATSWith(tb testing.TB, options natsserver.Options) *NATS {
	tb.Helper()
	if options.StoreDir == "" {
		options.StoreDir = tb.TempDir()
	}
	if options.Host == "" {
		options.Host = "127.0.0.1"
	}
	if options.Port == 0 {
		port, err := freePort()
		if err != nil {
			tb.Fatal(err)
		}
		options.Port = port
	}
	options.JetStream = true
	options.NoSigs = true // the signals are the test's
	options.NoLog = true
	n := &NATS{URL: "nats://" + loopback(options.Port), Dir: options.StoreDir, options: options}
	if err := n.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(n.Stop)
	return n
}

// Start runs the server again after a Stop, on the same port with the same data.
func (n *NATS) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server != nil {
		return fmt.Errorf("start nats on %s: it is running", n.URL)
	}
	options := n.options // the server writes into its options
	server, err := natsserver.NewServer(&options)
	if err != nil {
		return fmt.Errorf("start nats on %s: %w", n.URL, err)
	}
	server.Start()
	if !server.ReadyForConnections(readyTimeout) {
		server.Shutdown()
		return fmt.Errorf("start nats on %s: no answer in %v", n.URL, readyTimeout)
	}
	n.server = server
	return nil
}

// Stop ends the server and waits for it.
func (n *NATS) Stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server == nil {
		return
	}
	n.server.Shutdown()
	n.server.WaitForShutdown()
	n.server = nil
}

// Server is the running server, nil when it is stopped.
func (n *NATS) Server() *natsserver.Server {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.server
}

// NATSProcess is a NATS server with JetStream in a process of its own, for
// tests that kill or pause it.
type NATSProcess struct {
	server
	URL string
	Dir string // JetStream's data
}

// childVariable tells the test binary that it is to be a server: the server is
// linked into the test, so nothing must be built or installed.
const childVariable = "MILLRACE_TESTENV_CHILD"

// StartNATSProcess gives the test a server process of its own.
func StartNATSProcess(tb testing.TB) *NATSProcess {
	tb.Helper()
	needMain(tb)
	binary, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	port, err := freePort()
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	n := &NATSProcess{URL: "nats://" + loopback(port), Dir: filepath.Join(dir, "data")}
	n.name = "nats-server on " + n.URL
	n.log = filepath.Join(dir, "nats.log")
	n.command = func() *exec.Cmd {
		cmd := exec.Command(binary, "-a", "127.0.0.1", "-p", strconv.Itoa(port), "-js", "-sd", n.Dir)
		cmd.Env = append(os.Environ(), childVariable+"=nats-server")
		return cmd
	}
	n.ready = func(ctx context.Context) error { return natsAnswers(n.URL) }
	if err := n.Start(); err != nil {
		tb.Fatal(err)
	}
	n.endWith(tb)
	return n
}

// natsAnswers asks for JetStream, which comes up after the port.
func natsAnswers(url string) error {
	conn, err := nats.Connect(url, nats.NoReconnect(), nats.Timeout(time.Second))
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := conn.Request("$JS.API.INFO", nil, time.Second)
	if err != nil {
		return fmt.Errorf("ask for JetStream: %w", err)
	}
	if len(answer.Data) == 0 {
		return errors.New("JetStream does not answer")
	}
	return nil
}

// runChild is the process that StartNATSProcess started, and false in a test.
func runChild() (code int, ran bool) {
	if os.Getenv(childVariable) == "" {
		return 0, false
	}
	if err := serveNATS(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}
