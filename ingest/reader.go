package ingest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/schema"
)

// Reader reads again what the log has of symbols, whoever brought it. It keeps
// its connection between two calls and is not for concurrent use.
type Reader struct {
	ingestor *Ingestor
	client   *kgo.Client         // nil before the first read
	next     map[int32]int64     // where reading stopped, by partition
	anew     func(symbol string) // told of each new id series of a wanted symbol; may be nil
}

// fetchWait is how long a broker may hold back an answer.
const fetchWait = 20 * time.Millisecond

// Reader makes a reader, which connects at its first call.
func (i *Ingestor) Reader() *Reader { return &Reader{ingestor: i, next: map[int32]int64{}} }

// Close ends the reader's connection. A later call makes another.
func (r *Reader) Close() {
	if r.client != nil {
		r.client.Close()
		r.client = nil
	}
}

// Read hands over the batches of the symbols that came into the log since the
// moments given, by the records' own times (which their producers' clocks set),
// up to its end as of the call, and maybe some that came after. The zero time
// goes on where the last read of the symbol's partition stopped. A batch is
// valid until take returns; what can't be decoded is left out.
func (r *Reader) Read(ctx context.Context, since map[string]time.Time, take func(*schema.Batch)) error {
	i := r.ingestor
	back := map[int32]bool{} // partitions to be read from the earliest moment on
	var earliest time.Time
	for s, t := range since {
		if t.IsZero() {
			continue
		}
		back[i.partition(s)] = true
		if earliest.IsZero() || t.Before(earliest) {
			earliest = t
		}
	}
	admin := kadm.NewClient(i.client)
	until, err := i.ends(ctx, admin)
	if err != nil {
		return err
	}
	early := map[int32]int64{}
	if len(back) > 0 {
		if early, err = i.after(ctx, admin, earliest); err != nil {
			return err
		}
	}
	from := map[int32]int64{}
	for s := range since {
		p := i.partition(s)
		from[p] = until[p]
		if n, read := r.next[p]; read {
			from[p] = min(from[p], n)
		}
		if back[p] {
			from[p] = min(from[p], early[p])
		}
	}
	wanted := func(key []byte) bool { _, ok := since[string(key)]; return ok }
	if err := r.read(ctx, from, until, wanted, take); err != nil {
		return fmt.Errorf("ingest: read %s again: %w", i.cfg.Ticks, err)
	}
	return nil
}

// read hands over the batches of wanted keys in [from, until) of the partitions
// that are in from.
func (r *Reader) read(ctx context.Context, from, until map[int32]int64, wanted func(key []byte) bool, take func(*schema.Batch)) error {
	left := map[int32]bool{}
	for p, at := range from {
		if r.next[p] = at; at < until[p] {
			left[p] = true
		}
	}
	if len(left) == 0 {
		return nil
	}
	if err := r.start(ctx, left, until); err != nil {
		return err
	}
	var tick schema.Tick
	for len(left) > 0 {
		fetches := r.client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			r.Close()
			return err
		}
		fetches.EachRecord(func(x *kgo.Record) { // a transaction's mark is one too, and may be the last
			p := x.Partition
			if x.Offset < r.next[p] {
				return
			}
			if r.next[p] = x.Offset + 1; r.next[p] >= until[p] {
				delete(left, p)
			}
			if x.Attrs.IsControl() || !wanted(x.Key) || tick.Decode(x.Value) != nil {
				return
			}
			switch {
			case tick.Kind == schema.KindTrades && string(tick.Batch.Symbol) == string(x.Key) && tick.Batch.Repair == 0:
				take(&tick.Batch)
			case tick.Kind == schema.KindNewSeries && tick.NewSeries.Symbol == string(x.Key) && r.anew != nil:
				r.anew(tick.NewSeries.Symbol)
			}
		})
	}
	r.client.PauseFetchPartitions(map[string][]int32{r.ingestor.cfg.Ticks: slices.Collect(maps.Keys(until))})
	return nil
}

// start has partitions fetched from where reading goes on.
func (r *Reader) start(ctx context.Context, parts map[int32]bool, until map[int32]int64) (err error) {
	topic := r.ingestor.cfg.Ticks
	if r.client != nil {
		set := map[int32]kgo.EpochOffset{}
		for p := range parts {
			set[p] = kgo.EpochOffset{Epoch: -1, Offset: r.next[p]}
		}
		r.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{topic: set})
		r.client.ResumeFetchPartitions(map[string][]int32{topic: slices.Collect(maps.Keys(parts))})
		return nil
	}
	// All are named: only what was assigned can be set later.
	all := map[int32]kgo.Offset{}
	for p, at := range until {
		if parts[p] {
			at = r.next[p]
		}
		all[p] = kgo.NewOffset().At(at)
	}
	// A broker answers a connection's requests one after the other: one that it
	// holds back for lack of records would hold up the next read.
	r.client, err = kafka.Connect(ctx, r.ingestor.cfg.Kafka, kgo.FetchMaxWait(fetchWait), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: all}))
	return err
}

// ends gives where what is decided of each partition of the topic of ticks ends.
func (i *Ingestor) ends(ctx context.Context, admin *kadm.Client) (map[int32]int64, error) {
	listed, err := admin.ListCommittedOffsets(ctx, i.cfg.Ticks)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ingest: ask where %s ends: %w", i.cfg.Ticks, err)
	}
	return offsets(listed), nil
}

// after gives the first offset of each partition with a time at or after t.
func (i *Ingestor) after(ctx context.Context, admin *kadm.Client, t time.Time) (map[int32]int64, error) {
	listed, err := admin.ListOffsetsAfterMilli(ctx, t.UnixMilli(), i.cfg.Ticks)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ingest: ask for the newest records of %s: %w", i.cfg.Ticks, err)
	}
	return offsets(listed), nil
}

func offsets(listed kadm.ListedOffsets) map[int32]int64 {
	out := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { out[o.Partition] = o.Offset })
	return out
}
