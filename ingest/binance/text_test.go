package binance

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"millrace/schema"
)

// No figure gives a time beyond what a trade may carry: an event's E is believed
// as a promise of time, and nothing behind this checks it again.
func TestParseTime(t *testing.T) {
	for figure, want := range map[int64]schema.Time{
		0: 0, 1: 1000, 1672515782136: 1672515782136000, 1672515782136123: 1672515782136123,
		maxMicros / 1000: maxMicros / 1000 * 1000, 1e14: 1e14, maxMicros: maxMicros,
		-1: -1, -1 << 63: -1, maxMicros/1000 + 1: -1, 1e14 - 1: -1, maxMicros + 1: -1, 1<<63 - 1: -1,
	} {
		got, ok := ParseTime(figure)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%d: %v %v", figure, int64(got), ok)
		}
	}
	// In milliseconds, E is in the year 3139.
	var d Decoder
	var ev Event
	if err := d.Decode([]byte(`{"e":"trade","E":36893488147419,"s":"BNBBTC","t":1,"p":"1","q":"1","T":1672515782135,"m":false}`), &ev); err == nil {
		t.Errorf("took a trade with E %v", ev.EventTime)
	}
	if err := d.Decode([]byte(`{"e":"kline","E":36893488147419}`), &ev); err != nil || ev.EventTime != 0 {
		t.Errorf("E %v, %v", ev.EventTime, err)
	}
}

func TestDecodeOne(t *testing.T) {
	for body, good := range map[string]bool{`[]`: true, " [1]\r\n": true, `[]0`: false, `[][]`: false, `[]]`: false, `[],`: false, `[]x`: false, `[`: false, ``: false} {
		var rows []int
		if err := decodeOne(strings.NewReader(body), &rows); (err == nil) != good {
			t.Errorf("%q: %v", body, err)
		}
	}
	// A body that breaks off behind the value is no end.
	broken := errors.New("broken")
	if err := decodeOne(io.MultiReader(strings.NewReader("[1] "), iotest.ErrReader(broken)), new([]int)); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := ReadKlines(strings.NewReader("[[]")); err == nil {
		t.Error("half an answer was taken")
	}
	if all, err := ReadKlines(strings.NewReader("[] []")); err == nil {
		t.Errorf("two answers were taken for one: %v", all)
	}
}
