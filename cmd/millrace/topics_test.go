package main

import (
	"strings"
	"testing"

	"millrace/state"
)

// Each reason that the processor gives stands in the help.
func TestReasonsAreDocumented(t *testing.T) {
	_, out, _ := runTest(t, nil, "help", "dead-letters")
	for _, r := range []state.Reason{state.Undecodable, state.Overflow, state.Straddle, state.Future, state.TooLate, state.Series, state.Unsettled, state.Unsupported, "invalid"} {
		if !strings.Contains(out, "\n  "+string(r)+" ") {
			t.Errorf("help dead-letters doesn't tell of %s", r)
		}
	}
}
