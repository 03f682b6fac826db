package main

import (
	"slices"
	"strings"
	"testing"

	"millrace/internal/kafka"
	"millrace/internal/testenv"
	"millrace/schema"
)

// The log has the last word on what nobody set, and no other.
func TestTheLogAgainstSettings(t *testing.T) {
	t.Chdir(t.TempDir())
	broker := testenv.StartFake(t)
	open := func(flags ...string) (kafka.Lineage, error) {
		g := givens{"kafka": {texts: []string{broker.Brokers}, where: "--kafka"}}
		for _, f := range flags {
			name, v, _ := strings.Cut(f, "=")
			g[name] = given{texts: []string{v}, where: "--" + name}
		}
		s, err := load(table, g, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		k, err := s.Kafka.config("test", nil)
		if err != nil {
			t.Fatal(err)
		}
		return openLog(t.Context(), k, s)
	}
	l, err := open("periods=1m,1h", "partitions=2", "three-day-anchor=2024-08-08")
	if err != nil {
		t.Fatal(err)
	}
	want := []schema.Period{schema.P1m, schema.P1h}
	if l.Partitions != 2 || !slices.Equal(l.Settings.Periods, want) {
		t.Fatalf("made %d partitions with %v", l.Partitions, l.Settings.Periods)
	}
	for _, flags := range [][]string{nil, {"periods=1h,1m"}, {"partitions=2", "empty-seconds=false"}, {"three-day-anchor=2024-08-08"}} {
		if l, err = open(flags...); err != nil || l.Partitions != 2 || !slices.Equal(l.Settings.Periods, want) {
			t.Errorf("with %v: %d partitions with %v, %v", flags, l.Partitions, l.Settings.Periods, err)
		}
	}
	for flag, says := range map[string]string{
		"periods=1m": "periods", "partitions=4": "2 partitions, wanted 4", "empty-seconds=true": "empty seconds",
		"three-day-anchor=2024-08-09": "three-day anchor",
	} {
		if _, err := open(flag); err == nil || exitCode(err) != exitUsage || !strings.Contains(err.Error(), says) {
			t.Errorf("with %s: %v, exit code %d", flag, err, exitCode(err))
		}
	}
}
