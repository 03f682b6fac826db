package schema

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func defaults() Settings {
	var s Settings
	s.EnsureDefaults()
	return s
}

func TestSettingsDefaults(t *testing.T) {
	s := defaults()
	want := Settings{Revision: 1, Partitions: 4, Periods: []Period{P1s, P1m, P5m, P15m, P1h, P4h, P1d},
		FutureBound: 10 * Second, AliveBound: 10 * Second, GapAfter: 2 * Second, SeriesBound: Minute, SealAfter: 30 * Day, Arithmetic: 1, Format: LogFormat}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("%+v, want %+v", s, want)
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	again := s
	again.EnsureDefaults()
	if !reflect.DeepEqual(again, s) {
		t.Errorf("defaults twice: %+v", again)
	}
	s.Periods[0] = P1M
	if defaults().Periods[0] != P1s {
		t.Error("one settings' periods are another's too")
	}
}

func TestSettingsKeepWhatIsSet(t *testing.T) {
	mine := []Period{P1h, P1m, P1h}
	s := Settings{Revision: 3, Partitions: 7, Periods: mine, ThreeDay: -3 * Day, EmptySeconds: true,
		FutureBound: Minute, AliveBound: Minute, GapAfter: Second, SeriesBound: Hour, SealAfter: 2 * Day}
	s.EnsureDefaults()
	want := Settings{Revision: 3, Partitions: 7, Periods: []Period{P1m, P1h}, ThreeDay: -3 * Day, EmptySeconds: true,
		FutureBound: Minute, AliveBound: Minute, GapAfter: Second, SeriesBound: Hour, SealAfter: 2 * Day, Arithmetic: 1, Format: LogFormat}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("%+v, want %+v", s, want)
	}
	if !slices.Equal(mine, []Period{P1h, P1m, P1h}) {
		t.Errorf("the caller's periods have become %v", mine)
	}
}

// changes has one change of each setting that state depends on, with the words
// that Diff must name it by.
var changes = []struct {
	name string
	do   func(*Settings)
}{
	{"partitions (4 here, 5 there)", func(s *Settings) { s.Partitions++ }},
	{"periods ([1s 1m 5m 15m 1h 4h 1d] here, [1m] there)", func(s *Settings) { s.Periods = []Period{P1m} }},
	{"three-day anchor (1970-01-01T00:00:00Z here, 1970-01-02T00:00:00Z there)", func(s *Settings) { s.ThreeDay = Day }},
	{"empty seconds (false here, true there)", func(s *Settings) { s.EmptySeconds = true }},
	{"future bound (10s here, 11s there)", func(s *Settings) { s.FutureBound += Second }},
	{"alive bound (10s here, 11s there)", func(s *Settings) { s.AliveBound += Second }},
	{"gap after (2s here, 3s there)", func(s *Settings) { s.GapAfter += Second }},
	{"series bound (1m0s here, 1m1s there)", func(s *Settings) { s.SeriesBound += Second }},
	{"seal after (720h0m0s here, 744h0m0s there)", func(s *Settings) { s.SealAfter += Day }},
	{"arithmetic (1 here, 2 there)", func(s *Settings) { s.Arithmetic = 2 }},
	{"format (2 here, 1 there)", func(s *Settings) { s.Format = 1 }},
}

func TestSettingsDiff(t *testing.T) {
	// A setting added later must get its line in changes: all but the
	// revision and the program.
	if n := reflect.TypeFor[Settings]().NumField() - 2; n != len(changes) {
		t.Fatalf("%d settings, %d changes", n, len(changes))
	}
	a := defaults()
	for _, c := range changes {
		b := defaults()
		c.do(&b)
		if got := a.Diff(&b); got != c.name {
			t.Errorf("Diff says %q, want %q", got, c.name)
		}
	}
	b := defaults()
	b.Revision, b.Program = 9, "1.0.0"
	if got := a.Diff(&b); got != "" {
		t.Errorf("Diff says %q of a revision and a program", got)
	}
	changes[0].do(&b)
	changes[3].do(&b)
	if got := a.Diff(&b); got != changes[0].name+", "+changes[3].name {
		t.Errorf("Diff says %q", got)
	}
}

func TestSettingsValidate(t *testing.T) {
	for _, c := range []struct {
		want string // "" is valid
		do   func(*Settings)
	}{
		{"", func(s *Settings) { s.Partitions = 10000 }},
		{"partitions", func(s *Settings) { s.Partitions = 10001 }},
		{"partitions", func(s *Settings) { s.Partitions = -1 }},
		{"periods", func(s *Settings) { s.Periods = nil }},
		{"periods", func(s *Settings) { s.Periods = []Period{P1h, P1m} }},
		{"periods", func(s *Settings) { s.Periods = []Period{P1m, P1m} }},
		{"periods", func(s *Settings) { s.Periods = []Period{0, P1m} }},
		{"periods", func(s *Settings) { s.Periods = []Period{P1m, 17} }},
		{"5m is not made of whole windows of 3m", func(s *Settings) { s.Periods = []Period{P3m, P5m} }},
		{"1M is not made of whole windows of 1w", func(s *Settings) { s.Periods = []Period{P1w, P1M} }},
		{"", func(s *Settings) { s.Periods = []Period{P1d, P3d, P1w, P1M} }},
		{"", func(s *Settings) { s.Periods = []Period{P1m, P3m, P5m} }},
		{"", func(s *Settings) { s.ThreeDay = 17395 * Day }},
		{"three-day anchor", func(s *Settings) { s.ThreeDay = Hour }},
		{"three-day anchor", func(s *Settings) { s.ThreeDay = -1 << 63 }},
		{"", func(s *Settings) { s.FutureBound = Hour }},
		{"future bound: 1h0m0.000001s", func(s *Settings) { s.FutureBound = Hour + 1 }},
		{"alive bound", func(s *Settings) { s.AliveBound = Second - 1 }},
		{"gap after", func(s *Settings) { s.GapAfter = -1 }},
		{"series bound", func(s *Settings) { s.SeriesBound = 2 * Day }},
		{"seal after", func(s *Settings) { s.SealAfter = Hour }},
		{"arithmetic 2 is in force from here on, this program knows up to 1; use the version that has written it", func(s *Settings) { s.Arithmetic = 2 }},
		{"", func(s *Settings) { s.Format = 1 }},
		{"the log has format 3 from here on, this program knows up to 2; use millrace 9.9.9 or later", func(s *Settings) { s.Format, s.Program = LogFormat+1, "9.9.9" }},
		{"both begin at 1", func(s *Settings) { s.Format = 0 }},
	} {
		s := defaults()
		c.do(&s)
		err := s.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", s, err, c.want)
		}
	}
}

func TestSettingsCalendar(t *testing.T) {
	s := defaults()
	s.ThreeDay = Day
	if got := s.Calendar().Start(P3d, 3*Day); got != Day {
		t.Errorf("the window of 3d starts %v", got)
	}
}
