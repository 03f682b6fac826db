package main

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"

	"millrace/schema"
)

func (a *app) sealCommand() command {
	var o struct {
		deskFlags
		before string
	}
	return command{
		use:   "seal",
		short: "close old windows that were never proven whole",
		long: "A window that lacks a trade stays open, and in the processor's memory, for as long as the trade may still come. This command writes into the log that none is taken any more for windows of a symbol that end up to a moment: a later one is refused, the gaps there are marked as sealed and no longer looked for, and the windows are forgotten once every sink has them. " +
			"Nothing seals by itself: to refuse trades is an operator's decision, and someone may be filling years of history from dumps. Windows younger than the log's seal-after (30 days) are not sealed.",
		example: "millrace seal --symbol BTCUSDT --before 2024-08-08\n" +
			"millrace seal --symbol BTCUSDT --before 2024-08-08T12:00:00Z --yes",
		groups: deskGroups, leave: deskLeave,
		own: func(f *pflag.FlagSet) {
			o.add(f)
			f.StringVar(&o.before, "before", "", "windows that end up to this `TIME`")
		},
		run: func(ctx context.Context, s *settings, _ []string) error {
			before, err := timeFlag("--before", o.before)
			if err != nil {
				return err
			}
			return a.seal(ctx, s, &o.deskFlags, before)
		},
	}
}

// timeFlag reads a date or a time.
func timeFlag(flag, text string) (schema.Time, error) {
	if text == "" {
		return 0, usagef("wanted %s", flag)
	}
	t, err := parseMoment(text)
	if err != nil {
		return 0, usagef("%s: %w", flag, err)
	}
	return schema.FromStd(t), nil
}

func (a *app) seal(ctx context.Context, s *settings, o *deskFlags, before schema.Time) error {
	d, err := a.openDesk(ctx, s, o.symbol, schema.KindSeal)
	if err != nil {
		return err
	}
	defer d.close()
	open := 0
	var missing int64
	for _, g := range d.word.Gaps {
		if g.Filled == 0 && g.Reason != schema.GapSealed && g.Before < before {
			open++
			missing += g.Last - g.First + 1
		}
	}
	fmt.Fprintf(a.stdout, "%s: %s with %d trades would be given up.\n", o.symbol, plural(open, "open gap"), missing)
	if err := a.confirm(o.yes, fmt.Sprintf("Refuse every trade of %s before %v from now on?", o.symbol, before)); err != nil {
		return err
	}
	seal := schema.Seal{Symbol: o.symbol, Before: before}
	if _, err := d.put(ctx, o.wait, seal, func() bool { return d.word.Sealed >= before }); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "the processor takes no trade of %s before %v any more\n", o.symbol, before)
	return nil
}
