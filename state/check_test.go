package state

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/schema"
)

// TestCheckFinds: each way in which rows can be wrong is found, and the row is
// named.
func TestCheckFinds(t *testing.T) {
	inWindow := func(change func(*window)) func(*testing.T, *harness, *pebble.Batch) {
		return func(t *testing.T, h *harness, b *pebble.Batch) {
			key, row := firstWindow(t, h)
			w := &window{}
			if err := w.decode(row); err != nil {
				t.Fatal(err)
			}
			change(w)
			set(t, b, key, w.append(nil))
		}
	}
	inSymbol := func(change func(*symbol)) func(*testing.T, *harness, *pebble.Batch) {
		return func(t *testing.T, h *harness, b *pebble.Batch) {
			y := h.s.p.symbols["AAAUSDT"]
			change(y)
			set(t, b, appendSymbolKey(nil, y.name), y.append(nil))
		}
	}
	for _, c := range []struct {
		name, want string
		do         func(*testing.T, *harness, *pebble.Batch)
	}{
		{"a window is missing", "windows of", func(t *testing.T, h *harness, b *pebble.Batch) {
			key, _ := firstWindow(t, h)
			if err := b.Delete(key, nil); err != nil {
				t.Fatal(err)
			}
		}},
		{"a window counts a trade less", "windows of AAAUSDT", inWindow(func(w *window) { w.fig.Trades++; w.fig.Trades -= 2 })},
		{"a window of ids that are not applied", "not applied", inWindow(func(w *window) { w.fig.Last += 1 << 40 })},
		{"a window from beyond the position", "beyond the position", inWindow(func(w *window) { w.changed = 1 << 40 })},
		{"a window with more trades than ids", "with the ids", inWindow(func(w *window) { w.fig.Trades = 1 << 40 })},
		{"a low above the high", "out of order", inWindow(func(w *window) { w.fig.Low.Mantissa, w.fig.Low.Scale = 1<<40, 0 })},
		{"takers that bought too much", "takers", inWindow(func(w *window) { w.fig.TakerVolume.Hi++ })},
		{"a window that starts at no window's start", "starts then", func(t *testing.T, h *harness, b *pebble.Batch) {
			key, row := firstWindow(t, h)
			key[len(key)-1]++
			set(t, b, key, row)
		}},
		{"a row cut short", "damaged row", func(t *testing.T, h *harness, b *pebble.Batch) {
			key, row := firstWindow(t, h)
			set(t, b, key, row[:len(row)-1])
		}},
		{"a window of an unknown symbol", "nothing knows of", func(t *testing.T, h *harness, b *pebble.Batch) {
			_, row := firstWindow(t, h)
			set(t, b, appendWindowKey(nil, "ZZZ", schema.P1m, 0), row)
		}},
		{"a key of no kind", "nothing knows of", func(t *testing.T, _ *harness, b *pebble.Batch) { set(t, b, []byte("x"), nil) }},
		{"ids that are not counted", "it counts", inSymbol(func(y *symbol) { y.count++ })},
		{"intervals that touch", "touches", inSymbol(func(y *symbol) {
			v := y.applied[len(y.applied)-1]
			v.first, v.last, v.found = v.last+1, v.last+1, 0
			y.applied = append(y.applied, v)
			y.count++
		})},
		{"an interval newer than the symbol", "newer", inSymbol(func(y *symbol) { y.newest-- })},
		{"a series twice", "have once", inSymbol(func(y *symbol) { y.series = append(y.series, y.series[0]) })},
		{"a symbol is missing", "symbols", func(t *testing.T, _ *harness, b *pebble.Batch) {
			if err := b.Delete(appendSymbolKey(nil, "BBBUSDT"), nil); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(5, 6))
			log := makeLog(r, []market{makeMarket(r, "AAAUSDT"), makeMarket(r, "BBBUSDT")})
			h := play(t, log, always, never)
			b := h.s.db.NewBatch()
			c.do(t, h, b)
			if err := errors.Join(b.Commit(pebble.Sync), b.Close(), h.s.Close()); err != nil {
				t.Fatal(err)
			}
			v, err := OpenView(Options{Dir: "state", FS: h.fs})
			if err == nil {
				err = v.Check()
				if bad := v.Close(); bad != nil {
					t.Fatal(bad)
				}
			}
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, wanted one with %q", err, c.want)
			}
		})
	}
}

func set(t *testing.T, b *pebble.Batch, key, row []byte) {
	t.Helper()
	if err := b.Set(key, row, nil); err != nil {
		t.Fatal(err)
	}
}

func firstWindow(t *testing.T, h *harness) (key, row []byte) {
	t.Helper()
	stop := errors.New("one is enough")
	err := scan(h.s.db, []byte{windowPrefix}, []byte{windowPrefix + 1}, func(k, v []byte) error {
		key, row = append(key, k...), append(row, v...)
		return stop
	})
	if !errors.Is(err, stop) {
		t.Fatalf("no window: %v", err)
	}
	return key, row
}

// TestCopyWhileTheOwnerWorks: a copy taken by another goroutine is the state at
// one commit, whole, and stays so.
func TestCopyWhileTheOwnerWorks(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	log := makeLog(r, []market{makeMarket(r, "AAAUSDT"), makeMarket(r, "BBBUSDT"), makeMarket(r, "CCCUSDT")})
	h := &harness{TB: t, fs: vfs.NewMem(), seen: map[string]schema.Candle{}, gaps: map[string]schema.GapSet{}}
	h.open()
	at := make(chan int, len(log))
	done := make(chan error, 1)
	go func() {
		n := 0
		for range at {
			if n++; n > 6 {
				continue
			}
			if err := h.s.Copy(fmt.Sprint("copy", n)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for i, e := range log {
		h.s.Partition().Apply(Record{Offset: int64(i), Hash: uint64(i), Appended: e.at}, e.tick(t), nil)
		h.commit()
		at <- i
	}
	close(at)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	closeStore(t, h)
	for n := 1; n <= 6; n++ {
		v, err := OpenView(Options{Dir: fmt.Sprint("copy", n), FS: h.fs})
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Check(); err != nil {
			t.Fatal(err)
		}
		s := v.Summary()
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		ref := play(t, log[:s.Position.Offset], func(int) bool { return false }, never)
		copied := &harness{TB: t, fs: h.fs}
		if copied.s, err = Open(Options{Dir: fmt.Sprint("copy", n), FS: h.fs}, [16]byte{1}, 0); err != nil {
			t.Fatal(err)
		}
		if d := diff(copied.rows(), ref.rows()); d != "none" {
			t.Fatalf("copy %d at %d: %s", n, s.Position.Offset, d)
		}
		want, err := ref.s.View()
		if err != nil {
			t.Fatal(err)
		}
		if w := want.Summary(); w.Windows() != s.Windows() || w.Gaps() != s.Gaps() || w.Newest != s.Newest || w.Watermark != s.Watermark {
			t.Fatalf("copy %d sums up to %+v, wanted %+v", n, s, w)
		}
		if err := want.Close(); err != nil {
			t.Fatal(err)
		}
		closeStore(t, copied)
		closeStore(t, ref)
	}
}

// TestNewerState: what a newer program has written is refused as such, not as
// damaged: then it would be set aside and restored from something older.
func TestNewerState(t *testing.T) {
	h := play(t, makeLog(rand.New(rand.NewPCG(1, 1)), []market{makeMarket(rand.New(rand.NewPCG(1, 2)), "AAAUSDT")}), always, never)
	row, closer, err := h.s.db.Get([]byte(metaKey))
	if err != nil {
		t.Fatal(err)
	}
	newer := append([]byte{FormatVersion + 1}, row[1:]...)
	if err := errors.Join(closer.Close(), h.s.db.Set([]byte(metaKey), newer, pebble.Sync), h.s.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = Open(Options{Dir: "state", FS: h.fs}, [16]byte{1}, 0)
	_, worse := OpenView(Options{Dir: "state", FS: h.fs})
	for _, err := range []error{err, worse} {
		if !errors.Is(err, ErrNewer) || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), fmt.Sprintf("format %d, this program reads up to %d", FormatVersion+1, FormatVersion)) {
			t.Errorf("got %v", err)
		}
	}
}
