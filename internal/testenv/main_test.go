package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// parentVariable makes the test binary a parent that TestAServerDiesWithItsTest
// kills.
const parentVariable = "MILLRACE_TESTENV_PARENT"

func TestMain(m *testing.M) {
	if log := os.Getenv(parentVariable); log != "" {
		p, err := startProcess(exec.Command("sleep", "600"), log)
		if err == nil {
			_, err = fmt.Fprintln(os.Stdout, p.cmd.Process.Pid)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		<-p.done
		os.Exit(1)
	}
	os.Exit(Main(m))
}
