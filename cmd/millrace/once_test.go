package main

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/internal/testenv"
	"millrace/schema"
)

// Trades that come in another order, up to two seconds late.
func shuffledMakesTheTable(t *testing.T, m *market) {
	want := m.table
	shuffled := m.shuffled(seeded(t))
	e := develop(t, "", shuffled)
	same(t, "shuffled, live", dumped(t, e.sql), want)
	if e.sum.OpenGaps != 0 || e.sum.DeadLetters != 0 {
		t.Errorf("summary: %+v", e.sum)
	}
	p := newParts(t, testenv.SharedMariaDB(t))
	p.replay(shuffled)
	processor := p.process(t.TempDir())
	p.settled()
	same(t, "shuffled, replayed", dumped(t, p.sql), want)
	processor.stop()
}

// Two ingestors collect the same market from two servers at once, so that each
// trade comes twice.
func twoIngestorsMakeTheTable(t *testing.T, m *market) {
	want := m.table
	p := newParts(t, testenv.SharedMariaDB(t))
	processor := p.process(t.TempDir())
	processor.await("partition assigned") // the topics are there
	one, two := p.double(m.file, 100), p.double(m.file, 100)
	first, second := p.ingest(one), p.ingest(two)
	one.await("the recording is at its end")
	two.await("the recording is at its end")
	p.arrived(want)
	first.stop()
	second.stop()
	if trades, batches := p.count(); trades != 2*int64(len(m.lines)) {
		t.Errorf("%d trades in %d batches in the log, want each of %d twice", trades, batches, len(m.lines))
	}
	p.replay(m.end())
	p.settled()
	same(t, "two ingestors", dumped(t, p.sql), want)
	processor.stop()
}

// A producer that hears no acknowledgement sends again. Here each batch is sent
// three times, the third time after later ones.
func threeTimesMakesTheTable(t *testing.T, m *market) {
	want := m.both
	maria := testenv.SharedMariaDB(t)
	from, to := newParts(t, maria), newParts(t, maria)
	from.replay(m.file, m.dump)
	processor := to.process(t.TempDir())
	processor.await("partition assigned") // the topics are there
	var earlier [partitions]*kgo.Record
	from.read(func(r *kgo.Record, tick *schema.Tick) {
		again := []*kgo.Record{{Topic: to.ticks, Partition: r.Partition, Key: r.Key, Value: r.Value}}
		switch tick.Kind {
		case schema.KindSettings:
			return // the other log has its own
		case schema.KindTrades:
			again = append(again, again[0])
			if e := earlier[r.Partition]; e != nil {
				again = append(again, e)
			}
			earlier[r.Partition] = again[0]
		}
		for _, r := range again {
			c := *r // the client writes into what it is given
			if err := to.client.ProduceSync(t.Context(), &c).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	})
	once, _ := from.count()
	if trades, batches := to.count(); trades < once*5/2 { // the last batch of a partition comes twice
		t.Errorf("%d trades in %d batches, of %d", trades, batches, once)
	}
	to.settled()
	same(t, "three times", dumped(t, to.sql), want)
	processor.stop()
}

// count gives how many trades are in the log, copies included.
func (p *parts) count() (trades int64, batches int) {
	p.t.Helper()
	p.read(func(_ *kgo.Record, tick *schema.Tick) {
		if tick.Kind == schema.KindTrades {
			batches++
			trades += int64(len(tick.Batch.Trades))
		}
	})
	return trades, batches
}

// read calls f with each record that is in the log now.
func (p *parts) read(f func(*kgo.Record, *schema.Tick)) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	ends, err := kadm.NewClient(p.client).ListEndOffsets(ctx, p.ticks)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) { left[o.Partition] = o.Offset })
	reader, err := kafka.Connect(ctx, defaulted(p.brokers), kgo.ConsumeTopics(p.ticks), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		p.t.Fatal(err)
	}
	defer reader.Close()
	var tick schema.Tick
	for {
		for partition, end := range left {
			if end == 0 {
				delete(left, partition)
			}
		}
		if len(left) == 0 {
			return
		}
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			p.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			end, open := left[r.Partition]
			if !open || r.Offset >= end {
				return
			}
			if r.Offset == end-1 {
				left[r.Partition] = 0
			}
			if err := tick.Decode(r.Value); err != nil {
				p.t.Fatalf("%s/%d at %d: %v", r.Topic, r.Partition, r.Offset, err)
			}
			f(r, &tick)
		})
	}
}
