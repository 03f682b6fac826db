package state

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/schema"
)

// TestForgetting: what is forgotten changes nothing in what is published of the
// rest, and only final windows that the sinks have are forgotten.
func TestForgetting(t *testing.T) {
	dropped := 0
	for seed := range uint64(6) {
		r, log := seedLog(seed)
		ref := play(t, log, always, never)
		whole := ref.view(0)
		h := &harness{TB: t, fs: vfs.NewMem(), seen: map[string]schema.Candle{}, gaps: map[string]schema.GapSet{}}
		h.open()
		name := fmt.Sprintf("seed %d", seed)
		lag := int64(r.IntN(200))
		for i, e := range log {
			h.s.Partition().Apply(Record{Offset: int64(i), Hash: uint64(i), Appended: e.at}, e.tick(t), nil)
			if r.IntN(3) > 0 && i < len(log)-1 {
				continue
			}
			h.commit()
			if r.IntN(40) > 0 {
				continue
			}
			have := h.s.p.committed + 1 - lag
			before := h.view(0)
			n, err := h.s.Forget(h.s.p.newest-schema.Time(r.Int64N(100_000_000)), have)
			if err != nil {
				t.Fatal(err)
			}
			dropped += n
			after := h.view(0)
			for k, c := range before {
				if got, ok := after[k]; !ok && c.Status != schema.Final || ok && got != c {
					t.Fatalf("%s: forgetting made %+v of %+v", name, got, c)
				}
			}
			if len(after) > len(before) {
				t.Fatalf("%s: forgetting published %d candles more", name, len(after)-len(before))
			}
			if since := h.view(have); !maps.Equal(since, kept(since, after)) {
				t.Fatalf("%s: what changed since %d is not in what is left", name, have)
			}
			if r.IntN(3) == 0 {
				closeStore(t, h)
				h.open()
			}
		}
		for k, c := range ref.seen {
			if h.seen[k] != c && ref.kept(&c) { // of a period that was switched off, micro-batches decide what was seen
				t.Fatalf("%s: a sink has %+v, without forgetting it had %+v", name, h.seen[k], c)
			}
		}
		for k, c := range h.view(0) {
			if whole[k] != c {
				t.Fatalf("%s: %s is %+v, without forgetting it is %+v", name, k, c, whole[k])
			}
		}
		closeStore(t, h)
		closeStore(t, ref)
	}
	if dropped == 0 {
		t.Error("nothing was forgotten")
	}
}

// kept gives the candles of a that b has alike.
func kept(a, b map[string]schema.Candle) map[string]schema.Candle {
	out := map[string]schema.Candle{}
	for k, c := range a {
		if b[k] == c {
			out[k] = c
		}
	}
	return out
}

// TestForgettingIsBounded: a large history is forgotten in pieces.
func TestForgettingIsBounded(t *testing.T) {
	s, err := Open(Options{Dir: "state", FS: vfs.NewMem()}, [16]byte{1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{TB: t, s: s, seen: map[string]schema.Candle{}, gaps: map[string]schema.GapSet{}}
	r := rand.New(rand.NewPCG(1, 1))
	log := []entry{settled(0, nil, schema.P1s)}
	for id := range int64(300) {
		log = append(log, trade(id, float64(id)+r.Float64()/2))
	}
	for i, e := range log {
		s.Partition().Apply(Record{Offset: int64(i), Appended: e.at}, e.tick(t), nil)
	}
	h.commit()
	b := s.db.NewBatch()
	y := s.p.symbols["S"]
	n, err := s.forgetSeries(b, y, y.series[0], schema.MaxTime, schema.MaxVersionN, 100)
	if err != nil || n != 100 {
		t.Fatalf("%d forgotten, %v", n, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	y.series[0].kept += int64(n)
	if n, err = s.Forget(schema.MaxTime, 0); n != 0 || err != nil {
		t.Fatalf("%d forgotten that no sink has, %v", n, err)
	}
	if n, err = s.Forget(schema.MaxTime, int64(len(log))); n < 290 || err != nil {
		t.Fatalf("%d forgotten, %v", n, err)
	}
	if got := len(h.view(0)); got != 300-n {
		t.Errorf("%d candles are left, %d of 300 were forgotten", got, n)
	}
	closeStore(t, h)
}
