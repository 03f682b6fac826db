package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/go-sql-driver/mysql"
	"github.com/nats-io/nats.go"
	"github.com/twmb/franz-go/pkg/kerr"

	"millrace/ingest"
	"millrace/ingest/binance"
	"millrace/ingest/double"
	"millrace/schema"
	"millrace/state"
	"millrace/state/checkpoint"
)

// Exit codes. `millrace help exit-codes` explains them to users.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNotWhole    = 3
	exitAway        = 4
	exitInterrupted = 130
)

// errInterrupted is the cause of a context that a signal ended.
var errInterrupted = errors.New("interrupted")

// classed is an error whose exit code is known where it is made.
type classed struct {
	code int
	err  error
}

func (e *classed) Error() string { return e.err.Error() }
func (e *classed) Unwrap() error { return e.err }

// usagef makes an error of wrong usage or of a wrong setting.
func usagef(format string, args ...any) error {
	return &classed{exitUsage, fmt.Errorf(format, args...)}
}

// awayf makes an error of something needed that isn't there or isn't free.
func awayf(format string, args ...any) error {
	return &classed{exitAway, fmt.Errorf(format, args...)}
}

// classes give the exit code of errors that others make. The first that fits
// counts.
var classes = []struct {
	is   func(error) bool
	code int
}{
	{func(err error) bool { var e *ingest.UnacknowledgedError; return errors.As(err, &e) }, exitAway},
	{func(err error) bool { var e *binance.UselessError; return errors.As(err, &e) }, exitUsage},
	{func(err error) bool { var e *binance.RefusedError; return errors.As(err, &e) }, exitUsage},
	{func(err error) bool { // no word of the exchange's own
		var e *binance.APIError
		return errors.As(err, &e) && e.Code == 0 && e.Status == http.StatusNotFound
	}, exitUsage},
	{is(errInterrupted), exitInterrupted},
	{is(context.Canceled), exitInterrupted},
	{is(schema.ErrNewer), exitUsage},
	{is(state.ErrNewer), exitUsage},
	{is(checkpoint.ErrNewer), exitUsage},
	{is(binance.ErrNoSymbol), exitUsage},
	{func(err error) bool { var e *binance.UnknownError; return errors.As(err, &e) }, exitUsage},
	{func(err error) bool { var e *double.ConfigError; return errors.As(err, &e) }, exitUsage},
	{is(kerr.SaslAuthenticationFailed), exitUsage},
	{is(nats.ErrAuthorization), exitUsage},
	{mysqlRefuses, exitUsage},
	{is(syscall.ECONNREFUSED), exitAway},
	{is(syscall.ECONNRESET), exitAway},
	{is(syscall.EHOSTUNREACH), exitAway},
	{is(syscall.ENETUNREACH), exitAway},
	{is(syscall.ETIMEDOUT), exitAway},
	{is(syscall.EADDRINUSE), exitAway},
	{func(err error) bool { var e *net.DNSError; return errors.As(err, &e) }, exitAway},
	{is(nats.ErrNoServers), exitAway},
	{is(nats.ErrTimeout), exitAway},
	{is(context.DeadlineExceeded), exitAway}, // what waits has a deadline only for an answer
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

// mysqlRefuses reports a refused login, a database the user may not enter or
// that isn't there, or a right that is missing in it.
func mysqlRefuses(err error) bool {
	var e *mysql.MySQLError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Number {
	case 1044, 1045, 1049, 1142, 1227, 1698:
		return true
	}
	return false
}

// exitCode gives the exit code of err: the one place that knows all classes.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	var c *classed
	if errors.As(err, &c) {
		return c.code
	}
	for _, class := range classes {
		if class.is(err) {
			return class.code
		}
	}
	return exitFailure
}

// oneLine gives err as one line: joined errors come with line feeds.
func oneLine(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "; ")
}
