package sink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/failpoint"
	"millrace/schema"
	"millrace/state"
)

// The steps at which a process may die.
var (
	atProduce  = failpoint.New("candles.produce")
	atProduced = failpoint.New("candles.produced")
)

// Topic writes one partition's candles to `candles` and its gaps to `gaps`.
//
// A compacted topic keeps the last record of a key, not the one with the
// highest version. So the owner of a partition reads it before it writes,
// writes only what is higher than what stands there, follows it, and answers a
// lower record (a zombie's) with the higher one.
type Topic struct {
	Client *kgo.Client // produces, acknowledged by all
	Reader *Reader
	// Transactions, where they are wanted, have a client of their own.
	Transactions *Transactions
	Candles      string
	Gaps         string
	Store        *state.Store
	Mailbox      *Mailbox
	TopicID      [16]byte // of ticks
	Partition    int32
	Writer       string
	Every        time.Duration
	Holds        Holds
	Log          *slog.Logger
	Hooks        Hooks

	tx   transaction
	sent state.Position // everything that changed before it was sent
	// ahead are the keys whose record is higher than what state has to say:
	// another lineage's, or this one's while a log is replayed.
	ahead     map[string]placed
	replaying bool // state stands before what was sent
	// doubt: another writer sent a window that state may have forgotten. Only the
	// topic knows whether it held a higher one; read is when it was read last.
	doubt bool
	read  time.Time
}

// readAgain is the least time between two readings of the whole topic because
// of others who write: one that brings up a long history would cause many.
const readAgain = time.Minute

// Run writes until ctx ends. It returns only errors that trying again does not
// mend.
func (s *Topic) Run(ctx context.Context) error {
	var tail *Tail
	defer func() {
		if tail != nil {
			tail.Close()
		}
		s.leave()
	}()
	drop := func(err error) {
		if tail != nil {
			tail.Close()
			tail = nil
		}
		s.unfence(err)
		s.Mailbox.Lose()
	}
	pause := backoff{}
	for {
		var err error
		if s.doubt && tail != nil && time.Since(s.read) >= readAgain {
			tail.Close()
			tail = nil
			s.Mailbox.Lose()
		}
		if tail == nil {
			tail, err = s.start(ctx)
		}
		if err == nil {
			err = s.step(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, state.ErrDamaged):
			return err
		case errors.Is(err, kerr.UnknownTopicID):
			return fmt.Errorf("%s or %s: %w: %w", s.Candles, s.Gaps, errAnew, err)
		case err != nil:
			if pause.n == 0 {
				s.Log.Warn("candles: cannot write for now; state keeps what is lacking", "partition", s.Partition, "err", err)
			}
			if s.Hooks.Failed != nil {
				s.Hooks.Failed(err)
			}
			if s.Mailbox.Lose(); s.Transactions != nil {
				drop(err)
			}
			if !pause.wait(ctx) {
				return nil
			}
			continue
		case pause.n > 0:
			s.Log.Info("candles: writing again", "partition", s.Partition)
			pause.n = 0
		}
		if !sleep(ctx, s.Every) {
			return s.lastWord()
		}
		var again <-chan time.Time
		if s.doubt {
			again = time.After(readAgain - time.Since(s.read))
		}
		select {
		case <-ctx.Done():
			return s.lastWord()
		case <-s.Mailbox.Wake():
		case <-again:
		case recs := <-tail.C:
			if err := s.answer(ctx, recs); err != nil && ctx.Err() == nil {
				s.Log.Warn("candles: could not answer another writer; reading all that stands there", "partition", s.Partition, "err", err)
				drop(err)
			}
		}
	}
}

func (s *Topic) lastWord() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if err := s.step(ctx); err != nil {
		s.Log.Warn("candles: stopped before all was written; it is sent after the next start", "partition", s.Partition, "err", err)
	}
	return nil
}

// start reads what stands in the topic: how far a writer of this log had come,
// and what is higher than state. What a lower record has covered is written
// again. Then it follows the topic's end.
func (s *Topic) start(ctx context.Context) (_ *Tail, err error) {
	if err := s.fence(ctx); err != nil {
		return nil, err
	}
	past, err := s.Store.View()
	if err != nil {
		return nil, err
	}
	if err := past.Close(); err != nil { // it is asked for what it has in memory
		return nil, err
	}
	read := func(all bool) (standing, int64, error) {
		seen, end, err := s.Reader.Standing(ctx, s.Candles, s.Partition, s.TopicID, past.Shares, all)
		if err != nil {
			err = fmt.Errorf("read what stands in %s/%d: %w", s.Candles, s.Partition, err)
		}
		return seen, end, err
	}
	seen, end, err := read(false)
	if err != nil {
		return nil, err
	}
	held, why, err := s.Holds(ctx, seen.progress.Offset, seen.progress.Hash)
	if err != nil {
		return nil, fmt.Errorf("compare the progress with the log: %w", err)
	}
	if !held {
		s.Log.Warn("candles: the progress found there stands for nothing any more; sending all of state", "partition", s.Partition, "progress", seen.progress.Offset, "why", why)
		if !seen.all { // any of it may be higher than what is sent now
			if seen, end, err = read(true); err != nil {
				return nil, err
			}
		}
		seen.progress = state.Position{}
	}
	s.sent, s.ahead, s.doubt, s.read = seen.progress, map[string]placed{}, false, time.Now()
	tail := s.Reader.Follow(s.Candles, s.Partition, end)
	defer func() {
		if err != nil {
			tail.Close()
		}
	}()
	v, err := s.Store.View()
	if err != nil {
		return nil, err
	}
	defer v.Close() //nolint:errcheck // a snapshot is given back; there is nothing to do about it
	s.replaying = v.Position().Offset < s.sent.Offset
	n, err := s.settle(ctx, v, seen.keys, false)
	if err != nil {
		return nil, err
	}
	if n > 0 {
		s.Log.Info("candles: what stood there was older; wrote the newer", "partition", s.Partition, "candles", n)
	}
	return tail, nil
}

// lookup finds what state publishes for a record's key.
func lookup(v *state.View, key string) (schema.Candle, bool, error) {
	symbol, rest, _ := strings.Cut(key, "|")
	name, start, _ := strings.Cut(rest, "|")
	p, err := schema.ParsePeriod(name)
	ms, err2 := strconv.ParseInt(start, 10, 64)
	if err != nil || err2 != nil {
		return schema.Candle{}, false, nil // not a key of ours
	}
	return v.Candle(symbol, p, schema.FromMillis(ms))
}

func (s *Topic) step(ctx context.Context) error {
	w, ok := s.Mailbox.Take()
	if !ok {
		return nil
	}
	if !w.Behind {
		if w.Position.Offset < s.sent.Offset {
			return nil
		}
		if !s.replaying {
			return s.write(ctx, w.Candles, w.Runs, w.Gaps, w.Calendar, w.Position)
		}
	}
	v, err := s.Store.View()
	if err != nil {
		return err
	}
	defer v.Close() //nolint:errcheck // a snapshot is given back; there is nothing to do about it
	if v.Position().Offset < s.sent.Offset {
		return nil
	}
	return s.catchUp(ctx, v)
}

// catchUp sends what changed in state after what was sent.
func (s *Topic) catchUp(ctx context.Context, v *state.View) error {
	for key, high := range s.ahead {
		c, ok, err := lookup(v, key)
		if err != nil {
			return err
		}
		if ok && c.Version >= high.version {
			delete(s.ahead, key)
		}
	}
	s.replaying = false
	if !v.Shares(s.sent) {
		s.Log.Warn("candles: the progress found there is of a state that saw other records of the log; sending all of this one", "partition", s.Partition, "progress", s.sent.Offset)
		s.sent = state.Position{}
	}
	from := s.sent
	if f := v.Forgotten(); from.Offset < f {
		s.Log.Warn("candles: what state has forgotten is not sent again; SQL has it", "partition", s.Partition, "sent", from.Offset, "state forgot before", f)
	}
	err := v.Since(from.Offset, pieceRows, func(c *state.Changes) error {
		return s.write(ctx, c.Candles, c.Runs, c.Gaps, c.Calendar, from)
	})
	if err != nil {
		return err
	}
	return s.write(ctx, nil, nil, nil, schema.Calendar{}, v.Position())
}

// write sends records and waits until all are acknowledged. The last one tells
// up to where everything was sent, gaps too, so those go first.
func (s *Topic) write(ctx context.Context, candles []schema.Candle, runs []state.Run, gaps []schema.GapSet, cal schema.Calendar, to state.Position) (err error) {
	began := time.Now()
	var recs []*kgo.Record
	for i := range gaps {
		value, err := schema.AppendGapSet(nil, &gaps[i])
		if err != nil {
			return err
		}
		recs = append(recs, &kgo.Record{Topic: s.Gaps, Partition: s.Partition, Key: []byte(gaps[i].Symbol), Value: value})
	}
	if err := s.send(ctx, &recs); err != nil {
		return err
	}
	add := func(c *schema.Candle) bool {
		key := schema.AppendCandleKey(nil, c.Symbol, c.Period, c.Start)
		if high, ok := s.ahead[string(key)]; ok {
			if c.Version < high.version {
				return true
			}
			delete(s.ahead, string(key))
			if c.Version == high.version {
				return true
			}
		}
		recs = append(recs, s.record(key, schema.AppendCandle(nil, c)))
		if len(recs) >= pieceRows {
			err = s.send(ctx, &recs)
		}
		return err == nil
	}
	for i := range runs {
		if runs[i].Expand(cal, add); err != nil {
			return err
		}
	}
	for i := range candles {
		if !add(&candles[i]) {
			return err
		}
	}
	if n := len(recs); n > 0 {
		recs[n-1].Headers = append(recs[n-1].Headers, kgo.RecordHeader{Key: schema.HeaderProgress, Value: progressHeader(s.TopicID, s.Reader.TopicID, to, len(s.ahead) > 0)})
	}
	if err := s.send(ctx, &recs); err != nil {
		return err
	}
	if err := s.commit(ctx); err != nil {
		return err
	}
	if to.Offset > s.sent.Offset {
		s.sent = to
	}
	if s.Hooks.Progress != nil {
		s.Hooks.Progress(s.sent.Offset)
	}
	if s.Hooks.Written != nil && len(candles) > 0 {
		s.Hooks.Written(candles, time.Since(began))
	}
	return nil
}

func (s *Topic) record(key, value []byte) *kgo.Record {
	return &kgo.Record{Topic: s.Candles, Partition: s.Partition, Key: key, Value: value,
		Headers: []kgo.RecordHeader{{Key: schema.HeaderWriter, Value: []byte(s.Writer)}}}
}

func (s *Topic) send(ctx context.Context, recs *[]*kgo.Record) error {
	if len(*recs) == 0 {
		return ctx.Err()
	}
	client, err := s.producer()
	if err != nil {
		return err
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	atProduce.Hit()
	err = client.ProduceSync(ctx, *recs...).FirstErr()
	atProduced.Hit()
	*recs = (*recs)[:0]
	if err != nil {
		return fmt.Errorf("produce candles: %w", err)
	}
	return nil
}
