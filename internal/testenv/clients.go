package testenv

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// clientsVersion names the cache folders; it goes up with a version below.
const clientsVersion = "1"

//go:embed clients/package.json
var nodePackages []byte

//go:embed clients/package-lock.json
var nodeLock []byte

//go:embed clients/requirements.txt
var pythonRequirements []byte

// Node prepares a script that may require the packages of clients/package.json.
func Node(tb testing.TB, script string, args ...string) *exec.Cmd {
	tb.Helper()
	node, err := tool("node", "nodejs")
	if err != nil {
		tb.Fatal(err)
	}
	dir, err := FetchNode()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(tb.Context(), node, append([]string{script}, args...)...)
	cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(dir, "node_modules"))
	return cmd
}

// Python prepares a script that may import what clients/requirements.txt names.
func Python(tb testing.TB, script string, args ...string) *exec.Cmd {
	tb.Helper()
	python, err := tool("python3", "python3")
	if err != nil {
		tb.Fatal(err)
	}
	dir, err := FetchPython()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(tb.Context(), python, append([]string{"-B", script}, args...)...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+dir)
	return cmd
}

// FetchNode returns the folder with the packages for Node, fetched on first use.
func FetchNode() (string, error) {
	return cached("node-clients-"+clientsVersion, func(dir string) error {
		npm, err := tool("npm", "npm")
		if err != nil {
			return err
		}
		if err := errors.Join(
			os.WriteFile(filepath.Join(dir, "package.json"), nodePackages, 0o644),
			os.WriteFile(filepath.Join(dir, "package-lock.json"), nodeLock, 0o644),
		); err != nil {
			return err
		}
		return fetch("packages for Node", npm, "ci", "--prefix", dir, "--ignore-scripts", "--no-audit", "--no-fund")
	})
}

// FetchPython returns the folder with the packages for Python, fetched on first
// use.
func FetchPython() (string, error) {
	return cached("python-clients-"+clientsVersion, func(dir string) error {
		python, err := tool("python3", "python3")
		if err != nil {
			return err
		}
		list := filepath.Join(dir, "requirements.txt")
		if err := os.WriteFile(list, pythonRequirements, 0o644); err != nil {
			return err
		}
		return fetch("packages for Python", python, "-m", "pip", "install", "--disable-pip-version-check",
			"--require-hashes", "--only-binary=:all:", "--no-deps", "--no-compile",
			"--implementation", "py", "--abi", "none", "--platform", "any", "--target", dir, "-r", list)
	})
}

// fetch runs a command that fetches from far away, which may fail once.
func fetch(what, name string, args ...string) error {
	for try := 1; ; try++ {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		_, err := output(exec.CommandContext(ctx, name, args...))
		cancel()
		if err == nil {
			return nil
		}
		if try == 3 {
			return fmt.Errorf("fetch %s: %w", what, err)
		}
	}
}
