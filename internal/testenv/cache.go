package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// cacheDir returns a folder that outlives the tests.
func cacheDir(name string) (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	dir := filepath.Join(base, "millrace-test", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder: %w", err)
	}
	return dir, nil
}

// cached returns the folder name of the cache, which make fills if it is not
// there yet. It appears whole or not at all, and only one process makes it.
func cached(name string, make func(dir string) error) (_ string, err error) {
	base, err := cacheDir("")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(base, name)
	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	temp, err := os.MkdirTemp(base, name+".tmp-")
	if err != nil {
		return "", err
	}
	if err := make(temp); err != nil {
		return "", errors.Join(err, os.RemoveAll(temp))
	}
	if err := os.Rename(temp, dir); err != nil {
		return "", errors.Join(err, os.RemoveAll(temp))
	}
	return dir, nil
}

// tool finds a program that Debian's package pkg brings.
func tool(name, pkg string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	// The folders of servers are not in everybody's PATH.
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed; install it with: apt-get install %s (as root `make test` does)", name, pkg)
}

// output runs a command that prepares something.
func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, out)
	}
	return string(out), nil
}
