package main

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"millrace/processor/audit"
	sqlsink "millrace/processor/sink/sql"
	"millrace/schema"
)

// repairOptions are what is asked of a repair.
type repairOptions struct {
	deskFlags
	from, to  string
	unchecked bool
	dry       bool
}

func (a *app) repairCommand() command {
	var o repairOptions
	return command{
		use:   "repair [DUMP…]",
		short: "count a symbol's stretch of time anew, after showing what would change",
		long: "Reads the trades of a symbol's stretch of time, from Binance's dumps that are named or else from the log itself, makes all windows of them that lie wholly in the stretch, and shows which candles would change: what is published now, and what the trades say. " +
			"Then, if that is confirmed, writes the trades into the log as a repair. The processor counts them apart from all before and publishes the windows in the next era, all at once and final; whoever keeps the highest version has them. It is the one way to take something out of a candle again.\n\n" +
			"Windows that are only partly in the stretch keep what they have: name a stretch of whole days, or months, to have those too. It is refused where a trade of the stretch is missing, or the one before it or behind it.",
		example: "millrace repair --symbol BTCUSDT --from 2024-08-08 --to 2024-08-09 --dry-run\n" +
			"millrace repair --symbol BTCUSDT --from 2024-08-08 --to 2024-08-09 BTCUSDT-trades-2024-08-0*.zip --sql mysql://reader@127.0.0.1/market",
		groups: []string{gKafka, gLog, gSQL}, leave: slices.DeleteFunc(slices.Clone(deskLeave), func(s string) bool { return s == "candles-topic" }),
		args: 1 << 10,
		own: func(f *pflag.FlagSet) {
			o.add(f)
			f.StringVar(&o.from, "from", "", "`TIME` at which the stretch begins")
			f.StringVar(&o.to, "to", "", "`TIME` at which it ends")
			f.BoolVar(&o.unchecked, "unchecked", false, "take dumps beside which no checksum lies")
			f.BoolVar(&o.dry, "dry-run", false, "only show")
		},
		run: func(ctx context.Context, s *settings, args []string) error { return a.repair(ctx, s, &o, args) },
	}
}

// mostWindows bounds a repair: the processor keeps all its windows in memory
// until it is complete, about 400 bytes each.
const mostWindows = 1_000_000

func (a *app) repair(ctx context.Context, s *settings, o *repairOptions, paths []string) error {
	from, err := timeFlag("--from", o.from)
	if err != nil {
		return err
	}
	to, err := timeFlag("--to", o.to)
	if err != nil {
		return err
	}
	if from >= to {
		return usagef("--to: %v is not behind --from", to)
	}
	d, err := a.openDesk(ctx, s, o.symbol, schema.KindRepair)
	if err != nil {
		return err
	}
	defer d.close()
	era, err := d.nextEra()
	if err != nil {
		return err
	}
	w := &remade{symbol: o.symbol, cal: d.log.Settings.Calendar(), periods: d.log.Settings.Periods, from: from, to: to}
	if n := w.size(); n > mostWindows {
		return usagef("the stretch has %d windows, more than %d: repair it in pieces, of days for example", n, mostWindows)
	}
	g := &gathering{from: from, to: to}
	source := "the log"
	if len(paths) > 0 {
		source = plural(len(paths), "dump")
		err = g.dumps(ctx, o.symbol, paths, !o.unchecked)
	} else {
		err = g.log(ctx, d)
	}
	if err != nil {
		return err
	}
	trades, err := g.whole()
	if err != nil {
		return fmt.Errorf("%s: %s does not cover the stretch: %w", o.symbol, source, err)
	}
	if err := w.count(trades); err != nil {
		return err
	}
	old, done, err := d.published(ctx)
	if err != nil {
		return err
	}
	defer done()
	var b strings.Builder
	fmt.Fprintf(&b, "%s from %v to %v, of %s: trades %d to %d\n", o.symbol, from, to, source, trades[0].ID, trades[len(trades)-1].Last)
	differ, err := w.compare(ctx, old, &b)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprint(a.stdout, b.String()); err != nil || o.dry {
		return err
	}
	if differ == 0 { // a symbol has 63 eras
		_, err := fmt.Fprintln(a.stdout, "nothing is written: an era is for what changes")
		return err
	}
	if err := a.confirm(o.yes, fmt.Sprintf("Write this repair of %s, in the era %d?", o.symbol, era)); err != nil {
		return err
	}
	repair := schema.Repair{Symbol: o.symbol, Era: era, From: from, To: to, First: trades[0].ID, Last: trades[len(trades)-1].Last}
	// Its trades come only once the era is its own: else they might go to a repair
	// that somebody broke off.
	at, err := d.put(ctx, o.wait, repair, func() bool { return d.word.Granted >= era })
	if err != nil {
		return err
	}
	if err := d.writeTrades(ctx, era, trades); err != nil {
		return err
	}
	if err := d.await(ctx, o.wait, at, func() bool { return d.word.Repaired >= era }); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "the processor has the stretch anew, in the era %d\n", era)
	return nil
}

// writeTrades writes the trades of a repair. One that is broken off changes
// nothing: the next repair takes its place.
func (d *desk) writeTrades(ctx context.Context, era uint8, trades []schema.Trade) error {
	var values [][]byte
	for len(trades) > 0 {
		value, n := schema.AppendRepaired(nil, d.symbol, trades[:min(len(trades), 4096)], 0, 0, era)
		if n == 0 {
			return fmt.Errorf("trade %d of %s can't be written", trades[0].ID, d.symbol)
		}
		trades = trades[n:]
		if values = append(values, value); len(values) == 64 || len(trades) == 0 {
			if _, err := d.produce(ctx, values...); err != nil {
				return err
			}
			values = values[:0]
		}
	}
	return nil
}

// published gives what is read for the candles of now: the database where one
// is named, else the topic of candles.
func (d *desk) published(ctx context.Context) (audit.Source, func(), error) {
	if d.s.SQL.DSN == "" {
		t, err := d.candles(ctx)
		return t, func() {}, err
	}
	if name, ok := strings.CutPrefix(string(d.s.SQL.DSN), "sqlite:"); ok {
		if err := readable(name); err != nil {
			return nil, nil, usagef("--sql: %w", err)
		}
	}
	q, err := d.s.SQL.config(nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, err
	}
	q.ReadOnly = true
	db, err := sqlsink.Open(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	return db, func() { _ = db.Close() }, nil // it was only read
}
