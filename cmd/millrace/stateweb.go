package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"millrace/processor"
	"millrace/schema"
	"millrace/state"
)

// What an answer holds at most.
const (
	maxStateSymbols = 5000
	maxStateList    = 100    // intervals, gaps
	maxStateCandles = 5000   // a page
	maxStateWindows = 50_000 // that are looked at for a page
)

// stateSource gives views of the partitions that can be asked, one by one.
type stateSource func(ctx context.Context, f func(*state.View) error) error

// stateAnswer is what a state says of its symbols.
type stateAnswer struct {
	Time       time.Time        `json:"time"`
	Partitions []statePartition `json:"partitions"`
	Symbols    []stateSymbol    `json:"symbols"`
	More       int              `json:"more,omitempty"` // symbols that are left out
}

type statePartition struct {
	Partition int32             `json:"partition"`
	Offset    int64             `json:"offset"` // the next record to apply
	LogTime   *time.Time        `json:"log_time,omitempty"`
	Newest    *time.Time        `json:"newest,omitempty"`
	Watermark *time.Time        `json:"watermark,omitempty"`
	Symbols   int               `json:"symbols"`
	Revision  uint32            `json:"revision"`
	Settings  map[string]string `json:"settings,omitempty"` // in force in the state
}

type stateSymbol struct {
	symbolInside
	Partition int32      `json:"partition"`
	Frontier  int64      `json:"frontier"`
	Highest   int64      `json:"highest"`
	History   *time.Time `json:"history,omitempty"`
	Status    string     `json:"status"`
	Watching  []string   `json:"watching,omitempty"`
	Holes     int        `json:"holes"` // stretches of ids that are missing, all of them
}

// candlesAnswer is a page of a series.
type candlesAnswer struct {
	Symbol  string            `json:"symbol"`
	Period  string            `json:"period"`
	Candles []candleFromState `json:"candles"`
	// Next is where the next page begins; absent if this is the last.
	Next *time.Time `json:"next,omitempty"`
}

type candleFromState struct {
	Start   time.Time `json:"start"`
	Open    string    `json:"open"`
	High    string    `json:"high"`
	Low     string    `json:"low"`
	Close   string    `json:"close"`
	Volume  string    `json:"volume"`
	Quote   string    `json:"quote_volume"`
	Trades  int64     `json:"trades"`
	First   int64     `json:"first_trade_id"`
	Last    int64     `json:"last_trade_id"`
	Status  string    `json:"status"`
	Missing int64     `json:"missing"`
	Version int64     `json:"version"`
}

// errNoSuch is an answer of its own: what was asked for isn't there.
var errNoSuch = errors.New("not in this state")

// askSymbols gives what a state knows of the symbols named, or of all.
func askSymbols(ctx context.Context, from stateSource, names []string, now time.Time) (*stateAnswer, error) {
	want := map[string]bool{}
	for _, n := range names {
		want[n] = true
	}
	a := &stateAnswer{Time: now.UTC(), Partitions: []statePartition{}, Symbols: []stateSymbol{}}
	err := from(ctx, func(v *state.View) error {
		s := v.Summary()
		p := statePartition{Partition: s.Position.Partition, Offset: s.Position.Offset, LogTime: known(s.LogTime), Newest: known(s.Newest), Watermark: known(s.Watermark), Symbols: len(s.Symbols)}
		if s.Settings != nil {
			p.Revision, p.Settings = s.Settings.Revision, valuesOf(s.Settings)
		}
		a.Partitions = append(a.Partitions, p)
		for _, d := range v.Details() {
			switch {
			case len(want) > 0 && !want[d.Name]:
			case len(a.Symbols) >= maxStateSymbols:
				a.More++
			default:
				a.Symbols = append(a.Symbols, newStateSymbol(p.Partition, &d))
			}
		}
		return nil
	})
	return a, err
}

func newStateSymbol(partition int32, d *state.Detail) stateSymbol {
	s := &state.Summary{Symbols: []state.SymbolSummary{d.SymbolSummary}}
	x := stateSymbol{symbolInside: newInside(nil, s).Symbols[0], Partition: partition, Frontier: d.Frontier, Highest: d.Highest,
		History: known(d.History), Status: strings.ToLower(strings.TrimPrefix(d.Status.String(), "TRADING_STATUS_")), Watching: d.Watching, Holes: max(len(d.Intervals)-1, 0)}
	x.Intervals = x.Intervals[max(0, len(x.Intervals)-maxStateList):]
	x.Gaps = x.Gaps[max(0, len(x.Gaps)-maxStateList):]
	return x
}

// seriesAsked is a stretch of a series.
type seriesAsked struct {
	symbol   string
	period   schema.Period
	from, to schema.Time
	limit    int
}

// askCandles gives a page of a series straight from the state.
func askCandles(ctx context.Context, from stateSource, q seriesAsked) (*candlesAnswer, error) {
	a := &candlesAnswer{Symbol: q.symbol, Period: q.period.String(), Candles: []candleFromState{}}
	found := false
	err := from(ctx, func(v *state.View) error {
		symbol, made := v.Has(q.symbol, q.period)
		if !symbol {
			return nil
		}
		found = true
		if !made {
			return fmt.Errorf("%w: the log's settings have no period %v", errNoSuch, q.period)
		}
		next, err := v.Candles(q.symbol, q.period, q.from, q.to, maxStateWindows, func(c *schema.Candle) bool {
			a.Candles = append(a.Candles, candleFromState{
				Start: c.Start.Std(), Open: c.Open.String(), High: c.High.String(), Low: c.Low.String(), Close: c.Close.String(),
				Volume: c.Volume.String(), Quote: c.Quote.String(), Trades: c.Trades, First: c.First, Last: c.Last,
				Status: c.Status.String(), Missing: c.Missing, Version: int64(c.Version),
			})
			return len(a.Candles) < min(q.limit, maxStateCandles)
		})
		if next < q.to {
			a.Next = known(next)
		}
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("%w: no symbol %s in the partitions asked", errNoSuch, q.symbol)
	}
	return a, err
}

// stateRoutes serves a processor's state, read-only:
//
//	/state/symbols.json?symbol=S…                         a stateAnswer
//	/state/candles.json?symbol=S&period=P&from=&to=&limit= a candlesAnswer
//
// One question at a time is answered, so that none of them slows the work.
func stateRoutes(p *processor.Processor) func(*http.ServeMux, *slog.Logger) {
	return func(mux *http.ServeMux, log *slog.Logger) {
		turn := make(chan struct{}, 1)
		serve := func(ask func(context.Context, *http.Request) (any, error)) http.HandlerFunc {
			return func(rw http.ResponseWriter, r *http.Request) {
				ctx, cancel := context.WithTimeout(r.Context(), 8*time.Second)
				defer cancel()
				select {
				case turn <- struct{}{}:
				case <-ctx.Done():
					http.Error(rw, "another question is being answered", http.StatusServiceUnavailable)
					return
				}
				answer, err := ask(ctx, r)
				<-turn
				var wrong *classed
				switch {
				case errors.Is(err, errNoSuch):
					http.Error(rw, oneLine(err), http.StatusNotFound)
					return
				case errors.As(err, &wrong):
					http.Error(rw, oneLine(err), http.StatusBadRequest)
					return
				case err != nil:
					log.Warn("a question to the state failed", "err", err)
					http.Error(rw, oneLine(err), http.StatusInternalServerError)
					return
				}
				rw.Header().Set("Content-Type", "application/json")
				if err := writeJSON(rw, answer); err != nil {
					log.Debug("one who asked the state left", "err", err)
				}
			}
		}
		mux.HandleFunc("GET /state/symbols.json", serve(func(ctx context.Context, r *http.Request) (any, error) {
			return askSymbols(ctx, p.Views, r.URL.Query()["symbol"], time.Now())
		}))
		mux.HandleFunc("GET /state/candles.json", serve(func(ctx context.Context, r *http.Request) (any, error) {
			v := r.URL.Query()
			q, err := newSeriesAsked(v.Get("symbol"), v.Get("period"), v.Get("from"), v.Get("to"), v.Get("limit"))
			if err != nil {
				return nil, err
			}
			return askCandles(ctx, p.Views, q)
		}))
	}
}

// newSeriesAsked reads a question for candles. Times are left open by "".
func newSeriesAsked(symbol, period, from, to, limit string) (q seriesAsked, err error) {
	q = seriesAsked{symbol: strings.ToUpper(symbol), from: schema.MinTime + 1, to: schema.MaxTime, limit: 100}
	if err := schema.ValidateSymbol(q.symbol); err != nil {
		return q, usagef("symbol: %w", err)
	}
	if q.period, err = schema.ParsePeriod(period); err != nil {
		return q, usagef("period: %w", err)
	}
	for _, x := range []struct {
		name, text string
		at         *schema.Time
	}{{"from", from, &q.from}, {"to", to, &q.to}} {
		if x.text == "" {
			continue
		}
		if err := moment(x.at).set([]string{x.text}); err != nil {
			return q, usagef("%s: %w", x.name, err)
		}
	}
	if limit != "" {
		if q.limit, err = strconv.Atoi(limit); err != nil || q.limit < 1 {
			return q, usagef("limit: %q is not a number from 1 up", limit)
		}
	}
	return q, nil
}
