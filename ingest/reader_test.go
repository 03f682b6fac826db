package ingest_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/ingest"
	"millrace/schema"
	"millrace/schema/schemapb"
)

// TestTheLogIsReadAgain: from a moment on, or from where reading stopped; for
// the symbols asked for, whoever brought them; each trade once a time.
func TestTheLogIsReadAgain(t *testing.T) {
	servers(t, func(t *testing.T, brokers string) {
		b := newBench(t, brokers, 3)
		i, _ := b.open(ingest.Config{})
		other, _ := b.open(ingest.Config{})
		names := []string{"BTCUSDT", "ETHUSDT", "这是测试币456", "XRPETH", "DOGEUSDT"}
		next := int64(0)
		write := func(by *ingest.Ingestor, n int64) {
			t.Helper()
			var symbols []ingest.Symbol
			for _, name := range names {
				symbols = append(symbols, ingest.Symbol{Name: name, From: t0})
			}
			s, err := by.Stream(schemapb.Source_SOURCE_WEBSOCKET, symbols...)
			if err != nil {
				t.Fatal(err)
			}
			for end := next + n; next < end; next++ {
				for _, name := range names {
					x := trade(next, t0+schema.Time(next))
					if err := s.Trade([]byte(name), &x, t0); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := s.Close(t.Context(), t0+schema.Time(next)); err != nil {
				t.Fatal(err)
			}
		}
		r := i.Reader()
		defer r.Close()
		read := func(since map[string]time.Time) string {
			t.Helper()
			got := map[string][]int64{}
			err := r.Read(t.Context(), since, func(batch *schema.Batch) {
				for k := range batch.Trades {
					got[string(batch.Symbol)] = append(got[string(batch.Symbol)], batch.Trades[k].ID)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			text := ""
			for _, name := range slices.Sorted(maps.Keys(got)) {
				ids := got[name]
				if int64(len(ids)) != ids[len(ids)-1]-ids[0]+1 || !slices.IsSorted(ids) {
					t.Errorf("%s: %v", name, ids)
				}
				text += fmt.Sprintf("%s %d-%d ", name, ids[0], ids[len(ids)-1])
			}
			return text
		}
		begun := time.Now().Add(-time.Minute)
		write(other, 100)
		write(i, 50)
		for _, c := range []struct {
			name  string
			write int64
			since map[string]time.Time
			want  string
		}{
			{"from a moment on", 0, map[string]time.Time{"BTCUSDT": begun, "XRPETH": begun}, "BTCUSDT 0-149 XRPETH 0-149 "},
			{"nothing has come since", 0, map[string]time.Time{"BTCUSDT": {}, "XRPETH": {}}, ""},
			{"what has come since", 30, map[string]time.Time{"BTCUSDT": {}, "XRPETH": {}}, "BTCUSDT 150-179 XRPETH 150-179 "},
			{"again from the moment on", 0, map[string]time.Time{"BTCUSDT": begun}, "BTCUSDT 0-179 "},
			{"all of them", 5, map[string]time.Time{"BTCUSDT": begun, "ETHUSDT": begun, "这是测试币456": begun, "XRPETH": begun, "DOGEUSDT": begun},
				"BTCUSDT 0-184 DOGEUSDT 0-184 ETHUSDT 0-184 XRPETH 0-184 这是测试币456 0-184 "},
			{"a moment to come", 0, map[string]time.Time{"ETHUSDT": time.Now().Add(time.Hour)}, ""},
			{"a symbol that is not there", 0, map[string]time.Time{"NOSUCH": begun}, ""},
		} {
			write(other, c.write)
			if got := read(c.since); got != c.want {
				t.Errorf("%s: %q, want %q", c.name, got, c.want)
			}
		}
		last, err := i.Tail(t.Context(), append(slices.Clone(names), "NOSUCH"))
		if err != nil || len(last) != len(names) || last["XRPETH"] != (ingest.Last{ID: next - 1, Time: t0 + schema.Time(next-1)}) {
			t.Errorf("%v %v", last, err)
		}

		// Since a new series began nothing counts of what was before; nor does what
		// a repair reads once more.
		client := b.client()
		defer client.Close()
		put := func(name string, value []byte) {
			t.Helper()
			r := &kgo.Record{Topic: b.ticks, Partition: schema.Partition(name, b.partitions), Key: []byte(name), Value: value}
			if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"XRPETH", "ETHUSDT"} {
			value, err := schema.AppendControl(nil, schema.NewSeries{Symbol: name, Era: 1})
			if err != nil {
				t.Fatal(err)
			}
			put(name, value)
		}
		for id, repair := range map[int64]uint8{3: 0, 9000: 2} {
			value, _ := schema.AppendRepaired(nil, "XRPETH", []schema.Trade{trade(id, t0+schema.Hour)}, t0, 0, repair)
			put("XRPETH", value)
		}
		last, err = i.Tail(t.Context(), names)
		if err != nil || len(last) != len(names)-1 || last["XRPETH"] != (ingest.Last{ID: 3, Time: t0 + schema.Hour}) || last["BTCUSDT"].ID != next-1 {
			t.Errorf("%v %v", last, err)
		}
		if eras, err := i.Eras(t.Context()); err != nil || len(eras) != 0 {
			t.Errorf("eras %v, %v", eras, err)
		}
		for opened, era := range []uint8{0, 4} {
			value, err := schema.AppendGapSet(nil, &schema.GapSet{Symbol: "XRPETH", Applied: 5, Opened: int64(opened), Era: era})
			if err != nil {
				t.Fatal(err)
			}
			r := &kgo.Record{Topic: schema.GapsTopic(b.ticks), Partition: schema.Partition("XRPETH", b.partitions), Key: []byte("XRPETH"), Value: value}
			if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if eras, err := i.Eras(t.Context()); err != nil || len(eras) != 1 || eras["XRPETH"] != 4 {
			t.Errorf("eras %v, %v", eras, err)
		}
	})
}
