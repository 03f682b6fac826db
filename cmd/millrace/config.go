package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"
)

func (a *app) configCommand() command {
	var asJSON bool
	return command{
		use:   "config",
		short: "print the settings in force and where each came from",
		long: "Prints every setting as a command would have it, with the place it came from: flag, environment, file or default. " +
			"It takes the same flags, environment and file as all commands. Secrets are replaced by ***. It connects to nothing.",
		example: "millrace config\n" +
			"MILLRACE_PERIODS=\"1s 1m\" millrace config --kafka kafka1:9092,kafka2:9092\n" +
			"millrace config --config production.yaml --json | jq '.settings[] | select(.from != \"default\")'",
		groups: allGroups,
		leave:  names(func(r *setting) bool { return r.onFlagOnly }),
		own:    func(f *pflag.FlagSet) { f.BoolVar(&asJSON, "json", false, "as JSON") },
		run: func(_ context.Context, s *settings, _ []string) error {
			lines := effective(s)
			if asJSON {
				return writeJSON(a.stdout, map[string]any{"settings": lines})
			}
			return writeConfig(a.stdout, lines)
		},
	}
}

// configLine is a setting in force. Its value is in the form that is read, but
// for a secret.
type configLine struct {
	Name   string `json:"name"`
	Group  string `json:"group"`
	Value  string `json:"value"`
	From   string `json:"from"`            // flag, environment, file or default
	Where  string `json:"where,omitempty"` // --kafka, MILLRACE_KAFKA, millrace.yaml:3
	Secret bool   `json:"secret,omitempty"`
}

func effective(s *settings) []configLine {
	var lines []configLine
	for i := range table {
		r := &table[i]
		if r.onFlagOnly {
			continue
		}
		f, p := r.field(s), s.places[r.name]
		lines = append(lines, configLine{r.name, r.group, f.text(), p.strength.String(), p.where, f.hidden})
	}
	return lines
}

func writeConfig(out io.Writer, lines []configLine) error {
	var b bytes.Buffer
	name, value := 0, 0
	for _, l := range lines {
		name, value = max(name, len(l.Name)), max(value, min(utf8.RuneCountInString(l.Value), 40))
	}
	group := ""
	for _, l := range lines {
		if l.Group != group {
			if group != "" {
				b.WriteByte('\n')
			}
			group = l.Group
			fmt.Fprintln(&b, group)
		}
		from, v := l.From, l.Value
		if l.Where != "" {
			from = l.Where
		}
		if v == "" {
			v = "-"
		}
		fmt.Fprintf(&b, "  %-*s  %s%s  %s\n", name, l.Name, v, strings.Repeat(" ", max(0, value-utf8.RuneCountInString(v))), from)
	}
	_, err := out.Write(b.Bytes())
	return err
}

// writeJSON writes v for programs, indented for people.
func writeJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
