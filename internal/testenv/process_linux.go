package testenv

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// dieWithParent ties the child's life to the thread that starts it, and puts it
// in a group of its own so that Ctrl-C reaches the test first.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// awaitStopped waits until each thread of the child has stopped: SIGSTOP itself
// returns while other cores still run some of them.
func awaitStopped(pid int) error {
	for {
		// WNOWAIT leaves the child to the Wait that runs beside.
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
