package sink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/failpoint"
)

// The steps at which a process may die, where there are transactions.
var (
	atFence     = failpoint.New("transaction.fenced")
	atBegin     = failpoint.New("transaction.begin")
	atCommit    = failpoint.New("transaction.commit")
	atCommitted = failpoint.New("transaction.committed")
)

// Transactions makes each flush of a partition one transaction of Kafka's, for
// readers that can't compare versions. What such a reader sees of a key only
// rises, because of three things:
//
//  1. Who opens the partition's transactional id (InitProducerID) has the
//     transaction of the one before it aborted, and nothing of that one lands any
//     more. So there is one writer at any moment.
//  2. Only then it reads what stands in the topic, all that was committed, and
//     writes nothing lower.
//  3. After any error it does both again, as if it were new: whether a commit
//     that was not answered has happened is read from the topic.
//
// The id belongs to the topic's partition, not to the group: of two groups that
// write to one topic each fences the other, which is slow but never wrong.
type Transactions struct {
	Connect func(...kgo.Opt) (*kgo.Client, error)
	ID      string
	// Timeout is after how long the broker aborts a transaction whose writer is
	// gone and was not followed by another; until then it holds readers back.
	Timeout time.Duration
	Codec   kgo.CompressionCodec
	// Mine asks the group whether the partition is still this process's.
	Mine func(context.Context) (bool, error)
}

// fenceTime bounds the opening of a transactional id, with the abort of what was
// open in it.
const fenceTime = 30 * time.Second

// transaction is the writer's side of Transactions: one client, open as long as
// the partition's owner is.
type transaction struct {
	client *kgo.Client // nil: to be opened, and the topic to be read
	begun  bool
	lost   bool // fenced: the group must be asked before the id is opened again
}

var errNotMine = errors.New("another process has the partition now; waiting for the group to take it from this one")

// fenced tells whether another writer has opened the transactional id, or the
// broker has taken it away because a transaction took too long.
func fenced(err error) bool {
	return errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch)
}

// fence opens the transactional id.
func (s *Topic) fence(ctx context.Context) error {
	if s.Transactions == nil || s.tx.client != nil {
		return ctx.Err()
	}
	if s.tx.lost {
		mine, err := s.Transactions.Mine(ctx)
		if err != nil {
			return fmt.Errorf("fenced, and the group does not say whose the partition is: %w", err)
		}
		if !mine {
			return errNotMine
		}
	}
	client, err := s.Transactions.Connect(
		kgo.TransactionalID(s.Transactions.ID),
		kgo.TransactionTimeout(s.Transactions.Timeout),
		kgo.ProducerBatchCompression(s.Transactions.Codec),
		kgo.ProducerLinger(0),
		kgo.MaxBufferedRecords(2*pieceRows),
		// The broker may still be writing the end of the transaction before:
		// that takes a millisecond or two, and kgo would wait 250.
		kgo.RetryBackoffFn(func(n int) time.Duration { return min(2*time.Millisecond<<min(n, 10), time.Second) }),
		kgo.ConcurrentTransactionsBackoff(2*time.Millisecond),
	)
	if err != nil {
		return err
	}
	bound, cancel := context.WithTimeout(ctx, fenceTime)
	defer cancel()
	if _, _, err := client.ProducerID(bound); err != nil {
		client.Close()
		return fmt.Errorf("open the transactional id %s: %w", s.Transactions.ID, err)
	}
	s.tx = transaction{client: client}
	atFence.Hit()
	return nil
}

// producer gives the client to produce with, in a transaction if there are any.
func (s *Topic) producer() (*kgo.Client, error) {
	if s.Transactions == nil {
		return s.Client, nil
	}
	if s.tx.begun {
		return s.tx.client, nil
	}
	atBegin.Hit()
	if err := s.tx.client.BeginTransaction(); err != nil {
		return nil, fmt.Errorf("begin a transaction: %w", err)
	}
	s.tx.begun = true
	return s.tx.client, nil
}

// bound is the time that a transaction has: what takes longer the broker aborts.
func (s *Topic) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.Transactions == nil {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.Transactions.Timeout)
}

// commit ends the transaction if one was begun.
func (s *Topic) commit(ctx context.Context) error {
	if !s.tx.begun {
		return nil
	}
	atCommit.Hit()
	// An end that is cancelled has an unknown outcome, and all is produced.
	ctx, cancel := s.bound(context.WithoutCancel(ctx))
	defer cancel()
	err := s.tx.client.EndTransaction(ctx, kgo.TryCommit)
	atCommitted.Hit()
	if err != nil {
		return fmt.Errorf("commit candles: %w", err)
	}
	s.tx.begun = false
	return nil
}

// unfence drops the client after an error: the next one aborts what it left open.
func (s *Topic) unfence(err error) {
	if s.tx.client != nil {
		s.tx.client.Close()
		s.tx = transaction{lost: s.tx.lost}
	}
	s.tx.lost = s.tx.lost || fenced(err)
}

// abortTime bounds the last request of an owner that is told to stop.
const abortTime = 2 * time.Second

// leave closes the client. A transaction that was cut short would hold readers
// back until the next owner comes.
func (s *Topic) leave() {
	if s.tx.client == nil {
		return
	}
	if s.tx.begun {
		ctx, cancel := context.WithTimeout(context.Background(), abortTime)
		defer cancel()
		err := s.tx.client.AbortBufferedRecords(ctx)
		if err == nil {
			err = s.tx.client.EndTransaction(ctx, kgo.TryAbort)
		}
		if err != nil {
			s.Log.Debug("candles: abort the transaction that was cut short", "partition", s.Partition, "err", err)
		}
	}
	s.tx.client.Close()
	s.tx = transaction{}
}
