package main

import (
	"strings"
	"time"

	"millrace/ingest/binance"
	"millrace/schema"
)

// The words of --streams.
const (
	streamsTrade = "trade"
	streamsAgg   = "aggTrade"
	streamsSBE   = "sbe"
	streamsREST  = "rest"
)

// source turns the settings into what connections need, with the one REST
// client of the process.
func (b *binanceSettings) source(wsGiven bool, margin time.Duration) (binance.Config, error) {
	sbe := b.Streams == streamsSBE
	switch {
	case sbe && b.Key == "":
		return binance.Config{}, usagef("--streams sbe: Binance wants an API key for it: give --binance-api-key-file")
	case !sbe && b.Key != "":
		return binance.Config{}, usagef("--binance-api-key: only --streams sbe takes a key, not %s", b.Streams)
	}
	rest, err := binance.NewClientFrom(binance.ClientConfig{
		Bases: strings.Split(string(b.REST), ","), CAFile: b.CA, Proxy: string(b.Proxy),
		Budget: binance.NewBudget(binance.BudgetConfig{Share: b.Share}),
	})
	if err != nil {
		return binance.Config{}, usagef("%w", err)
	}
	cfg := binance.Config{
		WS: string(b.WS), CAFile: b.CA, Proxy: string(b.Proxy), REST: rest, APIKey: string(b.Key),
		Aggregates: b.Streams == streamsAgg, Margin: margin, Symbols: []string{"ANY"},
	}
	if sbe && !wsGiven {
		cfg.WS = binance.DefaultSBE
	}
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return binance.Config{}, usagef("%w", err)
	}
	return cfg, nil
}

// plainSymbols refuses patterns and ranks where only names will do.
func (s *settings) plainSymbols() error {
	for _, x := range s.Binance.Symbols {
		if strings.ContainsAny(x, "*:!") || strings.HasPrefix(x, "-") {
			return usagef("--symbols: %q is a pattern, a rank or an exclusion; files and days are asked for by name", x)
		}
		if err := schema.ValidateSymbol(x); err != nil {
			return usagef("--symbols: %w", err)
		}
	}
	return nil
}
