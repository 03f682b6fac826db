package double

import (
	"os"
	"strings"
	"testing"
	"time"

	"millrace/schema"
)

func TestScenarioOfAHardDay(t *testing.T) {
	s, err := LoadScenario("testdata/hardday.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Faults) != 21 || s.Seed != 7 || s.Random == nil || s.Random.PerMinute != 4 || s.Random.Longest != 5*time.Second {
		t.Errorf("%+v", s)
	}
	kinds := map[string]bool{}
	for _, f := range s.Faults {
		kinds[f.Kind] = true
	}
	for _, k := range append(randomKinds(), faultAge, faultVoids, faultStatus, faultList, faultDelist) {
		if !kinds[k] {
			t.Errorf("no example of %s", k)
		}
	}
	cfg := Config{Synthetic: Synthetic{Seed: 1, Symbols: 20, Rate: 10, Start: origin + schema.Day}, Faults: s}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	start := origin + schema.Day
	m := d.market.(*synthetic)
	breaks := 0
	for _, c := range m.list {
		if c.hours.status(start+10*schema.Minute) == broken {
			breaks++
		}
	}
	if breaks < 5 || breaks > 15 {
		t.Errorf("%d of 20 symbols are in a break", breaks)
	}
	if got := m.coins["BNBUSDT"].hours; got.listed != start+3*schema.Minute || m.coins["LTCBTC"].hours.delisted != start+15*schema.Minute {
		t.Errorf("%+v", got)
	}
	if m.coins["SOLUSDT"].hours.status(start+12*schema.Minute) != halted || d.cfg.VoidAggs != 50 {
		t.Error("SOLUSDT is not halted, or there are no void aggregates")
	}
}

func TestScenarioErrors(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "# nothing\n": "",
		"faults:\n  - {kind: cut, at: 1s}\n":                     "",
		"faults:\n  - kind: cut\n    at: 2026-05-01T10:00:00Z\n": "",
		"nothing: 3\n":                      `s.yaml:1: unknown key "nothing"`,
		"- cut\n":                           "s.yaml:1: wanted lines of",
		"seed: x\n":                         `s.yaml:1: "x" is not a number`,
		"seed: 1\nseed: 2\n":                "s.yaml:2: ",
		"seed:\n":                           "s.yaml:1: seed has no value",
		"faults: 3\n":                       "s.yaml:1: faults are a list",
		"seed: 1\nfaults:\n  - kind: cat\n": `s.yaml:3: unknown kind "cat"`,
		"faults:\n  - at: 1s\n":             "s.yaml:2: a fault without its kind",
		"faults:\n  - kind: cut\n    window: 3\n":       `s.yaml:3: cut has no "window"`,
		"faults:\n  - kind: cut\n    windy: 3\n":        `s.yaml:3: unknown key "windy"`,
		"faults:\n  - kind: cut\n\n    at: soon\n":      `s.yaml:4: "soon" is neither a duration`,
		"faults:\n  - kind: drop\n    share: 1.5\n":     "s.yaml:3: a share of 1.5",
		"faults:\n  - kind: drop\n    share: 0.0\n":     "s.yaml:3: a share of 0",
		"faults:\n  - kind: drop\n    share: [1]\n":     "s.yaml:3: wanted one value",
		"faults:\n  - kind: late\n    for: 3s\n":        "s.yaml:2: late: needs a delay",
		"faults:\n  - kind: reorder\n    for: 3s\n":     "s.yaml:2: reorder: needs a window",
		"faults:\n  - kind: status\n    at: 3s\n":       "s.yaml:2: status: status \"\" is not",
		"faults:\n  - {kind: list, at: 3s}\n":           "s.yaml:2: list: is of the market",
		"faults:\n  - {kind: rest-ban, at: 3s}\n":       "s.yaml:2: rest-ban: needs for",
		"faults:\n  - {kind: cut, at: 3s, times: 4}\n":  "s.yaml:2: cut: times without every",
		"faults:\n  - {kind: cut, at: -3s}\n":           "s.yaml:2: cut: a time of -3s",
		"faults:\n  - {kind: cut, clock: mine}\n":       "s.yaml:2: clock \"mine\"",
		"faults:\n  - {kind: void-aggs}\n":              "s.yaml:2: void-aggs: needs behind",
		"random:\n  seed: 4\n":                          "s.yaml:2: random: per-minute 0",
		"random:\n  per-minute: 4\n  kinds: [status]\n": `random: kind "status" is not one of`,
		"random:\n  per-minute: 4\n  kind: cut\n":       `s.yaml:3: random has no "kind"`,
		"faults: [\n": "s.yaml:1: not YAML",
	} {
		_, err := ParseScenario("s.yaml", []byte(in))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) || err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, wanted %q", in, err, want)
		}
	}
	if _, err := LoadScenario("testdata"); err == nil {
		t.Error("a folder was read")
	}
	if _, err := LoadScenario("none.yaml"); err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Error(err)
	}
	for _, cfg := range []Config{
		{Faults: Scenario{Faults: []Fault{{Kind: faultDrop, Symbols: []string{"NOSUCH"}}}}},
		{Faults: Scenario{Faults: []Fault{{Kind: "cat"}}}},
		{Files: []string{btc}, Faults: Scenario{Faults: []Fault{{Kind: faultList, Market: true}}}},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "fault 1: ") {
			t.Errorf("%+v: %v", cfg.Faults, err)
		}
	}
}

func FuzzScenario(f *testing.F) {
	day, err := os.ReadFile("testdata/hardday.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(day)
	f.Add([]byte("random: {per-minute: 1e300, kinds: [[]]}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseScenario("s", b)
		if err == nil {
			err = s.Validate()
		}
		if err != nil && len(err.Error()) == 0 {
			t.Error("an error without a word")
		}
	})
}

// The same seed makes the same faults, another one others; they come as often
// as they should.
func TestRandomFaults(t *testing.T) {
	list := func(seed uint64) (all []planned) {
		g := newGenerator(&Random{Seed: seed, PerMinute: 60})
		at := time.Duration(0)
		for at < 10*time.Minute {
			p := g.next(at)
			if err := p.fault.check(); err != nil || p.at <= at || p.fault.For > 5*time.Second || p.fault.For < 500*time.Millisecond {
				t.Fatalf("%+v %v", p.fault, err)
			}
			at = p.at
			all = append(all, p)
		}
		return all
	}
	a, b, c := list(3), list(3), list(4)
	if len(a) < 500 || len(a) > 700 {
		t.Errorf("%d faults in ten minutes, wanted 600", len(a))
	}
	kinds := map[string]int{}
	for i := range a {
		if a[i].at != b[i].at || a[i].fault.Kind != b[i].fault.Kind || a[i].draw != b[i].draw {
			t.Fatalf("%d: %+v and %+v", i, a[i], b[i])
		}
		kinds[a[i].fault.Kind]++
	}
	if len(kinds) != len(randomKinds()) {
		t.Errorf("kinds %v", kinds)
	}
	if a[0].at == c[0].at {
		t.Error("the seed does nothing")
	}
}
