package testenv

import "syscall"

// dieWithParent ties the child's life to the thread that starts it, and puts it
// in a group of its own so that Ctrl-C reaches the test first.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
