package schema

import (
	"errors"
	"fmt"
)

// LogFormat is the newest format of the records on `ticks` that this program
// knows. Settings tell which one is in force from their record on:
//
//	1  trades, marks, settings, anchors, watches
//	2  seals, new series and repairs too
//
// A new log begins at the newest; an older one is raised by a record of settings.
// Who meets a format that it doesn't know stops there: to skip a record that
// others understand would make other candles of the same log.
const LogFormat = 2

// newestArithmetic is that of a new log.
const newestArithmetic = 1

// ErrNewer reports what only a newer program can read.
var ErrNewer = errors.New("of a newer millrace")

// formatOf is the format from which on a record of the kind may stand in the log.
func formatOf(k Kind) uint32 {
	switch k {
	case KindSeal, KindNewSeries, KindRepair:
		return 2
	}
	return 1
}

// Allows refuses a kind of record that the log's format doesn't have yet: a
// program that is as old as the format would skip it. It is for who writes such
// records and, so that all programs rule alike, for who applies them.
func (s *Settings) Allows(k Kind) error {
	if want := formatOf(k); s.Format < want {
		return fmt.Errorf("records of kind %d need a log of format %d, this one has %d; upgrade all processors, then raise it with millrace settings set format=%d", k, want, s.Format, want)
	}
	return nil
}

// known refuses what a newer program has begun.
func (s *Settings) known() error {
	switch {
	case s.Format < 1 || s.Arithmetic < 1:
		return fmt.Errorf("format %d, arithmetic %d: both begin at 1", s.Format, s.Arithmetic)
	case s.Format > LogFormat:
		return fmt.Errorf("%w: the log has format %d from here on, this program knows up to %d; %s", ErrNewer, s.Format, LogFormat, s.wanted())
	case s.Arithmetic > newestArithmetic:
		return fmt.Errorf("%w: arithmetic %d is in force from here on, this program knows up to %d; %s", ErrNewer, s.Arithmetic, newestArithmetic, s.wanted())
	}
	return nil
}

// wanted says which program to use.
func (s *Settings) wanted() string {
	if s.Program == "" {
		return "use the version that has written it, or a later one"
	}
	return "use millrace " + s.Program + " or later"
}

// maxProgram bounds the name of a version.
const maxProgram = 60

// plainVersion gives a version as it may stand in a message. What is no version
// is left out: it came over the network.
func plainVersion(v string) string {
	if len(v) > maxProgram {
		return ""
	}
	for i := range len(v) {
		if v[i] <= ' ' || v[i] >= 0x7f {
			return ""
		}
	}
	return v
}
