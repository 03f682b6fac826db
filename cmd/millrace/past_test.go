package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"millrace/ingest/collect"
	"millrace/schema"
)

// TestDumpsOfALiveSource: Binance's dumps are for Binance's ids alone, and their
// folder is one process's.
func TestDumpsOfALiveSource(t *testing.T) {
	for name, c := range map[string]struct {
		rest, dumps  string
		locked, file bool
		want, refuse bool
		code         int
	}{
		"Binance":                      {want: true},
		"another market":               {rest: "http://127.0.0.1:1"},
		"another market and its dumps": {rest: "http://127.0.0.1:1", dumps: "http://127.0.0.1:1/data/spot", want: true},
		"dumps that are no address":    {dumps: "http://a b", refuse: true, code: exitUsage},
		"a folder in use":              {locked: true},
		"no folder":                    {file: true, refuse: true, code: exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			flags := givens{"data": {texts: []string{data}, where: "--data"}}
			if c.rest != "" {
				flags["binance-rest"] = given{texts: []string{c.rest}, where: "--binance-rest"}
			}
			s, err := load(table, flags, nil, "")
			if err != nil {
				t.Fatal(err)
			}
			if c.dumps != "" {
				s.Binance.Dumps = location(c.dumps)
				s.places["binance-dumps"] = place{byFlag, "--binance-dumps"}
			}
			if c.file {
				write(t, data, "no folder")
			}
			if c.locked {
				lock, err := lockData(s.dumpsFolder())
				if err != nil {
					t.Fatal(err)
				}
				defer lock.unlock() //nolint:errcheck // the test is over
			}
			store, done, err := s.pastDumps(slog.New(slog.DiscardHandler))
			if (err != nil) != c.refuse || exitCode(err) != c.code || (store != nil) != c.want {
				t.Fatalf("store %v, %v", store != nil, err)
			}
			done()
			if c.rest != "" && c.dumps == "" {
				if _, err := os.Stat(data); err == nil {
					t.Error("a folder was made for nothing")
				}
			}
			if c.want { // and it is free again
				lock, err := lockData(s.dumpsFolder())
				if err != nil {
					t.Fatal(err)
				}
				if err := lock.unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestHistorySetting(t *testing.T) {
	for text, want := range map[string]schema.Period{"": 0, "hour": 0, "day": schema.P1d, "week": schema.P1w, "month": schema.P1M} {
		flags := givens{}
		if text != "" {
			flags["history"] = given{texts: []string{text}, where: "--history"}
		}
		s, err := load(table, flags, nil, "")
		if err != nil || s.history() != collect.History(want) {
			t.Errorf("%q: %v, %v", text, s.history(), err)
		}
	}
	if _, err := load(table, givens{"history": {texts: []string{"year"}, where: "--history"}}, nil, ""); err == nil {
		t.Error("a year was taken")
	}
}
