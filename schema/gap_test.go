package schema

import (
	"errors"
	"math"
	"reflect"
	"testing"
)

func gapSet() GapSet {
	return GapSet{Symbol: "BTCUSDT", Applied: 1000, Opened: 2, Era: 1, Granted: 3, Repaired: 2, Sealed: 1723075100000000, Changed: 184467, Gaps: []Gap{
		{First: 5, Last: 9, After: 1723075200000000, Before: 1723075201000000, Found: 1723075203000000, Reason: "hole"},
		{First: 20, Last: 20, After: 1723075202000000, Before: 1723075202000000, Found: 1723075204000000, Filled: 1723075210000000, Reason: "hole"},
	}}
}

func TestGapSetRoundTrip(t *testing.T) {
	for _, want := range []GapSet{gapSet(), {Symbol: "币"}} {
		value, err := AppendGapSet(nil, &want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeGapSet(value); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v comes back as %+v, %v", want, got, err)
		}
	}
}

func TestGapSetBounds(t *testing.T) {
	for name, do := range map[string]func(*GapSet){
		"symbol":            func(g *GapSet) { g.Symbol = "A|B" },
		"applied":           func(g *GapSet) { g.Applied = -1 },
		"opened":            func(g *GapSet) { g.Opened = -1 },
		"first below zero":  func(g *GapSet) { g.Gaps[1].First = -1 },
		"last before first": func(g *GapSet) { g.Gaps[1].Last = 19 },
		"last too high":     func(g *GapSet) { g.Gaps[0].Last = MaxVersionN + 1 },
		"time after":        func(g *GapSet) { g.Gaps[0].After = math.MinInt64 },
		"time before":       func(g *GapSet) { g.Gaps[0].Before = math.MaxInt64 },
		"time found":        func(g *GapSet) { g.Gaps[0].Found = math.MaxInt64 },
		"time filled":       func(g *GapSet) { g.Gaps[0].Filled = math.MaxInt64 },
	} {
		g := gapSet()
		do(&g)
		value, err := AppendGapSet(nil, &g)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeGapSet(value); !errors.Is(err, ErrGapSet) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := DecodeGapSet([]byte("hello")); !errors.Is(err, ErrGapSet) {
		t.Error(err)
	}
}
