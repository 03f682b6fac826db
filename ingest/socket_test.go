package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"millrace/ingest"
	"millrace/ingest/binance"
	"millrace/ingest/collect"
)

// spent is what frames took.
type spent struct {
	frames      int64
	wall, cpu   time.Duration
	allocations uint64
}

func (s spent) rate() float64 { return float64(s.frames) / s.wall.Seconds() }

// allocs gives the allocations for each frame.
func (s spent) allocs() float64 { return float64(s.allocations) / float64(s.frames) }

// measure tells what this process spends while work gets from now on to n more
// frames.
func measure(n int64, work func(n int64) int64) spent {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, start := cpuTime(), time.Now()
	s := spent{frames: work(n)}
	s.wall, s.cpu = time.Since(start), cpuTime()-cpu
	runtime.ReadMemStats(&after)
	s.allocations = after.Mallocs - before.Mallocs
	return s
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const warm = 20_000 // frames after which no buffer grows

// bare reads frames from the socket and throws them away, with the library and
// in the way that a Source does.
func bare(t testing.TB, url string, n int64) spent {
	t.Helper()
	ws, _, err := websocket.Dial(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	buf := make([]byte, 4096)
	read := func(n int64) int64 {
		for range n {
			_, r, err := ws.Reader(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			for err == nil {
				_, err = r.Read(buf)
			}
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		}
		return n
	}
	read(warm)
	return measure(n, read)
}

// whole has collectors take frames from the socket to packed batches.
func whole(t testing.TB, url string, n int64) spent {
	t.Helper()
	var names []string
	for i := range socketSymbols {
		names = append(names, socketSymbol(i))
	}
	chosen, err := binance.ParseSelection(names)
	if err != nil {
		t.Fatal(err)
	}
	cfg := binance.Config{WS: url}
	cfg.EnsureDefaults()
	in := ingest.Stub(t)
	live := &collect.Live{Ingestor: in, Source: cfg, Select: chosen, Log: slog.New(slog.DiscardHandler)}
	running, end := context.WithCancel(context.Background())
	ctx, cancel := context.WithCancel(running)
	done := make(chan error, 2)
	go func() { done <- in.Run(running) }()
	go func() {
		err := live.Run(ctx)
		end()
		done <- err
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(2 * time.Minute)
	work := func(n int64) int64 {
		from := live.Trades()
		for live.Trades() < from+n {
			select {
			case <-tick.C:
			case <-late:
				t.Fatalf("only %d of %d frames", live.Trades()-from, n)
			}
		}
		return live.Trades() - from
	}
	work(warm)
	s := measure(n, work)
	cancel()
	if err := errors.Join(<-done, <-done); err != nil {
		t.Fatal(err)
	}
	stats := in.Stats()
	if stats.Trades != live.Trades() || stats.Refused != 0 || n >= 100_000 && stats.Marks == 0 {
		t.Fatalf("%d trades were received; %+v", live.Trades(), stats)
	}
	return s
}

// From the socket to the packed record nothing is allocated for a trade.
func TestATradeFromTheSocketAllocatesNothing(t *testing.T) {
	s := whole(t, startSocketServer(t), 100_000)
	if n := s.allocs(); n > 0.01 && !ingest.Race {
		t.Errorf("%.4f allocations for each of %d trades", n, s.frames)
	}
}

// What collecting costs beside merely reading the socket: of frames/s and
// bare-frames/s the ratio, by the clock and by the time of the processor, which
// others on the machine disturb less.
func BenchmarkSocketToBatch(b *testing.B) {
	for _, cores := range []int{1, runtime.NumCPU()} {
		b.Run(fmt.Sprintf("cores=%d", cores), func(b *testing.B) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
			url := startSocketServer(b)
			n := int64(max(b.N, 1000))
			b.StopTimer()
			nothing := bare(b, url, n)
			b.StartTimer()
			all := whole(b, url, n)
			b.StopTimer()
			b.ReportMetric(all.rate(), "frames/s")
			b.ReportMetric(nothing.rate(), "bare-frames/s")
			b.ReportMetric(all.rate()/nothing.rate(), "of-bare")
			perFrame := func(s spent) float64 { return float64(s.cpu.Nanoseconds()) / float64(s.frames) }
			b.ReportMetric(perFrame(all), "cpu-ns/frame")
			b.ReportMetric(perFrame(nothing), "bare-cpu-ns/frame")
			b.ReportMetric(perFrame(nothing)/perFrame(all), "of-bare-cpu")
			b.ReportMetric(all.allocs(), "allocs/frame")
		})
	}
}
