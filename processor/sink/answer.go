package sink

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/schema"
	"millrace/state"
)

// placed is a record's version and where on `candles` it stands.
type placed struct {
	version schema.Version
	offset  int64
}

// noVersion is that of a record which is no candle: below every other.
const noVersion schema.Version = -1

// found is what was read of a key: its highest record, and the version of its
// last, which is what stays.
type found struct {
	high placed
	last schema.Version
}

// note takes one more record of a key in.
func note(keys map[string]found, rec *kgo.Record) {
	v := noVersion
	if c, err := schema.DecodeCandle(rec.Value); err == nil {
		v = c.Version
	}
	f, ok := keys[string(rec.Key)]
	if !ok || v >= f.high.version {
		f.high = placed{v, rec.Offset}
	}
	f.last = v
	keys[string(rec.Key)] = f
}

// settle holds what was found against state: where the last record of a key is
// lower than the highest that is known, that one is written again. What is
// higher than state is remembered. It gives how many were written. When
// following, the keys are those of a few records, not of all that stand there.
func (s *Topic) settle(ctx context.Context, v *state.View, keys map[string]found, following bool) (n int, err error) {
	var recs []*kgo.Record
	for key, f := range keys {
		ours, ok, err := lookup(v, key)
		if err != nil {
			return 0, err
		}
		high := f.high
		if a, known := s.ahead[key]; known && a.version > high.version {
			high = a
		}
		switch {
		case ok && ours.Version >= high.version && f.last < ours.Version:
			recs = append(recs, s.record([]byte(key), schema.AppendCandle(nil, &ours)))
			s.ahead[key] = placed{version: ours.Version} // older mail must not follow it
		case ok && ours.Version >= high.version:
			delete(s.ahead, key)
		case !ok && following && v.Forgotten() > 0:
			s.doubt = true
		case high.version == noVersion: // of a window that nobody publishes
		case f.last < high.version:
			rec, err := s.copyOf(ctx, key, high)
			if err != nil {
				return 0, err
			}
			if rec != nil {
				recs = append(recs, rec)
			}
			s.ahead[key] = high
		default:
			s.ahead[key] = high
		}
	}
	n = len(recs)
	if n > 0 {
		if err := s.send(ctx, &recs); err != nil {
			return 0, err
		}
		if err := s.commit(ctx); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// copyOf reads a record that is higher than state, to write it again. It is nil
// where compaction or retention has taken it.
func (s *Topic) copyOf(ctx context.Context, key string, at placed) (*kgo.Record, error) {
	rec, err := kafka.Read(ctx, s.Reader.Asker, s.Candles, s.Reader.TopicID, s.Partition, at.offset)
	if err != nil && !errors.Is(err, kafka.ErrOffset) {
		return nil, err
	}
	if err != nil || rec == nil || rec.Offset != at.offset || string(rec.Key) != key {
		s.Log.Warn("candles: an older candle covers a newer one that cannot be read any more", "partition", s.Partition, "key", key, "version", at.version)
		return nil, nil
	}
	return s.record(rec.Key, rec.Value), nil
}

// answer looks at what others wrote to the partition.
func (s *Topic) answer(ctx context.Context, recs []*kgo.Record) error {
	keys := map[string]found{}
	for _, r := range recs {
		if header(r, schema.HeaderWriter) != s.Writer {
			note(keys, r)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	v, err := s.Store.View()
	if err != nil {
		return err
	}
	defer v.Close() //nolint:errcheck // a snapshot is given back; there is nothing to do about it
	n, err := s.settle(ctx, v, keys, true)
	if n > 0 {
		s.Log.Warn("candles: another writer sent older candles; answered with the newer", "partition", s.Partition, "candles", n)
	}
	return err
}

// progressHeader says up to where in a log everything was sent, with which
// record it ends, which records its state never saw, and into which life of
// `candles`: a client may go on into a topic that was made anew, which lacks all
// that the one before had. mixed says that `candles` holds something higher than
// what this log's state says.
func progressHeader(ticks, candles [16]byte, p state.Position, mixed bool) []byte {
	h := fmt.Appendf(nil, "%x:%d:%d:%x:%x:%x", ticks, p.Offset, p.Epoch, p.Hash, p.History, candles)
	if mixed {
		h = append(h, ":mixed"...)
	}
	return h
}

// parseProgress reads a progress header; ok is false if it is of another log or
// another life of `candles`. The first version had neither history nor life.
func parseProgress(h string, ticks, candles [16]byte) (p state.Position, mixed, ok bool) {
	h, mixed = strings.CutSuffix(h, ":mixed")
	f := strings.Split(h, ":")
	if len(f) == 4 {
		f = append(f, "0", hex.EncodeToString(candles[:]))
	}
	if len(f) != 6 || f[0] != hex.EncodeToString(ticks[:]) || f[5] != hex.EncodeToString(candles[:]) {
		return p, false, false
	}
	offset, err1 := strconv.ParseInt(f[1], 10, 64)
	epoch, err2 := strconv.ParseInt(f[2], 10, 32)
	hash, err3 := strconv.ParseUint(f[3], 16, 64)
	history, err4 := strconv.ParseUint(f[4], 16, 64)
	if errors.Join(err1, err2, err3, err4) != nil || offset < 0 {
		return p, false, false
	}
	return state.Position{TopicID: ticks, Offset: offset, Epoch: int32(epoch), Hash: hash, History: history}, mixed, true
}

func header(r *kgo.Record, key string) string {
	for i := range r.Headers {
		if r.Headers[i].Key == key {
			return string(r.Headers[i].Value)
		}
	}
	return ""
}
