package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"millrace/ingest"
	"millrace/internal/testenv"
	"millrace/schema"
	"millrace/schema/schemapb"
)

const t0 = schema.Time(1_723_000_000_000_000)

// servers are those that the delivery must work on.
func servers(t *testing.T, f func(t *testing.T, brokers string)) {
	t.Run("kfake", func(t *testing.T) { f(t, testenv.StartFake(t).Brokers) })
	t.Run("kafka", func(t *testing.T) { f(t, testenv.SharedKafka(t).Brokers) })
}

func TestEverythingDeliveredArrivesInOrder(t *testing.T) {
	servers(t, func(t *testing.T, brokers string) {
		for _, size := range []int{1, 7, 500} {
			t.Run(fmt.Sprintf("batch of %d", size), func(t *testing.T) {
				b := newBench(t, brokers, 3)
				i, end := b.open(ingest.Config{BatchMax: size})
				names := []string{"BTCUSDT", "ETHUSDT", "这是测试币456", "XRPETH", "DOGEUSDT"}
				var symbols []ingest.Symbol
				for _, n := range names {
					symbols = append(symbols, ingest.Symbol{Name: n, From: t0})
				}
				s, err := i.Stream(schemapb.Source_SOURCE_WEBSOCKET, symbols...)
				if err != nil {
					t.Fatal(err)
				}
				want := make(map[string][]schema.Trade)
				for n := range int64(3000) {
					name := names[n*n%7%5]
					x := trade(n, t0+schema.Time(n)*schema.Millisecond)
					want[name] = append(want[name], x)
					if err := s.Trade([]byte(name), &x, t0); err != nil {
						t.Fatal(err)
					}
				}
				if err := s.Close(t.Context(), t0+3*schema.Second); err != nil {
					t.Fatal(err)
				}
				if err := end(); err != nil {
					t.Fatal(err)
				}
				log := b.log()
				for _, n := range names {
					sameTrades(t, n, b.trades(log, n), want[n])
				}
				for _, l := range log {
					for _, e := range l {
						if x := e.tick.Batch; e.tick.Kind == schema.KindTrades && (len(x.Trades) > size || x.Source != schemapb.Source_SOURCE_WEBSOCKET || x.Received != t0) {
							t.Errorf("%d trades from %v, received %v", len(x.Trades), x.Source, x.Received)
						}
					}
				}
				if got := i.Stats(); got.Trades != 3000 || got.Refused != 0 || got.Records < 3000/int64(size) || got.Bytes == 0 || got.Marks == 0 || got.Latency.Count == 0 {
					t.Errorf("%+v", got)
				}
			})
		}
	})
}

func TestAFiniteSource(t *testing.T) {
	servers(t, func(t *testing.T, brokers string) {
		b := newBench(t, brokers, 1)
		i, _ := b.open(ingest.Config{MarkEvery: time.Hour / 360})
		s, err := i.Stream(schemapb.Source_SOURCE_DUMP,
			ingest.Symbol{Name: "A", From: 100, Anchor: &schema.Anchor{Symbol: "A", ID: 9, Time: 99}},
			ingest.Symbol{Name: "B", From: 100})
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^[0-9a-f]{16}\.1$`).MatchString(s.ID()) || s.ID() != i.ID()+".1" {
			t.Errorf("ids %q and %q", i.ID(), s.ID())
		}
		for n, name := range []string{"A", "A", "B"} {
			x := trade(int64(n+10), 200)
			if err := s.Trade([]byte(name), &x, t0); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Anchor(schema.Anchor{Symbol: "B", ID: 11, Time: 98}); err != nil {
			t.Fatal(err)
		}
		x := trade(13, 300)
		if err := errors.Join(s.Trade([]byte("B"), &x, t0), s.Status("A", schema.TradingStatus(3)), s.Status("A", schema.TradingStatus(3))); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(t.Context(), 300); err != nil {
			t.Fatal(err)
		}
		want := "anchor(A,9) on(A,100) on(B,100) 1×B anchor(B,11) 2×A on(A,100) 1×B mark(300) off(A,300) off(B,300)"
		if got := story(b.log()[0], s.ID()); got != want {
			t.Errorf("the log tells\n%s, want\n%s", got, want)
		}
		if err := s.Trade([]byte("A"), &x, t0); !errors.Is(err, ingest.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if err := s.Close(t.Context(), 300); !errors.Is(err, ingest.ErrClosed) {
			t.Errorf("second Close: %v", err)
		}
	})
}

func TestALostConnection(t *testing.T) {
	b := newBench(t, testenv.StartFake(t).Brokers, 1)
	i, end := b.open(ingest.Config{MarkEvery: 2 * time.Millisecond})
	lost, err := i.Stream(schemapb.Source_SOURCE_WEBSOCKET, ingest.Symbol{Name: "A", From: 1}, ingest.Symbol{Name: "B", From: 1})
	if err != nil {
		t.Fatal(err)
	}
	other, err := i.Stream(schemapb.Source_SOURCE_WEBSOCKET, ingest.Symbol{Name: "C", From: 1})
	if err != nil {
		t.Fatal(err)
	}
	marked := func(s *ingest.Stream, mark string) {
		t.Helper()
		eventually(t, mark, func() bool { return strings.Contains(story(b.log()[0], s.ID()), mark) })
	}
	lost.Progress(1000)
	lost.Progress(900) // no news
	marked(lost, "mark(1000)")
	lost.Down()
	lost.Progress(5000)
	other.Progress(6000)
	marked(other, "mark(6000)")
	if err := lost.Up(4000); err != nil {
		t.Fatal(err)
	}
	marked(lost, "on(A,4000) on(B,4000) mark(5000)A+B")
	fill := []schema.Trade{trade(1, 1500), trade(2, 1600)}
	if err := errors.Join(lost.Fill("B", fill, t0, schemapb.Source_SOURCE_REST), lost.Release("B")); err != nil {
		t.Fatal(err)
	}
	marked(lost, "2×B mark(5000)A")
	if err := lost.Release("A"); err != nil {
		t.Fatal(err)
	}
	lost.Progress(7000)
	marked(lost, "mark(7000)")
	lost.Down()
	// A stream that is down ends without a promise.
	if err := lost.Close(t.Context(), 9000); err != nil {
		t.Fatal(err)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	got := story(b.log()[0], lost.ID())
	if strings.Contains(got, "mark(9000)") || !strings.HasSuffix(got, "off(A,9000) off(B,9000)") {
		t.Error(got)
	}
	// The pause is seen: between the two marks of 1000 and 5000 the other went on.
	all := story(b.log()[0], other.ID())
	if !strings.Contains(all, "mark(6000)") {
		t.Error(all)
	}
}

func TestATradeThatIsNotTaken(t *testing.T) {
	b := newBench(t, testenv.StartFake(t).Brokers, 2)
	i, end := b.open(ingest.Config{})
	s, err := i.Stream(schemapb.Source_SOURCE_WEBSOCKET, ingest.Symbol{Name: "A", From: 1})
	if err != nil {
		t.Fatal(err)
	}
	x := trade(1, 5)
	if err := s.Trade([]byte("Z"), &x, t0); !errors.Is(err, ingest.ErrSymbol) {
		t.Errorf("unknown symbol: %v", err)
	}
	for _, err := range []error{s.Hold("Z"), s.Release("Z"), s.Status("Z", 1), s.Anchor(schema.Anchor{Symbol: "Z"}), s.Fill("Z", nil, t0, 0)} {
		if !errors.Is(err, ingest.ErrSymbol) {
			t.Errorf("unknown symbol: %v", err)
		}
	}
	x.Qty.Mantissa = 0
	if err := s.Trade([]byte("A"), &x, t0); !errors.Is(err, schema.ErrTrade) {
		t.Errorf("no quantity: %v", err)
	}
	if err := s.Fill("A", []schema.Trade{trade(2, 5), x}, t0, 0); !errors.Is(err, schema.ErrTrade) {
		t.Errorf("no quantity: %v", err)
	}
	if err := s.Add(ingest.Symbol{Name: "A"}); err == nil {
		t.Error("a symbol twice")
	}
	if err := s.Add(ingest.Symbol{Name: "A|B"}); !errors.Is(err, schema.ErrSymbol) {
		t.Errorf("bad symbol: %v", err)
	}
	raw := bytes.Repeat([]byte("x"), 1<<20)
	if err := errors.Join(
		s.Refuse("A", "no-quantity", []byte(`{"q":"0"}`), schema.ErrTrade),
		s.Refuse("", "undecodable", raw, errors.New(strings.Repeat("é", 3000))),
		s.Refuse(strings.Repeat("é", 60), "symbol", nil, nil),
	); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if got := i.Stats(); got.Refused != 3 || got.Trades != 0 {
		t.Errorf("%+v", got)
	}
	var dead []string
	for p, l := range b.records(schema.DeadTopic(b.ticks)) {
		for _, r := range l {
			if len(r.Key) > 0 && schema.Partition(r.Key, 2) != int32(p) || len(r.Headers) != 2 || r.Headers[0].Key != schema.HeaderReason || r.Headers[1].Key != schema.HeaderError {
				t.Errorf("%q in partition %d with %v", r.Key, p, r.Headers)
			}
			dead = append(dead, fmt.Sprintf("%s %s %d %d", r.Key, r.Headers[0].Value, len(r.Headers[1].Value), len(r.Value)))
		}
	}
	for _, want := range []string{fmt.Sprintf("A no-quantity %d 9", len(schema.ErrTrade.Error())), " undecodable 1024 524288", strings.Repeat("é", 32) + " symbol 0 0"} {
		if !strings.Contains(strings.Join(dead, "\n"), want) {
			t.Errorf("no dead letter %q in %q", want, dead)
		}
	}
	// No mark goes where the stream has no symbol.
	for p, l := range b.log() {
		if n := strings.Count(story(l, s.ID()), "mark"); n > 0 && int32(p) != schema.Partition("A", 2) {
			t.Errorf("partition %d has %d marks", p, n)
		}
	}
}

func TestTwoIngestorsAtOnce(t *testing.T) {
	servers(t, func(t *testing.T, brokers string) {
		b := newBench(t, brokers, 2)
		var want []schema.Trade
		for n := range int64(500) {
			want = append(want, trade(n, t0+schema.Time(n)))
		}
		done := make(chan error, 2)
		ids := make(map[string]bool)
		for range 2 {
			i, end := b.open(ingest.Config{BatchMax: 10})
			ids[i.ID()] = true
			go func() {
				s, err := i.Stream(schemapb.Source_SOURCE_WEBSOCKET, ingest.Symbol{Name: "A", From: t0})
				for n := 0; n < len(want) && err == nil; n++ {
					err = s.Trade([]byte("A"), &want[n], t0)
				}
				if err == nil {
					err = s.Close(context.Background(), t0+500)
				}
				done <- errors.Join(err, end())
			}()
		}
		if err := errors.Join(<-done, <-done); err != nil {
			t.Fatal(err)
		}
		if len(ids) != 2 {
			t.Errorf("ids %v", ids)
		}
		// Each came twice, and each of the two kept its order.
		seen := make(map[int64]int)
		for _, x := range b.trades(b.log(), "A") {
			if !equal(x, want[x.ID]) {
				t.Fatalf("%+v", x)
			}
			seen[x.ID]++
		}
		for n := range want {
			if seen[int64(n)] != 2 {
				t.Errorf("trade %d came %d times", n, seen[int64(n)])
			}
		}
	})
}

func TestTradesWhoseScalesCannotBeShared(t *testing.T) {
	b := newBench(t, testenv.StartFake(t).Brokers, 1)
	i, end := b.open(ingest.Config{})
	s, err := i.Stream(schemapb.Source_SOURCE_DUMP, ingest.Symbol{Name: "A"})
	if err != nil {
		t.Fatal(err)
	}
	var want []schema.Trade
	for n := range int64(40) {
		x := trade(n, 5)
		x.Price, x.Qty = schema.Decimal{Mantissa: 9e18}, schema.Decimal{Mantissa: 1, Scale: 12}
		if n%2 == 1 {
			x.Price, x.Qty = schema.Decimal{Mantissa: 1, Scale: 12}, schema.Decimal{Mantissa: 9e18}
		}
		want = append(want, x)
		if err := s.Trade([]byte("A"), &x, t0); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.Close(t.Context(), 5), end()); err != nil {
		t.Fatal(err)
	}
	sameTrades(t, "A", b.trades(b.log(), "A"), want)
}

func TestConfigIsRefused(t *testing.T) {
	for want, cfg := range map[string]ingest.Config{
		"partitions":   {},
		"batch max":    {Partitions: 1, BatchMax: schema.MaxBatch + 1},
		"linger":       {Partitions: 1, Linger: time.Minute},
		"mark every":   {Partitions: 1, MarkEvery: time.Hour},
		"close wait":   {Partitions: 1, CloseWait: -1},
		"buffer bytes": {Partitions: 1, BufferBytes: 5},
		"compression":  {Partitions: 1, Compression: "gzip"},
	} {
		if _, err := ingest.Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
