package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"github.com/spf13/pflag"

	"millrace/ingest/file"
	"millrace/processor/audit"
	sqlsink "millrace/processor/sink/sql"
	"millrace/schema"
)

func (a *app) auditCommand() command {
	var o struct {
		symbol, period, klines string
		json                   bool
	}
	return command{
		use:   "audit",
		short: "compare candles with Binance's own, figure for figure",
		long: "Compares each of Binance's candles in a file with ours in the SQL store: open, high, low, close, volume, quote volume, trades, taker-buy volume and quote volume. " +
			"Says which figure differs and by how much. Succeeds only if all are equal and final.",
		example: "millrace audit --sql sqlite:millrace-data/millrace.db --symbol BTCUSDT --period 5m --klines BTCUSDT-5m-2024-08-08.zip\n" +
			"millrace audit --sql mysql://reader:secret@127.0.0.1:3306/market --symbol BTCUSDT --period 1h --klines klines.json --json",
		groups: []string{gSQL},
		own: func(f *pflag.FlagSet) {
			f.StringVar(&o.symbol, "symbol", "", "`SYMBOL` of the candles")
			f.StringVar(&o.period, "period", "", "`PERIOD` of the candles, such as 1m")
			f.StringVar(&o.klines, "klines", "", "`FILE` of Binance's candles: a dump of 12 columns (csv, gz, zip) or a REST answer")
			f.BoolVar(&o.json, "json", false, "print the report as JSON")
		},
		run: func(ctx context.Context, s *settings, _ []string) error {
			if o.symbol == "" || o.period == "" || o.klines == "" || s.SQL.DSN == "" {
				return usagef("wanted --sql, --symbol, --period and --klines; see millrace audit --help")
			}
			period, err := schema.ParsePeriod(o.period)
			if err != nil {
				return usagef("--period: %w", err)
			}
			report, err := runAudit(ctx, s, o.symbol, period, o.klines)
			if err != nil {
				return err
			}
			if o.json {
				err = writeJSON(a.stdout, report)
			} else {
				err = report.WriteText(a.stdout)
			}
			if err == nil && !report.OK() {
				err = &classed{exitNotWhole, errors.New("not all candles are equal and final")}
			}
			return err
		},
	}
}

func runAudit(ctx context.Context, s *settings, symbol string, period schema.Period, path string) (audit.Report, error) {
	theirs, err := file.ReadKlines(path)
	if err != nil {
		return audit.Report{}, usagef("--klines: %w", err)
	}
	for i := range theirs {
		var cal schema.Calendar
		if k := &theirs[i]; period < schema.P3d && cal.End(period, k.Start)-k.CloseTime > schema.Second || k.CloseTime >= cal.End(period, k.Start) {
			return audit.Report{}, usagef("--klines: %s holds candles from %v to %v, which are not of %v", path, k.Start, k.CloseTime, period)
		}
	}
	klines := make([]audit.Kline, len(theirs))
	for i := range theirs {
		k := &theirs[i]
		klines[i] = audit.Kline{
			Start: k.Start, Open: k.Open, High: k.High, Low: k.Low, Close: k.Close,
			Volume: k.Volume, Quote: k.Quote, TakerVolume: k.TakerVolume, TakerQuote: k.TakerQuote, Trades: k.Trades,
		}
	}
	if name, ok := strings.CutPrefix(string(s.SQL.DSN), "sqlite:"); ok {
		if err := readable(name); err != nil {
			return audit.Report{}, usagef("--sql: %w", err)
		}
	}
	q, err := s.SQL.config(nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return audit.Report{}, err
	}
	q.ReadOnly = true
	db, err := sqlsink.Open(ctx, q)
	if err != nil {
		return audit.Report{}, err
	}
	report, err := audit.Compare(ctx, db, symbol, period, klines)
	return report, errors.Join(err, db.Close())
}
