package checkpoint

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
)

// List gives the checkpoints of a log, or of all with an empty one: by log, the
// one that stands farthest first, then the younger.
func (s *Store) List(ctx context.Context, of Log) ([]Ref, error) {
	prefix := ""
	if of.Topic != "" {
		prefix = of.manifests()
	}
	all, err := s.list(ctx, prefix)
	if err != nil {
		return nil, err
	}
	refs := refsOf(all)
	slices.SortFunc(refs, func(a, b Ref) int {
		return cmp.Or(strings.Compare(a.dir(), b.dir()), cmp.Compare(b.Offset, a.Offset), b.Stored.Compare(a.Stored), strings.Compare(a.key, b.key))
	})
	return refs, nil
}

// refsOf picks the manifests among objects.
func refsOf(all []object) (refs []Ref) {
	for _, o := range all {
		if r, ok := parseKey(o.key); ok {
			r.Stored = o.modtime
			refs = append(refs, r)
		}
	}
	return refs
}

// byAge sorts by when the store got them, the youngest first. Takers and
// collectors must agree on which is the newest.
func byAge(refs []Ref) {
	slices.SortFunc(refs, func(a, b Ref) int {
		return cmp.Or(b.Stored.Compare(a.Stored), strings.Compare(b.key, a.key))
	})
}

// Find gives the one checkpoint that a name means: PARTITION/OFFSET-ID, or what
// leads it, as long as it is one.
func Find(refs []Ref, name string) (Ref, error) {
	var found []Ref
	for _, r := range refs {
		if r.String() == name {
			return r, nil
		}
		if strings.HasPrefix(r.String(), name) {
			found = append(found, r)
		}
	}
	switch len(found) {
	case 0:
		return Ref{}, fmt.Errorf("no checkpoint is named %s", name)
	case 1:
		return found[0], nil
	}
	return Ref{}, fmt.Errorf("%d checkpoints begin with %s: %v, %v, …", len(found), name, found[0], found[1])
}
