package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxConfigFile bounds what is read of a YAML file.
const maxConfigFile = 1 << 20

// readYAML reads a file of settings: one map, whose keys are the names of
// settings. Errors name the file and the line, and never quote a value: it may
// be a password.
func readYAML(path string, known, flagOnly []string) (givens, error) {
	b, err := readSmall(path, maxConfigFile)
	if err != nil {
		return nil, usagef("settings: %w", err)
	}
	tree, err := parser.ParseBytes(b, 0)
	if err != nil {
		var e yaml.Error
		if errors.As(err, &e) && e.GetToken() != nil {
			return nil, usagef("%s:%d: not YAML: %s", path, e.GetToken().Position.Line, e.GetMessage())
		}
		return nil, usagef("%s: not YAML", path)
	}
	if len(tree.Docs) > 1 {
		return nil, usagef("%s has %d documents, wanted one", path, len(tree.Docs))
	}
	got := givens{}
	if len(tree.Docs) == 0 || tree.Docs[0].Body == nil {
		return got, nil
	}
	var lines []*ast.MappingValueNode
	switch n := tree.Docs[0].Body.(type) {
	case *ast.MappingNode:
		lines = n.Values
	case *ast.MappingValueNode:
		lines = []*ast.MappingValueNode{n}
	case *ast.CommentGroupNode:
	default:
		return nil, usagef("%s:%d: wanted lines of `name: value`", path, n.GetToken().Position.Line)
	}
	for _, l := range lines {
		name := l.Key.GetToken().Value
		where := fmt.Sprintf("%s:%d", path, l.Key.GetToken().Position.Line)
		if slices.Contains(flagOnly, name) {
			return nil, usagef("%s: %s: this can only be a flag", where, name)
		}
		if !slices.Contains(known, name) {
			return nil, usagef("%s: unknown setting %q%s", where, name, nearest(name, known))
		}
		g, err := yamlValue(l.Value)
		if err != nil {
			return nil, usagef("%s: %s %w", where, name, err)
		}
		g.where = where
		got[name] = g
	}
	return got, nil
}

// yamlValue gives the texts of a scalar, a list of scalars, or a map of
// scalars (as "key=value").
func yamlValue(n ast.Node) (given, error) {
	switch n := n.(type) {
	case *ast.SequenceNode:
		g := given{shape: listShape}
		for _, item := range n.Values {
			s, err := yamlScalar(item)
			if err != nil {
				return g, err
			}
			g.texts = append(g.texts, s)
		}
		return g, nil
	case *ast.MappingNode:
		g := given{shape: mapShape}
		for _, pair := range n.Values {
			s, err := yamlScalar(pair.Value)
			if err != nil {
				return g, err
			}
			g.texts = append(g.texts, pair.Key.GetToken().Value+"="+s)
		}
		return g, nil
	case *ast.MappingValueNode:
		s, err := yamlScalar(n.Value)
		return given{shape: mapShape, texts: []string{n.Key.GetToken().Value + "=" + s}}, err
	}
	s, err := yamlScalar(n)
	return given{texts: []string{s}}, err
}

func yamlScalar(n ast.Node) (string, error) {
	switch n := n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.NullNode:
		return "", errors.New("has no value: give one, '' for none, or leave the line out")
	}
	return "", errors.New("is neither a plain value nor a list of them")
}
