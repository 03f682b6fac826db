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

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"millrace/schema"
)

func fixedLog() []entry {
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
	return log
}

// TestRowsOfTheFormat holds the store's rows after a fixed log against bytes
// that are kept: whoever changes them changes rowVersion, FORMAT.md and the
// CHANGELOG too. MILLRACE_GOLDEN=write writes them anew.
func TestRowsOfTheFormat(t *testing.T) {
	h := play(t, fixedLog(), always, never)
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

// TestRowsOfVersion1: what the first version wrote is read as this one has it.
func TestRowsOfVersion1(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "rows.v1.golden"))
	if err != nil {
		t.Fatal(err)
	}
	fs := vfs.NewMem()
	db, err := newDisk(Options{Dir: "old", FS: fs, Complain: func(string) {}}).open(false)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var k, v []byte
		if _, err := fmt.Sscanf(line, "%x %x", &k, &v); err != nil {
			t.Fatal(err)
		}
		if err := db.Set(k, v, pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	old, err := OpenView(Options{Dir: "old", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := old.Check(); err != nil {
		t.Fatal(err)
	}
	h := play(t, fixedLog(), always, never)
	defer closeStore(t, h)
	now, err := h.s.View()
	if err != nil {
		t.Fatal(err)
	}
	defer now.Close()
	var rows [2][]string
	for i, v := range []*View{old, now} {
		err := v.Since(0, 1000, func(c *Changes) error {
			for _, x := range c.Candles {
				rows[i] = append(rows[i], fmt.Sprintf("%+v", x))
			}
			for _, x := range c.Runs {
				rows[i] = append(rows[i], fmt.Sprintf("%+v", x))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(rows[0]) == 0 || !slices.Equal(rows[0], rows[1]) {
		t.Errorf("it publishes\n%s\nwanted\n%s", strings.Join(rows[0], "\n"), strings.Join(rows[1], "\n"))
	}
	if old.Position() != now.Position() {
		t.Errorf("it stands at %+v, wanted %+v", old.Position(), now.Position())
	}
}

// TestErasOnRowsOfVersion1: a store of rows as they were before eras goes on; rows
// that change get the new form.
func TestErasOnRowsOfVersion1(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "rows.v1.golden"))
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
	format := *p.Settings()
	format.Format, format.Revision = 2, format.Revision+1
	for i, body := range []any{format, schema.NewSeries{Symbol: "BTCUSDT", Era: 1}, batch{symbol: "BTCUSDT", trades: []schema.Trade{
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
		if c.Status == schema.Live { // its series has ended
			c.Status, c.Version = schema.Closed, c.Version+1
		}
		if got[k] != c {
			t.Errorf("%s was %+v, is %+v", k, c, got[k])
		}
	}
	closeStore(t, h)
}
