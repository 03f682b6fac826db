package sqlsink

import (
	"slices"
	"strings"
	"testing"

	"millrace/schema"
)

func TestMaintainDropsOldDays(t *testing.T) {
	on(t, func(t *testing.T, db *DB) {
		keep := map[schema.Period]int{schema.P1s: 2, schema.P1M: 31, schema.P1h: 0}
		day := at("2024-08-08T00:00:00Z")
		var all []schema.Candle
		for i := range schema.Time(6) {
			for _, p := range []schema.Period{schema.P1s, schema.P1m, schema.P1h} {
				all = append(all, candle("A", p, day-i*schema.Day, 1, schema.Live, 100), candle("这", p, day-i*schema.Day-1000000, 1, schema.Live, 100))
			}
		}
		for i := range schema.Time(4) {
			all = append(all, candle("A", schema.P1M, schema.Calendar{}.Start(schema.P1M, day-i*31*schema.Day), 1, schema.Live, 100))
		}
		put(t, db, all...)

		check := func(newest schema.Time) {
			t.Helper()
			if err := db.Maintain(soon(t), newest, keep); err != nil {
				t.Fatal(err)
			}
			var want []string
			for i := range all {
				c := &all[i]
				if days := keep[c.Period]; days == 0 || c.Start >= keptFrom(newest, days) {
					want = append(want, string(appendLine(nil, c)))
				}
			}
			slices.SortFunc(want, func(a, b string) int {
				x, y := strings.SplitN(a, " ", 4), strings.SplitN(b, " ", 4)
				return slices.Compare(x[:3], y[:3])
			})
			if got := strings.Split(strings.TrimSpace(dump(t, db)), "\n"); !slices.Equal(got, want) {
				t.Errorf("at %v: %d rows are left\n%s\nwanted %d\n%s", newest, len(got), strings.Join(got, "\n"), len(want), strings.Join(want, "\n"))
			}
		}
		check(day - 3*schema.Day)
		check(day - 3*schema.Day) // again: nothing to do
		for i := range schema.Time(5) {
			newest := day + i*schema.Day + schema.Hour
			next := candle("A", schema.P1s, newest, 1, schema.Live, 100)
			all = append(all, next)
			put(t, db, next)
			check(newest)
		}
		check(day + 400*schema.Day)
		// Rows of any day can be written after it, old ones too.
		put(t, db, all...)
		if got := strings.Count(dump(t, db), "\n"); got != len(all) {
			t.Errorf("%d rows after writing all %d again", got, len(all))
		}
	})
}

func TestKeptDaysAreChecked(t *testing.T) {
	for _, bad := range []map[schema.Period]int{{schema.P1M: 30}, {schema.P1w: 6}, {schema.P3d: 2}, {schema.P1s: -1}, {schema.P1s: 1 << 30}, {99: 5}} {
		if _, err := Open(t.Context(), Config{DSN: "sqlite:" + t.TempDir() + "/x.db", KeepDays: bad}); err == nil || !strings.Contains(err.Error(), "days kept") {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// Days are split off and dropped while others write: they wait, and lose nothing.
func TestMaintainWhileWriting(t *testing.T) {
	on(t, func(t *testing.T, db *DB) {
		const days = 12
		newest := func(i int) schema.Time { return aStart + schema.Time(i)*schema.Day }
		keep := map[schema.Period]int{schema.P1s: 3}
		done := make(chan error, 1)
		go func() {
			for i := range days {
				for range 2 { // the other process that maintains
					if err := db.Maintain(soon(t), newest(i), keep); err != nil {
						done <- err
						return
					}
				}
			}
			done <- nil
		}()
		last := (*Progress)(nil)
		for i := range days * 10 {
			c := candle("A", schema.P1s, newest(days)+schema.Time(i)*schema.Second, 1, schema.Live, 100)
			b := Batch{Candles: []schema.Candle{c}, Progress: progress(int64(i))}
			for {
				err := db.Write(soon(t), aKey, last, b)
				if err == nil {
					break
				}
				if !Retriable(err) {
					t.Fatal(err)
				}
				t.Log("again after:", err)
			}
			last = b.Progress
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(dump(t, db), "\n"); got != days*10 {
			t.Errorf("%d rows, wanted %d", got, days*10)
		}
	})
}

// The partitions of a period stay few, whatever is kept and however often
// Maintain is called.
func TestPartitionsStayFew(t *testing.T) {
	for _, days := range []int{1, 2, 7, 31, 32, 33, 90, 365, 3650, 36500} {
		var have []schema.Time
		newest := at("2024-01-01T00:00:00Z")
		for i := range 900 {
			newest += 7 * schema.Hour
			cutoff := keptFrom(newest, days)
			add := newBounds(have, days, cutoff, newest)
			if i == 0 && add[0] != cutoff {
				t.Errorf("%d days: the first bound is %v, not %v", days, add[0], cutoff)
			}
			have = append(have, add...)
			if !slices.IsSorted(have) || len(slices.Compact(slices.Clone(have))) != len(have) {
				t.Fatalf("%d days: bounds out of order: %v", days, have)
			}
			if last := have[len(have)-1]; last <= newest+ahead/2 {
				t.Fatalf("%d days: newest %v, but the last bound is %v", days, newest, last)
			}
			have = slices.DeleteFunc(have, func(b schema.Time) bool { return b <= cutoff })
			if len(have) > maxPieces+5 {
				t.Fatalf("%d days: %d partitions", days, len(have))
			}
		}
	}
}
