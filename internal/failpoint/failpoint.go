// Package failpoint names the steps at which the world may stop, so that a test
// can have a real process die at each of them.
//
// A step that writes or acknowledges has a Point, a package's variable, and
// calls its Hit right before or right after. KILL_MILLRACE_AT=name has the
// process killed, as by kill -9, at the first hit of that point; name@3 at the
// third. Without it a hit costs the look at one boolean.
package failpoint

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// Variable is the environment's, not one of Millrace's settings.
const Variable = "KILL_MILLRACE_AT"

// Point is one step.
type Point struct {
	name  string
	armed bool
	left  atomic.Int64
}

var names []string

// New names a step: "room.what". It is for variables of packages, and panics
// where two have one name.
func New(name string) *Point {
	if slices.Contains(names, name) {
		panic("failpoint: two steps are named " + name)
	}
	names = append(names, name)
	p := &Point{name: name}
	at, n, err := parse(os.Getenv(Variable))
	p.armed = err == nil && at == name
	p.left.Store(n)
	return p
}

// parse reads "name" or "name@n".
func parse(text string) (name string, n int64, err error) {
	name, count, counted := strings.Cut(text, "@")
	if !counted {
		return name, 1, nil
	}
	if n, err = strconv.ParseInt(count, 10, 64); err != nil || n < 1 {
		return "", 0, fmt.Errorf("%s: %q is no number of hits", Variable, count)
	}
	return name, n, nil
}

// Names gives the names of all steps of the program, sorted.
func Names() []string { return slices.Sorted(slices.Values(names)) }

// Hit says that the step is reached.
func (p *Point) Hit() {
	if p.armed && p.left.Add(-1) == 0 {
		kill()
	}
}

// kill ends the process as kill -9 does: nothing is flushed, nothing deferred.
func kill() {
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill() // it does not return where it succeeds
	}
	select {} // the signal is on its way
}
