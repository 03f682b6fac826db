package file

import (
	"path/filepath"
	"regexp"
	"time"

	"millrace/schema"
)

// Kind is what a dump's rows are.
type Kind uint8

const (
	Unknown Kind = iota
	Trades
	AggTrades
)

// String gives Binance's word in file names.
func (k Kind) String() string {
	switch k {
	case Trades:
		return "trades"
	case AggTrades:
		return "aggTrades"
	}
	return "unknown"
}

// Name is what Binance's name of a dump tells.
type Name struct {
	Symbol   string
	Kind     Kind   // trades or aggTrades, else Unknown
	Interval string // of klines, as in the name ("5m", "1mo")
	// From and To bound the day or the month that the dump covers whole:
	// From ≤ T < To. Both are 0 where the name has no date.
	From, To schema.Time
}

// names is the form SYMBOL-what-YYYY-MM[-DD] with any of the endings.
var names = regexp.MustCompile(`^(.+)-(trades|aggTrades|1s|1m|3m|5m|15m|30m|1h|2h|4h|6h|8h|12h|1d|3d|1w|1mo)-(\d{4}-\d{2})(-\d{2})?\.(?:csv|csv\.gz|gz|zip)$`)

// ParseName reads the name of one of Binance's public files. ok is false for a
// name that is none.
func ParseName(path string) (_ Name, ok bool) {
	m := names.FindStringSubmatch(filepath.Base(path))
	if m == nil || schema.ValidateSymbol(m[1]) != nil {
		return Name{}, false
	}
	n := Name{Symbol: m[1]}
	switch m[2] {
	case "trades":
		n.Kind = Trades
	case "aggTrades":
		n.Kind = AggTrades
	default:
		n.Interval = m[2]
	}
	from, err := time.Parse("2006-01", m[3])
	to := from.AddDate(0, 1, 0)
	if m[4] != "" {
		from, err = time.Parse("2006-01-02", m[3]+m[4])
		to = from.AddDate(0, 0, 1)
	}
	if err != nil {
		return Name{}, false
	}
	n.From, n.To = schema.FromStd(from), schema.FromStd(to)
	return n, true
}
