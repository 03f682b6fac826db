package testenv

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// leakTimeout is how long goroutines that were told to end may take. Clients of
// Kafka and NATS end theirs after Close has returned.
const leakTimeout = 10 * time.Second

// Main runs the tests of a package and returns the exit code for TestMain. It
// stops the shared servers and, if all tests passed, fails the package when a
// goroutine is left. more are leaks to accept; give each its reason.
func Main(m *testing.M, more ...goleak.Option) int {
	if code, ran := runChild(); ran {
		return code
	}
	shared.Lock()
	shared.byMain = true
	shared.Unlock()
	code := m.Run()
	err := stopShared()
	if code == 0 && !fuzzing() {
		err = errors.Join(err, leaks(more))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		return max(code, 1)
	}
	return code
}

// fuzzing says that the fuzzer runs: its workers are processes and goroutines
// that it does not always wait for.
func fuzzing() bool {
	f := flag.Lookup("test.fuzz")
	return f != nil && f.Value.String() != ""
}

func leaks(more []goleak.Option) error {
	// toxiproxy leaves a link behind whose toxics are cleared while one waits to
	// hand on what it read.
	more = append(more,
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).write"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"))
	var err error
	for end := time.Now().Add(leakTimeout); time.Now().Before(end); {
		// Find itself waits and looks again for about half a second.
		if err = goleak.Find(more...); err == nil {
			return nil
		}
	}
	return err
}
