package binance

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"millrace/schema"
)

func TestServerClockIsNeverAheadOfTheServer(t *testing.T) {
	start := time.Now()
	fail := errors.New("no answer")
	const s0 = schema.Time(1_700_000_000_000_000)
	type step struct {
		after time.Duration // local, since the start
		says  time.Duration // the server, since its start; −1: no answer
		want  time.Duration // −1: nothing is known
	}
	for name, steps := range map[string][]step{
		"no answer at all":          {{0, -1, -1}, {time.Second, -1, -1}},
		"one answer proves nothing": {{0, 0, 0}, {time.Second, -1, -1}},
		"a steady clock carries":    {{0, 0, 0}, {time.Second, 1100 * time.Millisecond, 1100 * time.Millisecond}, {3 * time.Second, -1, 3100 * time.Millisecond}, {4 * time.Second, -1, 4100 * time.Millisecond}},
		"but not for ever":          {{0, 0, 0}, {time.Second, time.Second, time.Second}, {62 * time.Second, -1, -1}, {63 * time.Second, -1, -1}},
		"a replay at ten times":     {{0, 0, 0}, {time.Second, 10 * time.Second, 10 * time.Second}, {2 * time.Second, -1, -1}},
		"a replay that waits":       {{0, 0, 0}, {time.Second, 0, 0}, {2 * time.Second, -1, -1}},
		"a clock set back":          {{0, time.Hour, time.Hour}, {time.Second, 0, 0}, {2 * time.Second, -1, -1}, {3 * time.Second, 2 * time.Second, 2 * time.Second}},
	} {
		c := carriedClock{steady: 250 * time.Millisecond}
		for i, s := range steps {
			answer, err := s0+schema.Time(s.says.Microseconds()), error(nil)
			if s.says < 0 {
				answer, err = 0, fail
			}
			want := s0 + schema.Time(s.want.Microseconds())
			if s.want < 0 {
				want = 0
			}
			if got := c.learn(answer, err, start.Add(s.after)); got != want {
				t.Errorf("%s, step %d: %v, wanted %v", name, i, got, want)
			}
		}
	}
}

// shared is a clock of a server whose answers take trip, and how often it was
// asked.
type shared struct {
	ServerClock
	mu    sync.Mutex
	asked int
	trip  time.Duration
	off   time.Duration // the server's time less the local one
	rate  int64         // how fast the server's time runs
	fail  bool
	start time.Time
}

func newShared() *shared {
	c := &shared{trip: 100 * time.Millisecond, off: time.Hour, rate: 1, start: time.Now()}
	c.rules.steady = clockSteady
	c.ask = func(ctx context.Context) (schema.Time, Reply, error) {
		c.mu.Lock()
		c.asked++
		trip, fail := c.trip, c.fail
		c.mu.Unlock()
		r := Reply{Sent: time.Now()}
		if !reached(ctx, r.Sent.Add(trip/2)) {
			return 0, r, ctx.Err()
		}
		s := c.server()
		if !reached(ctx, r.Sent.Add(trip)) {
			return 0, r, ctx.Err()
		}
		if fail {
			return 0, r, errors.New("no answer")
		}
		r.Received = time.Now()
		return s, r, nil
	}
	return c
}

func (c *shared) server() schema.Time {
	return schema.FromStd(c.start.Add(c.off + time.Since(c.start)*time.Duration(c.rate)))
}

func (c *shared) set(trip time.Duration, fail bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trip, c.fail = trip, fail
}

func (c *shared) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

func TestServerClockIsAskedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newShared()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				var last schema.Time
				for time.Since(c.start) < 20*time.Second {
					s := c.Now(t.Context())
					if s == 0 || s < last || s > c.server() || c.server()-s > 2*schema.Second {
						t.Errorf("%v, but the server's time is %v", s, c.server())
						return
					}
					last = s
					<-time.After(70 * time.Millisecond)
				}
			})
			wg.Go(func() {
				for time.Since(c.start) < 20*time.Second {
					before := c.server()
					if s := c.Fresh(t.Context()); s < before || s > c.server() {
						t.Errorf("fresh is %v, not within %v and %v", s, before, c.server())
						return
					}
				}
			})
		}
		wg.Wait()
		if n := c.count(); n < 18 || n > 23 {
			t.Errorf("asked %d times in 20 s", n)
		}
	})
}

func TestServerClockWithoutAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newShared()
		c.set(c.trip, true)
		if s := c.Now(t.Context()); s != 0 {
			t.Error(s)
		}
		c.set(c.trip, false)
		for range 3 {
			c.Fresh(t.Context())
		}
		c.set(c.trip, true)
		if s := c.Fresh(t.Context()); s == 0 || s > c.server() || c.server()-s > schema.Second {
			t.Errorf("not carried on: %v at %v", s, c.server())
		}
		// A silent server: after five seconds its time is carried on too.
		c.set(time.Hour, false)
		at := time.Now()
		if s := c.Fresh(t.Context()); s == 0 || time.Since(at) != clockWait {
			t.Errorf("%v after %v", s, time.Since(at))
		}
		// A caller who gives up says nothing of the server, and another goes on.
		c.set(100*time.Millisecond, false)
		c.Fresh(t.Context())
		c.set(3*time.Second, false)
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan schema.Time)
		go func() { left <- c.Fresh(ctx) }()
		<-time.After(1500 * time.Millisecond)
		stays := make(chan schema.Time)
		go func() { stays <- c.Now(t.Context()) }()
		synctest.Wait()
		c.set(100*time.Millisecond, false)
		cancel()
		if s := <-left; s != 0 {
			t.Errorf("who gave up got %v", s)
		}
		if s := <-stays; s == 0 || c.server()-s > schema.Second {
			t.Errorf("who stayed got %v at %v", s, c.server())
		}
	})
}

func TestServerClockOffset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newShared()
		if _, _, ok := c.Offset(); ok {
			t.Error("an offset before any answer")
		}
		for _, trip := range []time.Duration{400, 90, 10, 200, 300} {
			c.set(trip*time.Millisecond, false)
			c.Fresh(t.Context())
		}
		off, unsure, ok := c.Offset()
		if !ok || (off-time.Hour).Abs() > time.Microsecond || unsure < 5*time.Millisecond || unsure > 8*time.Millisecond {
			t.Errorf("%v ± %v, %v", off, unsure, ok)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c := newShared()
		c.rate = 10
		for range 5 {
			c.Fresh(t.Context())
		}
		if off, _, ok := c.Offset(); ok {
			t.Errorf("an offset of %v of a time that runs faster", off)
		}
	})
}

// TestOffsetOutlivesTheAnswers: that the server falls silent moves no clock.
func TestOffsetOutlivesTheAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newShared()
		known := func(when string, want bool) {
			t.Helper()
			off, unsure, ok := c.Offset()
			if ok != want || ok && (off-c.off).Abs() > unsure {
				t.Errorf("%s: %v ± %v, %v; it is %v", when, off, unsure, ok, c.off)
			}
		}
		for range 3 {
			c.Fresh(t.Context())
		}
		known("at first", true)
		c.set(c.trip, true)
		for range 600 {
			c.Fresh(t.Context())
		}
		known("after ten minutes of silence", true)
		if s := c.Now(t.Context()); s != 0 {
			t.Errorf("its time was carried on for ten minutes: %v", s)
		}
		// It comes back with another time: one answer proves nothing, two do.
		c.set(c.trip, false)
		c.off += time.Minute
		c.Fresh(t.Context())
		known("after one answer", false)
		c.Fresh(t.Context())
		known("after two", true)
	})
}
