package binance

import (
	"errors"
	"testing"
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
		c := serverClock{steady: 250 * time.Millisecond}
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
