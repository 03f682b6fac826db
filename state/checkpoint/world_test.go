package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"gocloud.dev/blob"

	"millrace/schema"
	"millrace/state"
)

var testLog = Log{Topic: "ticks", TopicID: [16]byte{1, 2, 3}, Partition: 7}

// world is a partition's state under a made-up log, and a store.
type world struct {
	testing.TB
	fs     vfs.FS
	dir    string
	state  *state.Store
	store  *Store
	taker  *Taker
	r      *rand.Rand
	tick   schema.Tick
	offset int64
	at     schema.Time
	step   schema.Time // most between two trades
	ids    []int64
	hashes map[int64]uint64 // of the record before each offset
}

func newWorld(tb testing.TB, s *Store, fs vfs.FS, symbols int) *world {
	w := &world{TB: tb, fs: fs, store: s, r: rand.New(rand.NewPCG(1, 1)), step: 400_000, at: 1_723_161_540_000_000, ids: make([]int64, symbols), hashes: map[int64]uint64{}, dir: "state"}
	if fs == vfs.Default {
		w.dir = tb.TempDir() + "/state"
	}
	if err := fs.MkdirAll(w.dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(w.close)
	w.open()
	w.record(schema.Settings{Periods: []schema.Period{schema.P1s, schema.P1m, schema.P1h}})
	return w
}

func (w *world) open() {
	w.Helper()
	var err error
	if w.state, err = state.Open(state.Options{Dir: w.dir, FS: w.fs}, testLog.TopicID, testLog.Partition); err != nil {
		w.Fatal(err)
	}
	w.taker = &Taker{Store: w.store, State: w.state, Topic: testLog.Topic, Scratch: w.dir + ".copy", FS: w.fs, Program: "1.2.3"}
}

func (w *world) close() {
	w.Helper()
	if w.state == nil {
		return
	}
	if err := w.state.Close(); err != nil {
		w.Error(err)
	}
	w.state = nil
}

func (w *world) record(control any) {
	w.Helper()
	if s, ok := control.(schema.Settings); ok {
		s.EnsureDefaults()
		control = s
	}
	b, err := schema.AppendControl(nil, control)
	if err != nil {
		w.Fatal(err)
	}
	w.apply(b)
	w.commit()
}

func (w *world) apply(value []byte) {
	err := w.tick.Decode(value)
	h := xxhash.Sum64(value)
	w.state.Partition().Apply(state.Record{Offset: w.offset, Hash: h, Appended: w.at}, &w.tick, err)
	w.offset++
	w.hashes[w.offset] = h
}

func (w *world) commit() {
	w.Helper()
	if n := len(w.state.Partition().TakeRefusals()); n > 0 {
		w.Fatalf("%d refusals", n)
	}
	if _, err := w.state.Commit(); err != nil {
		w.Fatal(err)
	}
}

// trade applies n records of trades of random symbols, and commits them.
func (w *world) trade(n int) {
	w.Helper()
	w.fill(n)
	w.commit()
}

// fill applies them alone.
func (w *world) fill(n int) {
	for range n {
		i := w.r.IntN(len(w.ids))
		var ts [3]schema.Trade
		for k := range ts {
			w.at += schema.Time(w.r.Int64N(int64(w.step)))
			ts[k] = schema.Trade{ID: w.ids[i], Last: w.ids[i], Time: w.at,
				Price: schema.Decimal{Mantissa: 6_000_000 + w.r.Int64N(10_000), Scale: 2}, Qty: schema.Decimal{Mantissa: 1 + w.r.Int64N(1_000_000), Scale: 5}, BuyerMaker: w.r.IntN(2) == 0}
			w.ids[i]++
		}
		b, _ := schema.AppendTrades(nil, fmt.Sprintf("SYM%03dUSDT", i), ts[:], w.at, 1)
		w.apply(b)
	}
}

func (w *world) take(full bool) (*Manifest, Cost) {
	w.Helper()
	m, c, err := w.taker.Take(w.Context(), full)
	if err != nil {
		w.Fatal(err)
	}
	return m, c
}

// published gives all that a state publishes, as text.
func published(tb testing.TB, v *state.View) string {
	tb.Helper()
	var b strings.Builder
	err := v.Since(0, 1000, func(c *state.Changes) error {
		for i := range c.Candles {
			x := c.Candles[i]
			x.Received, x.Committed = 0, 0
			fmt.Fprintf(&b, "%+v\n", x)
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

func (w *world) published() string {
	w.Helper()
	v, err := w.state.View()
	if err != nil {
		w.Fatal(err)
	}
	defer v.Close()
	return published(w, v)
}

// inside gives what the state in a folder publishes, checked.
func inside(tb testing.TB, dir string, fs vfs.FS) string {
	tb.Helper()
	v, err := state.OpenView(state.Options{Dir: dir, FS: fs})
	if err == nil {
		err = v.Check()
	}
	if err != nil {
		tb.Fatal(err)
	}
	defer v.Close()
	return published(tb, v)
}

func (w *world) want() Want {
	return Want{Log: testLog, Scratch: w.dir + ".restored", FS: w.fs, Holds: func(_ context.Context, offset int64, hash uint64) (bool, string, error) {
		return w.hashes[offset] == hash, "another record is there", nil
	}}
}

// restore gives the offset of what is restored, −1 for nothing.
func (w *world) restore() (int64, []Refusal) {
	w.Helper()
	m, refused, err := w.store.Restore(w.Context(), w.want())
	if err != nil {
		w.Fatal(err)
	}
	if m == nil {
		return -1, refused
	}
	return m.Offset, refused
}

func testStore(b *blob.Bucket, o Options) *Store {
	o.Now = time.Now
	return newStore(b, "test", o)
}

// s3Server starts an S3 server in this process and gives a store's URL in it.
func s3Server(t *testing.T) string {
	t.Helper()
	backend := s3mem.New()
	srv := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(srv.Close)
	if err := backend.CreateBucket("millrace"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	return "s3://millrace/some/where?region=eu-west-1&endpoint=" + srv.URL
}

func eachStore(t *testing.T, f func(t *testing.T, s *Store)) {
	for name, where := range map[string]func(*testing.T) string{
		"folder": func(t *testing.T) string { return t.TempDir() + "/checkpoints" },
		"s3":     s3Server,
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Open(t.Context(), where(t), Options{Now: time.Now})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			f(t, s)
		})
	}
	t.Run("memory", func(t *testing.T) { f(t, testStore(blob.NewBucket(newMemory()), Options{})) })
}

var errCrash = errors.New("the process ended here")
