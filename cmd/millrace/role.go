package main

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// errElapsed is the cause of a context that --for ended.
var errElapsed = errors.New("the set time has passed")

// errUnfinished is what a command with an end of its own gives if it was
// stopped before.
var errUnfinished = &classed{exitInterrupted, errors.New("stopped before it was done")}

// role makes a command of a function that works until ctx ends. To be
// stopped by a signal or by --for is a good end, unless it gives errUnfinished.
func (a *app) role(name string, work func(context.Context, *settings, *slog.Logger) error) func(context.Context, *settings, []string) error {
	return func(ctx context.Context, s *settings, _ []string) error {
		log := newLogger(a.stderr, &s.Run).With("role", name)
		ctx, cancel := forTime(ctx, s.Run.For)
		defer cancel()
		if err := work(ctx, s, log); err != nil && (ctx.Err() == nil || !ended(err)) {
			return err
		}
		log.Info("stopped", "why", context.Cause(ctx))
		return nil
	}
}

// ended reports whether err only says that the context has ended.
func ended(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, errInterrupted) || errors.Is(err, errElapsed)
}

// forTime ends ctx after d, with errElapsed as its cause; 0 is never.
func forTime(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d == 0 {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	t := time.AfterFunc(d, func() { cancel(errElapsed) })
	return ctx, func() {
		t.Stop()
		cancel(nil)
	}
}
