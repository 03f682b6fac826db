package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/internal/failpoint"
)

// The steps at which a process may die.
var (
	atFetched = failpoint.New("restore.fetched")
	atAside   = failpoint.New("restore.aside")
	atPlaced  = failpoint.New("restore.placed")
)

// Want says which checkpoint is to be restored.
type Want struct {
	Log Log
	// Name is the one, if it is set: PARTITION/OFFSET-ID or what leads it.
	Name string
	// At is the newest applied trade time that it may have; zero is any.
	At time.Time
	// Offset is how far in the log it may stand at most; 0 is any.
	Offset int64
	// Beyond is where it must stand beyond; 0 is any.
	Beyond int64
	// Holds tells whether the log still has the record of a hash right before an
	// offset, or why not. A checkpoint of another log is of no use.
	Holds func(ctx context.Context, offset int64, hash uint64) (held bool, why string, err error)
	// Scratch is a folder beside the state's for the download.
	Scratch  string
	FS       vfs.FS // the real one unless set
	Progress Progress
}

// Refusal is why a checkpoint wasn't taken.
type Refusal struct {
	Ref     Ref
	Why     string
	Damaged bool // it would have been wanted
}

// Candidates gives the checkpoints that may be restored, the best first, and
// why the others may not. It downloads manifests only.
func (s *Store) Candidates(ctx context.Context, w Want) (good []*Manifest, refused []Refusal, err error) {
	refs, err := s.List(ctx, w.Log)
	if err != nil {
		return nil, nil, err
	}
	if w.Name != "" {
		r, err := Find(refs, w.Name)
		if err != nil {
			return nil, nil, err
		}
		refs = []Ref{r}
	}
	for _, r := range refs {
		if r.Offset <= w.Beyond && w.Beyond > 0 {
			continue
		}
		m, err := s.Manifest(ctx, r)
		if errors.Is(err, ErrRefused) || errors.Is(err, ErrGone) {
			refused = append(refused, Refusal{r, err.Error(), !errors.Is(err, ErrNewer) && !errors.Is(err, ErrGone)})
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		why := ""
		switch {
		case w.Offset > 0 && m.Offset > w.Offset:
			why = fmt.Sprintf("it stands at %d, beyond %d", m.Offset, w.Offset)
		case !w.At.IsZero() && m.Newest != nil && m.Newest.After(w.At):
			why = fmt.Sprintf("its newest trade is of %s, after %s", m.Newest.Format(time.RFC3339Nano), w.At.UTC().Format(time.RFC3339Nano))
		default:
			if why, err = s.fits(ctx, w, m); err != nil {
				return nil, nil, err
			}
		}
		if why != "" {
			refused = append(refused, Refusal{Ref: r, Why: why})
			continue
		}
		good = append(good, m)
	}
	return good, refused, nil
}

// fits tells why the log isn't the one that the checkpoint was made from.
func (s *Store) fits(ctx context.Context, w Want, m *Manifest) (why string, err error) {
	if w.Holds == nil {
		return "", nil
	}
	held, why, err := w.Holds(ctx, m.Offset, m.Position().Hash)
	if err != nil {
		return "", fmt.Errorf("hold checkpoint %v against the log: %w", m.Ref, err)
	}
	if held {
		return "", nil
	}
	return why, nil
}

// Restore puts the best checkpoint that verifies and matches the log into the
// folder Scratch, whole and checked. It gives nil if there is none, and in any
// case why others were refused.
func (s *Store) Restore(ctx context.Context, w Want) (*Manifest, []Refusal, error) {
	if w.FS == nil {
		w.FS = vfs.Default
	}
	good, refused, err := s.Candidates(ctx, w)
	if err != nil {
		return nil, refused, err
	}
	for _, m := range good {
		if err := w.FS.RemoveAll(w.Scratch); err != nil {
			return nil, refused, fmt.Errorf("restore: %w", err)
		}
		if err := s.o.Failpoint("restore-fetch"); err != nil {
			return nil, refused, err
		}
		err := s.Fetch(ctx, m, w.Scratch, w.FS, w.Progress)
		switch {
		case err == nil:
			atFetched.Hit()
			return m, refused, nil
		case errors.Is(err, ErrRefused), errors.Is(err, ErrGone):
			refused = append(refused, Refusal{m.Ref, err.Error(), true})
		default:
			return nil, refused, err
		}
	}
	return nil, refused, nil
}

// Place makes the folder from the one that is in use, and sets aside what was
// there. aside is empty if nothing was. A crash in between leaves a folder that
// isn't there, for which the next start restores again.
func Place(from, to, aside string, fs vfs.FS) (setAside bool, err error) {
	if _, err := fs.Stat(to); err == nil {
		if err := fs.RemoveAll(aside); err != nil {
			return false, fmt.Errorf("restore: %w", err)
		}
		if err := fs.Rename(to, aside); err != nil {
			return false, fmt.Errorf("restore: set the old state aside: %w", err)
		}
		atAside.Hit()
		setAside = true
	}
	if from != "" {
		if err := fs.Rename(from, to); err != nil {
			return setAside, fmt.Errorf("restore: put the new state in its place: %w", err)
		}
		atPlaced.Hit()
	}
	d, err := fs.OpenDir(fs.PathDir(to))
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if err != nil {
		return setAside, fmt.Errorf("restore: %w", err)
	}
	return setAside, nil
}
