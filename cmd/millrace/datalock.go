package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockName is the file in a data folder that the process using it has locked.
const lockName = "lock"

// dataLock keeps other processes out of a data folder. The kernel drops it with
// the process, however that ends.
type dataLock struct {
	f *os.File
}

// lockData makes the folder if need be and locks it. Where another process has
// it, the error says which.
func lockData(dir string) (*dataLock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, usagef("data folder: %w: choose another with --data", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, usagef("data folder: %w: choose another with --data", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		err = awayf("data folder %s is in use by another process%s: stop it, or choose another folder with --data", dir, holder(f))
	case err != nil:
		err = fmt.Errorf("lock data folder %s: %w", dir, err)
	default:
		if err = f.Truncate(0); err == nil {
			_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		}
		if err != nil {
			err = usagef("data folder: %w: choose another with --data", err)
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &dataLock{f}, nil
}

// holder gives " (pid N)", or "" where the holder hasn't written it yet.
func holder(f *os.File) string {
	var b [20]byte
	n, _ := f.ReadAt(b[:], 0) // an error means no pid: the message does without
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" (pid %d)", pid)
}

// unlock lets the folder go. The file stays: to remove it could part two others
// over it.
func (l *dataLock) unlock() error { return l.f.Close() }
