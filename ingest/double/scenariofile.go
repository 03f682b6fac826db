package double

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"millrace/schema"
)

// maxScenario bounds a scenario's file.
const maxScenario = 1 << 20

// LoadScenario reads a file; see testdata/hardday.yaml for what it may hold.
func LoadScenario(path string) (Scenario, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Scenario{}, err
	}
	if info.Size() > maxScenario || !info.Mode().IsRegular() {
		return Scenario{}, fmt.Errorf("%s is no file of at most %d bytes", path, maxScenario)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return Scenario{}, err
	}
	return ParseScenario(path, b)
}

// ParseScenario reads a scenario. Its errors begin with NAME:LINE.
func ParseScenario(name string, b []byte) (Scenario, error) {
	r := scenarioReader{name: name}
	tree, err := parser.ParseBytes(b, 0)
	if err != nil {
		var e yaml.Error
		if errors.As(err, &e) && e.GetToken() != nil {
			return Scenario{}, fmt.Errorf("%s:%d: not YAML: %s", name, e.GetToken().Position.Line, e.GetMessage())
		}
		return Scenario{}, fmt.Errorf("%s: not YAML", name)
	}
	var s Scenario
	if len(tree.Docs) > 1 {
		return s, fmt.Errorf("%s: %d documents, wanted one", name, len(tree.Docs))
	}
	if len(tree.Docs) == 0 || tree.Docs[0].Body == nil {
		return s, nil
	}
	if _, comment := tree.Docs[0].Body.(*ast.CommentGroupNode); comment {
		return s, nil
	}
	err = r.each(tree.Docs[0].Body, func(key string, v ast.Node) error {
		switch key {
		case "seed":
			return r.scalar(v, func(t string) (err error) { s.Seed, err = strconv.ParseUint(t, 10, 64); return })
		case "faults":
			list, ok := v.(*ast.SequenceNode)
			if !ok {
				return r.wrong(v, "faults are a list")
			}
			for _, item := range list.Values {
				f, err := r.fault(item)
				if err != nil {
					return err
				}
				s.Faults = append(s.Faults, f)
			}
			return nil
		case "random":
			random, err := r.random(v)
			s.Random = &random
			return err
		}
		return r.wrong(v, "unknown key %q, wanted seed, faults or random", key)
	})
	return s, err
}

// scenarioReader walks a tree of YAML.
type scenarioReader struct{ name string }

func (r *scenarioReader) wrong(n ast.Node, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", r.name, n.GetToken().Position.Line, fmt.Errorf(format, args...))
}

// each goes through a map's entries.
func (r *scenarioReader) each(n ast.Node, fn func(key string, v ast.Node) error) error {
	var lines []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		lines = n.Values
	case *ast.MappingValueNode:
		lines = []*ast.MappingValueNode{n}
	default:
		return r.wrong(n, "wanted lines of `key: value`")
	}
	seen := make(map[string]bool)
	for _, l := range lines {
		key := l.Key.GetToken().Value
		if seen[key] {
			return r.wrong(l.Key, "%s stands twice", key)
		}
		seen[key] = true
		if _, null := l.Value.(*ast.NullNode); null || l.Value == nil {
			return r.wrong(l.Key, "%s has no value", key)
		}
		if err := fn(key, l.Value); err != nil {
			return err
		}
	}
	return nil
}

// scalar reads one value.
func (r *scenarioReader) scalar(n ast.Node, parse func(string) error) error {
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
	default:
		return r.wrong(n, "wanted one value")
	}
	text := n.GetToken().Value
	if err := parse(text); err != nil {
		var ne *strconv.NumError
		if errors.As(err, &ne) {
			return r.wrong(n, "%q is not a number that fits", text)
		}
		return r.wrong(n, "%w", err)
	}
	return nil
}

// texts reads one value or a list of them.
func (r *scenarioReader) texts(n ast.Node) (all []string, err error) {
	items := []ast.Node{n}
	if list, ok := n.(*ast.SequenceNode); ok {
		items = list.Values
	}
	for _, item := range items {
		if err := r.scalar(item, func(t string) error { all = append(all, t); return nil }); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (r *scenarioReader) span(n ast.Node, p *time.Duration) error {
	return r.scalar(n, func(t string) (err error) {
		if *p, err = time.ParseDuration(t); err != nil {
			return fmt.Errorf("%q is not a duration such as 250ms or 10s", t)
		}
		return nil
	})
}

func (r *scenarioReader) float(n ast.Node, p *float64) error {
	return r.scalar(n, func(t string) (err error) { *p, err = strconv.ParseFloat(t, 64); return })
}

// share reads a share, which must not be 0: that would stand for all.
func (r *scenarioReader) share(n ast.Node, p *float64) error {
	if err := r.float(n, p); err != nil {
		return err
	}
	if !(*p > 0 && *p <= 1) {
		return r.wrong(n, "a share of %v is not above 0 and at most 1", *p)
	}
	return nil
}

func (r *scenarioReader) integer(n ast.Node, p *int) error {
	return r.scalar(n, func(t string) (err error) { *p, err = strconv.Atoi(t); return })
}

func (r *scenarioReader) clock(n ast.Node, p *bool) error {
	return r.scalar(n, func(t string) error {
		if t != "wall" && t != "market" {
			return fmt.Errorf("clock %q is neither wall nor market", t)
		}
		*p = t == "market"
		return nil
	})
}

// fault reads one fault. Its kind decides which keys it may have.
func (r *scenarioReader) fault(n ast.Node) (f Fault, err error) {
	given := make(map[string]ast.Node)
	err = r.each(n, func(key string, v ast.Node) error {
		given[key] = v
		return r.key(&f, key, v)
	})
	if err != nil {
		return f, err
	}
	keys, ok := keysOf(f.Kind)
	if !ok {
		if f.Kind == "" {
			return f, r.wrong(n, "a fault without its kind")
		}
		return f, r.wrong(given["kind"], "unknown kind %q", f.Kind)
	}
	allowed := append(strings.Fields(keys), "kind", "at", "clock", "for", "every", "times")
	slices.Sort(allowed)
	for _, key := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(allowed, key) {
			return f, r.wrong(given[key], "%s has no %q, only %s", f.Kind, key, strings.Join(allowed, ", "))
		}
	}
	if err := f.check(); err != nil {
		return f, r.wrong(given["kind"], "%w", err)
	}
	return f, nil
}

func (r *scenarioReader) key(f *Fault, key string, v ast.Node) (err error) {
	switch key {
	case "kind":
		return r.scalar(v, func(t string) error { f.Kind = t; return nil })
	case "at":
		return r.scalar(v, func(t string) (err error) {
			if f.At, err = time.ParseDuration(t); err == nil {
				return nil
			}
			at, err := time.Parse(time.RFC3339Nano, t)
			if err != nil {
				return fmt.Errorf("%q is neither a duration (90s) nor a time of the market (2026-05-01T10:00:00Z)", t)
			}
			f.Moment, f.Market = schema.FromStd(at), true
			return nil
		})
	case "clock":
		return r.clock(v, &f.Market)
	case "for":
		return r.span(v, &f.For)
	case "every":
		return r.span(v, &f.Every)
	case "times":
		return r.integer(v, &f.Times)
	case "symbols":
		if _, number := v.(*ast.FloatNode); number {
			return r.share(v, &f.SymbolShare)
		}
		f.Symbols, err = r.texts(v)
		return err
	case "connections":
		return r.share(v, &f.Connections)
	case "share":
		return r.share(v, &f.Share)
	case "count":
		return r.integer(v, &f.Count)
	case "window":
		return r.integer(v, &f.Window)
	case "delay", "lead", "age":
		if f.Delay != 0 {
			return r.wrong(v, "%s stands beside another", key)
		}
		return r.span(v, &f.Delay)
	case "skew":
		return r.span(v, &f.Skew)
	case "status":
		return r.scalar(v, func(t string) error { f.Status = t; return nil })
	case "behind":
		return r.scalar(v, func(t string) (err error) { f.Behind, err = strconv.ParseInt(t, 10, 32); return })
	case "paths":
		f.Paths, err = r.texts(v)
		return err
	}
	return r.wrong(v, "unknown key %q", key)
}

func (r *scenarioReader) random(n ast.Node) (random Random, err error) {
	err = r.each(n, func(key string, v ast.Node) (err error) {
		switch key {
		case "seed":
			return r.scalar(v, func(t string) (err error) { random.Seed, err = strconv.ParseUint(t, 10, 64); return })
		case "per-minute":
			return r.float(v, &random.PerMinute)
		case "kinds":
			random.Kinds, err = r.texts(v)
			return err
		case "longest":
			return r.span(v, &random.Longest)
		case "clock":
			return r.clock(v, &random.Market)
		}
		return r.wrong(v, "random has no %q, only seed, per-minute, kinds, longest, clock", key)
	})
	if err == nil {
		if e := random.check(); e != nil {
			err = r.wrong(n, "%w", e)
		}
	}
	return random, err
}
