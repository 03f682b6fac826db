package sink

import (
	"fmt"
	"runtime"
	"testing"

	"millrace/schema"
	"millrace/state"
)

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestMailboxIsBounded: 10,000 symbols in seven periods, and a sink that takes
// nothing for a long time: the mailbox stays within its bound, and gives the
// memory back when it is emptied.
func TestMailboxIsBounded(t *testing.T) {
	const symbols = 10_000
	names := make([]string, symbols)
	for i := range names {
		names[i] = fmt.Sprintf("SYM%05dUSDT", i)
	}
	before := heap()
	m := NewMailbox()
	m.Take()
	most := int64(0)
	lost := 0
	for second := range 20 {
		c := &state.Changes{Calendar: schema.Calendar{}, Position: state.Position{Offset: int64(second)}}
		for _, name := range names {
			for _, p := range []schema.Period{schema.P1s, schema.P1m, schema.P5m, schema.P15m, schema.P1h, schema.P4h, schema.P1d} {
				at := schema.Calendar{}.Start(p, schema.Time(second)*schema.Second)
				c.Candles = append(c.Candles, schema.Candle{Symbol: name, Period: p, Start: at})
			}
		}
		m.Offer(c)
		c = nil
		most = max(most, heap()-before)
		if m.behind {
			lost++
			m.Take()
		}
	}
	t.Logf("at most %d MB, lost %d times", most>>20, lost)
	if lost == 0 {
		t.Error("it never gave up")
	}
	if most > 100<<20 {
		t.Errorf("%d MB", most>>20)
	}
	m.Lose()
	if left := heap() - before; left > 4<<20 {
		t.Errorf("%d MB are left when it is empty", left>>20)
	}
	runtime.KeepAlive(m)
}
