package collect

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/ingest/double"
	"millrace/schema"
)

// While Kafka is away for so long that the buffer is full, whoever asks how it
// stands gets an answer; what was missed is in the log in the end.
func TestKafkaAwayForLong(t *testing.T) {
	b := newBench(t, double.Config{Synthetic: recent(300, 8)})
	b.buffer = 1 << 20
	c := b.collect()
	b.until("trades are acknowledged", func() bool { return c.Ingestor.Stats().Trades > 100 })
	fault := b.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
	b.until("the buffer is full", func() bool { return c.Ingestor.Stats().Waiting.Full })
	b.double.Cut() // what is sent meanwhile never comes
	was, same := c.Trades(), 0
	b.until("nothing more is taken", func() bool {
		if now := c.Trades(); now == was {
			same++
		} else {
			was, same = now, 0
		}
		return same > 100
	})
	for range 50 {
		answered := make(chan Status, 1)
		go func() { answered <- c.Status() }()
		select {
		case s := <-answered:
			if len(s.Symbols) != 8 {
				t.Fatalf("status: %+v", s)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no status while the buffer is full")
		}
	}
	fault.Remove()
	b.until("it goes on", func() bool { return c.Trades() > was+100 })
	b.settled(c)
	c.stop()
	log := b.log()
	b.whole(log)
	b.kept(log, false)
}

// A server that sends what is of no use fills neither the log of the process nor
// memory: a line in ten seconds tells how many there were.
func TestRefusalsAreToldNowAndThen(t *testing.T) {
	var r refusals
	at := schema.Time(1_700_000_000_000_000).Std()
	for i, c := range []struct {
		after time.Duration
		n     int64
		tell  bool
	}{{0, 1, true}, {time.Second, 0, false}, {time.Second, 0, false}, {8 * time.Second, 3, true}, {9 * time.Second, 0, false}, {time.Hour, 2, true}} {
		at = at.Add(c.after)
		if n, tell := r.due(at); n != c.n || tell != c.tell {
			t.Errorf("%d: %d, %v", i, n, tell)
		}
	}
}
