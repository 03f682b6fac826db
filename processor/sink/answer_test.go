package sink

import (
	"testing"

	"millrace/state"
)

// TestProgressHeader: what is written is read back; what was left in another
// life of either topic is not taken for a progress.
func TestProgressHeader(t *testing.T) {
	ticks, candles, other := [16]byte{1}, [16]byte{2}, [16]byte{3}
	at := state.Position{TopicID: ticks, Offset: 7, Epoch: 2, Hash: 0xabc, History: 0xdef}
	for _, mixed := range []bool{false, true} {
		h := string(progressHeader(ticks, candles, at, mixed))
		if p, m, ok := parseProgress(h, ticks, candles); !ok || p != at || m != mixed {
			t.Errorf("%s is read as %+v, %v, %v", h, p, m, ok)
		}
		if _, _, ok := parseProgress(h, other, candles); ok {
			t.Errorf("%s is taken for one of another log", h)
		}
		if _, _, ok := parseProgress(h, ticks, other); ok {
			t.Errorf("%s is taken for one of another life of candles", h)
		}
	}
	for _, h := range []string{"01000000000000000000000000000000:7:2:abc", "01000000000000000000000000000000:7:2:abc:mixed"} {
		want := at
		want.History = 0
		if p, _, ok := parseProgress(h, ticks, candles); !ok || p != want {
			t.Errorf("%s of the first version is read as %+v, %v", h, p, ok)
		}
	}
	for _, h := range []string{"", "mixed", "01000000000000000000000000000000:-7:2:abc", "01000000000000000000000000000000:7:2:xyz", "1:2:3:4:5:6:7:8"} {
		if _, _, ok := parseProgress(h, ticks, candles); ok {
			t.Errorf("%q is taken for a progress", h)
		}
	}
}
