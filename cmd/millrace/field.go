package main

import (
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"millrace/ingest/binance"
	"millrace/schema"
)

// field ties a setting to its place in settings: it reads the texts given
// (several where a flag stands more than once or the YAML has a list) and
// writes the value in the form it is read.
type field struct {
	arg    string // stands for the value in help; "" needs none
	many   bool   // takes a list
	pairs  bool   // takes a map in YAML
	hidden bool   // holds a secret, or may
	set    func(texts []string) error
	text   func() string
}

// scalar is a field of one value. Of several texts the last counts, as with
// flags everywhere.
func scalar[T any](p *T, arg string, parse func(string) (T, error), format func(T) string) field {
	return field{arg: arg, text: func() string { return format(*p) }, set: func(texts []string) error {
		v, err := parse(texts[len(texts)-1])
		if err == nil {
			*p = v
		}
		return err
	}}
}

// text is any text; check may refuse it.
func text(p *string, arg string, check func(string) error) field {
	return scalar(p, arg, func(s string) (string, error) { return s, check(s) }, func(s string) string { return s })
}

func anyText(string) error { return nil }

func needed(s string) error {
	if strings.TrimSpace(s) == "" {
		return fmt.Errorf("is empty")
	}
	return nil
}

// oneOf is a word of a list.
func oneOf(p *string, words ...string) field {
	f := text(p, strings.Join(words, "|"), func(s string) error {
		if !slices.Contains(words, s) {
			return fmt.Errorf("%q is not one of %s", s, strings.Join(words, ", "))
		}
		return nil
	})
	return f
}

func flagged(p *bool) field {
	return scalar(p, "", func(s string) (bool, error) {
		b, err := strconv.ParseBool(s)
		if err != nil {
			return false, fmt.Errorf("%q is not true or false", s)
		}
		return b, nil
	}, strconv.FormatBool)
}

func whole(p *int, lo, hi int) field {
	return scalar(p, "N", func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		switch {
		case err != nil:
			return 0, fmt.Errorf("%q is not a whole number", s)
		case n < lo || n > hi:
			return 0, fmt.Errorf("%d is not within %d to %d", n, lo, hi)
		}
		return n, nil
	}, strconv.Itoa)
}

func seed(p *uint64) field {
	return scalar(p, "N", func(s string) (uint64, error) {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%q is not a whole number from 0 up", s)
		}
		return n, nil
	}, func(n uint64) string { return strconv.FormatUint(n, 10) })
}

func number(p *float64, lo, hi float64) field {
	return scalar(p, "N", func(s string) (float64, error) {
		n, err := strconv.ParseFloat(s, 64)
		switch {
		case err != nil || math.IsNaN(n):
			return 0, fmt.Errorf("%q is not a number", s)
		case n < lo || n > hi:
			return 0, fmt.Errorf("%v is not within %v to %v", n, lo, hi)
		}
		return n, nil
	}, func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) })
}

func span(p *time.Duration, lo, hi time.Duration) field {
	return scalar(p, "DURATION", func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		switch {
		case err != nil:
			return 0, fmt.Errorf("%q is not a duration such as 250ms, 10s or 1h30m", s)
		case d < lo || d > hi:
			return 0, fmt.Errorf("%v is not within %v to %v", d, lo, hi)
		}
		return d, nil
	}, func(d time.Duration) string { return trimZeros(d.String()) })
}

// trimZeros gives 168h for 168h0m0s and 1m for 1m0s.
func trimZeros(s string) string {
	if rest, ok := strings.CutSuffix(s, "m0s"); ok {
		s = rest + "m"
	}
	if rest, ok := strings.CutSuffix(s, "h0m"); ok {
		s = rest + "h"
	}
	return s
}

// password hides its value; its errors never quote it.
func password(p *secret) field {
	f := scalar(p, "TEXT", func(s string) (secret, error) { return secret(s), nil }, secret.String)
	f.hidden = true
	return f
}

// at is a location; what names one scheme that it may begin with.
func at(p *location, arg string, what ...string) field {
	f := scalar(p, arg, func(s string) (location, error) {
		if s == "" {
			return "", nil
		}
		for _, w := range what {
			if rest, ok := strings.CutPrefix(s, w); ok && rest != "" {
				return location(s), nil
			}
		}
		return "", fmt.Errorf("does not begin with %s", strings.Join(what, " or ")) // never quoted: it may hold a password
	}, location.String)
	f.hidden = true
	return f
}

// list is a field of several values, separated by commas or spaces.
func list[T any](p *[]T, arg string, parse func(string) (T, error), format func(T) string) field {
	return field{arg: arg, many: true, text: func() string {
		var b []string
		for _, v := range *p {
			b = append(b, format(v))
		}
		return strings.Join(b, ",")
	}, set: func(texts []string) error {
		var all []T
		for _, t := range texts {
			for _, word := range strings.FieldsFunc(t, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' }) {
				v, err := parse(word)
				if err != nil {
					return err
				}
				all = append(all, v)
			}
		}
		*p = all
		return nil
	}}
}

func periods(p *[]schema.Period) field {
	f := list(p, "PERIOD,…", schema.ParsePeriod, schema.Period.String)
	set := f.set
	f.set = func(texts []string) error {
		if err := set(texts); err != nil {
			return err
		}
		if len(*p) == 0 {
			return fmt.Errorf("names no period")
		}
		slices.Sort(*p)
		*p = slices.Compact(*p)
		return nil
	}
	return f
}

// symbols reads them in capitals, as Binance's payloads have them.
func symbols(p *[]string) field {
	return list(p, "SYMBOL,…", func(s string) (string, error) {
		s = strings.ToUpper(s)
		return s, schema.ValidateSymbol(s)
	}, func(s string) string { return s })
}

// selection reads the items of a selection of symbols.
func selection(p *[]string) field {
	return list(p, "SYMBOL,…", func(s string) (string, error) {
		return strings.ToUpper(s), binance.CheckItem(s)
	}, func(s string) string { return s })
}

func hostPorts(p *[]string) field {
	return list(p, "HOST:PORT,…", func(s string) (string, error) {
		return s, hostPort(s)
	}, func(s string) string { return s })
}

func hostPort(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT", s)
	}
	return nil
}

func optionalHostPort(s string) error {
	if s == "" {
		return nil
	}
	return hostPort(s)
}

// files is a list of paths, each text one. Only the environment, which has one
// text, separates them, as it does in PATH.
func files(p *[]string) field {
	return field{arg: "FILE", many: true, text: func() string { return strings.Join(*p, ":") },
		set: func(texts []string) error {
			*p = slices.DeleteFunc(slices.Clone(texts), func(s string) bool { return s == "" })
			return nil
		}}
}

// keeps reads days by period: 1s=7,1m=90.
func keeps(p *[]keepDays) field {
	f := list(p, "PERIOD=DAYS,…", func(s string) (keepDays, error) {
		name, days, ok := strings.Cut(s, "=")
		n, err := strconv.Atoi(days)
		if !ok || err != nil || n < 1 || n > 36500 {
			return keepDays{}, fmt.Errorf("%q is not PERIOD=DAYS such as 1s=7", s)
		}
		period, err := schema.ParsePeriod(name)
		return keepDays{period, n}, err
	}, func(k keepDays) string { return fmt.Sprintf("%v=%d", k.Period, k.Days) })
	f.pairs = true
	return f
}

// parseMoment reads a day, or a time, UTC.
func parseMoment(s string) (time.Time, error) {
	for _, layout := range [...]string{time.DateOnly, time.RFC3339} { // a fraction of a second may follow
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is neither a date (2024-08-08) nor a time (2024-08-08T12:00:00Z)", s)
}

// moment is a day or a time, UTC.
func moment(p *schema.Time) field {
	return scalar(p, "DATE", func(s string) (schema.Time, error) {
		t, err := parseMoment(s)
		return schema.FromStd(t), err
	}, func(t schema.Time) string {
		if t%schema.Day == 0 {
			return t.Std().Format(time.DateOnly)
		}
		return t.String()
	})
}

// days is a range of days: 2024-08-01..2024-08-07, or one of them.
func days(p *dayRange) field {
	return scalar(p, "DAY..DAY", func(s string) (r dayRange, err error) {
		if s == "" {
			return r, nil
		}
		first, last, ok := strings.Cut(s, "..")
		if !ok {
			last = first
		}
		from, err := time.Parse(time.DateOnly, first)
		to, err2 := time.Parse(time.DateOnly, last)
		switch {
		case err != nil || err2 != nil || from.Year() < 2000:
			return r, fmt.Errorf("%q is neither a day (2024-08-01) nor a range of days (2024-08-01..2024-08-07)", s)
		case to.Before(from):
			return r, fmt.Errorf("%q ends before it begins", s)
		case to.Sub(from) > 40*366*24*time.Hour:
			return r, fmt.Errorf("%q is longer than 40 years", s)
		}
		return dayRange{schema.FromStd(from), schema.FromStd(to)}, nil
	}, func(r dayRange) string {
		switch {
		case r == dayRange{}:
			return ""
		case r.From == r.To:
			return r.From.Std().Format(time.DateOnly)
		}
		return r.From.Std().Format(time.DateOnly) + ".." + r.To.Std().Format(time.DateOnly)
	})
}
