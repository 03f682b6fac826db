package main

import (
	"context"
	"path/filepath"
	"time"

	"millrace/processor"
	"millrace/state/checkpoint"
)

// noStore is the word for no store of checkpoints.
const noStore = "none"

func checkStore(where string) error {
	if where == "" || where == noStore {
		return nil
	}
	return checkpoint.Check(where)
}

// keeping is the open store of checkpoints; nil if there is none.
type keeping struct{ store *checkpoint.Store }

// openKeeping opens the store that the settings name, nil if they name none.
func openKeeping(ctx context.Context, s *settings) (*keeping, error) {
	if s.Keeping.Store == "" || s.Keeping.Store == noStore {
		return nil, nil
	}
	store, err := checkpoint.Open(ctx, s.Keeping.Store, checkpoint.Options{Now: time.Now, UploadLimit: int64(s.Keeping.Upload * 1e6)})
	if err != nil {
		return nil, usagef("--checkpoints: %w", err)
	}
	return &keeping{store}, nil
}

func (k *keeping) name() string {
	if k == nil {
		return noStore
	}
	return k.store.Name()
}

func (k *keeping) close() {
	if k != nil {
		_ = k.store.Close() // what was written is written
	}
}

func (k *keeping) config(s *settings) *processor.Checkpoints {
	if k == nil {
		return nil
	}
	return &processor.Checkpoints{
		Store: k.store, Every: s.Keeping.Every, Keep: s.keep(), Program: thisVersion().Version,
	}
}

func (s *settings) keep() checkpoint.Keep {
	return checkpoint.Keep{Count: s.Keeping.Count, For: s.Keeping.For}
}

// defaultKeeping is where dev keeps them.
func defaultKeeping(s *settings) string { return filepath.Join(s.Run.Data, "checkpoints") }
