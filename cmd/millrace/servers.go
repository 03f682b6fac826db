package main

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/bridge"
	"millrace/internal/kafka"
	sqlsink "millrace/processor/sink/sql"
	"millrace/schema"
)

// This file turns settings into what the rooms want to know of the servers.

func (k *kafkaSettings) config(client string, log *slog.Logger) (kafka.Config, error) {
	c := kafka.Config{
		Brokers: k.Brokers, ClientID: "millrace-" + client, Log: log,
		TLS:      kafka.TLS{Enabled: k.TLS.wanted(), CAFile: k.TLS.CA, CertFile: k.TLS.Cert, KeyFile: k.TLS.Key},
		SASLUser: k.User, SASLPassword: string(k.Password),
	}
	switch k.SASL {
	case "plain":
		c.SASLMechanism = kafka.SASLPlain
	case "scram-sha-256":
		c.SASLMechanism = kafka.SASLScramSHA256
	case "scram-sha-512":
		c.SASLMechanism = kafka.SASLScramSHA512
	}
	c.EnsureDefaults()
	if err := errors.Join(c.Validate(), readable(k.TLS.CA, k.TLS.Cert, k.TLS.Key)); err != nil {
		return c, usagef("%w", err)
	}
	return c, nil
}

// connect is kafka.Connect with its errors classed: a login that is refused is
// a wrong setting; whatever else is in the way may pass.
func connect(ctx context.Context, c kafka.Config) (*kgo.Client, error) {
	client, err := kafka.Connect(ctx, c)
	if err != nil && ctx.Err() == nil && exitCode(err) == exitFailure {
		err = awayf("%w", err)
	}
	return client, err
}

// readable refuses the names of files that can't be read.
func readable(paths ...string) error {
	for _, path := range paths {
		if path == "" {
			continue
		}
		f, err := os.Open(path)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// config gives NATS's settings. TLS there is a matter of the URL's scheme.
func (n *natsSettings) config() (bridge.NATS, error) {
	c := bridge.NATS{
		CAFile: n.TLS.CA, CertFile: n.TLS.Cert, KeyFile: n.TLS.Key, Token: string(n.Token),
		User: n.User, Password: string(n.Password), CredsFile: n.Creds, NKeySeedFile: n.NKey,
	}
	for _, u := range strings.Split(string(n.URL), ",") {
		if rest, ok := strings.CutPrefix(u, "nats://"); ok && n.TLS.wanted() {
			u = "tls://" + rest
		}
		c.URLs = append(c.URLs, u)
	}
	if err := errors.Join(c.Validate(), readable(n.TLS.CA, n.TLS.Cert, n.TLS.Key, n.Creds, n.NKey)); err != nil {
		return c, usagef("%w", err)
	}
	return c, nil
}

// config gives the SQL store's settings; TLS is part of its DSN.
func (q *sqlSettings) config(keep []keepDays, log *slog.Logger) (sqlsink.Config, error) {
	c := sqlsink.Config{DSN: string(q.DSN), Password: string(q.Password), KeepDays: map[schema.Period]int{}, Log: log}
	for _, k := range keep {
		c.KeepDays[k.Period] = k.Days
	}
	if !q.TLS.wanted() {
		return c, nil
	}
	if !strings.HasPrefix(c.DSN, "mysql://") {
		return c, usagef("--sql-tls and --sql-ca are for mysql://, not for a file")
	}
	if strings.Contains(c.DSN, "?") {
		return c, usagef("TLS to the SQL store is set both in the DSN, behind its ?, and by --sql-tls or --sql-ca: wanted one of them")
	}
	c.DSN += "?tls=true"
	if q.TLS.CA != "" {
		c.DSN += "&ca=" + url.QueryEscape(q.TLS.CA)
	}
	return c, nil
}
