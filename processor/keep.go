package processor

import (
	"context"
	"time"

	"millrace/schema"
)

// maintainEvery is how often it is looked whether a day has passed.
const maintainEvery = time.Minute

// maintain drops old rows of the database once a day of the log's own time. It
// counts from the slowest of this process's partitions, so a replayed history
// loses nothing while another partition is live.
func (p *Processor) maintain(ctx context.Context) error {
	if p.db == nil || len(p.cfg.SQL.KeepDays) == 0 {
		return nil
	}
	t := time.NewTicker(maintainEvery)
	defer t.Stop()
	done := schema.MinTime
	for {
		if newest, ok := p.slowest(); ok && newest-newest%schema.Day > done {
			bound, cancel := context.WithTimeout(ctx, 10*time.Minute)
			err := p.db.Maintain(bound, newest, p.cfg.SQL.KeepDays)
			cancel()
			if err == nil {
				done = newest - newest%schema.Day
			} else if ctx.Err() == nil {
				p.log.Warn("could not drop old rows; trying again", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// slowest gives the lowest of the newest applied times of the partitions that
// have any; ok is false if none has.
func (p *Processor) slowest() (low schema.Time, ok bool) {
	low = schema.MaxTime
	for _, s := range p.Status() {
		if s.Newest != schema.MinTime {
			low, ok = min(low, s.Newest), true
		}
	}
	return low, ok
}
