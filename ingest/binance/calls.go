package binance

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Outcome is how a call ended.
type Outcome int

// The outcomes of calls.
const (
	CallOK      Outcome = iota
	CallRefused         // the exchange answered that it won't have this request
	CallLimited         // http 429 or 418
	CallFailed          // no answer, trouble of the server's own, or nonsense

	outcomes = 4
)

func (o Outcome) String() string {
	return [outcomes]string{"ok", "refused", "limited", "failed"}[o]
}

// outcomeOf sorts a call's error. Without a code of the exchange's own a 4xx
// was spoken by what stands before it.
func outcomeOf(err error) Outcome {
	var limit *LimitError
	var api *APIError
	if err == nil {
		return CallOK
	}
	if errors.As(err, &limit) {
		return CallLimited
	}
	if _, again := Retryable(err); errors.As(err, &api) && api.Code != 0 && !again {
		return CallRefused
	}
	return CallFailed
}

// failsFor is how long a path that fails alone counts without being asked again.
// What is asked for at all is asked for about once a minute at least.
const failsFor = 2 * time.Minute

// calls is how the calls fare. The paths are told apart, since one may fail
// while the others answer; some are asked for rarely, so that an answer of
// another has to tell that an outage is over.
type calls struct {
	mu    sync.Mutex // guards what follows
	n     [outcomes]int64
	good  time.Time // of the newest answer
	paths map[string]*failing
	err   error // of the newest failure
	at    time.Time
}

// failing is a path whose newest call failed.
type failing struct {
	since, at time.Time
	n         int64
	err       error
	alone     bool // others were answered between its failures
}

// note counts a call that was sent. That a caller gave up says nothing.
func (c *calls) note(path string, err error, now time.Time) {
	if errors.Is(err, context.Canceled) {
		return
	}
	o := outcomeOf(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[o]++
	if o == CallOK || o == CallRefused {
		c.good = now
		delete(c.paths, path)
		return
	}
	c.err, c.at = err, now
	f := c.paths[path]
	others := f != nil && c.good.After(f.at)
	switch {
	case f == nil || others && now.Sub(f.at) > failsFor:
		f = &failing{since: now}
		if c.paths == nil {
			c.paths = map[string]*failing{}
		}
		c.paths[path] = f
	case others:
		f.alone = true
	}
	f.at, f.n, f.err = now, f.n+1, err
}

// CallStats tells how a client's calls fare.
type CallStats struct {
	Outcomes [outcomes]int64 // calls, by Outcome
	// LastGood is when the exchange last answered as it should; zero before.
	LastGood time.Time
	// FailingSince is when calls began to fail that go on to: all of them, or
	// those of some path. It is zero while all is well. Failing counts them.
	FailingSince time.Time
	Failing      int64
	// LastErr is the newest failure, and LastErrAt its time. While calls fail it
	// is one of theirs.
	LastErr   string
	LastErrAt time.Time
}

// Calls tells how the calls fare.
func (c *Client) Calls() CallStats {
	return c.calls.stats(time.Now())
}

func (c *calls) stats(now time.Time) CallStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := CallStats{Outcomes: c.n, LastGood: c.good}
	err, at := c.err, c.at
	for _, f := range c.paths {
		if c.good.After(f.at) && (!f.alone || now.Sub(f.at) > failsFor) {
			continue
		}
		if s.FailingSince.IsZero() {
			err, at = f.err, f.at
		}
		if s.FailingSince.IsZero() || f.since.Before(s.FailingSince) {
			s.FailingSince = f.since
		}
		if f.at.After(at) {
			err, at = f.err, f.at
		}
		s.Failing += f.n
	}
	if err != nil {
		s.LastErr, s.LastErrAt = err.Error(), at
	}
	return s
}
