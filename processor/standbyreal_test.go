package processor

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"millrace/internal/testenv"
	"millrace/schema"
)

// trickle writes a trade of each symbol every few milliseconds, until the market
// is at trade n or stop is closed. It gives how far it came.
func (w *world) trickle(from, n int, stop <-chan struct{}) <-chan int {
	at := make(chan int, 1)
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		i := from
		for ; i < n; i++ {
			select {
			case <-stop:
				at <- i
				return
			case <-tick.C:
			}
			for name, all := range w.trades {
				if value, n := schema.AppendTrades(nil, name, all[i:i+1], schema.FromStd(time.Now()), 0); n == 1 {
					w.send(name, value)
				}
			}
		}
		at <- i
	}()
	return at
}

// resumed gives, of each partition in which another writer went on after a time,
// when its first candle was written.
func (w *world) resumed(after time.Time, by string) map[int32]time.Time {
	w.Helper()
	out := map[int32]time.Time{}
	for _, r := range w.records(w.topics.Candles) {
		for _, h := range r.Headers {
			if h.Key != schema.HeaderWriter || by != "" && string(h.Value) != by || r.Timestamp.Before(after) {
				continue
			}
			if first, ok := out[r.Partition]; !ok || r.Timestamp.Before(first) {
				out[r.Partition] = r.Timestamp
			}
		}
	}
	return out
}

// TestStandbyOnRealKafka: while trades come, one of two processors leaves, comes
// back, is killed, and is killed and started again. The other takes over what it
// has kept warm; the log says how long it took.
func TestStandbyOnRealKafka(t *testing.T) {
	broker := testenv.StartKafkaWith(t, testenv.KafkaConfig{Settings: map[string]string{"group.min.session.timeout.ms": "1000", "group.initial.rebalance.delay.ms": "0"}})
	maria := testenv.SharedMariaDB(t)
	w := newWorld(t, broker.Brokers)
	r := rand.New(rand.NewPCG(41, 1))
	const trades = 8_000
	w.market(r, 6, trades)
	dsn := maria.NewDatabase(t)
	cfg, said := w.standing(t.TempDir(), dsn)
	p := w.run(cfg)
	other, _ := w.standing(t.TempDir(), dsn)
	q := w.run(other)
	w.log(r, 0, 500)
	w.until("both have a share", func() bool {
		return len(p.Status()) > 0 && len(q.Status()) > 0 && len(p.Status())+len(q.Status()) == partitions
	})
	warm := w.warm(p)
	stop := make(chan struct{})
	at := w.trickle(500, trades, stop)
	said.take()

	began := time.Now()
	q.stop()
	left := time.Since(began)
	w.until("the partitions are its own", func() bool { return len(p.Status()) == partitions })
	w.until("candles of the other's partitions are written", func() bool { return len(w.resumed(began, p.writer)) == partitions })
	for _, partition := range warm {
		t.Logf("clean leave (%v until it was gone): partition %d went on after %v", left.Round(time.Millisecond), partition, w.resumed(began, p.writer)[partition].Sub(began))
	}
	if took := tookOver(said.take()); len(took) != len(warm) {
		t.Errorf("took over %v, kept warm %v", took, warm)
	}

	dir := t.TempDir()
	c := w.spawn(dir, dsn, "TEST_STANDBY=1")
	warm = w.warmNear(p)
	began = time.Now()
	c.kill()
	dead := time.Now() // the partitions are its own all the time: what comes later is of the new process
	c = w.spawn(dir, dsn, "TEST_STANDBY=1")
	w.until("the killed one goes on", func() bool {
		got := w.resumed(dead, "")
		return !slices.ContainsFunc(warm, func(p int32) bool { _, ok := got[p]; return !ok })
	})
	for _, partition := range warm {
		t.Logf("kill -9 and start on its folder: partition %d went on after %v", partition, w.resumed(dead, "")[partition].Sub(began))
	}
	if len(p.Status()) == partitions {
		t.Error("the restart moved partitions")
	}

	warm = w.warmNear(p)
	said.take()
	began = time.Now()
	c.kill()
	w.until("the partitions are its own", func() bool { return len(p.Status()) == partitions })
	owned := time.Since(began)
	w.until("candles are written", func() bool { return len(w.resumed(began, p.writer)) == partitions })
	for _, partition := range warm {
		t.Logf("kill -9 for good, session of %v: owned after %v, partition %d went on after %v", testSession, owned.Round(time.Millisecond), partition, w.resumed(began, p.writer)[partition].Sub(began))
	}
	if took := tookOver(said.take()); len(took) != len(warm) {
		t.Errorf("took over %v, kept warm %v", took, warm)
	}
	close(stop)
	w.log(r, <-at, trades)
	w.caughtUp(p)
	p.stop()
	same(t, w, dsn)
}

// warmNear waits until a processor keeps warm what it does not own, with no more
// behind than comes in a moment.
func (w *world) warmNear(r *running) (out []int32) {
	w.Helper()
	w.until("what is not owned is warm", func() bool {
		out = nil
		for _, s := range r.Standbys() {
			if s.Open && s.Offset > 0 && s.Behind < 100 {
				out = append(out, s.Partition)
			}
		}
		return len(out) > 0 && len(out)+len(r.Status()) == partitions
	})
	return out
}
