package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/schema"
)

// Every row must be whole: a group that help shows, a default that can be read
// back, a variable of its own.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for i := range table {
		r := &table[i]
		var s settings
		f := r.field(&s)
		if seen[r.name] || seen[env(r.name)] {
			t.Errorf("%s stands twice", r.name)
		}
		seen[r.name], seen[env(r.name)] = true, true
		if !slices.Contains(allGroups, r.group) {
			t.Errorf("%s: help has no group %q", r.name, r.group)
		}
		if r.help == "" || strings.HasSuffix(r.help, ".") || strings.Contains(r.help, "(default") {
			t.Errorf("%s: help %q", r.name, r.help)
		}
		if r.def != "" {
			if err := f.set([]string{r.def}); err != nil {
				t.Errorf("%s: default: %v", r.name, err)
			}
		}
		if got := f.text(); got != r.def {
			t.Errorf("%s: default %q is read as %q", r.name, r.def, got)
		}
		if r.fileOf != "" && !row(r.fileOf).field(&s).hidden {
			t.Errorf("%s: a file of %s, which is no secret", r.name, r.fileOf)
		}
	}
	for _, g := range allGroups {
		if len(rowsOf([]string{g}, nil)) == 0 {
			t.Errorf("group %q has no setting", g)
		}
	}
}

// Two rows must not fill one field.
func TestRowsFillFieldsOfTheirOwn(t *testing.T) {
	samples := map[string]string{"kafka-sasl": "plain", "compression": "zstd", "periods": "3d", "three-day-anchor": "2001-02-03",
		"ticks-retention": "70m", "candles-retention": "71m", "stream-age": "72m", "nats-replicas": "3",
		"linger": "7ms", "margin": "8ms", "micro-batch": "9ms", "standby": "3", "for": "10ms", "symbols": "AUSDT", "streams": "sbe", "binance-proxy": "http://a", "weight-share": "0.7", "keep-days": "1s=3",
		"binance-ws": "ws://a", "binance-rest": "http://a", "listen": "a:2", "sql": "sqlite:x", "nats": "nats://a", "http": "a:1", "kafka": "k:1",
		"days": "2024-08-01..2024-08-07", "kind": "aggTrades", "binance-dumps": "http://a", "history": "day",
		"log-level": "debug", "log-format": "json",
		"market-start": "2001-02-03", "market-until": "2001-02-03", "wait-for": "AUSDT", "rest-retention": "5m",
		"transaction-timeout": "11s", "checkpoint-every": "73m", "checkpoint-keep-for": "74m"}
	for i := range table {
		r := &table[i]
		text, ok := samples[r.name]
		switch f := r.field(&settings{}); {
		case ok:
		case f.arg == "":
			text = "true"
		case f.arg == "N":
			text = "77"
		default:
			text = "word"
		}
		var s settings
		if err := r.field(&s).set([]string{text}); err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		var blank settings
		for j := range table {
			if changed := table[j].field(&s).text() != table[j].field(&blank).text(); changed != (i == j) {
				t.Errorf("setting %s: changed %s: %v", r.name, table[j].name, changed)
			}
		}
	}
}

func TestStrengths(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "millrace.yaml", "kafka: file:1\nperiods: [1m]\npartitions: 9\n")
	flags := givens{"kafka": {texts: []string{"flag:1"}, where: "--kafka"}}
	s, err := load(table, flags, []string{"MILLRACE_KAFKA=env:1", "MILLRACE_PERIODS=1h 1s", "MILLRACE_SEED="}, "")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Kafka.Brokers, []string{"flag:1"}) || s.places["kafka"] != (place{byFlag, "--kafka"}) {
		t.Errorf("kafka %v from %v, want it from the flag", s.Kafka.Brokers, s.places["kafka"])
	}
	if !slices.Equal(s.Log.Periods, []schema.Period{schema.P1s, schema.P1h}) || s.places["periods"] != (place{byEnv, "MILLRACE_PERIODS"}) {
		t.Errorf("periods %v from %v, want them from the environment", s.Log.Periods, s.places["periods"])
	}
	if s.Log.Partitions != 9 || s.places["partitions"] != (place{byFile, "millrace.yaml:3"}) {
		t.Errorf("partitions %d from %v, want them from the file", s.Log.Partitions, s.places["partitions"])
	}
	if !s.given("periods") || s.given("seed") || s.given("linger") || s.Market.Seed != 1 || s.Produce.Linger != 2*time.Millisecond {
		t.Errorf("given: periods %v, seed %v, linger %v", s.given("periods"), s.given("seed"), s.given("linger"))
	}
}

func TestFormsOfValues(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "a.yaml", `# all forms
symbols: [btcusdt, "ETHUSDT"]
keep-days: {1s: 7, 1m: 90}
from:
  - a,b.gz
  - c d.zip
periods: 1m 1M, 1s
three-day-anchor: 2024-08-08
nats-password: |
  two words
kafka-tls: true
speed: 0.5
`)
	s, err := load(table, nil, nil, "a.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Binance.Symbols, []string{"BTCUSDT", "ETHUSDT"}) ||
		!slices.Equal(s.Process.Keep, []keepDays{{schema.P1s, 7}, {schema.P1m, 90}}) ||
		!slices.Equal(s.Market.From, []string{"a,b.gz", "c d.zip"}) ||
		!slices.Equal(s.Log.Periods, []schema.Period{schema.P1s, schema.P1m, schema.P1M}) ||
		s.Log.ThreeDay.String() != "2024-08-08T00:00:00Z" || !s.Kafka.TLS.On || s.Market.Speed != 0.5 {
		t.Errorf("read %+v", s)
	}
	s, err = load(table, givens{"from": {texts: []string{"a:b", "c"}}}, []string{"MILLRACE_KEEP_DAYS=1s=1"}, "a.yaml")
	if err != nil || !slices.Equal(s.Market.From, []string{"a:b", "c"}) || !slices.Equal(s.Process.Keep, []keepDays{{schema.P1s, 1}}) {
		t.Errorf("read %v %v, %v", s.Market.From, s.Process.Keep, err)
	}
	s, err = load(table, nil, []string{"MILLRACE_FROM=a b:c"}, "")
	if err != nil || !slices.Equal(s.Market.From, []string{"a b", "c"}) {
		t.Errorf("read %v, %v", s.Market.From, err)
	}
}

func TestWrongSettings(t *testing.T) {
	for _, c := range []struct{ name, yaml, env, flag, want string }{
		{"unknown key", "kafka: a:1\n\npartition: 3", "", "", `x.yaml:3: unknown setting "partition" (did you mean partitions?)`},
		{"underscore", "kafka_tls: true", "", "", `x.yaml:1: unknown setting "kafka_tls" (did you mean kafka-tls?)`},
		{"nothing near", "zzzzzz: true", "", "", `x.yaml:1: unknown setting "zzzzzz"`},
		{"flag only", "fresh: true", "", "", "x.yaml:1: fresh: this can only be a flag"},
		{"not YAML", "kafka: [a\n", "", "", `x.yaml:1: not YAML: sequence end token ']' not found`},
		{"secret in bad YAML", "kafka: a:1\nkafka-password: \"hunter2\n", "", "", `x.yaml:2: not YAML: could not find end character of double-quoted text`},
		{"key twice", "kafka: a:1\nkafka: b:1", "", "", `x.yaml:2: not YAML: mapping key "kafka" already defined at [1:1]`},
		{"a list", "- kafka", "", "", "x.yaml:1: wanted lines of `name: value`"},
		{"two documents", "kafka: a:1\n---\nkafka: b:1", "", "", "x.yaml has 2 documents, wanted one"},
		{"no value", "kafka:", "", "", "x.yaml:1: kafka has no value: give one, '' for none, or leave the line out"},
		{"list for one", "partitions: [1, 2]", "", "", "x.yaml:1: partitions: has a list, wanted one value"},
		{"map for one", "kafka: {a: 1}", "", "", "x.yaml:1: kafka: has a map, wanted a value"},
		{"nested", "symbols: [[a]]", "", "", "x.yaml:1: symbols is neither a plain value nor a list of them"},
		{"alias", "kafka: &k a:1", "", "", "x.yaml:1: kafka is neither a plain value nor a list of them"},
		{"type in file", "seed: 1\npartitions: many", "", "", `x.yaml:2: partitions: "many" is not a whole number`},
		{"type in env", "", "MILLRACE_LINGER=2", "", `MILLRACE_LINGER: "2" is not a duration such as 250ms, 10s or 1h30m`},
		{"bounds", "", "", "partitions=0", "--partitions: 0 is not within 1 to 10000"},
		{"word", "", "", "log-level=loud", `--log-level: "loud" is not one of debug, info, warn, error`},
		{"period", "", "", "periods=1m,7m", `--periods: unknown period "7m": Binance has 1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M`},
		{"no period", "", "", "periods=,", "--periods: names no period"},
		{"symbol", "", "", "symbols=a|b", `--symbols: "A|B" holds '|'; allowed are names (BTCUSDT), patterns in which * is any text (*USDT), top:N and top:N:QUOTE, and exclusions (-NAME or !NAME)`},
		{"item", "", "", "symbols=top:0", `--symbols: "0" is no number of symbols within 1 and 100000`},
		{"streams", "", "", "streams=kline", `--streams: "kline" is not one of trade, aggTrade, sbe, rest`},
		{"proxy quotes nothing", "", "", "binance-proxy=ftp://u:hunter2@h", "--binance-proxy: does not begin with http:// or https:// or socks5:// or socks5h://"},
		{"share", "", "", "weight-share=0.01", "--weight-share: 0.01 is not within 0.05 to 1"},
		{"broker", "", "", "kafka=localhost", `--kafka: "localhost" is not HOST:PORT`},
		{"dsn quotes nothing", "", "", "sql=postgres://u:hunter2@h/db", "--sql: does not begin with mysql:// or sqlite:"},
		{"days", "", "", "keep-days=1s=0", `--keep-days: "1s=0" is not PERIOD=DAYS such as 1s=7`},
		{"moment", "", "", "three-day-anchor=8.8.2024", `--three-day-anchor: "8.8.2024" is neither a date (2024-08-08) nor a time (2024-08-08T12:00:00Z)`},
		{"truth", "", "MILLRACE_KAFKA_TLS=yes", "", `MILLRACE_KAFKA_TLS: "yes" is not true or false`},
		{"unknown variable", "", "MILLRACE_PARTITION=3", "", "unknown variable MILLRACE_PARTITION (did you mean MILLRACE_PARTITIONS?)"},
		{"flag only in env", "", "MILLRACE_FRESH=true", "", "MILLRACE_FRESH: this can only be a flag"},
		{"no secret file", "", "", "sql-password-file=nowhere", "sql-password-file: open nowhere: no such file or directory"},
		{"both", "sql-password: a\nsql-password-file: b", "", "", "sql-password and sql-password-file are both set by file, wanted one of them"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			write(t, "x.yaml", c.yaml)
			flags := givens{}
			if name, v, ok := strings.Cut(c.flag, "="); ok {
				flags[name] = given{texts: []string{v}, where: "--" + name}
			}
			var environ []string
			if c.env != "" {
				environ = []string{c.env}
			}
			_, err := load(table, flags, environ, "x.yaml")
			if err == nil || err.Error() != c.want {
				t.Fatalf("got  %v\nwant %s", err, c.want)
			}
			if exitCode(err) != exitUsage {
				t.Errorf("exit code %d", exitCode(err))
			}
		})
	}
}

func TestKubernetesVariablesAreNoMistake(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"MILLRACE_SERVICE_HOST", "MILLRACE_SERVICE_PORT_HTTP", "MILLRACE_PORT", "MILLRACE_PORT_8080_TCP_ADDR",
		"MILLRACE_INGEST_SERVICE_PORT", "MILLRACE_INGEST_PORT_80_TCP", "MILLRACE_BRIDGE_PORT"} {
		if _, err := load(table, nil, []string{name + "=tcp://10.0.0.1:80"}, ""); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSecretFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "pw", "from file \n")
	write(t, "empty", "\n")
	write(t, "long", "a\nb\n")
	get := func(environ []string, flags ...string) (string, error) {
		g := givens{}
		for _, f := range flags {
			name, v, _ := strings.Cut(f, "=")
			g[name] = given{texts: []string{v}, where: "--" + name}
		}
		s, err := load(table, g, environ, "")
		if err != nil {
			return "", err
		}
		return string(s.Kafka.Password), nil
	}
	if pw, err := get(nil, "kafka-password-file=pw"); err != nil || pw != "from file " {
		t.Errorf("read %q, %v: only the line feed is not part of it", pw, err)
	}
	if pw, err := get([]string{"MILLRACE_KAFKA_PASSWORD=e"}, "kafka-password-file=pw"); err != nil || pw != "from file " {
		t.Errorf("read %q, %v: the flag is stronger", pw, err)
	}
	if pw, err := get([]string{"MILLRACE_KAFKA_PASSWORD_FILE=nowhere"}, "kafka-password=f"); err != nil || pw != "f" {
		t.Errorf("read %q, %v: the flag is stronger", pw, err)
	}
	for _, name := range []string{"empty", "long"} {
		if _, err := get(nil, "kafka-password-file="+name); err == nil {
			t.Errorf("the file %s was taken for a password", name)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
