package main

import (
	"strings"
	"testing"

	"millrace/internal/kafka"
	"millrace/schema"
)

func TestServersFromSettings(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "ca.pem", "")
	get := func(lines ...string) *settings {
		t.Helper()
		write(t, "x.yaml", strings.Join(lines, "\n"))
		s, err := load(table, nil, nil, "x.yaml")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := get("kafka: [a:1, b:2]", "kafka-ca: ca.pem", "kafka-sasl: scram-sha-512", "kafka-user: u", "kafka-password: p")
	k, err := s.Kafka.config("test", nil)
	if err != nil || len(k.Brokers) != 2 || !k.TLS.Enabled || k.TLS.CAFile != "ca.pem" || k.SASLMechanism != kafka.SASLScramSHA512 || k.SASLUser != "u" || k.SASLPassword != "p" {
		t.Errorf("kafka: %#v, %v", k, err)
	}
	n, err := get("nats: nats://a:1,tls://b:2", "nats-tls: true", "nats-user: u", "nats-password: p").NATS.config()
	if err != nil || strings.Join(n.URLs, " ") != "tls://a:1 tls://b:2" || n.User != "u" || n.Password != "p" {
		t.Errorf("nats: %#v, %v", n, err)
	}
	s = get("sql: mysql://u@h/db", "sql-password: p", "sql-ca: a&b.pem", "keep-days: {1s: 7}")
	q, err := s.SQL.config(s.Process.Keep, nil)
	if err != nil || q.DSN != "mysql://u@h/db?tls=true&ca=a%26b.pem" || q.Password != "p" || q.KeepDays[schema.P1s] != 7 {
		t.Errorf("sql: %v, %v", q.DSN, err)
	}
	for _, wrong := range [][]string{
		{"kafka-sasl: plain"}, {"kafka-user: u"}, {"kafka-ca: nowhere.pem"}, {"kafka-cert: ca.pem"},
		{"nats-creds: nowhere"}, {"nats-token: a", "nats-user: b"}, {"nats-key: ca.pem"},
		{"sql: sqlite:x", "sql-tls: true"}, {"sql: mysql://u@h/db?tls=true", "sql-tls: true"},
	} {
		s := get(wrong...)
		_, kerr := s.Kafka.config("test", nil)
		_, nerr := s.NATS.config()
		_, qerr := s.SQL.config(nil, nil)
		err := kerr
		if err == nil {
			err = nerr
		}
		if err == nil {
			err = qerr
		}
		if exitCode(err) != exitUsage {
			t.Errorf("%v: %v, exit code %d", wrong, err, exitCode(err))
		}
	}
}
