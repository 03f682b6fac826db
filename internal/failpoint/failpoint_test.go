package failpoint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]struct {
		name string
		n    int64
		bad  bool
	}{
		"":        {n: 1},
		"a.b":     {name: "a.b", n: 1},
		"a.b@3":   {name: "a.b", n: 3},
		"a.b@0":   {bad: true},
		"a.b@-1":  {bad: true},
		"a.b@two": {bad: true},
	} {
		name, n, err := parse(text)
		if name != want.name || !want.bad && n != want.n || (err != nil) != want.bad {
			t.Errorf("%q: %q %d %v", text, name, n, err)
		}
	}
}

var third = New("failpoint.third")

// The process of this test, started again, dies at the third hit.
func TestHit(t *testing.T) {
	if os.Getenv(Variable) != "" {
		for i := range 5 {
			os.Stdout.WriteString(string(rune('1' + i))) //nolint:errcheck // the other process misses it
			third.Hit()
		}
		return
	}
	third.Hit() // nothing happens
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestHit$")
	c.Env = append(os.Environ(), Variable+"=failpoint.third@3")
	out, err := c.Output()
	if status, ok := c.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL || string(out) != "123" {
		t.Errorf("%q, %v", out, err)
	}
}

// steps are the calls that write or acknowledge something that lasts.
var steps = map[string]bool{
	"Commit": true, "ProduceSync": true, "produce": true, "PublishMsg": true, "PublishMsgAsync": true,
	"Rename": true, "Checkpoint": true,
	"bucket.NewWriter": true, "bucket.WriteAll": true, "bucket.Delete": true,
}

// without are functions that need none, and why.
var without = map[string]string{
	"bury":     "produce has its own",
	"sendOne":  "send has its own",
	"rename":   "a dump that is fetched again loses nothing",
	"settings": "they are in the log before anything else is",
	"Copy":     "who takes a checkpoint has its own",
	"clock":    "what it writes and removes is asked for its time, and nobody needs it",
	"stands":   "it takes back what a wrong clock has spoilt",
}

// TestEveryStepHasOne: a function that writes or acknowledges hits a point.
func TestEveryStepHasOne(t *testing.T) {
	seen := map[string]bool{}
	for _, room := range []string{"state", "processor", "ingest", "bridge", "internal/kafka"} {
		err := filepath.WalkDir(filepath.Join("..", "..", room), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && d.Name() == "double" { // it serves tests, and keeps nothing
				return filepath.SkipDir
			}
			if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			for _, decl := range file.Decls {
				f, ok := decl.(*ast.FuncDecl)
				if !ok || f.Body == nil {
					continue
				}
				step, hits := "", false
				ast.Inspect(f.Body, func(n ast.Node) bool {
					call, ok := n.(*ast.CallExpr)
					if !ok {
						return true
					}
					name := ""
					switch x := call.Fun.(type) {
					case *ast.SelectorExpr:
						name = x.Sel.Name
						if of, ok := x.X.(*ast.SelectorExpr); ok && of.Sel.Name == "bucket" {
							name = "bucket." + name
						}
					case *ast.Ident:
						name = x.Name
					}
					hits = hits || name == "Hit"
					if steps[name] {
						step = name
					}
					return true
				})
				if step == "" || hits {
					continue
				}
				if _, ok := without[f.Name.Name]; !ok {
					t.Errorf("%s: %s calls %s and hits no failpoint", path, f.Name.Name, step)
				}
				seen[f.Name.Name] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range without {
		if !seen[name] {
			t.Errorf("%s has a step no more: strike it from the list", name)
		}
	}
}
