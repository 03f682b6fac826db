package sqlsink

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-sql-driver/mysql"
)

// Key names a progress row: one partition of one life of a topic.
type Key struct {
	TopicID   [16]byte
	Partition int32
}

// Progress is up to where in a log a sink has everything, and which writer said
// so. Epoch and Hash are those of the record before Offset.
type Progress struct {
	TopicID   [16]byte
	Partition int32
	Offset    int64 // of the next record
	Epoch     int32
	Hash      uint64
	History   uint64 // of the state: which stretches of the log it never saw
	Writer    string
}

// maxWriter is the width of the column.
const maxWriter = 255

// Load reads the progress row; exists is false if there is none.
func (db *DB) Load(ctx context.Context, topicID [16]byte, partition int32) (p Progress, exists bool, err error) {
	p, exists, err = readProgress(ctx, db.sql, Key{topicID, partition}, "")
	if err != nil {
		return Progress{}, false, db.fail("read the progress", ended(ctx, err))
	}
	return p, exists, nil
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func readProgress(ctx context.Context, q querier, key Key, forUpdate string) (p Progress, exists bool, err error) {
	p = Progress{TopicID: key.TopicID, Partition: key.Partition}
	var hash, history string
	err = q.QueryRowContext(ctx, "SELECT next_offset, leader_epoch, record_hash, history, writer FROM progress WHERE topic_id = ? AND log_partition = ?"+forUpdate,
		hex.EncodeToString(key.TopicID[:]), key.Partition).Scan(&p.Offset, &p.Epoch, &hash, &history, &p.Writer)
	if errors.Is(err, sql.ErrNoRows) {
		return Progress{}, false, nil
	}
	if err != nil {
		return Progress{}, false, err
	}
	if p.Hash, err = strconv.ParseUint(hash, 16, 64); err != nil {
		return Progress{}, false, fmt.Errorf("column record_hash: %w", err)
	}
	if p.History, err = strconv.ParseUint(history, 16, 64); err != nil {
		return Progress{}, false, fmt.Errorf("column history: %w", err)
	}
	return p, true, nil
}

// writeProgress writes p; exists says whether the row is there, and locked.
func (db *DB) writeProgress(ctx context.Context, tx *sql.Tx, p *Progress, exists bool) error {
	statement := "UPDATE progress SET next_offset = ?, leader_epoch = ?, record_hash = ?, history = ?, writer = ?, updated_at = " + db.d.now + " WHERE topic_id = ? AND log_partition = ?"
	if !exists {
		// No upsert: where another writer made the row meanwhile, this fails.
		statement = "INSERT INTO progress (next_offset, leader_epoch, record_hash, history, writer, updated_at, topic_id, log_partition) VALUES (?, ?, ?, ?, ?, " + db.d.now + ", ?, ?)"
	}
	_, err := tx.ExecContext(ctx, statement, p.Offset, p.Epoch, fmt.Sprintf("%016x", p.Hash), strconv.FormatUint(p.History, 16), p.Writer, hex.EncodeToString(p.TopicID[:]), p.Partition)
	return err
}

// duplicateKey says that another writer made the row first. In SQLite there is
// one writer at a time, so it cannot happen.
func duplicateKey(err error) bool {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && e.Number == 1062
}
