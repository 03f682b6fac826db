package state

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// marked adds to the refusal of a newer store which program it takes.
func marked(from pebble.Reader, err error) error {
	if !errors.Is(err, ErrNewer) {
		return err
	}
	row, closer, bad := from.Get([]byte(programKey))
	if bad != nil {
		return err // it was never marked
	}
	err = fmt.Errorf("%w: it was written by millrace %.60q", err, row)
	_ = closer.Close() // what was read is copied
	return err
}
