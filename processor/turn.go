package processor

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schema"
)

// inTurn applies records in micro-batches. Where the log begins another
// arithmetic or format, what is before is committed and synced first, so that no
// crash brings back a position from which the turn would be met half; where it
// begins one that this program doesn't know, the processor stops at that record,
// with nothing skipped.
func (o *owner) inTurn(ctx context.Context, recs []*kgo.Record) error {
	from := 0
	for i, r := range recs {
		if !settingsRecord(r) || r.Offset < o.store.Partition().Position().Offset {
			continue
		}
		var tick schema.Tick
		err := tick.Decode(r.Value)
		newer := errors.Is(err, schema.ErrNewer)
		if err != nil && !newer {
			continue // the state refuses it
		}
		if !newer && !o.turns(&tick.Settings, recs[from:i]) {
			continue
		}
		if i > from {
			if err := o.microBatch(ctx, recs[from:i]); err != nil {
				return err
			}
			from = i
		}
		if newer {
			return fmt.Errorf("record %d of %s: %w", r.Offset, o.p.cfg.Topics.Ticks, err)
		}
		if err := o.store.Sync(); err != nil {
			return err
		}
		was := o.store.Partition().Settings()
		o.p.log.Info("the log goes on in another form; all before it is synced", "partition", o.partition, "offset", r.Offset,
			"format", tick.Settings.Format, "was", was.Format, "arithmetic", tick.Settings.Arithmetic, "by", tick.Settings.Program)
	}
	return o.microBatch(ctx, recs[from:])
}

// turns reports whether settings change the form in which the state works. Those
// among the records before them count; there is hardly ever one.
func (o *owner) turns(s *schema.Settings, before []*kgo.Record) bool {
	now := o.store.Partition().Settings()
	for _, r := range before {
		var tick schema.Tick
		if settingsRecord(r) && tick.Decode(r.Value) == nil {
			own := tick.Settings
			now = &own
		}
	}
	return now != nil && s.Revision > now.Revision && (now.Format != s.Format || now.Arithmetic != s.Arithmetic)
}

// settingsRecord tells by its first byte what a record is meant to be.
func settingsRecord(r *kgo.Record) bool {
	return len(r.Value) > 0 && r.Value[0] == byte(schema.KindSettings)<<3|2
}
