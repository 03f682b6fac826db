package schema

import (
	"fmt"
	"slices"
	"strings"

	"millrace/schema/schemapb"
)

// Settings are those that change what state is. They are a record in each
// partition's log, in force from there on. The zero value of a field means its
// default.
type Settings struct {
	Revision     uint32 // rises with each change
	Partitions   int32
	Periods      []Period // the smallest first, no doubles
	ThreeDay     Time     // a midnight at which a window of 3d starts
	EmptySeconds bool     // publish windows of 1s without trades
	FutureBound  Time     // a time further after its append time is refused
	AliveBound   Time     // an ingestor further behind the newest isn't waited for
	GapAfter     Time     // the log's time after which a hole is a gap
	SeriesBound  Time     // an old id with a time beyond the newest by more is a new series
	SealAfter    Time     // after which a window that stays unproven may be sealed
	Arithmetic   uint32   // 1: sums exact in 128 bits
	Format       uint32   // of the records from here on, see LogFormat
	Program      string   // version of the program that wrote them; no part of what state is
}

// defaultPeriods are those of a new log.
var defaultPeriods = [...]Period{P1s, P1m, P5m, P15m, P1h, P4h, P1d}

// EnsureDefaults fills what is not set.
func (s *Settings) EnsureDefaults() {
	setDefault(&s.Revision, 1)
	setDefault(&s.Partitions, 4)
	if len(s.Periods) == 0 {
		s.Periods = slices.Clone(defaultPeriods[:])
	}
	s.Periods = slices.Clone(s.Periods) // copies of a Settings share it
	slices.Sort(s.Periods)
	s.Periods = slices.Compact(s.Periods)
	setDefault(&s.FutureBound, 10*Second) // design: a trade or mark from the future poisons time
	setDefault(&s.AliveBound, 10*Second)
	setDefault(&s.GapAfter, 2*Second) // what reordering explains
	setDefault(&s.SeriesBound, Minute)
	setDefault(&s.SealAfter, 30*Day)
	setDefault(&s.Arithmetic, newestArithmetic)
	setDefault(&s.Format, LogFormat)
}

func setDefault[T int32 | uint32 | Time](p *T, v T) {
	if *p == 0 {
		*p = v
	}
}

// Validate checks every bound. It expects EnsureDefaults to have run.
func (s *Settings) Validate() error {
	if s.Partitions < 1 || s.Partitions > 10000 {
		return fmt.Errorf("partitions: %d is not within 1 to 10000", s.Partitions)
	}
	if len(s.Periods) == 0 || !slices.IsSorted(s.Periods) || len(s.Periods) > NumPeriods {
		return fmt.Errorf("periods: none, or not the smallest first")
	}
	for i, p := range s.Periods {
		if !p.Valid() || i > 0 && s.Periods[i-1] == p {
			return fmt.Errorf("periods: %v is unknown or named twice", p)
		}
		// Trades are counted in the smallest period, the larger ones merged of it.
		if !s.Periods[0].Nests(p) {
			return fmt.Errorf("periods: %v is not made of whole windows of %v, the smallest; add one that divides both, like 1m", p, s.Periods[0])
		}
	}
	if !s.ThreeDay.plausible() || s.ThreeDay%Day != 0 {
		return fmt.Errorf("three-day anchor: %v is not a midnight, UTC", s.ThreeDay)
	}
	if err := s.known(); err != nil {
		return err
	}
	for _, b := range []struct {
		name     string
		v        Time
		min, max Time
	}{
		{"future bound", s.FutureBound, Second, Hour},
		{"alive bound", s.AliveBound, Second, Hour},
		{"gap after", s.GapAfter, 100 * Millisecond, Hour},
		{"series bound", s.SeriesBound, Second, Day},
		{"seal after", s.SealAfter, Day, 3650 * Day},
	} {
		if b.v < b.min || b.v > b.max {
			return fmt.Errorf("%s: %v is not within %v to %v", b.name, b.v.duration(), b.min.duration(), b.max.duration())
		}
	}
	return nil
}

// Calendar gives the calendar that the settings fix.
func (s *Settings) Calendar() Calendar { return Calendar{ThreeDay: s.ThreeDay} }

// Diff names the settings in which s and o differ, each with both values; ""
// means none. Revision and program are not compared.
func (s *Settings) Diff(o *Settings) string {
	var d []string
	add := func(name string, a, b any, same bool) {
		if !same {
			d = append(d, fmt.Sprintf("%s (%v here, %v there)", name, a, b))
		}
	}
	add("partitions", s.Partitions, o.Partitions, s.Partitions == o.Partitions)
	add("periods", s.Periods, o.Periods, slices.Equal(s.Periods, o.Periods))
	add("three-day anchor", s.ThreeDay, o.ThreeDay, s.ThreeDay == o.ThreeDay)
	add("empty seconds", s.EmptySeconds, o.EmptySeconds, s.EmptySeconds == o.EmptySeconds)
	add("future bound", s.FutureBound.duration(), o.FutureBound.duration(), s.FutureBound == o.FutureBound)
	add("alive bound", s.AliveBound.duration(), o.AliveBound.duration(), s.AliveBound == o.AliveBound)
	add("gap after", s.GapAfter.duration(), o.GapAfter.duration(), s.GapAfter == o.GapAfter)
	add("series bound", s.SeriesBound.duration(), o.SeriesBound.duration(), s.SeriesBound == o.SeriesBound)
	add("seal after", s.SealAfter.duration(), o.SealAfter.duration(), s.SealAfter == o.SealAfter)
	add("arithmetic", s.Arithmetic, o.Arithmetic, s.Arithmetic == o.Arithmetic)
	add("format", s.Format, o.Format, s.Format == o.Format)
	return strings.Join(d, ", ")
}

func (s *Settings) toProto() *schemapb.Settings {
	pb := &schemapb.Settings{
		Revision: s.Revision, Partitions: uint32(s.Partitions), ThreeDayAnchor: int64(s.ThreeDay), EmptySeconds: s.EmptySeconds,
		FutureBound: int64(s.FutureBound), AliveBound: int64(s.AliveBound), GapAfter: int64(s.GapAfter),
		SeriesBound: int64(s.SeriesBound), SealAfter: int64(s.SealAfter), Arithmetic: s.Arithmetic,
		Program: s.Program,
	}
	if s.Format > 1 { // format 1 is written as it was before there were others
		pb.Format = s.Format
	}
	for _, p := range s.Periods {
		pb.Periods = append(pb.Periods, p.String())
	}
	return pb
}

func (s *Settings) fromProto(pb *schemapb.Settings) error {
	*s = Settings{
		Revision: pb.Revision, Partitions: int32(min(pb.Partitions, 1<<30)), ThreeDay: Time(pb.ThreeDayAnchor), EmptySeconds: pb.EmptySeconds,
		FutureBound: Time(pb.FutureBound), AliveBound: Time(pb.AliveBound), GapAfter: Time(pb.GapAfter),
		SeriesBound: Time(pb.SeriesBound), SealAfter: Time(pb.SealAfter), Arithmetic: pb.Arithmetic,
		Format: max(pb.Format, 1), Program: plainVersion(pb.Program),
	}
	// A newer format may have periods that are not known here, so it comes first.
	if err := s.known(); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	for _, name := range pb.Periods {
		p, err := ParsePeriod(name)
		if err != nil {
			return fmt.Errorf("settings: %w", err)
		}
		s.Periods = append(s.Periods, p)
	}
	if err := s.Validate(); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	return nil
}
