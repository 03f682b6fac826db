package processor

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schema"
)

// haunt writes records to candles as another writer would.
func (w *world) haunt(recs []*kgo.Record) {
	w.Helper()
	for _, r := range recs {
		out := &kgo.Record{Topic: w.topics.Candles, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: []kgo.RecordHeader{{Key: schema.HeaderWriter, Value: []byte(zombie)}}}
		if err := w.client.ProduceSync(w.Context(), out).FirstErr(); err != nil {
			w.Fatal(err)
		}
	}
}

// settles waits until the last records are the wanted ones.
func (w *world) settles(want map[string]schema.Version) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 20*time.Second)
	defer cancel()
	for {
		last, wrong := w.lastCandles(), ""
		for k, v := range want {
			if last[k].Version != v {
				wrong = k
			}
		}
		if wrong == "" {
			return
		}
		select {
		case <-ctx.Done():
			w.Fatalf("the last record of %s is %+v, wanted version %d", wrong, last[wrong], want[wrong])
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// older picks records that a later one of their key has passed.
func (w *world) older(r *rand.Rand, n int) (recs []*kgo.Record, versions map[string]schema.Version) {
	w.Helper()
	last := w.lastCandles()
	versions = map[string]schema.Version{}
	all := w.records(w.topics.Candles)
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, rec := range all {
		c, err := schema.DecodeCandle(rec.Value)
		if err == nil && c.Version < last[string(rec.Key)].Version && len(recs) < n {
			recs = append(recs, rec)
			versions[string(rec.Key)] = last[string(rec.Key)].Version
		}
	}
	if len(recs) < n {
		w.Fatalf("only %d older records", len(recs))
	}
	return recs, versions
}

func TestZombieOnCandles(t *testing.T) {
	w := newFakeWorld(t)
	r := rand.New(rand.NewPCG(5, 1))
	w.market(r, 5, 600)
	dir, dsn := t.TempDir(), "sqlite:"+filepath.Join(t.TempDir(), "x.db")
	p := w.run(w.config(dir, dsn))
	w.log(r, 0, 100)
	w.caughtUp(p)
	w.log(r, 100, 300)
	w.caughtUp(p)
	// While the owner lives: it answers.
	recs, versions := w.older(r, 15)
	w.haunt(recs)
	w.settles(versions)
	// A record that nobody can read is none.
	broken := &kgo.Record{Partition: recs[0].Partition, Key: recs[0].Key, Value: []byte("no candle")}
	n := len(w.records(w.topics.Candles))
	w.haunt([]*kgo.Record{broken})
	w.grows(n + 2)
	// Something higher than state knows, and then lower things over it: the
	// higher one stays.
	high := recs[1]
	c, err := schema.DecodeCandle(high.Value)
	if err != nil {
		t.Fatal(err)
	}
	c.Trades, c.Last, c.Status = c.Trades+1000, c.Last+1000, schema.Live
	c.Version = schema.TradesVersion(0, c.Trades, schema.Live)
	higher := &kgo.Record{Partition: high.Partition, Key: high.Key, Value: schema.AppendCandle(nil, &c)}
	w.haunt([]*kgo.Record{higher, high})
	w.settles(map[string]schema.Version{string(high.Key): c.Version})
	// While nobody is there: the next owner sees it when it starts.
	p.stop()
	recs, versions = w.older(r, 15)
	w.haunt(recs)
	w.haunt([]*kgo.Record{high})
	versions[string(high.Key)] = c.Version
	p = w.run(w.config(dir, dsn))
	w.settles(versions)
	w.log(r, 300, 600)
	w.caughtUp(p)
	p.stop()
	if got := w.lastCandles()[string(high.Key)].Version; got != c.Version {
		t.Errorf("the higher record went from version %d to %d", c.Version, got)
	}
}

// grows waits until candles has n records.
func (w *world) grows(n int) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 20*time.Second)
	defer cancel()
	for {
		all := w.records(w.topics.Candles)
		if len(all) >= n {
			return
		}
		select {
		case <-ctx.Done():
			w.Fatalf("candles has %d records, wanted %d", len(all), n)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestCandlesMadeAnew(t *testing.T) {
	w := newFakeWorld(t)
	r := rand.New(rand.NewPCG(6, 1))
	w.market(r, 5, 400)
	dir, dsn := t.TempDir(), "sqlite:"+filepath.Join(t.TempDir(), "x.db")
	p := w.run(w.config(dir, dsn))
	w.log(r, 0, 300)
	w.caughtUp(p)
	p.stop()
	w.remove(w.topics.Candles)
	if n := len(w.records(w.topics.Candles)); n != 0 {
		t.Fatalf("%d records in the new topic", n)
	}
	p = w.run(w.config(dir, dsn))
	w.log(r, 300, 400)
	w.caughtUp(p)
	p.stop()
	same(t, w, dsn)
}

// TestSecondLineage: ticks is made anew and the same trades come into it. What
// the first one has told stays until the second knows more.
func TestSecondLineage(t *testing.T) {
	w := newFakeWorld(t)
	r := rand.New(rand.NewPCG(7, 1))
	w.market(r, 5, 500)
	dir, dsn := t.TempDir(), "sqlite:"+filepath.Join(t.TempDir(), "x.db")
	p := w.run(w.config(dir, dsn))
	w.log(r, 0, 400)
	w.caughtUp(p)
	p.stop()
	want := w.lastCandles()
	w.remove(w.topics.Ticks)
	// The state of before is not the new log's.
	old := w.run(w.config(dir, dsn))
	err := <-old.done
	old.Close()
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "made anew") || !strings.Contains(err.Error(), "move ") {
		t.Fatalf("on another log's state: %v", err)
	}
	dir = t.TempDir()
	p = w.run(w.config(dir, dsn))
	w.log(r, 0, 150)
	w.caughtUp(p)
	p.stop()
	p = w.run(w.config(dir, dsn))
	w.log(r, 150, 250)
	w.caughtUp(p)
	p.stop()
	last := w.lastCandles()
	for k, c := range want {
		if got := last[k]; got.Version != c.Version {
			t.Fatalf("%s went from version %d to %d", k, c.Version, got.Version)
		}
	}
	p = w.run(w.config(dir, dsn))
	w.log(r, 250, 500)
	w.caughtUp(p)
	p.stop()
	same(t, w, dsn)
}
