package processor

import (
	"fmt"
	"maps"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/testenv"
	"millrace/schema"
	"millrace/state"
)

// at puts one record into the partition of a symbol and gives its offset.
func (w *world) at(symbol string, value []byte) (partition int32, offset int64) {
	w.Helper()
	r := &kgo.Record{Topic: w.topics.Ticks, Partition: schema.Partition(symbol, partitions), Key: []byte(symbol), Value: value}
	if err := w.client.ProduceSync(w.Context(), r).FirstErr(); err != nil {
		w.Fatal(err)
	}
	return r.Partition, r.Offset
}

func (w *world) batch(symbol string, trades ...schema.Trade) []byte {
	w.Helper()
	value, n := schema.AppendTrades(nil, symbol, trades, 0, 0)
	if n != len(trades) {
		w.Fatalf("%d of %d trades fit", n, len(trades))
	}
	return value
}

func (w *world) control(body any) []byte {
	w.Helper()
	value, err := schema.AppendControl(nil, body)
	if err != nil {
		w.Fatal(err)
	}
	return value
}

// dead gives the dead letters: the reason of each key.
func (w *world) dead() map[string]string {
	w.Helper()
	out := map[string]string{}
	for _, r := range w.records(w.topics.Dead()) {
		h := map[string]string{}
		for _, x := range r.Headers {
			h[x.Key] = string(x.Value)
		}
		key := fmt.Sprintf("%s|%s|%s|%s", h[schema.HeaderTopicID], h[schema.HeaderPartition], h[schema.HeaderOffset], h[schema.HeaderIndex])
		if key != string(r.Key) || h[schema.HeaderError] == "" {
			w.Errorf("dead letter %s has the headers %v", r.Key, h)
		}
		if was, ok := out[key]; ok && was != h[schema.HeaderReason] {
			w.Errorf("dead letter %s says %s and %s", key, was, h[schema.HeaderReason])
		}
		out[key] = h[schema.HeaderReason]
	}
	return out
}

func TestDeadLetters(t *testing.T) {
	w := newFakeWorld(t)
	base := schema.FromStd(time.Now().Add(-time.Hour).Truncate(time.Hour)).Millis() / 1000
	at := func(ms int64) schema.Time { return schema.FromMillis(base*1000 + ms) }
	const name = "DEADUSDT"
	plain := func(id, ms int64) schema.Trade {
		return schema.Trade{ID: id, Last: id, Time: at(ms), Price: schema.Decimal{Mantissa: 100 + id, Scale: 2}, Qty: schema.Decimal{Mantissa: 5, Scale: 1}}
	}
	many := plain(1, 100)
	many.Last = 3
	huge := plain(6, 1200)
	huge.Price, huge.Qty = schema.Decimal{Mantissa: 1<<63 - 1}, schema.Decimal{Mantissa: 1<<63 - 1}
	future := plain(7, 0)
	future.Time = schema.FromStd(time.Now().Add(time.Minute))
	garbage := make([]byte, 999_000) // nearly as long as a record may be
	for i := range garbage {
		garbage[i] = byte(i)
	}
	// Each is refused for its reason, and so are the good ones among them not.
	var want []string
	for _, step := range []struct {
		value  []byte
		index  int
		reason state.Reason
	}{
		{w.batch(name, plain(0, 0), plain(1, 100)), 0, ""},
		{[]byte("not a tick"), 0, state.Undecodable},
		{garbage, 0, state.Undecodable},
		{nil, 0, state.Undecodable},
		{w.batch(name, many), 0, state.Straddle},
		{w.batch(name, plain(2, 200), plain(3, 300), plain(4, 1050)), 0, ""},
		{w.batch(name, plain(8, 1100), plain(5, 900), plain(9, 1150)), 1, state.TooLate},
		{w.batch(name, huge), 0, state.Overflow},
		{w.batch(name, future), 0, state.Future},
		{w.control(schema.Mark{Ingestor: "i", W: schema.FromStd(time.Now().Add(time.Minute))}), 0, state.Future},
		{w.control(schema.NewSeries{Symbol: name}), 0, state.Unfit},
		{w.batch(name, plain(7, 1250), plain(6, 1260)), 0, ""},
	} {
		p, off := w.at(name, step.value)
		if step.reason != "" {
			want = append(want, fmt.Sprintf("%d|%d|%d %s", p, off, step.index, step.reason))
		}
	}
	dir, dsn := t.TempDir(), "sqlite:"+filepath.Join(t.TempDir(), "x.db")
	for range 2 { // the second time without state: the same letters again
		p := w.run(w.config(dir, dsn))
		w.caughtUp(p)
		topic := fmt.Sprintf("%x|", [16]byte(p.Lineage().Ticks))
		p.stop()
		wanted := map[string]string{}
		for _, x := range want {
			var key, reason string
			if _, err := fmt.Sscan(x, &key, &reason); err != nil {
				t.Fatal(err)
			}
			wanted[topic+key] = reason
		}
		if got := w.dead(); !maps.Equal(got, wanted) {
			t.Fatalf("dead letters\n%v\nwanted\n%v", got, wanted)
		}
		dir = t.TempDir()
	}
	// The refused ids are not applied: 5 is missing, 6 and 7 came later.
	key := schema.AppendCandleKey(nil, name, schema.P1h, schema.Calendar{}.Start(schema.P1h, at(0)))
	c := w.lastCandles()[string(key)]
	if c.Trades != 9 || c.Missing != 1 || c.Last != 9 {
		t.Errorf("the hour has %+v", c)
	}
}

// TestNothingIsCommittedBeforeItsDeadLetters: while nothing can be written to
// the dead letters, the state stands before the refused record.
func TestNothingIsCommittedBeforeItsDeadLetters(t *testing.T) {
	fake := testenv.StartFake(t, kfake.GroupMinSessionTimeout(testSession))
	w := newWorld(t, fake.Brokers)
	const name = "DEADUSDT"
	tried, open := w.refuseDead(fake)
	p := w.run(w.config(t.TempDir(), "sqlite:"+filepath.Join(t.TempDir(), "x.db")))
	w.caughtUp(p)
	partition, offset := w.at(name, []byte("not a tick"))
	select {
	case <-tried:
	case <-time.After(20 * time.Second):
		t.Fatal("no dead letter was tried")
	}
	for _, s := range p.Status() {
		if s.Partition == partition && s.Offset != offset {
			t.Errorf("the state stands at %d, the refused record at %d", s.Offset, offset)
		}
	}
	close(open)
	w.caughtUp(p)
	p.stop()
	if n := len(w.dead()); n != 1 {
		t.Errorf("%d dead letters", n)
	}
}

// refuseDead has nothing written to the dead letters until open is closed.
func (w *world) refuseDead(fake *testenv.Fake) (tried, open chan struct{}) {
	id := fake.TopicInfo(w.topics.Dead()).TopicID
	tried = make(chan struct{}, 1)
	open = make(chan struct{})
	fake.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		r := req.(*kmsg.ProduceRequest)
		select {
		case <-open:
			return nil, nil, false
		default:
		}
		dead := false
		for _, x := range r.Topics {
			dead = dead || x.Topic == w.topics.Dead() || x.TopicID == id
		}
		if !dead {
			return nil, nil, false
		}
		resp := r.ResponseKind().(*kmsg.ProduceResponse)
		for _, x := range r.Topics {
			answer := kmsg.NewProduceResponseTopic()
			answer.Topic, answer.TopicID = x.Topic, x.TopicID
			for _, p := range x.Partitions {
				part := kmsg.NewProduceResponseTopicPartition()
				part.Partition, part.ErrorCode = p.Partition, kerr.NotEnoughReplicas.Code
				answer.Partitions = append(answer.Partitions, part)
			}
			resp.Topics = append(resp.Topics, answer)
		}
		select {
		case tried <- struct{}{}:
		default:
		}
		return resp, nil, true
	})
	return tried, open
}
