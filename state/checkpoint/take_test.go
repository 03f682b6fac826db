package checkpoint

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestTakeAndRestore: what is taken is found, verifies, and comes back as it
// was; the second uploads less, and one of the same position nothing.
func TestTakeAndRestore(t *testing.T) {
	eachStore(t, func(t *testing.T, s *Store) {
		w := newWorld(t, s, vfs.Default, 20)
		w.trade(4000)
		w.close() // flushed into tables, which do not change by what follows
		w.open()
		first, cost := w.take(false)
		if cost.Files != objects(first) || cost.Bytes < first.stored() || first.Size == 0 {
			t.Fatalf("the first uploaded %+v of %d files, %d bytes", cost, len(first.Files), first.Size)
		}
		then := w.published()
		if _, cost = w.take(false); !cost.Known || cost.Files != 0 {
			t.Fatalf("the same position again: %+v", cost)
		}
		w.trade(40)
		second, cost := w.take(false)
		if cost.Known || cost.Bytes > second.Size/2 || cost.Files >= len(second.Files) {
			t.Fatalf("after 1%% more trades it uploaded %+v of %d bytes", cost, second.Size)
		}
		refs, err := s.List(t.Context(), Log{})
		if err != nil || len(refs) != 2 || refs[0].Offset != second.Offset || refs[1].Offset != first.Offset || refs[0].Log != testLog {
			t.Fatalf("listed %v, %v", refs, err)
		}
		for _, r := range refs {
			var whole atomic.Int64
			m, err := s.Verify(t.Context(), r, t.TempDir()+"/v", func(done, total int64) {
				if done == total {
					whole.Add(1)
				}
			})
			if err != nil || whole.Load() == 0 {
				t.Fatalf("%v of %d bytes: %v", r, m.Size, err)
			}
		}
		if at, refused := w.restore(); at != second.Offset || len(refused) > 0 {
			t.Fatalf("restored %d, refused %v", at, refused)
		}
		if inside(t, w.want().Scratch, w.fs) != w.published() {
			t.Fatal("the restored state publishes something else")
		}
		older := w.want()
		older.Name = refs[1].String()
		if m, _, err := s.Restore(t.Context(), older); err != nil || m.Offset != first.Offset {
			t.Fatalf("restored %v: %v", m, err)
		}
		if inside(t, older.Scratch, w.fs) != then {
			t.Fatal("the older one publishes something else")
		}
		if _, cost = w.take(true); cost.Files != objects(second) {
			t.Fatalf("a full one uploaded %+v", cost)
		}
		w.close()
	})
}

// TestWant: what is asked for bounds what is restored, with a word for each that
// isn't.
func TestWant(t *testing.T) {
	eachStore(t, func(t *testing.T, s *Store) {
		w := newWorld(t, s, vfs.NewMem(), 3)
		var ms []*Manifest
		for range 3 {
			w.trade(20)
			m, _ := w.take(false)
			ms = append(ms, m)
		}
		for _, c := range []struct {
			name string
			do   func(*Want)
			at   int64
			why  string
		}{
			{"all", func(*Want) {}, ms[2].Offset, ""},
			{"by offset", func(x *Want) { x.Offset = ms[2].Offset - 1 }, ms[1].Offset, "beyond"},
			{"by time", func(x *Want) { x.At = *ms[0].Newest }, ms[0].Offset, "after"},
			{"none so old", func(x *Want) { x.Offset = 1 }, -1, "beyond"},
			{"another partition", func(x *Want) { x.Log.Partition++ }, -1, ""},
			{"another life of the topic", func(x *Want) { x.Log.TopicID[0]++ }, -1, ""},
			{"log rewritten", func(*Want) { w.hashes[ms[2].Offset]++ }, ms[1].Offset, "another record"},
		} {
			t.Run(c.name, func(t *testing.T) {
				x := w.want()
				c.do(&x)
				m, refused, err := s.Restore(t.Context(), x)
				if err != nil {
					t.Fatal(err)
				}
				if (m == nil) != (c.at < 0) || m != nil && m.Offset != c.at {
					t.Fatalf("restored %+v, wanted %d", m, c.at)
				}
				if (len(refused) > 0) != (c.why != "") || len(refused) > 0 && !strings.Contains(refused[0].Why, c.why) {
					t.Fatalf("refused %v, wanted one with %q", refused, c.why)
				}
			})
		}
		w.close()
	})
}

// objects counts the files that aren't empty.
func objects(m *Manifest) (n int) {
	for _, f := range m.Files {
		if f.Size > 0 {
			n++
		}
	}
	return n
}
