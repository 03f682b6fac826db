package collect

import (
	"context"
	"time"
)

const (
	// outageEvery is how often it is looked at how calls fare.
	outageEvery = time.Second
	// outageAfter is for how long calls must have failed for a word in the log:
	// one that fails and fares better a second later is of no interest.
	outageAfter = 5 * time.Second
)

// outage says once when the exchange's REST side has failed for some seconds
// while streams are collected, and once when it answers again.
type outage struct {
	since time.Time // of the one that was told; zero: none
}

// tellOutages looks at the calls until ctx ends.
func (l *Live) tellOutages(ctx context.Context) error {
	var o outage
	for l.pause(ctx, outageEvery) {
		c := l.Source.REST.Calls()
		switch told, over := o.look(c.FailingSince, time.Now()); {
		case told:
			l.Log.Warn("REST fails: trades come on, but what is missed can't be fetched", "rest", l.Source.REST.Addresses(), "since", c.FailingSince.UTC().Format(time.RFC3339), "calls", c.Failing, "err", c.LastErr)
		case over > 0:
			l.Log.Info("REST answers again", "after", over.Round(time.Second))
		}
	}
	return nil
}

// look takes since when calls fail, zero if they don't. told says that it is
// time to tell of it, over how long what was told of has lasted.
func (o *outage) look(since, now time.Time) (told bool, over time.Duration) {
	switch {
	case since.IsZero() && !o.since.IsZero():
		over = now.Sub(o.since)
		o.since = time.Time{}
	case !since.IsZero() && o.since.IsZero() && now.Sub(since) >= outageAfter:
		o.since = since
		told = true
	}
	return told, over
}
