package file

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"millrace/ingest/binance"
	"millrace/schema"
)

// layout says which column of a dump holds what.
//
//	trades, spot       id price qty quoteQty time isBuyerMaker isBestMatch
//	trades, futures    id price qty quoteQty time isBuyerMaker
//	aggTrades, spot    id price qty first last time isBuyerMaker isBestMatch
//	aggTrades, futures id price qty first last time isBuyerMaker
type layout struct {
	kind    Kind
	columns int
	time    int
	maker   int
}

var layouts = [...]layout{
	{Trades, 7, 4, 5},
	{Trades, 6, 4, 5},
	{AggTrades, 8, 5, 6},
	{AggTrades, 7, 5, 6},
}

const maxColumns = 16

// split cuts a row at its commas.
func split(cols [][]byte, row []byte) [][]byte {
	cols = cols[:0]
	for len(cols) <= maxColumns {
		c, rest, more := bytes.Cut(row, []byte(","))
		cols = append(cols, c)
		if !more {
			break
		}
		row = rest
	}
	return cols
}

// findLayout finds the one layout that a row fits. kind is Unknown where the
// name didn't tell it.
func findLayout(kind Kind, cols [][]byte) (layout, error) {
	var found []layout
	for _, l := range layouts {
		if l.columns != len(cols) || kind != Unknown && l.kind != kind {
			continue
		}
		_, isBool := parseBool(cols[l.maker])
		_, last := parseBool(cols[l.columns-1])
		if _, err := parseTime(cols[l.time]); err == nil && isBool && last {
			found = append(found, l)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	what := "trades nor of aggTrades"
	if kind != Unknown {
		what = kind.String() + ", which the file's name calls it"
	}
	if len(found) > 1 {
		return layout{}, fmt.Errorf("the row could be of trades and of aggTrades: give the file Binance's name (SYMBOL-trades-DATE.csv or SYMBOL-aggTrades-DATE.csv)")
	}
	return layout{}, fmt.Errorf("a row of %d columns that is none of %s", len(cols), what)
}

// isHeader reports whether a first line is a header of a dump: its first
// column is a word for the id.
func isHeader(row []byte) bool {
	first, _, _ := bytes.Cut(row, []byte(","))
	switch strings.ToLower(strings.ReplaceAll(strings.Trim(string(first), `" `), "_", "")) {
	case "id", "tradeid", "aggtradeid", "aggid", "a", "opentime":
		return true
	}
	return false
}

func parseBool(b []byte) (v, ok bool) {
	switch string(b) {
	case "true", "True", "TRUE":
		return true, true
	case "false", "False", "FALSE":
		return false, true
	}
	return false, false
}

func parseTime(b []byte) (schema.Time, error) {
	v, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("time %s is no integer", snippet(b))
	}
	t, ok := binance.ParseTime(v)
	if !ok || t == 0 {
		return 0, fmt.Errorf("time %d is not plausible", v)
	}
	return t, nil
}

func parseID(name string, b []byte) (int64, error) {
	v, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s %s is no integer", name, snippet(b))
	}
	return v, nil
}

// parse reads a row into t. void is true for an aggregate that stands for no
// trade.
func (l *layout) parse(cols [][]byte, t *schema.Trade) (void bool, err error) {
	if len(cols) != l.columns {
		return false, fmt.Errorf("%d columns, where the first row has %d", len(cols), l.columns)
	}
	*t = schema.Trade{}
	id, err := parseID("id", cols[0])
	if err != nil {
		return false, err
	}
	t.ID, t.Last = id, id
	if l.kind == AggTrades {
		if t.ID, err = parseID("first trade id", cols[3]); err != nil {
			return false, err
		}
		if t.Last, err = parseID("last trade id", cols[4]); err != nil {
			return false, err
		}
	}
	if t.Price, err = schema.ParseDecimal(cols[1]); err != nil {
		return false, fmt.Errorf("price of trade %d: %w", t.ID, err)
	}
	if t.Qty, err = schema.ParseDecimal(cols[2]); err != nil {
		return false, fmt.Errorf("quantity of trade %d: %w", t.ID, err)
	}
	if t.Time, err = parseTime(cols[l.time]); err != nil {
		return false, err
	}
	var ok bool
	if t.BuyerMaker, ok = parseBool(cols[l.maker]); !ok {
		return false, fmt.Errorf("isBuyerMaker %s is neither true nor false", snippet(cols[l.maker]))
	}
	if l.kind == AggTrades && t.ID == -1 && t.Last == -1 && t.Price.Mantissa == 0 && t.Qty.Mantissa == 0 {
		return true, nil
	}
	return false, t.Validate()
}
