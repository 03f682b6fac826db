package collect

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/ingest"
	"millrace/ingest/binance"
	"millrace/ingest/double"
	"millrace/internal/kafka"
	"millrace/internal/testenv"
	"millrace/schema"
)

// bench is a log, a double, and collectors between them.
type bench struct {
	testing.TB
	fake    *testenv.Fake
	brokers string
	buffer  int // the ingestors' BufferBytes, if it is set
	topics  kafka.Topics
	double  *double.Double
}

const benchPartitions = 2

// newEmptyBench has a log alone.
func newEmptyBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{TB: t, fake: testenv.StartFake(t)}
	b.brokers = b.fake.Brokers
	b.topics = kafka.Topics{Ticks: schema.TicksTopic, Candles: schema.CandlesTopic, Partitions: benchPartitions}
	b.topics.EnsureDefaults()
	client := b.client()
	defer client.Close()
	if _, err := kafka.Ensure(t.Context(), client, b.topics, schema.Settings{Partitions: benchPartitions}); err != nil {
		t.Fatal(err)
	}
	return b
}

func newBench(t testing.TB, cfg double.Config) *bench {
	t.Helper()
	b := newEmptyBench(t)
	d, err := double.New(cfg)
	if err == nil {
		err = d.Listen()
	}
	if err != nil {
		t.Fatal(err)
	}
	b.double = d
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bench) client(opts ...kgo.Opt) *kgo.Client {
	b.Helper()
	c, err := kafka.Connect(b.Context(), kafka.Config{Brokers: []string{b.brokers}}, opts...)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// seenBefore reports whether a higher id stands before a place in the log.
func seenBefore(first map[int64]int, id int64, place int) bool {
	for other, at := range first {
		if other > id && at < place {
			return true
		}
	}
	return false
}

// collector is a Live that runs.
type collector struct {
	*Live
	stop func() // in good order
}

// collect starts a collector of all the double's symbols.
func (b *bench) collect(tune ...func(*Live)) *collector {
	b.Helper()
	kc := kafka.Config{Brokers: []string{b.brokers}}
	in, err := ingest.Open(b.Context(), ingest.Config{Kafka: kc, Ticks: b.topics.Ticks, Partitions: benchPartitions, MarkEvery: 20 * time.Millisecond, BufferBytes: b.buffer})
	if err != nil {
		b.Fatal(err)
	}
	ws, rest := b.double.URLs()
	client, err := binance.NewClient(rest, "")
	if err != nil {
		b.Fatal(err)
	}
	cfg := binance.Config{WS: ws, REST: client, MinPause: 20 * time.Millisecond, PingEvery: 500 * time.Millisecond, PongTimeout: 2 * time.Second}
	cfg.EnsureDefaults()
	chosen, err := binance.ParseSelection(b.double.Symbols())
	if err != nil {
		b.Fatal(err)
	}
	live := &Live{Ingestor: in, Source: cfg, Select: chosen,
		Log: slog.New(slog.NewTextHandler(b.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, f := range tune {
		f(live)
	}
	running, end := context.WithCancel(context.Background())
	ctx, cancel := context.WithCancel(running)
	done := make(chan error, 2)
	go func() { done <- in.Run(running) }()
	go func() {
		err := live.Run(ctx)
		end()
		done <- err
	}()
	c := &collector{Live: live}
	c.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, <-done); err != nil {
			b.Error(err)
		}
		in.Close()
		client.Close()
	})
	b.Cleanup(c.stop)
	return c
}

// record is one of the log, decoded.
type record struct {
	offset int64
	tick   schema.Tick
}

// log reads all of the topic of ticks, by partition.
func (b *bench) log() [][]record {
	b.Helper()
	client := b.client(kgo.ConsumeTopics(b.topics.Ticks), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(b.Context(), b.topics.Ticks)
	if err != nil {
		b.Fatal(err)
	}
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	all := make([][]record, benchPartitions)
	for left > 0 {
		f := client.PollFetches(b.Context())
		if err := f.Err(); err != nil {
			b.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			left--
			x := record{offset: r.Offset}
			if err := x.tick.Decode(r.Value); err != nil {
				b.Fatalf("at %d: %v", r.Offset, err)
			}
			all[r.Partition] = append(all[r.Partition], x)
		})
	}
	return all
}

// story is what the log tells of one symbol.
type story struct {
	anchors []schema.Anchor
	begun   bool                   // an anchor came behind trades
	trades  map[int64]schema.Trade // by first id
	max     int64
	newest  schema.Time
	applied map[int64]bool
	partly  []schema.Trade // of which some ids were there already: not to be counted
}

func tell(log [][]record) map[string]*story {
	all := map[string]*story{}
	of := func(name string) *story {
		if all[name] == nil {
			all[name] = &story{trades: map[int64]schema.Trade{}, applied: map[int64]bool{}, max: -1}
		}
		return all[name]
	}
	for _, part := range log {
		for i := range part {
			switch x := &part[i].tick; x.Kind {
			case schema.KindAnchor:
				s := of(x.Anchor.Symbol)
				s.begun = s.begun || len(s.trades) > 0
				s.anchors = append(s.anchors, x.Anchor)
			case schema.KindTrades:
				s := of(string(x.Batch.Symbol))
				for _, t := range x.Batch.Trades {
					had := int64(0)
					for id := t.ID; id <= t.Last; id++ {
						if s.applied[id] {
							had++
						}
						s.applied[id] = true
					}
					if had > 0 && had < t.Count() {
						s.partly = append(s.partly, t)
					}
					s.trades[t.ID] = t
					s.max = max(s.max, t.Last)
					s.newest = max(s.newest, t.Time)
				}
			}
		}
	}
	return all
}

// whole checks that the log has every trade of the symbol since the hour's
// start, up to the last one that stands in it, each as the market has it.
func (b *bench) whole(log [][]record) {
	b.Helper()
	b.wholeSince(log, schema.P1h)
}

// wholeSince does so from the start of another period on.
func (b *bench) wholeSince(log [][]record, history schema.Period) {
	b.Helper()
	for name, s := range tell(log) {
		// A start before the symbol's first trade begins it again.
		if len(s.anchors) == 0 || s.begun || slices.ContainsFunc(s.anchors, func(a schema.Anchor) bool { return a != s.anchors[0] }) {
			b.Errorf("%s: anchors %+v, one of them behind trades: %v", name, s.anchors, s.begun)
			continue
		}
		if len(s.partly) > 0 {
			b.Errorf("%s: %d aggregates of which a part was there already, the first %+v", name, len(s.partly), s.partly[0])
		}
		a := s.anchors[0]
		truth := b.double.Truth(name, a.Time-schema.Second, max(s.newest, a.Time)+1)
		byID := map[int64]schema.Trade{}
		for _, t := range truth {
			byID[t.ID] = t
		}
		// A dump's left edge tells neither time nor price of the trade before it.
		if want, ok := byID[a.ID]; a.HasPrice && (!ok || want.Time != a.Time || want.Price.Cmp(a.Price) != 0) {
			b.Errorf("%s: anchor %+v, the market has %+v", name, a, want)
		}
		if next := byID[a.ID+1]; s.max > a.ID && (cal.Start(history, next.Time) <= a.Time || a.Time+1 < cal.Start(history, next.Time) && !a.HasPrice) {
			b.Errorf("%s: the anchor at %v is not the last one of its %v: the next is at %v", name, a.Time, history, next.Time)
		}
		for id := a.ID + 1; id <= s.max; {
			t, ok := s.trades[id]
			if !ok {
				b.Fatalf("%s: trade %d is not in the log, which goes up to %d", name, id, s.max)
			}
			sum := int64(0)
			for k := t.ID; k <= t.Last; k++ {
				want := byID[k]
				if want.Time != t.Time || want.Price.Cmp(t.Price) != 0 || want.BuyerMaker != t.BuyerMaker {
					b.Fatalf("%s: %+v, the market has %+v", name, t, want)
				}
				q, _ := want.Qty.Rescale(8)
				sum += q.Mantissa
			}
			if q, _ := t.Qty.Rescale(8); sum != q.Mantissa {
				b.Fatalf("%s: quantity of %+v, the market has %d×10^-8", name, t, sum)
			}
			id = t.Last + 1
		}
	}
}

var cal schema.Calendar

// kept checks the promises: behind a mark comes no trade with a time at or
// before it that was not in the log already, but of the symbols it names and
// of those that its ingestor does not watch.
//
// Where the exchange itself leaves trades out, nobody can know of one before the
// next has come: then, lied to, only a mark behind the next one breaks a promise.
func (b *bench) kept(log [][]record, liedTo bool) (marks int) {
	b.Helper()
	for p, part := range log {
		first := map[string]map[int64]int{} // where a trade stands first
		for i := range part {
			x := &part[i].tick
			if x.Kind != schema.KindTrades {
				continue
			}
			name := string(x.Batch.Symbol)
			if first[name] == nil {
				first[name] = map[int64]int{}
			}
			for _, t := range x.Batch.Trades {
				for id := t.ID; id <= t.Last; id++ {
					if _, ok := first[name][id]; !ok {
						first[name][id] = i
					}
				}
			}
		}
		type promise struct {
			at int
			w  schema.Time
		}
		watched := map[string]map[string]schema.Time{} // by ingestor and symbol: from when
		newest := map[string]promise{}                 // by symbol, where it was promised
		for i := range part {
			switch x := &part[i].tick; x.Kind {
			case schema.KindWatch:
				w := x.Watch
				if watched[w.Ingestor] == nil {
					watched[w.Ingestor] = map[string]schema.Time{}
				}
				if w.On {
					watched[w.Ingestor][w.Symbol] = w.From
				} else {
					delete(watched[w.Ingestor], w.Symbol)
				}
			case schema.KindMark:
				marks++
				for symbol := range watched[x.Mark.Ingestor] {
					if !slices.Contains(x.Mark.Excepted, symbol) {
						if m, ok := newest[symbol]; !ok || m.w < x.Mark.W {
							newest[symbol] = promise{i, x.Mark.W}
						}
					}
				}
			case schema.KindTrades:
				name := string(x.Batch.Symbol)
				for _, t := range x.Batch.Trades {
					if first[name][t.ID] != i {
						continue
					}
					if m, ok := newest[name]; ok && t.Time <= m.w && (!liedTo || seenBefore(first[name], t.Last, m.at)) {
						b.Fatalf("partition %d: the record at %d promises %v of %s, and behind it at %d comes trade %d at %v",
							p, part[m.at].offset, m.w, name, part[i].offset, t.ID, t.Time)
					}
				}
			}
		}
	}
	return marks
}
