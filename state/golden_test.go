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

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/schema"
)

// TestRowsOfTheFormat holds the store's rows after a fixed log against bytes
// that are kept: whoever changes them changes rowVersion, FORMAT.md and the
// CHANGELOG too. MILLRACE_GOLDEN=write writes them anew.
func TestRowsOfTheFormat(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 7))
	m := makeMarket(r, "BTCUSDT")
	m.trades = m.trades[:min(len(m.trades), 40)]
	h := play(t, makeLog(r, []market{m}), always, never)
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

// TestRowsOfVersion1: a store of rows as they were before eras opens, is whole,
// goes on, and is refused by nobody; rows that change get the new form.
func TestRowsOfVersion1(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "rows-1.golden"))
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{TB: t, fs: vfs.NewMem(), seen: map[string]schema.Candle{}, gaps: map[string]schema.GapSet{}}
	h.open()
	for line := range strings.Lines(string(text)) {
		var key, row []byte
		if _, err := fmt.Sscanf(line, "%x %x", &key, &row); err != nil {
			t.Fatal(err)
		}
		if err := h.s.db.Set(key, row, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	if h.s, err = Open(Options{Dir: "state", FS: h.fs}, [16]byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	old := h.view(0)
	p := h.s.Partition()
	at := p.Position().Offset
	for i, body := range []any{schema.NewSeries{Symbol: "BTCUSDT", Era: 1}, batch{symbol: "BTCUSDT", trades: []schema.Trade{
		{ID: 0, Last: 0, Time: p.newest + schema.Hour, Price: schema.Decimal{Mantissa: 1}, Qty: schema.Decimal{Mantissa: 1}}}}} {
		p.Apply(Record{Offset: at + int64(i), Appended: p.LogTime() + schema.Hour}, entry{p.LogTime() + schema.Hour, body}.tick(t), nil)
	}
	h.commit()
	if refused := p.TakeRefusals(); len(refused) > 0 {
		t.Fatalf("%+v", refused)
	}
	got := h.view(0)
	if len(got) != len(old)+3 { // of three periods
		t.Errorf("%d candles, there were %d", len(got), len(old))
	}
	for k, c := range old {
		if got[k] != c {
			t.Errorf("%s was %+v, is %+v", k, c, got[k])
		}
	}
	closeStore(t, h)
}
