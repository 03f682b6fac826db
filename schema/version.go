package schema

import (
	"fmt"
	"strconv"
)

// Status is what is known of a window's completeness. Higher is more.
type Status uint8

const (
	// Live: the watermark has not passed the window's end.
	Live Status = iota
	// Closed: the watermark has passed its end. All that was promised is in.
	Closed
	// Holed: an empty window over which trade ids have turned out to be missing.
	Holed
	// Final: proven whole. The ids from the trade before the window to the
	// trade after it have all been applied.
	Final
)

var statusNames = [...]string{"live", "closed", "holed", "final"}

// String gives the name used in SQL, JSON and commands.
func (s Status) String() string {
	if int(s) >= len(statusNames) {
		return fmt.Sprintf("status(%d)", uint8(s))
	}
	return statusNames[s]
}

// ParseStatus reads what String wrote.
func ParseStatus(s string) (Status, error) {
	for i, n := range statusNames {
		if n == s {
			return Status(i), nil
		}
	}
	return 0, fmt.Errorf("unknown status %q", s)
}

// Version says how much a candle knows. It only grows: each sink keeps the
// highest it saw of a window and drops the rest, so sending again is safe.
//
//	 63 62      57 56 55                                  2 1      0
//	+--+----------+--+------------------------------------+--------+
//	| 0|   era    |T |                 n                  | status |
//	+--+----------+--+------------------------------------+--------+
//
// T is 1 if the window has trades; n is the number of its trades or, for an
// empty window, the id of the last trade before it. The decoders let through
// only what fits: eras to MaxEra, ids from 0 to MaxVersionN. (An empty window
// before the trade with id 0 has no price and is never published.)
type Version int64

const (
	versionEra    = 57
	versionTrades = 56
	versionN      = 2
	// MaxEra is the last era; MaxVersionN the largest n (and so trade id).
	MaxEra      = 1<<6 - 1
	MaxVersionN = 1<<54 - 1
)

// TradesVersion is the version of a window with trades.
func TradesVersion(era uint8, trades int64, s Status) Version {
	return Version(int64(era)<<versionEra | 1<<versionTrades | trades<<versionN | int64(s))
}

// EmptyVersion is the version of a window without trades; basis is the id of
// the last trade before it.
func EmptyVersion(era uint8, basis int64, s Status) Version {
	return Version(int64(era)<<versionEra | basis<<versionN | int64(s))
}

// Era gives the era, raised only by an operator's repair.
func (v Version) Era() uint8 { return uint8(v >> versionEra) }

// HasTrades reports whether it is of a window with trades.
func (v Version) HasTrades() bool { return v>>versionTrades&1 == 1 }

// N gives the number of trades or, without trades, the basis' id.
func (v Version) N() int64 { return int64(v) >> versionN & MaxVersionN }

// Status gives the status.
func (v Version) Status() Status { return Status(v & 3) }

// String gives the number in decimal, as it stands in SQL and in JSON strings.
func (v Version) String() string { return strconv.FormatInt(int64(v), 10) }
