package binance

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// answer is a header as the server sends it at the moment.
func answer(used int64, at time.Time) http.Header {
	h := http.Header{}
	h.Set("x-mbx-used-weight-1m", strconv.FormatInt(used, 10))
	h.Set("Date", at.UTC().Format(http.TimeFormat))
	return h
}

func acquire(t *testing.T, b *Budget, weight int64, p Priority) *Call {
	t.Helper()
	c, err := b.Acquire(t.Context(), weight, p)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestBudgetHoldsInAnyMinute lets many callers with calls of random weight and
// duration loose, and looks at every window of a minute, each call counted at
// every moment at which the server may have counted it.
func TestBudgetHoldsInAnyMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(BudgetConfig{Limit: 1000, Share: 0.6})
		type span struct {
			from, to time.Time
			weight   int64
		}
		var mu sync.Mutex
		var spans []span
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(7, uint64(i)))
				for {
					weight := []int64{1, 2, 4, 25, 40}[r.IntN(5)]
					c, err := b.Acquire(ctx, weight, Priority(r.IntN(priorities)))
					if err != nil {
						return
					}
					s := span{from: time.Now(), weight: weight}
					<-time.After(time.Duration(r.Int64N(int64(5 * time.Second)))) // the answer's way
					s.to = time.Now()
					if r.IntN(10) == 0 {
						c.Done(0, nil)
					} else {
						c.Done(200, nil)
					}
					mu.Lock()
					spans = append(spans, s)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		var total int64
		for _, s := range spans {
			total += s.weight
		}
		// Windows that begin when a call may have been counted last.
		for _, w := range spans {
			var sum int64
			for _, s := range spans {
				if s.to.Compare(w.to) >= 0 && s.from.Sub(w.to) < time.Minute {
					sum += s.weight
				}
			}
			if sum > 600 {
				t.Fatalf("weight %d within a minute from %v", sum, w.to)
			}
		}
		if total < 4000 { // of 6000, less the way of the answers
			t.Errorf("only %d in ten minutes", total)
		}
		if s := b.Stats(); s.Waiting != [priorities]int{} || s.Cap != 600 || s.Used > 600 || s.Used == 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestBudgetHeedsTheServersWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(BudgetConfig{})
		// The server's minute is at 20 s; the local clock says anything.
		const off = 3*time.Hour + 20*time.Second
		<-time.After(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)))
		start := time.Now()
		acquire(t, b, 1, PriorityFill).Done(200, answer(2930, start.Add(off)))
		if s := b.Stats(); s.ServerUsed != 2930 || !s.ServerAt.Equal(start) {
			t.Errorf("%+v", s)
		}
		// An answer that was overtaken changes nothing.
		c := acquire(t, b, 1, PriorityClock)
		c.Done(200, answer(2000, start.Add(off)))
		c.Done(200, answer(0, start.Add(off+time.Hour)))
		if s := b.Stats(); s.ServerUsed != 2930 {
			t.Errorf("%+v", s)
		}
		acquire(t, b, 10, PriorityFill).Done(0, nil) // without an answer: it may have been counted
		if time.Since(start) != 0 {
			t.Errorf("went after %v", time.Since(start))
		}
		acquire(t, b, 1, PriorityFill).Done(200, answer(1, time.Now().Add(off)))
		if d := time.Since(start); d != 41*time.Second {
			t.Errorf("went after %v, but the server's minute turned after 40 s", d)
		}
		// Without a date a figure holds for a minute.
		h := answer(3000, time.Now())
		h.Del("Date")
		at := time.Now()
		acquire(t, b, 1, PriorityFill).Done(200, h)
		acquire(t, b, 1, PriorityClock).Done(200, nil)
		if d := time.Since(at); d != 61*time.Second {
			t.Errorf("went after %v", d)
		}
		// Nonsense is none.
		for _, bad := range []string{"-1", "x", "99999999999999999999", ""} {
			h.Set("X-MBX-USED-WEIGHT-1M", bad)
			acquire(t, b, 1, PriorityFill).Done(200, h)
		}
		if s := b.Stats(); s.ServerUsed != 3000 {
			t.Errorf("%+v", s)
		}
	})
}

func TestBudgetStopsAtLimits(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		after  string
		times  []time.Duration // the blocks of answers in a row
	}{
		"429":                {429, "7", []time.Duration{8, 15, 29}},
		"429 without a time": {429, "", []time.Duration{61, 121, 241}},
		"418":                {418, "300", []time.Duration{301, 301}},
		"418 without a time": {418, "soon", []time.Duration{121, 241}},
		"a ban for days":     {418, "259200", []time.Duration{259201}},
		"nonsense":           {429, "2147483647", []time.Duration{7*86400 + 1, 7*86400 + 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := NewBudget(BudgetConfig{})
				h := http.Header{}
				h.Set("Retry-After", c.after)
				for i, want := range c.times {
					// Three were on their way together: that is one limit.
					calls := []*Call{acquire(t, b, 1, PriorityFill), acquire(t, b, 1, PriorityFill), acquire(t, b, 1, PriorityRest)}
					at := time.Now()
					for _, call := range calls {
						call.Done(c.status, h)
					}
					if s := b.Stats(); !s.BlockedUntil.Equal(at.Add(want * time.Second)) {
						t.Errorf("%d: blocked for %v", i, s.BlockedUntil.Sub(at))
					}
					var wg sync.WaitGroup
					for p := range Priority(priorities) {
						wg.Go(func() {
							got, err := b.Acquire(t.Context(), 1, p)
							if err != nil || time.Since(at) != want*time.Second {
								t.Errorf("%d: %v went after %v: %v", i, p, time.Since(at), err)
								return
							}
							got.Done(500, nil) // no good answer yet
						})
					}
					wg.Wait()
				}
				s := b.Stats()
				if n := int64(3 * len(c.times)); s.Limited+s.Banned != n || (s.Banned > 0) != (c.status == 418) || !s.BlockedUntil.IsZero() {
					t.Errorf("%+v", s)
				}
				// A good answer ends the row.
				acquire(t, b, 1, PriorityFill).Done(200, nil)
				at := time.Now()
				h.Set("Retry-After", "5")
				acquire(t, b, 1, PriorityFill).Done(429, h)
				if s := b.Stats(); !s.BlockedUntil.Equal(at.Add(6 * time.Second)) {
					t.Errorf("blocked for %v", s.BlockedUntil.Sub(at))
				}
			})
		})
	}
}

func TestBudgetKeepsPartsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(BudgetConfig{})
		start := time.Now()
		take := func(p Priority, weight, want int64) {
			t.Helper()
			got := int64(0)
			for {
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				c, err := b.Acquire(ctx, weight, p)
				cancel()
				if err != nil {
					break
				}
				c.Done(200, nil)
				got += weight
			}
			if got != want {
				t.Errorf("%v took %d, wanted %d", p, got, want)
			}
		}
		take(PriorityHistory, 4, 2640)
		take(PriorityRest, 1, 0)
		take(PriorityFill, 25, 300) // at once, while history waits
		take(PriorityClock, 1, 60)
		if d := time.Since(start); d > time.Second {
			t.Errorf("%v passed", d)
		}
		if s := b.Stats(); s.Used != 3000 || s.Cap != 3000 || s.Calls != 660+12+60 || s.CallCap != 150_000 {
			t.Errorf("%+v", s)
		}
		acquire(t, b, 1, PriorityHistory).Done(200, nil)
		if d := time.Since(start); d < time.Minute || d > time.Minute+time.Second {
			t.Errorf("history went on after %v", d)
		}
	})
}

func TestBudgetOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(BudgetConfig{Limit: 100, Share: 1})
		full := acquire(t, b, 100, PriorityClock)
		var mu sync.Mutex
		var got []string
		var wg sync.WaitGroup
		join := func(name string, p Priority) {
			wg.Go(func() {
				c, err := b.Acquire(t.Context(), 50, p)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				got = append(got, name)
				mu.Unlock()
				c.Done(200, nil)
			})
			synctest.Wait()
		}
		join("rest", PriorityRest)
		join("history 1", PriorityHistory)
		join("history 2", PriorityHistory)
		join("fill 1", PriorityFill)
		join("fill 2", PriorityFill)
		join("clock", PriorityClock)
		if s := b.Stats(); s.Waiting != [priorities]int{1, 2, 2, 1} {
			t.Errorf("%+v", s.Waiting)
		}
		<-time.After(61 * time.Second)
		// History that comes more than a minute later is behind the rest.
		join("history 3", PriorityHistory)
		// One that leaves makes no hole.
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := b.Acquire(ctx, 50, PriorityClock)
			left <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		full.Done(200, nil)
		wg.Wait()
		want := []string{"clock", "fill 1", "fill 2", "history 1", "history 2", "rest", "history 3"}
		if !slices.Equal(got, want) {
			t.Errorf("%v", got)
		}
		if s := b.Stats(); s.Waiting != [priorities]int{} {
			t.Errorf("%+v", s.Waiting)
		}
	})
}

func TestBudgetLimitsFromTheExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(BudgetConfig{})
		b.SetLimits([]RateLimit{
			{"REQUEST_WEIGHT", "MINUTE", 1, 100}, {"RAW_REQUESTS", "MINUTE", 5, 20}, {"ORDERS", "MINUTE", 1, 1},
			{"REQUEST_WEIGHT", "MINUTE", 1, 0}, {"REQUEST_WEIGHT", "MINUTE", 1, -5}, {"REQUEST_WEIGHT", "SECOND", 1, 7}, {"RAW_REQUESTS", "MINUTE", 0, 3},
		})
		if s := b.Stats(); s.Cap != 50 || s.CallCap != 10 {
			t.Errorf("%+v", s)
		}
		if _, err := b.Acquire(t.Context(), 80, PriorityRest); err == nil {
			t.Error("a call that can never go waits")
		}
		start := time.Now()
		for range 11 {
			acquire(t, b, 1, PriorityFill).Done(200, nil)
		}
		if d := time.Since(start); d != 5*time.Minute {
			t.Errorf("eleven calls took %v", d)
		}
		// One who waits hears of a limit that shrank.
		acquire(t, b, 39, PriorityFill).Done(200, nil)
		failed := make(chan error)
		go func() {
			_, err := b.Acquire(t.Context(), 40, PriorityFill)
			failed <- err
		}()
		synctest.Wait()
		b.SetLimits([]RateLimit{{"REQUEST_WEIGHT", "MINUTE", 1, 60}})
		if err := <-failed; err == nil {
			t.Error("waits on")
		}
	})
	for _, c := range []BudgetConfig{{Share: 2}, {Share: -1}, {Limit: -1}, {Requests: 1 << 50}} {
		if c.EnsureDefaults(); c.Validate() == nil {
			t.Errorf("%+v is valid", c)
		}
		if s := NewBudget(c).Stats(); s.Cap != 3000 || s.CallCap != 150_000 {
			t.Errorf("%+v", s)
		}
	}
}
