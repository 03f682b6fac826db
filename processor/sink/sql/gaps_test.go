package sqlsink

import (
	"reflect"
	"strings"
	"testing"

	"millrace/schema"
)

func TestGapsAreReplacedUnlessNewer(t *testing.T) {
	on(t, func(t *testing.T, db *DB) {
		gaps := func(symbol string) []schema.Gap {
			t.Helper()
			g, err := db.Gaps(soon(t), symbol)
			if err != nil {
				t.Fatal(err)
			}
			return g
		}
		us := schema.Time(123456)
		open := schema.Gap{First: 10, Last: 19, After: aStart + us, Before: aStart + us + 1, Found: aStart + us + 2, Reason: "hole ‘x’"}
		edge := schema.Gap{First: 0, Last: 3, Found: aStart, Reason: strings.Repeat("é", 300)}
		write(t, db, Batch{Gaps: []schema.GapSet{
			{Symbol: "A", Applied: 100, Opened: 1, Gaps: []schema.Gap{{First: 1, Last: 1, Found: aStart}}},
			{Symbol: "这", Applied: 5, Gaps: []schema.Gap{edge}},
			{Symbol: "A", Applied: 100, Opened: 2, Gaps: []schema.Gap{open, open}},
		}})
		if got, want := gaps("A"), []schema.Gap{open}; !reflect.DeepEqual(got, want) {
			t.Fatalf("read %+v, wanted %+v", got, want)
		}
		edge.Reason = strings.Repeat("é", 255)
		if got := gaps("这"); !reflect.DeepEqual(got, []schema.Gap{edge}) {
			t.Errorf("read %+v, wanted %+v", got, edge)
		}

		// Older sets, by either number.
		for _, old := range [][2]int64{{99, 50}, {100, 1}} {
			write(t, db, Batch{Gaps: []schema.GapSet{{Symbol: "A", Applied: old[0], Opened: old[1]}}})
			if got := gaps("A"); !reflect.DeepEqual(got, []schema.Gap{open}) {
				t.Errorf("the set %v replaced a newer one: %+v", old, got)
			}
		}

		// Split by a partial fill; another symbol's rows stay.
		filled, rest := open, open
		filled.Last, filled.Filled = 14, aStart+schema.Hour
		rest.First = 15
		set := schema.GapSet{Symbol: "A", Applied: 105, Opened: 2, Gaps: []schema.Gap{rest, filled}}
		for range 2 { // and sent again
			write(t, db, Batch{Gaps: []schema.GapSet{set}})
			if got, want := gaps("A"), []schema.Gap{filled, rest}; !reflect.DeepEqual(got, want) {
				t.Errorf("read %+v, wanted %+v", got, want)
			}
		}
		if got := text(t, db, "SELECT COUNT(*) FROM gaps WHERE filled_at IS NULL"); got != "2" {
			t.Errorf("%s open gaps, wanted 2", got)
		}
		write(t, db, Batch{Gaps: []schema.GapSet{{Symbol: "A", Applied: 110, Opened: 2}}})
		if got := gaps("A"); got != nil {
			t.Errorf("an empty set left %+v", got)
		}
		if got := gaps("这"); len(got) != 1 {
			t.Errorf("the other symbol has %+v", got)
		}
	})
}
