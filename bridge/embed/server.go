package embed

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	syncEvery = time.Second
	// startTimeout bounds the start. Opening a large store takes time: the
	// server reads the index of each stream, and all of it after a crash.
	startTimeout = 30 * time.Second
)

// AnyPort lets the system choose the port.
const AnyPort = server.RANDOM_PORT

// Server is a running NATS server.
type Server struct {
	server *server.Server
}

// StartServer runs a server on host and port with its data in dir, and returns
// once it takes connections.
func StartServer(dir, host string, port int) (*Server, error) {
	addr := net.JoinHostPort(host, strconv.Itoa(max(port, 0)))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("start the nats server: make its folder: %w", err)
	}
	// The server itself would only say that it did not become ready.
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("start the nats server: listen on %s: %w; stop what uses the port or set --nats-port", addr, cause(err))
	}
	if err := l.Close(); err != nil {
		return nil, fmt.Errorf("start the nats server: try %s: %w", addr, err)
	}
	log := &faults{hit: make(chan struct{})}
	s, err := server.NewServer(&server.Options{
		ServerName: "millrace-dev",
		Host:       host,
		Port:       port,
		JetStream:  true,
		StoreDir:   dir,

		SyncInterval: syncEvery,
		NoSigs:       true, // signals belong to the program
	})
	if err != nil {
		return nil, fmt.Errorf("start the nats server in %s: %w", dir, err)
	}
	s.SetLoggerV2(log, false, false, false)
	ready := make(chan bool, 1)
	go func() { // ends when ReadyForConnections does
		s.Start()
		ready <- s.ReadyForConnections(startTimeout)
	}()
	ok := false
	select {
	case ok = <-ready:
	case <-log.hit:
	}
	if fault := log.text(); !ok || fault != "" || !s.JetStreamEnabled() {
		s.Shutdown()
		s.WaitForShutdown()
		if fault == "" {
			fault = fmt.Sprintf("it was not ready within %v", startTimeout)
		}
		return nil, fmt.Errorf("start the nats server on %s in %s: %s", addr, dir, fault)
	}
	return &Server{server: s}, nil
}

// cause is the system's word for what went wrong, without the address again.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// URL is where clients connect.
func (s *Server) URL() string { return s.server.ClientURL() }

// Close ends the server, writes what is to be written and waits.
func (s *Server) Close() {
	s.server.Shutdown()
	s.server.WaitForShutdown()
}

// faults keeps the first thing that kept the server from starting. All else
// that a server writes is for its operator; here that is the program itself.
type faults struct {
	hit  chan struct{}
	once sync.Once

	mu   sync.Mutex
	line string
}

func (f *faults) Noticef(string, ...any) {}
func (f *faults) Warnf(string, ...any)   {}
func (f *faults) Errorf(string, ...any)  {}
func (f *faults) Debugf(string, ...any)  {}
func (f *faults) Tracef(string, ...any)  {}

// Fatalf is called in place of an exit.
func (f *faults) Fatalf(format string, v ...any) {
	f.once.Do(func() {
		f.mu.Lock()
		f.line = strings.TrimSpace(fmt.Sprintf(format, v...))
		f.mu.Unlock()
		close(f.hit)
	})
}

func (f *faults) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.line
}
