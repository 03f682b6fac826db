package processor

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schema"
	"millrace/state"
)

// turn gives how many of the records may be applied in one micro-batch. Where the
// log begins another arithmetic or format, what is before is committed and synced
// first, so that no crash brings back a position from which the turn would be met
// half; where it begins one that this program doesn't know, turn fails, and
// nothing is skipped.
func (p *Processor) turn(store *state.Store, recs []*kgo.Record) (int, error) {
	part := store.Partition()
	for i, r := range recs {
		if !settingsRecord(r) || r.Offset < part.Position().Offset {
			continue
		}
		var tick schema.Tick
		err := tick.Decode(r.Value)
		newer := errors.Is(err, schema.ErrNewer)
		if err != nil && !newer {
			continue // the state refuses it
		}
		if !newer && !turns(part.Settings(), &tick.Settings, recs[:i]) {
			continue
		}
		if i > 0 {
			return i, nil
		}
		if newer {
			return 0, fmt.Errorf("record %d of %s: %w", r.Offset, p.cfg.Topics.Ticks, err)
		}
		if err := store.Sync(); err != nil {
			return 0, err
		}
		p.log.Info("the log goes on in another form; all before it is synced", "partition", part.Position().Partition, "offset", r.Offset,
			"format", tick.Settings.Format, "was", part.Settings().Format, "arithmetic", tick.Settings.Arithmetic, "by", tick.Settings.Program)
	}
	return len(recs), nil
}

// turns reports whether settings change the form in which the state works. Those
// among the records before them count; there is hardly ever one.
func turns(now, s *schema.Settings, before []*kgo.Record) bool {
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
