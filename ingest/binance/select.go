package binance

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"millrace/schema"
)

// Selection says which symbols to collect. Its items, in any order:
//
//	BTCUSDT       a symbol
//	*USDT, BTC*   all symbols that match, * being any text
//	top:20:USDT   the 20 with the greatest quote volume in 24 hours of those
//	              quoted in USDT; a pattern may stand in place of the asset
//	top:20        the same of all symbols
//	-*UPUSDT, !X  never these, whatever else names them
//
// A symbol has letters and digits of any script, and no other signs of ASCII
// than - _ and the point.
//
// Volumes in different quote assets cannot be compared without a rate of
// exchange. So a top always ranks one quote asset: where its symbols have
// several, the one that most of them have, the first by the alphabet of equals.
type Selection struct {
	names, patterns, never []string
	tops                   []top
}

// UnknownError reports names that the exchange doesn't have.
type UnknownError struct {
	Names []string
	near  []string // what the exchange has instead, or ""
}

func (e *UnknownError) Error() string {
	text := make([]string, len(e.Names))
	for i, name := range e.Names {
		if text[i] = name; e.near[i] != "" {
			text[i] += " (did you mean " + e.near[i] + "?)"
		}
	}
	return "symbols: unknown to the exchange: " + strings.Join(text, ", ")
}

// ErrNoSymbol reports a selection that fits none of the exchange's symbols.
var ErrNoSymbol = errors.New("symbols: none of the exchange's match")

type top struct {
	item   string
	n      int
	quote  string // empty: any
	within string // a pattern, or empty
}

// maxTop bounds N of top:N; the exchange has some 3,000 symbols.
const maxTop = 100_000

// ParseSelection reads the items of a selection. Small letters count as great
// ones.
func ParseSelection(items []string) (Selection, error) {
	var s Selection
	for _, item := range items {
		if err := s.add(strings.ToUpper(strings.TrimSpace(item))); err != nil {
			return Selection{}, fmt.Errorf("symbols: item %.80q: %w", item, err)
		}
	}
	if len(s.names)+len(s.patterns)+len(s.tops) == 0 {
		return Selection{}, errors.New("symbols: nothing to collect: name some, like BTCUSDT, *USDT or top:20:USDT")
	}
	return s, nil
}

// CheckItem refuses what is no item of a selection.
func CheckItem(item string) error {
	var s Selection
	return s.add(strings.ToUpper(strings.TrimSpace(item)))
}

func (s *Selection) add(item string) error {
	if rest, ok := strings.CutPrefix(item, "TOP:"); ok {
		return s.addTop(rest)
	}
	to := &s.names
	if strings.Contains(item, "*") {
		to = &s.patterns
	}
	if item != "" && (item[0] == '-' || item[0] == '!') {
		item = item[1:]
		if strings.HasPrefix(item, "TOP:") {
			return errors.New("a top cannot be excluded")
		}
		to = &s.never
	}
	if err := validPattern(item); err != nil {
		return err
	}
	*to = append(*to, item)
	return nil
}

func (s *Selection) addTop(text string) error {
	number, of, restricted := strings.Cut(text, ":")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > maxTop {
		return fmt.Errorf("%.20q is no number of symbols within 1 and %d", number, maxTop)
	}
	t := top{item: "TOP:" + text, n: n}
	if restricted {
		if err := validPattern(of); err != nil {
			return err
		}
		if strings.Contains(of, "*") {
			t.within = of
		} else {
			t.quote = of
		}
	}
	s.tops = append(s.tops, t)
	return nil
}

// validPattern checks what a symbol, an asset or a pattern may hold.
func validPattern(p string) error {
	plain := strings.ReplaceAll(p, "*", "")
	if plain == "" && p != "" {
		return nil
	}
	if strings.Contains(p, ":") {
		return errors.New("a colon belongs only to top:N and top:N:QUOTE")
	}
	for _, r := range plain {
		if r < utf8.RuneSelf && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.", r) {
			return fmt.Errorf("%q holds %q; allowed are names (BTCUSDT), patterns in which * is any text (*USDT), top:N and top:N:QUOTE, and exclusions (-NAME or !NAME)", p, r)
		}
	}
	return schema.ValidateSymbol(plain)
}

// NeedsTickers reports whether Choose needs the figures of 24 hours.
func (s Selection) NeedsTickers() bool { return len(s.tops) > 0 }

// Plain gives the symbols if nothing but symbols is named, so that the exchange
// need not be asked.
func (s Selection) Plain() ([]string, bool) {
	if len(s.patterns)+len(s.tops)+len(s.never) > 0 || len(s.names) == 0 {
		return nil, false
	}
	return slices.Compact(slices.Sorted(slices.Values(s.names))), true
}

// Names reports whether a symbol is named as such, and not excluded.
func (s Selection) Names(symbol string) bool {
	return slices.Contains(s.names, symbol) && !s.excludes(symbol)
}

// Choose gives the symbols, sorted. Patterns and tops take symbols of every
// status that Binance describes. BREAK is among them: nothing comes then, but
// the symbol may be back any moment. A top leaves out what did not trade in 24
// hours. A symbol named as such need only exist; where some do not, it gives the
// others and an UnknownError.
func (s Selection) Choose(info *ExchangeInfo, tickers []Ticker24h) ([]string, error) {
	known := make(map[string]bool, len(info.Symbols))
	for i := range info.Symbols {
		known[info.Symbols[i].Symbol] = true
	}
	chosen := make(map[string]struct{})
	var unknown UnknownError
	for _, name := range slices.Compact(slices.Sorted(slices.Values(s.names))) {
		switch {
		case s.excludes(name):
		case known[name]:
			chosen[name] = struct{}{}
		default:
			unknown.Names = append(unknown.Names, name)
			unknown.near = append(unknown.near, nearest(name, info.Symbols))
		}
	}
	s.each(info, tickers, func(_ string, symbols []string) {
		for _, x := range symbols {
			chosen[x] = struct{}{}
		}
	})
	names := slices.Sorted(maps.Keys(chosen))
	switch {
	case len(unknown.Names) > 0:
		return names, &unknown
	case len(names) == 0:
		return nil, fmt.Errorf("%w, of %d: look at the patterns and exclusions", ErrNoSymbol, len(info.Symbols))
	}
	return names, nil
}

// Idle gives the patterns and tops that fit no symbol now.
func (s Selection) Idle(info *ExchangeInfo, tickers []Ticker24h) (items []string) {
	s.each(info, tickers, func(item string, symbols []string) {
		if len(symbols) == 0 {
			items = append(items, item)
		}
	})
	return items
}

// each calls fn with each pattern and top and the symbols that fit it.
func (s Selection) each(info *ExchangeInfo, tickers []Ticker24h, fn func(item string, symbols []string)) {
	var candidates []*SymbolInfo
	for i := range info.Symbols {
		if x := &info.Symbols[i]; collectable(x.Status) && !s.excludes(x.Symbol) {
			candidates = append(candidates, x)
		}
	}
	for _, p := range s.patterns {
		var symbols []string
		for _, x := range candidates {
			if matches(p, x.Symbol) {
				symbols = append(symbols, x.Symbol)
			}
		}
		fn(p, symbols)
	}
	if !s.NeedsTickers() {
		return
	}
	day := make(map[string]*Ticker24h, len(tickers))
	for i := range tickers {
		day[tickers[i].Symbol] = &tickers[i]
	}
	for _, t := range s.tops {
		fn(t.item, t.choose(candidates, day))
	}
}

func (s Selection) excludes(symbol string) bool {
	return slices.ContainsFunc(s.never, func(p string) bool { return matches(p, symbol) })
}

func collectable(status string) bool {
	switch status {
	case "TRADING", "HALT", "CANCEL_ONLY", "END_OF_DAY", "BREAK":
		return true
	}
	return false
}

func (t top) choose(candidates []*SymbolInfo, day map[string]*Ticker24h) []string {
	byQuote := make(map[string][]*Ticker24h)
	for _, x := range candidates {
		d := day[x.Symbol]
		if d == nil || d.QuoteVolume.IsZero() || t.quote != "" && t.quote != x.Quote || t.within != "" && !matches(t.within, x.Symbol) {
			continue
		}
		byQuote[x.Quote] = append(byQuote[x.Quote], d)
	}
	var most []*Ticker24h
	for _, quote := range slices.Sorted(maps.Keys(byQuote)) {
		if len(byQuote[quote]) > len(most) {
			most = byQuote[quote]
		}
	}
	slices.SortFunc(most, func(a, b *Ticker24h) int {
		return cmp.Or(b.QuoteVolume.Cmp(a.QuoteVolume), strings.Compare(a.Symbol, b.Symbol))
	})
	symbols := make([]string, 0, min(t.n, len(most)))
	for _, d := range most[:min(t.n, len(most))] {
		symbols = append(symbols, d.Symbol)
	}
	return symbols
}

// matches reports whether text fits the pattern, in which * is any text.
func matches(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(text) < len(first)+len(last) || !strings.HasPrefix(text, first) || !strings.HasSuffix(text, last) {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(text, p)
		if i < 0 {
			return false
		}
		text = text[i+len(p):]
	}
	return true
}

// nearest gives the symbol that is most like a name, "" if none is.
func nearest(name string, all []SymbolInfo) string {
	best, found := max(2, len([]rune(name))/3)+1, ""
	for i := range all {
		if d := distance(name, all[i].Symbol); d < best || d == best && found != "" && all[i].Symbol < found {
			best, found = d, all[i].Symbol
		}
	}
	return found
}

// distance is the number of letters to put in, take out or change to make b of
// a.
func distance(a, b string) int {
	from, to := []rune(a), []rune(b)
	row := make([]int, len(to)+1)
	for j := range row {
		row[j] = j
	}
	for i, x := range from {
		diagonal := row[0]
		row[0] = i + 1
		for j, y := range to {
			change := diagonal
			if x != y {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, diagonal+1, row[j]+1)
		}
	}
	return row[len(to)]
}
