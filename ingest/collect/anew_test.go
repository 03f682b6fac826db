package collect

import (
	"testing"
	"time"

	"millrace/schema"
)

// TestIDsThatBeginAnew: an old id with a new time is handed over, however often
// ids of its kind were seen; one of the usual kind is not.
func TestIDsThatBeginAnew(t *testing.T) {
	now := time.Now()
	at := schema.FromStd(now)
	y := newSeries("BTCUSDT")
	place := func(id int64, after schema.Time) bool {
		return y.place(&schema.Trade{ID: id, Last: id, Time: at + after}, now)
	}
	for _, c := range []struct {
		id         int64
		after      schema.Time
		hand, anew bool
	}{
		{100, 0, true, false},
		{101, schema.Second, true, false},
		{100, 0, false, false},                                    // a copy
		{50, 0, true, false},                                      // of before this process
		{100, schema.Second + newSeriesAfter, false, false},       // as late as it may be
		{3, schema.Second + newSeriesAfter + 1, true, true},       // an id of before, with a time of now
		{101, schema.Second + newSeriesAfter + 2, true, true},     // one that was seen
		{102, schema.Second + newSeriesAfter + 3, true, true},     // and the next: the processor finds out
		{102, 2*schema.Second + 2*newSeriesAfter + 3, true, true}, // nothing of it was a copy
	} {
		if hand := place(c.id, c.after); hand != c.hand || y.anew != c.anew {
			t.Errorf("id %d after %d µs: handed over %v, anew %v", c.id, c.after, hand, y.anew)
		}
	}
}
