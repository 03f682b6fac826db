package collect

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"millrace/ingest"
	"millrace/ingest/binance"
	"millrace/internal/kafka"
	"millrace/schema"
)

func TestTrouble(t *testing.T) {
	now := time.Unix(1700000000, 0)
	var x trouble
	for range 2 {
		if x.enter(now) != 0 || x.wait(now) != 0 {
			t.Fatal("held back without trouble")
		}
	}
	step := troubleLeast
	for range 10 {
		x.failed(now, time.Millisecond)
		x.failed(now, time.Millisecond) // was on its way at the same time
		if w := x.wait(now); w != step {
			t.Fatalf("held back for %v, wanted %v", w, step)
		}
		if w := x.enter(now.Add(step - time.Millisecond)); w != time.Millisecond {
			t.Fatalf("one waits for %v just before", w)
		}
		now = now.Add(step)
		if x.enter(now) != 0 || x.enter(now) == 0 {
			t.Fatal("not just one finds out whether it is over")
		}
		step = min(2*step, troubleMost)
	}
	// Nobody hears of the one: another goes in its place.
	if x.enter(now.Add(troubleMost)) != 0 {
		t.Error("held back for ever")
	}
	x.failed(now, time.Hour)
	if w := x.wait(now); w != time.Hour {
		t.Errorf("held back for %v where the exchange wants an hour", w)
	}
	x.over()
	for range 2 {
		if x.enter(now) != 0 {
			t.Error("held back after it was over")
		}
	}
}

// away is a REST side that fails until it is told to answer. An aggregate
// covers all ids that are missing.
type away struct {
	*httptest.Server
	mu    sync.Mutex
	began time.Time // the first call
	calls int
	back  bool
}

func newAway(t *testing.T) *away {
	a := &away{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.calls++; a.calls == 1 {
			a.began = time.Now()
		}
		if !a.back {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprint(w, `[{"a":7,"p":"1","q":"1","f":10,"l":19,"T":1700000000500,"m":true,"M":true}]`)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *away) asked() (calls int, since time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.calls == 0 {
		return 0, 0
	}
	return a.calls, time.Since(a.began)
}

// mended is a group of symbols whose connection stands, with menders at work.
func (b *bench) mended(ctx context.Context, client *binance.Client, names []string) (*Live, *group) {
	b.Helper()
	kc := kafka.Config{Brokers: []string{b.brokers}}
	in, err := ingest.Open(b.Context(), ingest.Config{Kafka: kc, Ticks: b.topics.Ticks, Partitions: benchPartitions, MarkEvery: 20 * time.Millisecond})
	if err != nil {
		b.Fatal(err)
	}
	running, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(running) }()
	live := &Live{Ingestor: in, Source: binance.Config{REST: client}, Log: slog.New(slog.DiscardHandler),
		ctx: ctx, turns: turns{free: fillers}, moved: make(chan struct{}, 1), clock: func() schema.Time { return schema.FromStd(time.Now()) }}
	b.Cleanup(func() {
		live.menders.Wait()
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
		in.Close()
	})
	g := &group{live: live, series: map[string]*series{}}
	var list []ingest.Symbol
	for _, name := range names {
		y := newSeries(name)
		y.next, y.floor, y.lastT, y.awaits = 10, 10, 1700000000_000000, false
		g.series[name] = y
		list = append(list, ingest.Symbol{Name: name, Held: true})
	}
	if err := g.begin(list); err != nil {
		b.Fatal(err)
	}
	live.groups = []*group{g}
	g.Progress(1700000001_000000)
	return live, g
}

// TestManyHolesWhileRESTIsAway: each of 200 symbols has a hole, and REST fails
// for some seconds. It is asked now and then, not by every hole again and
// again, and when it is back there is weight to fill them all.
func TestManyHolesWhileRESTIsAway(t *testing.T) {
	t.Parallel()
	const symbols = 200
	b := newEmptyBench(t)
	rest := newAway(t)
	client, err := binance.NewClient(rest.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var names []string
	for i := range symbols {
		names = append(names, fmt.Sprintf("S%dUSDT", i))
	}
	live, g := b.mended(ctx, client, names)
	defer live.menders.Wait()
	defer cancel()
	g.mu.Lock()
	for _, y := range g.series {
		g.missed(y, 19)
	}
	g.mu.Unlock()
	b.until("REST has been away for some time", func() bool {
		_, since := rest.asked()
		return since > 5*time.Second
	})
	// Those that set out before the first was refused, and then one by one.
	calls, since := rest.asked()
	if most := fillers + 2 + int(since/time.Second); calls > most {
		t.Errorf("%d calls in %v, wanted %d at most", calls, since, most)
	}
	rest.mu.Lock()
	rest.back = true
	rest.mu.Unlock()
	b.until("every hole is filled", func() bool { return live.Status().Filled == symbols })
	if calls, _ := rest.asked(); client.Budget().Stats().Used > int64(4*calls) || calls > symbols+2*fillers+10 {
		t.Errorf("%d calls for %d holes, %+v", calls, symbols, client.Budget().Stats())
	}
}
