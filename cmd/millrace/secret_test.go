package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestLoginsAreHidden(t *testing.T) {
	for _, c := range [][2]string{
		{"mysql://u:p@h:3306/db", "mysql://u:***@h:3306/db"},
		{"mysql://u:p@ss,w/o:rd?@h/db", "mysql://u:***@h/db"},
		{"mysql://u:a://b@h/db", "mysql://u:***@h/db"},
		{"mysql://u:p@h/db?note=a@b", "mysql://u:***@b"},
		{"mysql://u@h/db", "mysql://u@h/db"},
		{"mysql://h/db", "mysql://h/db"},
		{"u:p@tcp(h)/db", "***@tcp(h)/db"},
		{"sqlite:/tmp/a@b.db", "sqlite:/tmp/a@b.db"},
		{"nats://token@h:4222", "nats://***@h:4222"},
		{"nats://u:p@h1:4222,tls://tok@h2,nats://h3", "nats://u:***@h1:4222,tls://***@h2,nats://h3"},
		{"nats://u:a,b@h", "nats://u:***@h"},
		{"wss://stream.binance.com:9443", "wss://stream.binance.com:9443"},
		{"", ""},
	} {
		if got := location(c[0]).String(); got != c[1] {
			t.Errorf("%s shows as %s, want %s", c[0], got, c[1])
		}
	}
}

// Whatever way a secret is printed, it must not show.
func TestNoVerbShowsASecret(t *testing.T) {
	const text = "hunter2"
	s := settings{}
	s.Kafka.Password, s.SQL.DSN = text, "mysql://u:"+text+"@h/db"
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", &s)
		fmt.Fprintf(&out, verb+"\n", s.Kafka.Password)
		fmt.Fprintf(&out, verb+"\n", s.SQL.DSN)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "all", s, "password", s.Kafka.Password, "dsn", s.SQL.DSN)
	}
	if err := json.NewEncoder(&out).Encode(s); err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text)} {
		if i := strings.Index(out.String(), shown); i >= 0 {
			t.Errorf("a secret shows in %q", out.String()[max(0, i-60):i+len(shown)])
		}
	}
	if !strings.Contains(out.String(), hidden) {
		t.Error("nothing was printed in its place")
	}
}

// Whatever place a secret comes from, no command shows it.
func TestConfigHidesSecrets(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "pw", "hunter2\n")
	var args, environ []string
	for i := range table {
		r := &table[i]
		switch f := r.field(&settings{}); {
		case r.fileOf != "":
		case f.hidden && f.arg == "TEXT":
			environ = append(environ, env(r.name)+"=hunter2")
		case f.hidden && strings.HasPrefix(r.name, "binance-"):
			scheme, _, _ := strings.Cut(r.def, "://")
			environ = append(environ, env(r.name)+"="+scheme+"://hunter2@h")
		}
	}
	environ = append(environ, "MILLRACE_SQL=mysql://u:hunter2@h/db", "MILLRACE_NATS=nats://hunter2@h")
	for _, more := range [][]string{nil, {"--json"}, {"--kafka-password-file", "pw"}, {"--kafka-password", "hunter2"}, {"--kafka-passwort=hunter2"}, {"-password=hunter2"}, {"--partitions", "x"}} {
		args = append([]string{"config"}, more...)
		code, out, errs := runTest(t, environ, args...)
		if strings.Contains(out+errs, "hunter2") {
			t.Errorf("%v (exit code %d) shows a secret:\n%s%s", args, code, out, errs)
		}
		if code == 0 && strings.Count(out, hidden) < 7 {
			t.Errorf("%v hides %d secrets, want 7 or more:\n%s", args, strings.Count(out, hidden), out)
		}
	}
}
