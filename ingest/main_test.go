package ingest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/ingest"
	"millrace/internal/kafka"
	"millrace/internal/testenv"
	"millrace/schema"
)

func TestMain(m *testing.M) {
	if os.Getenv(socketServer) != "" {
		if err := serveSocket(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(testenv.Main(m))
}

// bench is a log and what a test needs beside it.
type bench struct {
	t          testing.TB
	brokers    string
	ticks      string
	partitions int32
}

func newBench(t testing.TB, brokers string, partitions int32) *bench {
	t.Helper()
	b := &bench{t: t, brokers: brokers, partitions: partitions}
	b.ticks = strings.NewReplacer("/", "-", " ", "-", "=", "-").Replace(strings.ToLower(t.Name())) + fmt.Sprintf("-%d", partitions)
	client := b.client()
	defer client.Close()
	if _, err := kafka.Ensure(t.Context(), client, kafka.Topics{Ticks: b.ticks, Candles: b.ticks + ".candles"}, schema.Settings{Partitions: partitions}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) client(opts ...kgo.Opt) *kgo.Client {
	b.t.Helper()
	client, err := kafka.Connect(b.t.Context(), kafka.Config{Brokers: strings.Split(b.brokers, ",")}, opts...)
	if err != nil {
		b.t.Fatal(err)
	}
	return client
}

// open starts an ingestor; end stops Run and gives its error.
func (b *bench) open(cfg ingest.Config) (i *ingest.Ingestor, end func() error) {
	b.t.Helper()
	cfg.Kafka.Brokers, cfg.Ticks, cfg.Partitions = strings.Split(b.brokers, ","), b.ticks, b.partitions
	i, err := ingest.Open(b.t.Context(), cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- i.Run(ctx) }()
	end = sync.OnceValue(func() error {
		cancel()
		err := <-done
		i.Close()
		return err
	})
	b.t.Cleanup(func() { _ = end() })
	return i, end
}

// entry is one record of the log, decoded.
type entry struct {
	rec  *kgo.Record
	tick schema.Tick
}

// log reads a topic from start to end, by partition.
func (b *bench) records(topic string) [][]*kgo.Record {
	b.t.Helper()
	client := b.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(b.t.Context(), topic)
	if err != nil {
		b.t.Fatal(err)
	}
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	all := make([][]*kgo.Record, b.partitions)
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	for left > 0 {
		f := client.PollFetches(ctx)
		if err := f.Err(); err != nil {
			b.t.Fatalf("%d records are missing in %s: %v", left, topic, err)
		}
		f.EachRecord(func(r *kgo.Record) {
			all[r.Partition] = append(all[r.Partition], r)
			left--
		})
	}
	return all
}

func (b *bench) log() [][]entry {
	b.t.Helper()
	all := make([][]entry, b.partitions)
	for p, records := range b.records(b.ticks) {
		for _, r := range records {
			e := entry{rec: r}
			if err := e.tick.Decode(r.Value); err != nil {
				b.t.Fatalf("partition %d at %d: %v", p, r.Offset, err)
			}
			all[p] = append(all[p], e)
		}
	}
	return all
}

// trades gives those of a symbol in the order of the log.
func (b *bench) trades(log [][]entry, symbol string) []schema.Trade {
	var all []schema.Trade
	for p := range log {
		for _, e := range log[p] {
			if e.tick.Kind == schema.KindTrades && string(e.tick.Batch.Symbol) == symbol {
				if string(e.rec.Key) != symbol || int32(p) != schema.Partition(symbol, b.partitions) {
					b.t.Errorf("%s is in partition %d under the key %q", symbol, p, e.rec.Key)
				}
				all = append(all, e.tick.Batch.Trades...)
			}
		}
	}
	return all
}

// story tells a partition's records of one stream and its symbols in short
// words, trades by their number.
func story(log []entry, id string) string {
	var words []string
	for _, e := range log {
		switch e.tick.Kind {
		case schema.KindAnchor:
			words = append(words, fmt.Sprintf("anchor(%s,%d)", e.tick.Anchor.Symbol, e.tick.Anchor.ID))
		case schema.KindWatch:
			if w := e.tick.Watch; w.Ingestor == id {
				on := map[bool]string{true: "on", false: "off"}[w.On]
				words = append(words, fmt.Sprintf("%s(%s,%d)", on, w.Symbol, w.From))
			}
		case schema.KindMark:
			if m := e.tick.Mark; m.Ingestor == id {
				words = append(words, strings.TrimSpace(fmt.Sprintf("mark(%d)%s", m.W, strings.Join(m.Excepted, "+"))))
			}
		case schema.KindTrades:
			words = append(words, fmt.Sprintf("%d×%s", len(e.tick.Batch.Trades), e.tick.Batch.Symbol))
		}
	}
	return strings.Join(words, " ")
}

// trade makes one; everything else follows from id and time.
func trade(id int64, at schema.Time) schema.Trade {
	r := rand.New(rand.NewPCG(uint64(id), 7))
	return schema.Trade{
		ID: id, Last: id, Time: at, BuyerMaker: id%3 == 0,
		Price: schema.Decimal{Mantissa: 1 + r.Int64N(1e12), Scale: uint8(r.IntN(9))},
		Qty:   schema.Decimal{Mantissa: 1 + r.Int64N(1e10), Scale: uint8(r.IntN(9))},
	}
}

// equal compares values: a batch may carry a price with another scale.
func equal(a, b schema.Trade) bool {
	same := func(x, y schema.Decimal) bool {
		s := max(x.Scale, y.Scale)
		x, ok1 := x.Rescale(s)
		y, ok2 := y.Rescale(s)
		return ok1 && ok2 && x == y
	}
	ok := same(a.Price, b.Price) && same(a.Qty, b.Qty)
	a.Price, a.Qty, b.Price, b.Qty = schema.Decimal{}, schema.Decimal{}, schema.Decimal{}, schema.Decimal{}
	return ok && a == b
}

func sameTrades(t testing.TB, name string, got, want []schema.Trade) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d trades in the log, want %d", name, len(got), len(want))
	}
	for i := range want {
		if !equal(got[i], want[i]) {
			t.Fatalf("%s: trade %d is %+v, want %+v", name, i, got[i], want[i])
		}
	}
}

// eventually waits for what happens beside the test.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	end := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}
