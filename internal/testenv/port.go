package testenv

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// Ports come from below the range that Linux hands to outgoing connections
// (32768 and up): a port of that range could be taken by any client while the
// server that owns it is down between Kill and Start.
const (
	firstPort = 18000
	lastPort  = 32000
)

// ports are the ports of this test process. Each is a locked file in the cache
// folder, so that test processes that run side by side never choose the same
// one; the lock goes with the process.
var ports struct {
	sync.Mutex
	locks []*os.File // never closed: that would give the port away
}

// freePort returns a port of 127.0.0.1 that nobody listens on and that no other
// test process will choose.
func freePort() (int, error) {
	dir, err := cacheDir("ports")
	if err != nil {
		return 0, err
	}
	ports.Lock()
	defer ports.Unlock()
	for range 200 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		ok, err := claimPort(dir, port)
		if err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		if ok {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port between %d and %d in 200 tries", firstPort, lastPort)
}

func claimPort(dir string, port int) (bool, error) {
	lock, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(port)), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return false, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return false, lock.Close()
		}
		return false, errors.Join(err, lock.Close())
	}
	ln, err := net.Listen("tcp", loopback(port))
	if err != nil {
		// Somebody else's server.
		return false, lock.Close()
	}
	ports.locks = append(ports.locks, lock)
	return true, ln.Close()
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
