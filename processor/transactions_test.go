package processor

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"millrace/internal/kafka"
	"millrace/internal/testenv"
	"millrace/schema"
)

// newTransactional is a world on a fake whose processors write transactions.
func newTransactional(t *testing.T, seed uint64) (*world, *rand.Rand, *testenv.Fake) {
	t.Helper()
	fake := testenv.StartFake(t, kfake.GroupMinSessionTimeout(testSession))
	w := newWorld(t, fake.Brokers)
	w.fake, w.transactions = true, true
	return w, rand.New(rand.NewPCG(seed, 8)), fake
}

// naive reads candles as one who knows nothing of versions: committed records
// only, the last of a key counts. It fails where one is lower than the one before.
func (w *world) naive() {
	w.Helper()
	last := map[string]schema.Version{}
	for _, r := range w.records(w.topics.Candles) {
		c, err := schema.DecodeCandle(r.Value)
		if err != nil {
			w.Fatal(err)
		}
		if c.Version < last[string(r.Key)] {
			w.Errorf("%s in %d at %d: a reader that can't compare goes back from version %d to %d", r.Key, r.Partition, r.Offset, last[string(r.Key)], c.Version)
		}
		last[string(r.Key)] = c.Version
	}
}

// writer is one with a partition's transactional id, as another owner of it has.
func (w *world) writer(id string) *kgo.Client {
	w.Helper()
	client, err := kafka.Connect(w.Context(), kafka.Config{Brokers: []string{w.brokers}}, kgo.TransactionalID(id), kgo.TransactionTimeout(time.Minute), kgo.ProducerLinger(0))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(client.Close)
	if _, _, err := client.ProducerID(w.Context()); err != nil {
		w.Fatal(err)
	}
	return client
}

func (w *world) idOf(partition int32) string {
	return (&Processor{cfg: Config{Topics: w.topics, Transactions: &Transactions{}}}).transactions(partition).ID
}

// undecided writes records in a transaction that it leaves open.
func (w *world) undecided(client *kgo.Client, recs ...*kgo.Record) {
	w.Helper()
	if err := client.BeginTransaction(); err != nil {
		w.Fatal(err)
	}
	for _, r := range recs {
		out := &kgo.Record{Topic: w.topics.Candles, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: []kgo.RecordHeader{{Key: schema.HeaderWriter, Value: []byte(zombie)}}}
		if err := client.ProduceSync(w.Context(), out).FirstErr(); err != nil {
			w.Fatal(err)
		}
	}
}

// higher gives a record's candle with more trades than there are.
func higher(t *testing.T, r *kgo.Record) (*kgo.Record, schema.Version) {
	t.Helper()
	c, err := schema.DecodeCandle(r.Value)
	if err != nil {
		t.Fatal(err)
	}
	c.Trades, c.Last, c.Status = c.Trades+1000, c.Last+1000, schema.Live
	c.Version = schema.TradesVersion(0, c.Trades, schema.Live)
	return &kgo.Record{Partition: r.Partition, Key: r.Key, Value: schema.AppendCandle(nil, &c)}, c.Version
}

// TestTransactionsOnAFake: processors of one group come, go and are cut off at
// random; whoever reads committed sees rising versions, and at the end the truth.
func TestTransactionsOnAFake(t *testing.T) {
	for seed := range uint64(6) {
		w, r, fake := newTransactional(t, seed)
		const rounds, slice = 6, 60
		w.market(r, 5, rounds*slice)
		dsn := "sqlite:" + filepath.Join(t.TempDir(), "x.db")
		dirs := []string{t.TempDir(), t.TempDir()}
		stay := w.run(w.config(dirs[0], dsn))
		var other *running
		for i := range rounds {
			w.log(r, i*slice, (i+1)*slice)
			switch r.IntN(5) {
			case 0: // an answer is lost before its request is done
				var once atomic.Bool
				fake.ControlKey(int16(kmsg.EndTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
					return nil, errors.New("cut"), once.CompareAndSwap(false, true)
				})
			case 1: // an owner of before comes back, writes, and is cut short
				partition := r.Int32N(partitions)
				for _, rec := range w.records(w.topics.Candles) {
					if rec.Partition == partition {
						w.undecided(w.writer(w.idOf(partition)), rec)
						break
					}
				}
			case 2:
				if other == nil {
					other = w.run(w.config(dirs[1], dsn))
				}
			case 3:
				if other != nil {
					other.stop()
					other = nil
				}
			case 4:
				stay.stop()
				if r.IntN(2) == 0 {
					dirs[0] = t.TempDir()
				}
				stay = w.run(w.config(dirs[0], dsn))
			}
			w.pass(r, 100*time.Millisecond)
		}
		all := []*running{stay}
		if other != nil {
			all = append(all, other)
		}
		w.caughtUp(all...)
		for _, p := range all {
			p.stop()
		}
		w.naive()
		same(t, w, dsn)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestTransactionCases are the known traps, by name.
func TestTransactionCases(t *testing.T) {
	begin := func(t *testing.T) (*world, *rand.Rand, *testenv.Fake, string, string, *running) {
		w, r, fake := newTransactional(t, 1)
		w.market(r, 5, 300)
		dir, dsn := t.TempDir(), "sqlite:"+filepath.Join(t.TempDir(), "x.db")
		p := w.run(w.config(dir, dsn))
		w.log(r, 0, 50)
		w.caughtUp(p)
		w.log(r, 50, 150)
		w.caughtUp(p)
		return w, r, fake, dir, dsn, p
	}
	finish := func(t *testing.T, w *world, r *rand.Rand, dsn string, p *running) {
		t.Helper()
		w.log(r, 150, 300)
		w.caughtUp(p)
		p.stop()
		w.naive()
		same(t, w, dsn)
	}

	t.Run("an owner dies in mid-transaction", func(t *testing.T) {
		w, r, _, dir, dsn, p := begin(t)
		p.stop()
		old, _ := w.older(r, 1)
		more, _ := higher(t, old[0])
		dead := w.writer(w.idOf(old[0].Partition))
		w.undecided(dead, old[0], more)
		p = w.run(w.config(dir, dsn)) // its end is behind the open transaction until that is aborted
		finish(t, w, r, dsn, p)
		if err := dead.EndTransaction(t.Context(), kgo.TryCommit); err == nil {
			t.Error("a zombie commits")
		}
		w.naive()
	})

	t.Run("a zombie writes behind its successor", func(t *testing.T) {
		w, r, _, dir, dsn, p := begin(t)
		p.stop()
		old, _ := w.older(r, 1)
		dead := w.writer(w.idOf(old[0].Partition))
		p = w.run(w.config(dir, dsn))
		w.log(r, 100, 150)
		w.caughtUp(p)
		if err := dead.BeginTransaction(); err == nil {
			rec := &kgo.Record{Topic: w.topics.Candles, Partition: old[0].Partition, Key: old[0].Key, Value: old[0].Value}
			err = dead.ProduceSync(t.Context(), rec).FirstErr()
			if !errors.Is(err, kerr.ProducerFenced) && !errors.Is(err, kerr.InvalidProducerEpoch) {
				t.Errorf("a zombie's record: %v", err)
			}
		}
		finish(t, w, r, dsn, p)
	})

	t.Run("fenced while the group says it is the owner", func(t *testing.T) {
		w, r, _, _, dsn, p := begin(t)
		for partition := range int32(partitions) {
			w.writer(w.idOf(partition))
		}
		finish(t, w, r, dsn, p)
	})

	t.Run("the log ends in what was aborted", func(t *testing.T) {
		w, r, _, dir, dsn, p := begin(t)
		p.stop()
		old, _ := w.older(r, 5)
		for _, rec := range old {
			more, _ := higher(t, rec)
			dead := w.writer(w.idOf(rec.Partition))
			w.undecided(dead, rec, more)
			if err := dead.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
				t.Fatal(err)
			}
		}
		p = w.run(w.config(dir, dsn))
		w.caughtUp(p)
		p.stop()
		finish(t, w, r, dsn, w.run(w.config(t.TempDir(), dsn)))
	})

	t.Run("an open transaction of another holds the end back", func(t *testing.T) {
		w, r, _, dir, dsn, p := begin(t)
		p.stop()
		old, _ := w.older(r, 1)
		more, version := higher(t, old[0])
		other := w.writer("another")
		w.undecided(other, more)
		p = w.run(w.config(dir, dsn))
		w.log(r, 150, 200)
		w.reaches(p, "sql")
		if p.sunk("candles") >= p.sunk("sql") {
			t.Error("the owner has written before it knew what stands there")
		}
		if err := other.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
		w.log(r, 200, 300)
		w.caughtUp(p)
		p.stop()
		w.naive()
		if got := w.lastCandles()[string(more.Key)].Version; got != version {
			t.Errorf("the higher record went from version %d to %d", version, got)
		}
	})

	t.Run("a commit's answer is lost", func(t *testing.T) {
		w, r, fake, _, dsn, p := begin(t)
		hand := w.connected()
		var mine atomic.Bool
		var lost atomic.Int64
		fake.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
			fake.KeepControl()
			if mine.Load() || lost.Load() >= 3 {
				return nil, nil, false
			}
			lost.Add(1)
			mine.Store(true)
			defer mine.Store(false)
			// The broker gets it, and the writer never hears of it.
			fake.SleepControl(func() {
				if _, err := hand.Request(context.Background(), req); err != nil {
					t.Errorf("hand on: %v", err)
				}
			})
			return nil, errors.New("cut"), true
		})
		finish(t, w, r, dsn, p)
		if lost.Load() == 0 {
			t.Error("no answer was lost")
		}
	})

	t.Run("what was flushed is aborted", func(t *testing.T) {
		w, r, fake, _, dsn, p := begin(t)
		var n atomic.Int64
		fake.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
			fake.KeepControl()
			if n.Add(1) > 3 {
				return nil, nil, false
			}
			resp := req.ResponseKind().(*kmsg.EndTxnResponse)
			resp.ErrorCode = kerr.InvalidTxnState.Code
			return resp, nil, true
		})
		finish(t, w, r, dsn, p)
	})

	t.Run("the last record of ticks is a transaction's mark", func(t *testing.T) {
		w, r, _, dir, dsn, p := begin(t)
		p.stop()
		writer := w.writer("ticks of another's")
		mark := func(end kgo.TransactionEndTry, from, to int) {
			t.Helper()
			if err := writer.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			for name, trades := range w.trades {
				value, _ := schema.AppendTrades(nil, name, trades[from:to], 0, 0)
				rec := &kgo.Record{Topic: w.topics.Ticks, Partition: schema.Partition(name, partitions), Key: []byte(name), Value: value}
				if err := writer.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			if err := writer.EndTransaction(t.Context(), end); err != nil {
				t.Fatal(err)
			}
		}
		mark(kgo.TryCommit, 150, 200)
		mark(kgo.TryAbort, 200, 210)
		p = w.run(w.config(dir, dsn))
		w.applied(p, 50)
		p.stop()
		p = w.run(w.config(dir, dsn)) // its position is before two marks and what was aborted
		finish(t, w, r, dsn, p)
	})
}

// applied waits until a processor has applied n trades of each symbol, no more.
func (w *world) applied(p *running, n int) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 20*time.Second)
	defer cancel()
	for {
		var have int64
		for _, s := range p.Status() {
			have += s.Counts.Trades
		}
		if want := int64(n * len(w.trades)); have > want {
			w.Fatalf("%d trades are applied: what was aborted is among them", have)
		} else if have == want {
			return
		}
		select {
		case <-ctx.Done():
			w.Fatalf("%d trades are applied, wanted %d", have, n*len(w.trades))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// connected is a client of nobody's.
func (w *world) connected() *kgo.Client {
	w.Helper()
	client, err := kafka.Connect(w.Context(), kafka.Config{Brokers: []string{w.brokers}})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(client.Close)
	return client
}

// TestOldBrokersAreRefused: without the second protocol of transactions.
func TestOldBrokersAreRefused(t *testing.T) {
	w := newWorld(t, testenv.StartFake(t, kfake.MaxVersions(kversion.V3_9_0())).Brokers)
	w.transactions = true
	p, err := New(w.config(t.TempDir(), "sqlite:"+filepath.Join(t.TempDir(), "x.db")))
	if err != nil {
		t.Fatal(err)
	}
	err = p.Open(t.Context())
	if err == nil || !strings.Contains(err.Error(), "from 4.0") {
		t.Fatalf("on old brokers: %v", err)
	}
}
