package audit

import (
	"bytes"
	"fmt"
	"io"
	"time"
)

// Kind is what is wrong with a window.
type Kind string

const (
	Differs Kind = "differs" // in a figure, or equal but not final
	Absent  Kind = "absent"  // Binance has a kline, we have no candle
	Extra   Kind = "extra"   // we have trades, Binance has no kline
)

// Report is the outcome.
type Report struct {
	Symbol   string    `json:"symbol"`
	Period   string    `json:"period"`
	Klines   int       `json:"klines"`
	Equal    int       `json:"equal"`    // of the klines: equal in all nine figures
	Final    int       `json:"final"`    // of the klines: our candle is final
	Absent   int       `json:"absent"`   // of the klines: we have no candle
	Extra    int       `json:"extra"`    // candles with trades that no kline stands for
	Found    int       `json:"found"`    // how many findings there are
	Findings []Finding `json:"findings"` // the first of them
}

// Finding is one window that is not equal and final.
type Finding struct {
	Start       time.Time    `json:"start_time"`
	Kind        Kind         `json:"kind"`
	Status      string       `json:"status,omitempty"`
	Missing     int64        `json:"missing,omitempty"` // ids missing inside, by our count
	Differences []Difference `json:"differences,omitempty"`
}

// Difference is one figure of a window: By is ours minus theirs.
type Difference struct {
	Figure string `json:"figure"`
	Ours   string `json:"ours"`
	Theirs string `json:"theirs"`
	By     string `json:"by"`
}

// OK says that every kline has its candle, equal in all figures and final, and
// that we have no trades beside them.
func (r *Report) OK() bool {
	return r.Klines > 0 && r.Equal == r.Klines && r.Final == r.Klines && r.Found == 0
}

// WriteText writes r for a reader: a line for each finding, a line for each
// figure that differs, and the summary last.
func (r *Report) WriteText(w io.Writer) error {
	var b bytes.Buffer
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s %s %s: ", r.Symbol, r.Period, f.Start.Format(time.RFC3339))
		switch {
		case f.Kind == Absent:
			b.WriteString("absent: Binance has a kline, there is no candle\n")
		case f.Kind == Extra:
			fmt.Fprintf(&b, "extra: a candle with trades (%s), Binance has no kline\n", f.Status)
		case len(f.Differences) == 0:
			fmt.Fprintf(&b, "equal, but %s\n", f.Status)
		default:
			fmt.Fprintf(&b, "differs, %s, %d trades missing inside\n", f.Status, f.Missing)
		}
		for _, d := range f.Differences {
			fmt.Fprintf(&b, "  %-22s ours %s, Binance's %s (%s)\n", d.Figure, d.Ours, d.Theirs, d.By)
		}
	}
	if left := r.Found - len(r.Findings); left > 0 {
		fmt.Fprintf(&b, "… and %d more\n", left)
	}
	verdict := "OK"
	if !r.OK() {
		verdict = "NOT OK"
	}
	fmt.Fprintf(&b, "%s: %s %s: %d klines, %d equal, %d final, %d absent, %d extra\n", verdict, r.Symbol, r.Period, r.Klines, r.Equal, r.Final, r.Absent, r.Extra)
	_, err := w.Write(b.Bytes())
	return err
}
