package state

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"millrace/schema"
)

// TestQueryIsWhatIsPublished: candles that are asked for, page by page, are those
// that a sink gets which lacks everything.
func TestQueryIsWhatIsPublished(t *testing.T) {
	seen := 0
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 5))
		h := play(t, makeLog(r, []market{makeMarket(r, "AAAUSDT"), makeMarket(r, "BBBUSDT")}), always, never)
		v, err := h.s.View()
		if err != nil {
			t.Fatal(err)
		}
		type key struct {
			symbol string
			period schema.Period
			start  schema.Time
		}
		want := map[key]schema.Candle{}
		err = v.Since(0, 100, func(c *Changes) error {
			for _, x := range c.Candles {
				want[key{x.Symbol, x.Period, x.Start}] = x
			}
			for i := range c.Runs {
				c.Runs[i].Expand(c.Calendar, func(x *schema.Candle) bool {
					want[key{x.Symbol, x.Period, x.Start}] = *x
					return true
				})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		details := v.Details()
		if len(details) != 2 {
			t.Fatalf("%d symbols", len(details))
		}
		for _, d := range details {
			if d.Name == "" || d.Highest < d.Frontier || len(d.Intervals) > 0 && (d.Intervals[0][1] != d.Frontier || d.Intervals[len(d.Intervals)-1][1] != d.Highest) {
				t.Errorf("seed %d: %+v", seed, d)
			}
			for _, p := range h.s.p.settings.Periods {
				if symbol, made := v.Has(d.Name, p); !symbol || !made {
					t.Errorf("seed %d: it has no %s %v", seed, d.Name, p)
				}
				last := schema.MinTime
				for at, pages := schema.MinTime+1, 0; at < schema.MaxTime; pages++ {
					n := 0
					next, err := v.Candles(d.Name, p, at, schema.MaxTime, 50, func(c *schema.Candle) bool {
						k := key{c.Symbol, c.Period, c.Start}
						if w, ok := want[k]; !ok || w.Figures != c.Figures || w.Version != c.Version || c.Start <= last {
							t.Errorf("seed %d: %v: got %+v, want %+v", seed, k, c, w)
						}
						last = c.Start
						delete(want, k)
						n++
						seen++
						return n < 7
					})
					if err != nil {
						t.Fatal(err)
					}
					if next <= at {
						t.Fatalf("page %d ends at %v, where it began", pages, next)
					}
					at = next
				}
			}
		}
		for k := range want {
			t.Errorf("seed %d: %v was not given", seed, k)
		}
		if symbol, _ := v.Has("NONE", schema.P1m); symbol {
			t.Error("it has a symbol that nobody sent")
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		closeStore(t, h)
	}
	if seen < 500 {
		t.Errorf("only %d candles", seen)
	}
}

// TestLogOfANewerFormat: state whose settings are of a format that this program
// doesn't know is a newer program's, even if its rows have a form that it knows.
func TestLogOfANewerFormat(t *testing.T) {
	h := play(t, makeLog(rand.New(rand.NewPCG(1, 1)), []market{makeMarket(rand.New(rand.NewPCG(1, 2)), "AAAUSDT")}), always, never)
	h.s.p.settings.Format, h.s.p.settings.Program = schema.LogFormat+1, "9.9.9"
	if _, err := h.s.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Options{Dir: "state", FS: h.fs}, [16]byte{1}, 0)
	if !errors.Is(err, ErrNewer) || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "use millrace 9.9.9 or later") {
		t.Errorf("got %v", err)
	}
}
