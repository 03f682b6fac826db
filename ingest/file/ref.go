package file

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"millrace/schema"
)

// Ref names one of Binance's public dumps: of a day, or of a month.
type Ref struct {
	Kind   Kind
	Symbol string
	Day    schema.Time // a day's start; of a month, the first
	Month  bool
}

// Name is the file's.
func (r Ref) Name() string {
	layout := "2006-01-02"
	if r.Month {
		layout = "2006-01"
	}
	return fmt.Sprintf("%s-%v-%s.zip", r.Symbol, r.Kind, r.Day.Std().Format(layout))
}

// path is where it lies, below the server's base as in the store's folder.
func (r Ref) path() string {
	every := "daily"
	if r.Month {
		every = "monthly"
	}
	return path.Join(every, r.Kind.String(), r.Symbol, r.Name())
}

// address is path as it stands in a URL.
func (r Ref) address() string {
	parts := strings.Split(r.path(), "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// check refuses what is no dump, or would lie elsewhere than the store says.
func (r Ref) check() error {
	if err := schema.ValidateSymbol(r.Symbol); err != nil {
		return err
	}
	if n, ok := ParseName(r.Name()); !ok || n.Symbol != r.Symbol || n.Kind != r.Kind || n.From != r.Day || strings.ContainsAny(r.Symbol, `/\`) {
		return fmt.Errorf("%q is no name of a dump", r.Name())
	}
	return nil
}

// Days are the days of a month.
func (r Ref) Days() []Ref {
	from := r.Day.Std()
	return Refs(r.Kind, []string{r.Symbol}, r.Day, schema.FromStd(from.AddDate(0, 1, -1)), false)
}

// Refs names the dumps of a range of days, both ends included, in the order in
// which they are best replayed: by time, then by symbol. Months that lie whole
// in the range are named as such if monthly is set.
func Refs(kind Kind, symbols []string, from, to schema.Time, monthly bool) []Ref {
	symbols = slices.Compact(slices.Sorted(slices.Values(symbols)))
	var all []Ref
	for day := from.Std(); ; {
		at := schema.FromStd(day)
		if at > to {
			return all
		}
		next := day.AddDate(0, 1, 0)
		month := monthly && day.Day() == 1 && schema.FromStd(next.AddDate(0, 0, -1)) <= to
		if !month {
			next = day.AddDate(0, 0, 1)
		}
		for _, s := range symbols {
			all = append(all, Ref{Kind: kind, Symbol: s, Day: at, Month: month})
		}
		day = next
	}
}
