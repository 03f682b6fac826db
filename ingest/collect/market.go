package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"millrace/ingest"
	"millrace/ingest/binance"
	"millrace/schema"
	"millrace/schema/schemapb"
)

const (
	// symbolsPerConn is how many symbols share a connection at most. Binance
	// allows 1,024 streams; fewer keep one busy connection from delaying all.
	symbolsPerConn = 200
	// ratePerConn is how many trades a second, in the day's mean, share one:
	// bursts bring twenty times as many.
	ratePerConn = 500
	// refreshEvery is how often the exchange is asked for its symbols.
	refreshEvery = time.Minute
)

// market is what the exchange says of its symbols.
type market struct {
	names []string           // chosen
	rates map[string]float64 // trades a second in the day's mean, where known
	now   func() schema.Time // a moment at or before the exchange's present

	mu       sync.Mutex // guards what follows
	statuses map[string]schema.TradingStatus
}

func (m *market) status(name string) schema.TradingStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.statuses[name]
}

// market asks the exchange for its symbols and chooses. It is also the check
// that those named exist, since the streams of an unknown symbol are silent.
func (l *Live) market(ctx context.Context) (*market, error) {
	m := &market{statuses: map[string]schema.TradingStatus{}, rates: map[string]float64{}}
	if l.Source.REST == nil {
		names, plain := l.Select.Plain()
		if !plain {
			return nil, errors.New("symbols by pattern or rank need the exchange's REST address")
		}
		m.names = names
		return m, nil
	}
	info, tickers, err := l.askUntil(ctx)
	if err != nil {
		return nil, err
	}
	if m.names, err = l.Select.Choose(info, tickers); err != nil {
		return nil, err
	}
	l.remark(info, tickers)
	now, ok := binance.ParseTime(info.ServerTime)
	if !ok {
		return nil, fmt.Errorf("ask the exchange for its symbols: %d is no plausible server time", info.ServerTime)
	}
	asked := time.Now()
	m.now = func() schema.Time { return now + schema.Time(time.Since(asked).Microseconds()) }
	m.take(info)
	for i := range tickers {
		m.rates[tickers[i].Symbol] = float64(tickers[i].Count) / (24 * 3600)
	}
	return m, nil
}

const (
	// askPauseMost is the longest pause between two questions for the symbols
	// while the exchange does not answer.
	askPauseMost = 10 * time.Second
	// askTellEvery is how often the log says that they are still waited for.
	askTellEvery = 30 * time.Second
)

// askUntil asks until the exchange answers. Waiting loses nothing, since what is
// missed meanwhile is fetched. It gives up where asking again can't help.
func (l *Live) askUntil(ctx context.Context) (*binance.ExchangeInfo, []binance.Ticker24h, error) {
	began := time.Now()
	var told time.Time
	for pause := time.Duration(0); ; pause = min(2*pause, askPauseMost) {
		info, tickers, err := l.ask(ctx, true)
		if err == nil {
			if !told.IsZero() {
				l.Log.Info("the exchange tells its symbols", "after", time.Since(began).Round(time.Millisecond))
			}
			l.awaited.Store(nil)
			return info, tickers, nil
		}
		wait, again := binance.Retryable(err)
		if ctx.Err() != nil || !again {
			return nil, nil, err
		}
		why := err.Error()
		l.awaited.Store(&why)
		pause = max(pause, wait)
		if time.Since(told) >= askTellEvery {
			told = time.Now()
			l.Log.Warn("nothing is collected before the exchange tells its symbols; trying again and again", "rest", l.Source.REST.Addresses(),
				"for", time.Since(began).Round(time.Second), "err", err)
		}
		if !l.pause(ctx, pause) {
			return nil, nil, ctx.Err()
		}
	}
}

// remark tells what of the selection brings nothing now.
func (l *Live) remark(info *binance.ExchangeInfo, tickers []binance.Ticker24h) {
	if idle := l.Select.Idle(info, tickers); len(idle) > 0 {
		l.Log.Warn("no symbol of the exchange matches now; one that is listed later will", "items", idle)
	}
	var rest []string
	for i := range info.Symbols {
		if x := &info.Symbols[i]; x.Status != "TRADING" && l.Select.Names(x.Symbol) {
			rest = append(rest, x.Symbol+" "+x.Status)
		}
	}
	if len(rest) > 0 {
		slices.Sort(rest)
		l.Log.Warn("symbols are not traded now; they are watched, and collected once they are", "symbols", rest)
	}
}

// ask asks for the symbols and, where they are needed, the day's figures.
func (l *Live) ask(ctx context.Context, rates bool) (*binance.ExchangeInfo, []binance.Ticker24h, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	names, plain := l.Select.Plain()
	if !plain || len(names) > 100 || l.whole {
		names = nil // all
	}
	info, err := l.Source.REST.Exchange(ctx, names...)
	if unknown(err) && names != nil {
		// It doesn't say which one. What there is tells, and weighs no more.
		l.whole, names = true, nil
		info, err = l.Source.REST.Exchange(ctx)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("ask the exchange for its symbols: %w", err)
	}
	if !l.Select.NeedsTickers() && (!rates || l.blind()) {
		return info, nil, nil
	}
	tickers, err := l.Source.REST.Tickers24h(ctx, names...)
	if unknown(err) && names != nil { // of one that is not traded
		tickers, err = l.Source.REST.Tickers24h(ctx)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("ask the exchange for the day's figures: %w", err)
	}
	return info, tickers, nil
}

// unknownSymbol is Binance's error code for an unknown symbol.
const unknownSymbol = -1121

func unknown(err error) bool {
	var bad *binance.APIError
	return errors.As(err, &bad) && bad.Code == unknownSymbol
}

func (m *market) take(info *binance.ExchangeInfo) {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.statuses)
	for _, s := range info.Symbols {
		m.statuses[s.Symbol] = schemapb.TradingStatus(schemapb.TradingStatus_value["TRADING_STATUS_"+s.Status])
	}
}

// shares spreads the symbols over connections so that each has about the same
// rate: the busiest first, each to the connection that has the least so far.
func (m *market) shares() [][]string {
	total := 0.0
	for _, n := range m.names {
		total += m.rates[n]
	}
	k := max((len(m.names)+symbolsPerConn-1)/symbolsPerConn, int(total/ratePerConn)+1)
	k = min(k, len(m.names))
	names := slices.Clone(m.names)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(m.rates[b], m.rates[a]) })
	out, load := make([][]string, k), make([]float64, k)
	for _, n := range names {
		best := 0
		for i := range k {
			if len(out[i]) < symbolsPerConn && (len(out[best]) >= symbolsPerConn || load[i] < load[best] || load[i] == load[best] && len(out[i]) < len(out[best])) {
				best = i
			}
		}
		out[best] = append(out[best], n)
		load[best] += m.rates[n]
	}
	for i := range out {
		slices.Sort(out[i])
	}
	return out
}

// refresh follows the exchange's symbols: their statuses, those that come, and
// those that go. One that was chosen by its rank stays, whatever its rank.
func (l *Live) refresh(ctx context.Context, m *market) error {
	for l.pause(ctx, cmp.Or(l.RefreshEvery, refreshEvery)) {
		info, tickers, err := l.ask(ctx, false)
		if err == nil {
			err = l.follow(ctx, m, info, tickers)
		}
		if err != nil && ctx.Err() == nil {
			l.Log.Warn("the exchange's symbols could not be refreshed", "err", err)
		}
	}
	return nil
}

func (l *Live) follow(ctx context.Context, m *market, info *binance.ExchangeInfo, tickers []binance.Ticker24h) error {
	known := map[string]bool{}
	for _, s := range info.Symbols {
		known[s.Symbol] = true
	}
	have := map[string]*group{}
	lost := 0
	for _, g := range l.all() {
		for _, name := range g.names() {
			have[name] = g
			if !known[name] {
				lost++
			}
		}
	}
	if lost > 1 && 2*lost > len(have) { // the exchange does not drop half of its symbols in a minute
		return fmt.Errorf("the answer lacks %d of the %d that are collected, which is not believed", lost, len(have))
	}
	m.take(info)
	for _, g := range l.all() {
		for _, name := range g.names() {
			if err := g.follow(name, m.status(name)); err != nil {
				return err
			}
		}
	}
	chosen, _ := l.Select.Choose(info, tickers) // of what is gone the others are none the worse
	var fresh []string
	for _, name := range chosen {
		if have[name] == nil {
			fresh = append(fresh, name)
		}
	}
	for _, name := range sortedKeys(have) {
		if !known[name] {
			if err := l.remove(have[name], name); err != nil {
				return err
			}
		}
	}
	if len(fresh) > 0 {
		return l.add(ctx, fresh, m)
	}
	return nil
}

// follow tells a change of a symbol's status.
func (g *group) follow(name string, status schema.TradingStatus) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	y := g.series[name]
	if y == nil || y.status == status || status == schemapb.TradingStatus_TRADING_STATUS_UNKNOWN {
		return nil
	}
	g.live.Log.Info("the symbol's status has changed", "symbol", name, "was", y.status, "is", status)
	y.status = status
	if y.early {
		return nil // it begins with it
	}
	return g.stream.Status(name, status)
}

// remove ends the collecting of a symbol that the exchange has no more. What
// comes of it until the connection has been renewed is passed over.
func (l *Live) remove(g *group, name string) error {
	g.mu.Lock()
	if len(g.series) == 1 && g.source != nil {
		g.mu.Unlock()
		return g.follow(name, schemapb.TradingStatus_TRADING_STATUS_DELISTED) // a connection needs one; it stays silent
	}
	var err error
	missing := int64(0)
	y := g.series[name]
	if y != nil {
		missing = y.holes.missing(0, math.MaxInt64)
	}
	if y != nil && !y.early {
		if err = g.stream.Status(name, schemapb.TradingStatus_TRADING_STATUS_DELISTED); err == nil {
			err = g.stream.Remove(name)
		}
	}
	delete(g.series, name)
	g.last = nil
	names := sortedKeys(g.series)
	g.mu.Unlock()
	l.Log.Warn("a symbol is gone from the exchange; what is missing of it stays missing", "symbol", name, "missing ids", missing)
	l.mu.Lock()
	l.gone = append(l.gone, name)
	l.mu.Unlock()
	return errors.Join(err, g.wish(names))
}

// add begins to collect symbols that are new: beside the fewest, or on their own.
func (l *Live) add(ctx context.Context, names []string, m *market) error {
	l.Log.Info("symbols have come", "symbols", names)
	var g *group
	for _, x := range l.all() {
		if n := x.size(); n+len(names) <= symbolsPerConn && (g == nil || n < g.size()) {
			g = x
		}
	}
	tail, err := l.tail(ctx, names)
	if err != nil {
		return err
	}
	if g == nil {
		return l.start(ctx, names, tail, m)
	}
	fresh, list := l.prepare(names, tail, m)
	err = g.join(fresh, list)
	l.letIn(ctx, g)
	return err
}

// join takes new symbols in. They are held until the connection that sees them
// has taken over and their ids are known to go on.
func (g *group) join(fresh map[string]*series, list []ingest.Symbol) error {
	g.mu.Lock()
	err := g.stream.Add(list...)
	maps.Copy(g.series, fresh)
	names := sortedKeys(g.series)
	g.mu.Unlock()
	return errors.Join(err, g.wish(names))
}
