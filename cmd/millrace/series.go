package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schema"
	"millrace/state"
)

func (a *app) seriesCommand() command {
	var o deskFlags
	var force bool
	return command{
		use:   "series",
		short: "begin a symbol's new series of trade ids",
		long: "An exchange may begin a symbol's trade ids anew, after a relisting or a reset of its test network. The processor then refuses the symbol's trades, and says so, until this command writes into the log that a new series begins. " +
			"From there on ids count anew, in a higher era. Windows that start at or before the newest trade of the old series stay as they are, and hold nothing of the new one; the old one's gaps are dropped. Ingestors fetch the new series from its start by themselves.",
		example: "millrace series --symbol BTCUSDT\n" +
			"millrace series --symbol BTCUSDT --yes --kafka 127.0.0.1:9092",
		groups: deskGroups, leave: deskLeave,
		own: func(f *pflag.FlagSet) {
			o.add(f)
			f.BoolVar(&force, "force", false, "begin one although no processor has refused a trade of it: the windows that are open then stay incomplete")
		},
		run: func(ctx context.Context, s *settings, _ []string) error { return a.newSeries(ctx, s, &o, force) },
	}
}

func (a *app) newSeries(ctx context.Context, s *settings, o *deskFlags, force bool) error {
	d, err := a.openDesk(ctx, s, o.symbol, schema.KindNewSeries)
	if err != nil {
		return err
	}
	defer d.close()
	if anew, err := d.anew(ctx); err != nil {
		return err
	} else if !anew && !force {
		return usagef("the ids of %s go on: no processor has refused a trade of it for having begun anew; a new series would leave the windows that are open now incomplete for good, --force begins one all the same", o.symbol)
	}
	era, err := d.nextEra()
	if err != nil {
		return err
	}
	open := 0
	for _, g := range d.word.Gaps {
		if g.Filled == 0 {
			open++
		}
	}
	fmt.Fprintf(a.stdout, "%s: %s of the old series will be dropped; candles so far stay as they are.\n", o.symbol, plural(open, "open gap"))
	if err := a.confirm(o.yes, fmt.Sprintf("Begin a new series of %s, in the era %d?", o.symbol, era)); err != nil {
		return err
	}
	series := schema.NewSeries{Symbol: o.symbol, Era: era}
	if _, err := d.put(ctx, o.wait, series, func() bool { return d.word.Era >= era }); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "the processor counts the new series of %s\n", o.symbol)
	return nil
}

// anew reports whether a processor has refused trades of the symbol, since its
// newest word on it, because its ids have begun anew.
func (d *desk) anew(ctx context.Context) (found bool, err error) {
	err = d.each(ctx, d.deadTopic(), d.log.Dead, func(r *kgo.Record) error {
		x := newLetter(r, &d.tick)
		if x.Offset != nil && *x.Offset >= d.word.Changed && x.Reason == string(state.Series) && strings.Contains(x.Text, "the ids of "+d.symbol+" have begun anew") {
			found = true
		}
		return nil
	})
	return found, err
}
