package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/ingest"
	"millrace/internal/testenv"
	"millrace/schema"
	"millrace/schema/schemapb"
)

// checkMarks reads every partition and says which mark broke its promise.
// owner gives the stream that delivered a trade.
func checkMarks(t *testing.T, log [][]entry, owner func(schema.Trade) string) (marks int) {
	t.Helper()
	for p, l := range log {
		w := make(map[string]schema.Time)
		// From the end, the trades that come behind each mark.
		type late struct {
			symbol string
			trade  schema.Trade
		}
		behind := make(map[string][]late)
		for k := len(l) - 1; k >= 0; k-- {
			switch x := &l[k].tick; x.Kind {
			case schema.KindTrades:
				for _, y := range x.Batch.Trades {
					id := owner(y)
					behind[id] = append(behind[id], late{string(x.Batch.Symbol), y})
				}
			case schema.KindMark:
				marks++
				if last, ok := w[x.Mark.Ingestor]; ok && x.Mark.W > last {
					t.Errorf("partition %d: W of %s falls from %d to %d", p, x.Mark.Ingestor, x.Mark.W, last)
				}
				w[x.Mark.Ingestor] = x.Mark.W
				for _, y := range behind[x.Mark.Ingestor] {
					if y.trade.Time <= x.Mark.W && !slices.Contains(x.Mark.Excepted, y.symbol) {
						t.Errorf("partition %d at %d: mark %d of %s, and behind it trade %d of %s at %d",
							p, l[k].rec.Offset, x.Mark.W, x.Mark.Ingestor, y.trade.ID, y.symbol, y.trade.Time)
					}
				}
			}
		}
	}
	return marks
}

// feeder drives one stream at random and keeps what it delivered. Its trades
// carry its number in their ids.
type feeder struct {
	s       *ingest.Stream
	r       *rand.Rand
	symbols []string
	next    int64
	now     schema.Time
	sent    map[string][]schema.Trade
	held    map[string][]schema.Trade // what a held symbol has yet to deliver
}

func newFeeder(i *ingest.Ingestor, n int, seed uint64) (*feeder, error) {
	f := &feeder{r: rand.New(rand.NewPCG(seed, uint64(n))), next: int64(n) << 32, now: t0,
		sent: make(map[string][]schema.Trade), held: make(map[string][]schema.Trade)}
	var symbols []ingest.Symbol
	for k := range 1 + f.r.IntN(6) {
		name := fmt.Sprintf("S%d", (n+k)%9) // streams share symbols
		f.symbols = append(f.symbols, name)
		symbols = append(symbols, ingest.Symbol{Name: name, From: t0})
	}
	var err error
	f.s, err = i.Stream(schemapb.Source_SOURCE_WEBSOCKET, symbols...)
	return f, err
}

func (f *feeder) deliver(name string, x schema.Trade) error {
	f.sent[name] = append(f.sent[name], x)
	return f.s.Trade([]byte(name), &x, x.Time)
}

func (f *feeder) step() error {
	name := f.symbols[f.r.IntN(len(f.symbols))]
	late, held := f.held[name]
	switch k := f.r.IntN(100); {
	case k < 60: // trades up to 20 ms apart from one another, in no order
		x := trade(f.next, f.now+1+schema.Time(f.r.Int64N(20))*schema.Millisecond)
		f.next++
		if held && f.r.IntN(2) == 0 {
			f.held[name] = append(late, x)
			return nil
		}
		return f.deliver(name, x)
	case k < 75: // everything up to now has been delivered, or is held
		f.s.Progress(f.now)
		f.now += schema.Time(f.r.Int64N(5)) * schema.Millisecond
	case k < 80 && !held:
		f.held[name] = nil
		return f.s.Hold(name)
	case k < 85 && held:
		return f.release(name)
	case k >= 85:
		runtimePause(f.r)
	}
	return nil
}

func (f *feeder) release(name string) error {
	late := f.held[name]
	delete(f.held, name)
	if len(late) > 0 && f.r.IntN(2) == 0 {
		f.sent[name] = append(f.sent[name], late...)
		return errors.Join(f.s.Fill(name, late, t0, schemapb.Source_SOURCE_REST), f.s.Release(name))
	}
	for _, x := range late {
		if err := f.deliver(name, x); err != nil {
			return err
		}
	}
	return f.s.Release(name)
}

// end delivers what is held and closes the stream, or leaves it open.
func (f *feeder) end() error {
	for _, name := range f.symbols {
		if _, ok := f.held[name]; ok {
			if err := f.release(name); err != nil {
				return err
			}
		}
	}
	if f.r.IntN(3) == 0 {
		return nil
	}
	return f.s.Close(context.Background(), f.now+schema.Second)
}

// runtimePause lets the others run on for up to 10 ms.
func runtimePause(r *rand.Rand) { <-time.After(time.Duration(r.IntN(10)) * time.Millisecond) }

// A mark never precedes what it promises, nothing is lost, doubled or out of
// order, whatever the broker answers.
func TestMarksKeepTheirPromise(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1))
			fake := testenv.StartFake(t)
			b := newBench(t, fake.Brokers, 3)
			i, end := b.open(ingest.Config{MarkEvery: 2 * time.Millisecond, Linger: time.Millisecond, BatchMax: 1 + r.IntN(20)})
			stop := faults(fake, r)
			var feeders []*feeder
			for n := range 5 {
				f, err := newFeeder(i, n, seed)
				if err != nil {
					t.Fatal(err)
				}
				feeders = append(feeders, f)
			}
			var wg sync.WaitGroup
			errs := make([]error, len(feeders))
			for n, f := range feeders {
				wg.Go(func() {
					late := time.Now().Add(20 * time.Second)
					for k := 0; errs[n] == nil && (k < 1000 || i.Stats().Marks < 100 && time.Now().Before(late)); k++ {
						errs[n] = f.step()
					}
					errs[n] = errors.Join(errs[n], f.end())
				})
			}
			wg.Wait()
			stop()
			if err := errors.Join(append(errs, end())...); err != nil {
				t.Fatal(err)
			}
			log := b.log()
			owner := func(x schema.Trade) string { return feeders[x.ID>>32].s.ID() }
			if n := checkMarks(t, log, owner); n < 100 {
				t.Errorf("only %d marks: the test shows little", n)
			}
			for n, f := range feeders {
				for _, name := range f.symbols {
					mine := slices.DeleteFunc(b.trades(log, name), func(x schema.Trade) bool { return x.ID>>32 != int64(n) })
					sameTrades(t, fmt.Sprintf("stream %d, %s", n, name), mine, f.sent[name])
				}
			}
		})
	}
}

// faults makes the broker slow, refuse, and lose its answers after it has
// written, until the returned function is called.
func faults(fake *testenv.Fake, r *rand.Rand) (stop func()) {
	// Controls run on the cluster's goroutine and have a source of their own.
	slow := rand.New(rand.NewPCG(r.Uint64(), 2))
	fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		if slow.IntN(3) == 0 {
			wait := time.After(time.Duration(slow.IntN(8)) * time.Millisecond)
			fake.SleepControl(func() { <-wait })
		}
		return nil, nil, false
	})
	kinds := []*kerr.Error{kerr.NotLeaderForPartition, kerr.NotEnoughReplicasAfterAppend, kerr.RequestTimedOut, kerr.NotEnoughReplicas}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		// One at a time: each makes the client pause for a quarter second or
		// more, and queued ones would keep it from ever coming through.
		for ctx.Err() == nil {
			f := fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Partitions: []int32{int32(r.IntN(3))}, Err: kinds[r.IntN(len(kinds))]})
			if f.Wait(ctx, 1) != nil {
				f.Remove()
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(r.IntN(400)) * time.Millisecond):
			}
		}
	}()
	return func() { cancel(); <-done }
}
