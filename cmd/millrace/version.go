package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/pflag"

	"millrace/schema"
	"millrace/schema/schemapb"
	"millrace/state"
)

// release is the version of a release build: the linker sets it
// (-X main.release=1.2.3). Other builds have the one Go stamped.
var release string

// versionInfo says which program this is and which formats it speaks.
type versionInfo struct {
	Version  string         `json:"version"`
	Revision string         `json:"revision,omitempty"`
	Modified bool           `json:"modified,omitempty"`
	Go       string         `json:"go"`
	Platform string         `json:"platform"`
	Formats  map[string]any `json:"formats"`
}

func thisVersion() versionInfo {
	v := versionInfo{
		Version: release, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Formats: map[string]any{"protobuf": schemapb.File_millrace_proto.Package(), "arithmetic": newArithmetic(), "log": schema.LogFormat, "state": state.FormatVersion},
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		if v.Version == "" {
			v.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Revision = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	if v.Version == "" {
		v.Version = "(devel)"
	}
	return v
}

// newArithmetic is what a new log is written with.
func newArithmetic() uint32 {
	var s schema.Settings
	s.EnsureDefaults()
	return s.Arithmetic
}

func (a *app) versionCommand() command {
	var asJSON bool
	return command{
		use:     "version",
		short:   "print the version of this program and of its formats",
		long:    "Prints the version of this program, of Go, and of the formats it reads and writes. Two roles can work on one log if their formats agree.",
		example: "millrace version\nmillrace version --json | jq -r .version",
		own:     func(f *pflag.FlagSet) { f.BoolVar(&asJSON, "json", false, "as JSON") },
		run: func(context.Context, *settings, []string) error {
			v := thisVersion()
			if asJSON {
				return writeJSON(a.stdout, v)
			}
			revision := ""
			if v.Revision != "" {
				revision = " " + v.Revision
				if v.Modified {
					revision += ", modified"
				}
			}
			_, err := fmt.Fprintf(a.stdout, "millrace %s%s (%s, %s)\nformats: protobuf %v, arithmetic %v, log %v, state %v\n",
				v.Version, revision, v.Go, v.Platform, v.Formats["protobuf"], v.Formats["arithmetic"], v.Formats["log"], v.Formats["state"])
			return err
		},
	}
}
