package sqlsink

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"millrace/internal/failpoint"
	"millrace/schema"
)

// The steps at which a process may die.
var (
	atBegun     = failpoint.New("sql.begun")
	atProgress  = failpoint.New("sql.progress")
	atUpserted  = failpoint.New("sql.upserted")
	atCommit    = failpoint.New("sql.commit")
	atCommitted = failpoint.New("sql.committed")
)

// Batch is what one Write brings.
type Batch struct {
	// Candles may come in any order and more than once; of equal windows the
	// highest version is written.
	Candles []schema.Candle
	// Gaps replace the rows of their symbols, unless those are newer.
	Gaps []schema.GapSet
	// Progress is written with the rows. Nil: this is a piece of something
	// larger, whose last piece brings it.
	Progress *Progress
	// Newest is the newest applied time of the partition, from which the days
	// kept are counted. Windows below them are skipped.
	Newest schema.Time
}

// Write brings b into the database as one transaction. It first locks the
// progress row of key and compares it with expect, what this writer wrote or
// loaded last (nil: no row). If they differ nothing is written and the error is
// a *MovedError. An empty batch only compares: the heartbeat.
//
// After an error that Retriable accepts nothing is known of the transaction:
// call Load, and write again from what it says.
func (db *DB) Write(ctx context.Context, key Key, expect *Progress, b Batch) error {
	if db.cfg.ReadOnly {
		return db.fail("write", errReadOnly)
	}
	if err := b.check(key); err != nil {
		return db.fail("write", err)
	}
	rows, err := db.newRows(b.Candles, b.Newest)
	if err != nil {
		return db.fail("write", err)
	}
	if db.d.turn != nil {
		select {
		case db.d.turn <- struct{}{}:
			defer func() { <-db.d.turn }()
		case <-ctx.Done():
			return db.fail("wait for the turn to write", ctx.Err())
		}
	}
	tx, err := db.sql.BeginTx(ctx, nil)
	if err != nil {
		return db.fail("begin", ended(ctx, err))
	}
	atBegun.Hit()
	if err := db.writeTx(ctx, tx, key, expect, &b, rows); err != nil {
		// The connection may be gone, and the transaction with it: what the
		// roll back says adds nothing.
		_ = tx.Rollback()
		if _, moved := errors.AsType[*MovedError](err); moved {
			return err
		}
		return db.fail("write", ended(ctx, err))
	}
	atCommit.Hit()
	if err := tx.Commit(); err != nil {
		return db.fail("commit, the outcome is unknown", ended(ctx, err))
	}
	atCommitted.Hit()
	return nil
}

func (b *Batch) check(key Key) error {
	if p := b.Progress; p != nil {
		if p.TopicID != key.TopicID || p.Partition != key.Partition {
			return fmt.Errorf("the batch's progress is of partition %d of topic %x, the key's of %d of %x", p.Partition, p.TopicID, key.Partition, key.TopicID)
		}
		if len(p.Writer) > maxWriter {
			return fmt.Errorf("the writer's name is %d bytes long, at most %d fit", len(p.Writer), maxWriter)
		}
	}
	return nil
}

func (db *DB) writeTx(ctx context.Context, tx *sql.Tx, key Key, expect *Progress, b *Batch, rows []*schema.Candle) error {
	found, exists, err := readProgress(ctx, tx, key, db.d.forUpdate)
	if err != nil {
		return fmt.Errorf("read the progress: %w", err)
	}
	if exists != (expect != nil) || exists && found != *expect {
		return &MovedError{Found: found, Exists: exists}
	}
	if b.Progress != nil && (!exists || found != *b.Progress) {
		err := db.writeProgress(ctx, tx, b.Progress, exists)
		if duplicateKey(err) {
			// The other's row is committed, or the insert would still wait. Read
			// without a lock: all that were refused hold a shared one by now.
			if found, exists, err = readProgress(ctx, tx, key, ""); err == nil {
				return &MovedError{Found: found, Exists: exists}
			}
		}
		if err != nil {
			return fmt.Errorf("progress: %w", err)
		}
		atProgress.Hit()
	}
	if err := db.writeCandles(ctx, tx, rows); err != nil {
		return fmt.Errorf("candles: %w", err)
	}
	atUpserted.Hit()
	if err := db.writeGaps(ctx, tx, b.Gaps); err != nil {
		return fmt.Errorf("gaps: %w", err)
	}
	return nil
}
