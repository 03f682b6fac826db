package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/schema"
)

// lookGroups are the settings of commands that look into a log, lookLeave those
// that they do without.
var (
	lookGroups = []string{gKafka, gLog, gRun}
	lookLeave  = []string{"partitions", "replication", "ticks-retention", "candles-retention", "compression", "periods", "three-day-anchor", "empty-seconds",
		"data", "http", "for", "log-level", "log-format"}
)

// openLook connects to a log that is there.
func openLook(ctx context.Context, s *settings, as string) (*kgo.Client, kafka.Lineage, error) {
	k, err := s.Kafka.config(as, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, kafka.Lineage{}, err
	}
	client, err := connect(ctx, k)
	if err != nil {
		return nil, kafka.Lineage{}, err
	}
	l, err := kafka.Find(ctx, client, s.topics())
	if errors.Is(err, kafka.ErrNoTopic) {
		err = usagef("%w", err)
	}
	if err != nil {
		client.Close()
		return nil, l, err
	}
	return client, l, nil
}

func (a *app) settingsCommand() command {
	var asJSON bool
	return command{
		use:   "settings",
		short: "show and change what is recorded in the log",
		long: "Shows the settings that the log itself holds, by partition: their revision, their values and the offset from which they are in force. They rule what candles are made, so all processors have the same. " +
			"`millrace settings set` changes them. What a process is set to is shown by `millrace config`.",
		example: "millrace settings --kafka kafka1:9092\nmillrace settings set periods=1m,1h,1d --dry-run",
		groups:  lookGroups, leave: lookLeave,
		own:  func(f *pflag.FlagSet) { jsonFlag(f, &asJSON) },
		subs: []command{a.settingsSet()},
		run: func(ctx context.Context, s *settings, _ []string) error {
			client, l, err := openLook(ctx, s, "settings")
			if err != nil {
				return err
			}
			client.Close()
			r := reportOf(&l)
			if asJSON {
				return writeJSON(a.stdout, r)
			}
			_, err = io.WriteString(a.stdout, r.text(s.Log.Ticks))
			return err
		},
	}
}

// logReport is what the log says of its settings.
type logReport struct {
	TopicID    string            `json:"topic_id"`
	Known      bool              `json:"known"` // false: retention has taken the record of them
	Settings   map[string]string `json:"settings"`
	Revision   uint32            `json:"revision"`
	Program    string            `json:"program,omitempty"` // that wrote the newest
	Agree      bool              `json:"agree"`             // all partitions have the newest
	Partitions []partitionReport `json:"partitions"`
}

type partitionReport struct {
	Partition int32             `json:"partition"`
	Revision  uint32            `json:"revision"`
	Since     int64             `json:"since"` // offset
	Begun     bool              `json:"begun,omitempty"`
	Differs   map[string]string `json:"differs,omitempty"` // what the newest has otherwise
}

func reportOf(l *kafka.Lineage) *logReport {
	r := &logReport{TopicID: fmt.Sprintf("%x", l.Ticks), Known: l.Known, Settings: valuesOf(&l.Settings), Revision: l.Settings.Revision, Program: l.Settings.Program, Agree: true}
	for p := range l.Partitions {
		c, ok := l.At(p, 1<<62)
		if !ok {
			r.Agree = r.Agree && !l.Known
			continue
		}
		x := partitionReport{Partition: p, Revision: c.Settings.Revision, Since: c.Offset}
		own := valuesOf(&c.Settings)
		for _, n := range logSettingNames {
			if own[n.name] != r.Settings[n.name] {
				if x.Differs == nil {
					x.Differs = map[string]string{}
				}
				x.Differs[n.name] = own[n.name]
				r.Agree = false
			}
		}
		for _, c := range l.Changes[p] {
			x.Begun = x.Begun || c.Offset < 0 && c.Settings.Revision > x.Revision
		}
		r.Partitions = append(r.Partitions, x)
	}
	return r
}

// logSettingNames are the settings in the log, as they are shown and set.
var logSettingNames = []struct {
	name  string
	field func(*schema.Settings) field
}{
	{"partitions", func(s *schema.Settings) field {
		return field{text: func() string { return strconv.Itoa(int(s.Partitions)) }, set: func([]string) error {
			return errors.New("can't be changed: a symbol's place follows from their number. Begin a new log: run the roles with --ticks-topic NEW --candles-topic NEW --partitions N, and bring history in with millrace replay")
		}}
	}},
	{"periods", func(s *schema.Settings) field { return periods(&s.Periods) }},
	{"three-day-anchor", func(s *schema.Settings) field { return moment(&s.ThreeDay) }},
	{"empty-seconds", func(s *schema.Settings) field { return flagged(&s.EmptySeconds) }},
	{"future-bound", func(s *schema.Settings) field { return logSpan(&s.FutureBound) }},
	{"alive-bound", func(s *schema.Settings) field { return logSpan(&s.AliveBound) }},
	{"gap-after", func(s *schema.Settings) field { return logSpan(&s.GapAfter) }},
	{"series-bound", func(s *schema.Settings) field { return logSpan(&s.SeriesBound) }},
	{"seal-after", func(s *schema.Settings) field { return logSpan(&s.SealAfter) }},
	{"arithmetic", func(s *schema.Settings) field { return logNumber(&s.Arithmetic) }},
	{"format", func(s *schema.Settings) field { return logNumber(&s.Format) }},
}

func logSpan(p *schema.Time) field {
	return scalar(p, "DURATION", func(text string) (schema.Time, error) {
		d, err := time.ParseDuration(text)
		if err != nil {
			return 0, fmt.Errorf("%q is not a duration such as 250ms, 10s or 720h", text)
		}
		return schema.Time(d.Microseconds()), nil
	}, func(t schema.Time) string { return trimZeros((time.Duration(t) * time.Microsecond).String()) })
}

func logNumber(p *uint32) field {
	return scalar(p, "N", func(text string) (uint32, error) {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return 0, fmt.Errorf("%q is not a whole number", text)
		}
		return uint32(n), nil
	}, func(n uint32) string { return strconv.FormatUint(uint64(n), 10) })
}

func valuesOf(s *schema.Settings) map[string]string {
	own := *s
	own.Periods = slices.Clone(s.Periods)
	m := map[string]string{}
	for _, n := range logSettingNames {
		m[n.name] = n.field(&own).text()
	}
	return m
}

func (r *logReport) text(topic string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "the log of %s (id %s), revision %d", topic, r.TopicID, r.Revision)
	if r.Program != "" {
		fmt.Fprintf(&b, ", written by millrace %s", r.Program)
	}
	b.WriteByte('\n')
	if !r.Known {
		b.WriteString("retention has taken the record of its settings from every partition; processors go by their state, which `millrace state query` shows. A new log would have:\n")
	}
	for _, n := range logSettingNames {
		fmt.Fprintf(&b, "  %-18s%s\n", n.name, r.Settings[n.name])
	}
	if len(r.Partitions) == 0 {
		return b.String()
	}
	b.WriteByte('\n')
	rows := [][]string{{"partition", "revision", "in force from", "differs"}}
	for _, p := range r.Partitions {
		var differs []string
		for _, n := range logSettingNames {
			if v, ok := p.Differs[n.name]; ok {
				differs = append(differs, n.name+"="+v)
			}
		}
		if p.Begun {
			differs = append(differs, "a change was begun")
		}
		rows = append(rows, []string{fmt.Sprint(p.Partition), fmt.Sprint(p.Revision), fmt.Sprint(p.Since), strings.Join(differs, " ")})
	}
	writeTable(&b, rows, "rrrl")
	if !r.Agree {
		b.WriteString("\nthe partitions differ: a change did not reach all. `millrace settings set`, without a setting, completes it.\n")
	}
	return b.String()
}
