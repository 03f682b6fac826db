package collect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"millrace/ingest"
	"millrace/ingest/binance"
	"millrace/ingest/file"
	"millrace/schema"
	"millrace/schema/schemapb"
)

// Options say how a file is brought into the log.
type Options struct {
	// Symbol is that of a dump whose name does not tell it.
	Symbol string
	// RequireChecksum refuses a file beside which no NAME.CHECKSUM lies.
	RequireChecksum bool
	// Known, if set, is asked before a row is read whether a file with this
	// digest is in the log already; then it is left alone.
	Known func(file.Digest) bool
	// Watch, if set, counts while the file is read.
	Watch *Watch
}

// Watch is how far the reading of a file has come, for another goroutine.
type Watch struct {
	Bytes  atomic.Int64 // of the file, packed as it is
	Trades atomic.Int64
}

// Replayed is what a file brought.
type Replayed struct {
	Digest  file.Digest
	Known   bool // it was in the log already; nothing of it was read
	Symbols int
	Trades  int64 // an aggregate counts as the trades it stands for
	Refused int64
	Voids   int64 // aggregates that stand for no trade
	Last    schema.Time
}

// checkEvery is after how many rows a replay looks whether it was stopped.
const checkEvery = 4096

// Dump brings one of Binance's public dumps into the log. A dump of a whole day
// proves its own left edge and begins with an anchor. After an error what was
// read before it is in the log, and no mark promises more.
func Dump(ctx context.Context, in *ingest.Ingestor, path string, o Options) (r Replayed, err error) {
	w := o.watch()
	d, err := file.OpenDump(ctx, path, file.Options{Symbol: o.Symbol, RequireChecksum: o.RequireChecksum, Read: &w.Bytes})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	r.Digest = d.Digest
	if r.Known = o.Known != nil && o.Known(r.Digest); r.Known {
		return r, nil
	}
	var t schema.Trade
	if err := d.Next(&t); errors.Is(err, io.EOF) {
		return r, fmt.Errorf("%s: holds no trade", path)
	} else if err != nil {
		return r, err
	}
	s := ingest.Symbol{Name: d.Symbol, From: t.Time, Status: schemapb.TradingStatus_TRADING_STATUS_TRADING}
	if a, ok := d.Anchor(); ok {
		s.Anchor, s.From = &a, a.Time
	}
	stream, err := in.Stream(schemapb.Source_SOURCE_DUMP, s)
	if err != nil {
		return r, err
	}
	name := []byte(d.Symbol)
	r.Symbols = 1
	for n := 0; err == nil; n++ {
		if n%checkEvery == 0 {
			w.Trades.Store(r.Trades)
			if ctx.Err() != nil {
				err = context.Cause(ctx)
				break
			}
		}
		if err = stream.Trade(name, &t, schema.FromStd(time.Now())); err != nil {
			err = fmt.Errorf("%s, line %d: %w", path, d.Line(), err)
			break
		}
		r.Trades += t.Count()
		r.Last = max(r.Last, t.Time)
		err = d.Next(&t)
	}
	r.Voids = int64(d.Voids)
	w.Trades.Store(r.Trades)
	return r, end(ctx, stream, r.Last, err)
}

// watch gives a Watch, which nobody may be looking at.
func (o *Options) watch() *Watch {
	if o.Watch == nil {
		return new(Watch)
	}
	return o.Watch
}

// end closes a file's stream: with a last mark where the file was read whole.
func end(ctx context.Context, stream *ingest.Stream, last schema.Time, err error) error {
	w := schema.MinTime
	if errors.Is(err, io.EOF) {
		w, err = last, nil
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	return errors.Join(err, stream.Close(bound, w))
}

// Frames brings recorded websocket frames into the log. A frame that cannot be
// used goes to the dead letters; a line that is none ends the reading.
func Frames(ctx context.Context, in *ingest.Ingestor, path string, o Options, log *slog.Logger) (r Replayed, err error) {
	w := o.watch()
	f, err := file.OpenFramesVerified(ctx, path, file.Options{RequireChecksum: o.RequireChecksum, Read: &w.Bytes})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r.Digest = f.Digest()
	if r.Known = o.Known != nil && o.Known(r.Digest); r.Known {
		return r, nil
	}
	stream, err := in.Stream(schemapb.Source_SOURCE_RECORDING)
	if err != nil {
		return r, err
	}
	var dec binance.Decoder
	var ev binance.Event
	known := map[string]bool{}
	var told refusals
	for n := 0; ; n++ {
		if n%checkEvery == 0 {
			w.Trades.Store(r.Trades)
			if ctx.Err() != nil {
				err = context.Cause(ctx)
				break
			}
		}
		var frame []byte
		if _, frame, err = f.Next(); err != nil {
			break
		}
		if bad := dec.Decode(frame, &ev); bad != nil {
			symbol := ""
			var trade *binance.TradeError
			if errors.As(bad, &trade) {
				symbol = trade.Symbol
			}
			r.Refused++
			if n, tell := told.due(time.Now()); tell {
				log.Warn("refused a frame; it stands in the dead letters", "file", path, "line", f.Line(), "why", bad, "refused since the last line", n)
			}
			if err = stream.Refuse(symbol, reason(bad), frame, bad); err != nil {
				break
			}
			continue
		}
		if ev.Kind != binance.Trade && ev.Kind != binance.AggTrade {
			continue
		}
		if !known[string(ev.Symbol)] {
			name := string(ev.Symbol)
			if err = stream.Add(ingest.Symbol{Name: name, From: ev.Trade.Time, Status: schemapb.TradingStatus_TRADING_STATUS_TRADING}); err != nil {
				break
			}
			known[name] = true
		}
		err = stream.Trade(ev.Symbol, &ev.Trade, schema.FromStd(time.Now()))
		if unusable(err) {
			r.Refused++
			err = stream.Refuse(string(ev.Symbol), "invalid", frame, err)
		}
		if err != nil {
			break
		}
		r.Trades += ev.Trade.Count()
		r.Last = max(r.Last, ev.Trade.Time)
	}
	r.Symbols = len(known)
	w.Trades.Store(r.Trades)
	return r, end(ctx, stream, r.Last, err)
}

// Reasons gives the words of dead letters: a trade that contradicts itself, a
// number too large, a frame that was not decoded or not asked for.
func Reasons() []string { return []string{"invalid", "overflow", "undecodable"} }

// reason is the word in a dead letter for a frame that was not decoded.
func reason(err error) string {
	if errors.Is(err, schema.ErrOverflow) {
		return "overflow"
	}
	return "undecodable"
}
