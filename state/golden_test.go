package state

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"millrace/schema"
)

// TestRowsOfTheFormat holds the store's rows after a fixed log against bytes
// that are kept: whoever changes them changes rowVersion, FORMAT.md and the
// CHANGELOG too. MILLRACE_GOLDEN=write writes them anew.
func TestRowsOfTheFormat(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 7))
	m := makeMarket(r, "BTCUSDT")
	m.trades = m.trades[:min(len(m.trades), 40)]
	log := makeLog(r, []market{m})
	for i := range log {
		if s, ok := log[i].body.(schema.Settings); ok {
			s.Format = 1 // the rows are the same whatever the log's format
			log[i].body = s
		}
	}
	h := play(t, log, always, never)
	defer closeStore(t, h)
	var b strings.Builder
	rows := h.rows()
	for _, k := range slices.Sorted(maps.Keys(rows)) {
		fmt.Fprintf(&b, "%x %x\n", k, rows[k])
	}
	path := filepath.Join("testdata", "rows.golden")
	if os.Getenv("MILLRACE_GOLDEN") == "write" {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Fatalf("the rows have another form:\n%s\nwanted\n%s", got, want)
	}
}
