// Package docs holds the documents of the repository against its code.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// The names in code of ARCHITECTURE.md: files, and functions of the package or
// file named before them on the same line.
var (
	code = regexp.MustCompile("`([^`\n]+)`")
	file = regexp.MustCompile(`^[a-z.]+(/[a-z0-9_.]+)+$`)
	name = regexp.MustCompile(`^[a-z]+\.[A-Z][A-Za-z]*$`)
)

func TestArchitectureNamesWhatExists(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) > 200 {
		t.Errorf("%d lines, at most 200 are read", len(lines))
	}
	seen := 0
	for i, line := range lines {
		for _, m := range code.FindAllStringSubmatch(line, -1) {
			switch word := m[1]; {
			case file.MatchString(word):
				seen++
				if _, err := os.Stat(filepath.Join(root, word)); err != nil {
					t.Errorf("line %d: %v", i+1, err)
				}
			case name.MatchString(word):
				seen++
				dir, id, _ := strings.Cut(word, ".")
				if !declared(t, dir, id) {
					t.Errorf("line %d: %s is not declared in %s", i+1, id, dir)
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d names were checked", seen)
	}
}

// declared looks for a function, a method or a type in a package of the root.
func declared(t *testing.T, dir, id string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	re := regexp.MustCompile(`(?m)^(func (\([^)]*\) )?|type )` + id + `\b`)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if re.Match(text) {
			return true
		}
	}
	return false
}
