package state

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"millrace/schema"
)

// hugeLog is trades whose sums come near to what a field can hold, and those
// that must be refused: the ones that one of their windows cannot take.
func hugeLog(r *rand.Rand) (log []entry, refused map[int64]bool, figures map[string]schema.Figures) {
	s := schema.Settings{Periods: []schema.Period{schema.P1s, schema.P5m}}
	s.EnsureDefaults()
	log = []entry{{t0, s}}
	refused, figures = map[int64]bool{}, map[string]schema.Figures{}
	large := 40 + r.IntN(24)
	for id := range int64(60) {
		at := t0 + schema.Time(id/15)*schema.Second + schema.Time(id)
		number := func() schema.Decimal {
			return schema.Decimal{Mantissa: 1 + r.Int64()>>(63-min(63, 1+r.IntN(large))), Scale: uint8(r.IntN(3) * r.IntN(7))}
		}
		tr := schema.Trade{ID: id, Last: id, Time: at, Price: number(), Qty: number(), BuyerMaker: r.IntN(2) == 0}
		log = append(log, entry{at, batch{"S", []schema.Trade{tr}, 0}})
		next := map[string]schema.Figures{}
		for _, p := range s.Periods {
			k := string(schema.AppendCandleKey(nil, "S", p, schema.Calendar{}.Start(p, at)))
			f := figures[k]
			if !f.Add(&tr) {
				refused[id] = true
			}
			next[k] = f
		}
		if !refused[id] {
			for k, f := range next {
				figures[k] = f
			}
		}
	}
	return log, refused, figures
}

func TestSumsNearTheirEnd(t *testing.T) {
	some := 0
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 11))
		log, refused, figures := hugeLog(r)
		some += len(refused)
		for k, cut := range []func(int) bool{always, never, func(int) bool { return r.IntN(5) == 0 }} {
			name := fmt.Sprintf("seed %d, way %d", seed, k)
			h := play(t, log, cut, never)
			got := map[int64]bool{}
			for _, d := range h.dead {
				if d.Reason == Overflow {
					got[d.Trade.ID] = true
				}
			}
			if len(got) != len(h.dead) || len(got) != len(refused) {
				t.Fatalf("%s: refused %v, wanted %v", name, h.dead, refused)
			}
			check(t, name, h)
			for key, c := range h.view(0) {
				want := figures[key]
				if c.Trades != want.Trades || c.Quote.Cmp(want.Quote) != 0 || c.Volume.Cmp(want.Volume) != 0 || c.TakerQuote.Cmp(want.TakerQuote) != 0 || c.TakerVolume.Cmp(want.TakerVolume) != 0 {
					t.Fatalf("%s: %s is %+v, wanted %+v", name, key, c.Figures, want)
				}
			}
			closeStore(t, h)
		}
	}
	if some == 0 {
		t.Error("nothing was refused")
	}
}
