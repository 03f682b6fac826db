package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gocloud.dev/gcerrors"

	"millrace/internal/failpoint"
)

// The steps at which a process may die.
var (
	atCollect   = failpoint.New("checkpoint.collect")
	atCollected = failpoint.New("checkpoint.collected")
)

// Keep says which checkpoints stay: the newest Count of each log, and all that
// are younger than For.
type Keep struct {
	Count int
	For   time.Duration
}

// Collected is what was removed, or would be.
type Collected struct {
	Checkpoints []Ref
	Files       int
	Bytes       int64
	Kept        int
}

// Collect removes a log's checkpoints that need not be kept, and the files that
// none of the others needs. dry only tells. The package's comment says why no
// other's work suffers, and what the age of things means.
func (s *Store) Collect(ctx context.Context, l Log, k Keep, dry bool) (c Collected, err error) {
	k.Count = max(k.Count, 1)
	now, err := s.clock(ctx, l)
	if err != nil {
		return c, err
	}
	old := now.Add(-s.o.Grace)
	here, err := s.list(ctx, l.files())
	if err != nil {
		return c, err
	}
	there, err := s.list(ctx, l.manifests()) // after the files: rule 4
	if err != nil {
		return c, err
	}
	keep, drop, err := s.divide(ctx, there, k, now, old)
	if err != nil {
		return c, err
	}
	needed := map[string]bool{}
	for _, m := range keep {
		for _, f := range m.Files {
			needed[f.Key] = true
		}
	}
	c.Kept = len(keep)
	for _, r := range drop {
		if err := s.remove(ctx, r.key, "collect-manifest", dry); err != nil {
			return c, err
		}
		c.Checkpoints = append(c.Checkpoints, r)
	}
	for _, o := range append(here, leftovers(there)...) {
		if needed[o.key] || o.modtime.After(old) {
			continue
		}
		if err := s.remove(ctx, o.key, "collect-file", dry); err != nil {
			return c, err
		}
		c.Files++
		c.Bytes += o.size
	}
	s.forget(l, keep)
	return c, nil
}

// divide tells the checkpoints that stay from those that go. One that can't be
// read for good is of no use to anyone and doesn't count among the newest; it
// goes when it is old. One of a newer program may need files that this one
// can't know of.
func (s *Store) divide(ctx context.Context, there []object, k Keep, now, old time.Time) (keep []*Manifest, drop []Ref, err error) {
	refs := refsOf(there)
	byAge(refs)
	displaced := 0 // by how many that are younger, and older than the grace
	for _, r := range refs {
		m, err := s.Manifest(ctx, r)
		switch {
		case errors.Is(err, ErrGone):
			continue // another collector was here
		case errors.Is(err, ErrNewer):
			return nil, nil, fmt.Errorf("nothing was collected: %w", err)
		case errors.Is(err, ErrRefused):
			if !r.Stored.After(old) {
				drop = append(drop, r)
			}
			continue
		case err != nil:
			return nil, nil, err
		}
		if displaced < k.Count || r.Stored.After(now.Add(-k.For)) {
			keep = append(keep, m)
		} else {
			drop = append(drop, r)
		}
		if !r.Stored.After(old) {
			displaced++
		}
	}
	return keep, drop, nil
}

// leftovers are objects among the manifests that are none.
func leftovers(there []object) (all []object) {
	for _, o := range there {
		if _, ok := parseKey(o.key); !ok {
			all = append(all, o)
		}
	}
	return all
}

func (s *Store) remove(ctx context.Context, key, step string, dry bool) error {
	if dry {
		return nil
	}
	if err := s.o.Failpoint(step); err != nil {
		return err
	}
	atCollect.Hit()
	if err := s.bucket.Delete(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return fmt.Errorf("remove %s of %s: %w", key, s.name, err)
	}
	atCollected.Hit()
	return nil
}

// forget drops what was remembered of manifests that are gone.
func (s *Store) forget(l Log, keep []*Manifest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.read {
		if strings.HasPrefix(key, l.manifests()) {
			delete(s.read, key)
		}
	}
	for _, m := range keep {
		s.read[m.Ref.key] = m
	}
}
