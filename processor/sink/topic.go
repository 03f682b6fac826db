package sink

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schema"
	"millrace/state"
)

// Topic writes one partition's candles to `candles` and its gaps to `gaps`.
//
// A compacted topic keeps the last record of a key, not the one with the
// highest version. So the owner of a partition reads it before it writes,
// writes only what is higher than what stands there, follows it, and answers a
// lower record (a zombie's) with the higher one.
type Topic struct {
	Client    *kgo.Client // produces, acknowledged by all
	Reader    *Reader
	Candles   string
	Gaps      string
	Store     *state.Store
	Mailbox   *Mailbox
	TopicID   [16]byte // of ticks
	Partition int32
	Writer    string
	Every     time.Duration
	Log       *slog.Logger
	Hooks     Hooks

	sent  int64                     // everything that changed before it was sent
	ahead map[string]schema.Version // keys whose record is higher than what state had to say
}

// Run writes until ctx ends.
func (s *Topic) Run(ctx context.Context) error {
	tail, err := s.start(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer tail.Close()
	pause := backoff{}
	for {
		err := s.step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if pause.n == 0 {
				s.Log.Warn("candles: cannot write for now; state keeps what is lacking", "partition", s.Partition, "err", err)
			}
			if s.Hooks.Failed != nil {
				s.Hooks.Failed(err)
			}
			s.Mailbox.Lose()
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
		select {
		case <-ctx.Done():
			return s.lastWord()
		case <-s.Mailbox.Wake():
		case recs := <-tail.C:
			if err := s.answer(ctx, recs); err != nil {
				s.Mailbox.Lose()
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
// and what is higher than state. Then it follows the topic's end.
func (s *Topic) start(ctx context.Context) (*Tail, error) {
	seen, end, err := s.Reader.Standing(ctx, s.Candles, s.Partition, s.TopicID)
	if err != nil {
		return nil, fmt.Errorf("read what stands in %s/%d: %w", s.Candles, s.Partition, err)
	}
	s.sent, s.ahead = seen.progress, map[string]schema.Version{}
	v, err := s.Store.View()
	if err != nil {
		return nil, err
	}
	for key, version := range seen.versions {
		c, ok, err := lookup(v, key)
		if err != nil {
			return nil, errors.Join(err, v.Close())
		}
		if !ok || version > c.Version {
			s.ahead[key] = version
		} else if version < c.Version && c.Version.Era() == version.Era() {
			s.sent = 0 // somebody's older word was the last: look through all of state
		}
	}
	return s.Reader.Follow(s.Candles, s.Partition, end), v.Close()
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
		if w.Position.Offset < s.sent {
			return nil
		}
		return s.write(ctx, w.Candles, w.Runs, w.Gaps, w.Calendar, w.Position.Offset)
	}
	v, err := s.Store.View()
	if err != nil {
		return err
	}
	defer v.Close() //nolint:errcheck // a snapshot is given back; there is nothing to do about it
	to := v.Position().Offset
	if to < s.sent {
		return nil
	}
	from := s.sent
	err = v.Since(from, pieceRows, func(c *state.Changes) error {
		return s.write(ctx, c.Candles, c.Runs, c.Gaps, c.Calendar, from)
	})
	if err != nil {
		return err
	}
	return s.write(ctx, nil, nil, nil, schema.Calendar{}, to)
}

// write sends records and waits until all are acknowledged. The last one tells
// up to where everything was sent.
func (s *Topic) write(ctx context.Context, candles []schema.Candle, runs []state.Run, gaps []schema.GapSet, cal schema.Calendar, to int64) error {
	var recs []*kgo.Record
	add := func(c *schema.Candle) bool {
		key := schema.AppendCandleKey(nil, c.Symbol, c.Period, c.Start)
		if high, ok := s.ahead[string(key)]; ok {
			if c.Version <= high {
				return true
			}
			delete(s.ahead, string(key))
		}
		recs = append(recs, &kgo.Record{Topic: s.Candles, Partition: s.Partition, Key: key, Value: schema.AppendCandle(nil, c),
			Headers: []kgo.RecordHeader{{Key: schema.HeaderWriter, Value: []byte(s.Writer)}}})
		return true
	}
	for i := range runs {
		runs[i].Expand(cal, func(c *schema.Candle) bool {
			add(c)
			return len(recs) < pieceRows || s.send(ctx, &recs) == nil
		})
	}
	for i := range candles {
		add(&candles[i])
	}
	if n := len(recs); n > 0 {
		recs[n-1].Headers = append(recs[n-1].Headers, kgo.RecordHeader{Key: schema.HeaderProgress, Value: progressHeader(s.TopicID, to)})
	}
	for i := range gaps {
		value, err := schema.AppendGapSet(nil, &gaps[i])
		if err != nil {
			return err
		}
		recs = append(recs, &kgo.Record{Topic: s.Gaps, Partition: s.Partition, Key: []byte(gaps[i].Symbol), Value: value})
	}
	began := time.Now()
	if err := s.send(ctx, &recs); err != nil {
		return err
	}
	s.sent = max(s.sent, to)
	if s.Hooks.Progress != nil {
		s.Hooks.Progress(s.sent)
	}
	if s.Hooks.Written != nil && len(candles) > 0 {
		s.Hooks.Written(candles, time.Since(began))
	}
	return nil
}

func (s *Topic) send(ctx context.Context, recs *[]*kgo.Record) error {
	if len(*recs) == 0 {
		return ctx.Err()
	}
	err := s.Client.ProduceSync(ctx, *recs...).FirstErr()
	*recs = (*recs)[:0]
	if err != nil {
		return fmt.Errorf("produce candles: %w", err)
	}
	return nil
}

// answer looks at what others wrote. A record below what state publishes is
// followed by the higher one; one above it is remembered.
func (s *Topic) answer(ctx context.Context, recs []*kgo.Record) error {
	var v *state.View
	var again []schema.Candle
	for _, r := range recs {
		if header(r, schema.HeaderWriter) == s.Writer {
			continue
		}
		theirs, err := schema.DecodeCandle(r.Value)
		if err != nil {
			s.Log.Warn("candles: a record of another writer cannot be read", "partition", s.Partition, "offset", r.Offset, "err", err)
			continue
		}
		if v == nil {
			if v, err = s.Store.View(); err != nil {
				return err
			}
			defer v.Close() //nolint:errcheck // a snapshot is given back; there is nothing to do about it
		}
		ours, ok, err := lookup(v, string(r.Key))
		switch {
		case err != nil:
			return err
		case !ok || theirs.Version > ours.Version:
			s.ahead[string(r.Key)] = theirs.Version
		case theirs.Version < ours.Version:
			again = append(again, ours)
		}
	}
	if len(again) == 0 {
		return nil
	}
	s.Log.Warn("candles: another writer sent older candles; answering with the newer", "partition", s.Partition, "candles", len(again))
	return s.write(ctx, again, nil, nil, schema.Calendar{}, s.sent)
}

func progressHeader(topicID [16]byte, offset int64) []byte {
	return fmt.Appendf(nil, "%x:%d", topicID, offset)
}

// parseProgress reads a progress header; ok is false if it is of another log.
func parseProgress(h string, topicID [16]byte) (offset int64, ok bool) {
	id, off, found := strings.Cut(h, ":")
	if !found || id != hex.EncodeToString(topicID[:]) {
		return 0, false
	}
	offset, err := strconv.ParseInt(off, 10, 64)
	return offset, err == nil && offset >= 0
}

func header(r *kgo.Record, key string) string {
	for i := range r.Headers {
		if r.Headers[i].Key == key {
			return string(r.Headers[i].Value)
		}
	}
	return ""
}
