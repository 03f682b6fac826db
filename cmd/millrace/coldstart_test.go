package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/internal/testenv"
	"millrace/schema"
	"millrace/state"
	"millrace/state/checkpoint"
)

// How large the state is that a processor without any must fetch; by hand with
// 1000, in each test run a small one.
var (
	coldMB    = flag.Int64("cold-mb", 2, "megabytes of state in the checkpoint of TestColdStart")
	coldBound = flag.Duration("cold-bound", time.Minute, "from kill -9 to the first new commit, at most")
)

// coldLog is a log of one partition on a real Kafka, written as fast as it takes
// it, and its state, made beside it.
type coldLog struct {
	t      *testing.T
	topics kafka.Topics
	client *kgo.Client
	id     [16]byte
	store  *state.Store
	r      *rand.Rand
	at     schema.Time
	ids    []int64
	made   int // records
	offset int64
	tick   schema.Tick
	failed error // of a record that was sent
}

const coldSymbols = 500

// next is a record of trades of one symbol, each in a second of its own.
func (l *coldLog) next() []byte {
	const trades = 50
	i := l.made % len(l.ids)
	if l.made++; i == 0 {
		l.at += trades * schema.Second
	}
	var ts [trades]schema.Trade
	for k := range ts {
		ts[k] = schema.Trade{ID: l.ids[i], Last: l.ids[i], Time: l.at + schema.Time(k)*schema.Second, BuyerMaker: k%2 == 0,
			Price: schema.Decimal{Mantissa: 6_000_000 + l.r.Int64N(10_000), Scale: 2}, Qty: schema.Decimal{Mantissa: 1 + l.r.Int64N(1_000_000), Scale: 5}}
		l.ids[i]++
	}
	b, _ := schema.AppendTrades(nil, fmt.Sprintf("SYM%03dUSDT", i), ts[:], l.at, 1)
	return b
}

// write brings a record into the log, and into the state if it is to have it.
func (l *coldLog) write(value []byte, apply bool) {
	l.t.Helper()
	rec := &kgo.Record{Topic: l.topics.Ticks, Partition: 0, Value: value}
	l.client.Produce(l.t.Context(), rec, func(_ *kgo.Record, err error) { l.failed = errors.Join(l.failed, err) })
	if !apply {
		return
	}
	err := l.tick.Decode(value)
	l.store.Partition().Apply(state.Record{Offset: l.offset, Hash: kafka.Hash(rec), Appended: schema.FromStd(time.Now())}, &l.tick, err)
	l.offset++
}

func (l *coldLog) flush() {
	l.t.Helper()
	if err := errors.Join(l.client.Flush(l.t.Context()), l.failed); err != nil {
		l.t.Fatal(err)
	}
}

// grow writes until the state has so many bytes, and takes a checkpoint of it.
func (l *coldLog) grow(where string, size int64) {
	l.t.Helper()
	dir := filepath.Join(l.t.TempDir(), "made")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.t.Fatal(err)
	}
	var err error
	if l.store, err = state.Open(state.Options{Dir: dir}, l.id, 0); err != nil {
		l.t.Fatal(err)
	}
	defer l.store.Close()
	first, err := kafka.Read(l.t.Context(), l.client, l.topics.Ticks, l.id, 0, 0)
	if err != nil || first == nil {
		l.t.Fatalf("the log has no settings: %v", err)
	}
	err = l.tick.Decode(first.Value)
	l.store.Partition().Apply(state.Record{Hash: kafka.Hash(first), Appended: schema.FromStd(first.Timestamp)}, &l.tick, err)
	l.offset = 1
	for has := int64(0); has < size; has = folderSize(l.t, dir) {
		for range 1000 {
			l.write(l.next(), true)
		}
		if _, err := l.store.Commit(); err != nil {
			l.t.Fatal(err)
		}
		if n := len(l.store.Partition().TakeRefusals()); n > 0 {
			l.t.Fatalf("%d refusals", n)
		}
	}
	l.flush()
	s, err := checkpoint.Open(l.t.Context(), where, checkpoint.Options{Now: time.Now})
	if err != nil {
		l.t.Fatal(err)
	}
	defer s.Close()
	taker := checkpoint.Taker{Store: s, State: l.store, Topic: l.topics.Ticks, Scratch: dir + ".copy", Program: "test"}
	m, _, err := taker.Take(l.t.Context(), false)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Logf("checkpoint of %s in %d files at %d, %d windows", byteText(m.Size), len(m.Files), m.Offset, m.Windows)
}

func folderSize(t *testing.T, dir string) (n int64) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if i, err := f.Info(); err == nil && filepath.Ext(f.Name()) == ".sst" { // one that a compaction removed is none
			n += i.Size()
		}
	}
	return n
}

// TestColdStart: a processor is killed and its state with it. From the kill to
// the first record of the log that is committed, by way of a checkpoint.
func TestColdStart(t *testing.T) {
	l := &coldLog{t: t, topics: kafka.Topics{Ticks: "ticks-cold", Candles: "candles-cold"}, r: rand.New(rand.NewPCG(1, 1)), ids: make([]int64, coldSymbols)}
	l.at = schema.FromStd(time.Now().Add(-30 * 24 * time.Hour))
	brokers := testenv.SharedKafka(t).Brokers
	var err error
	if l.client, err = kafka.Connect(t.Context(), defaulted(brokers), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.client.Close)
	where, data := filepath.Join(t.TempDir(), "checkpoints"), t.TempDir()
	start := func() *child {
		return spawnFor(t, 10**coldBound, "process", "--kafka", brokers, "--ticks-topic", l.topics.Ticks, "--candles-topic", l.topics.Candles, "--partitions", "1",
			"--data", data, "--checkpoints", where, "--http", "127.0.0.1:0")
	}
	p := start()
	p.await("partition assigned") // the topics are there
	p.kill()
	topics, err := kadm.NewClient(l.client).ListTopics(t.Context(), l.topics.Ticks)
	if err == nil {
		err = topics.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	l.id = topics[l.topics.Ticks].ID
	l.grow(where, *coldMB<<20)
	// What names the processor in its group stays: it need not wait for its own
	// end, as it would with a disk that is lost (10 s, the session's timeout).
	stateDir := state.PartitionDir(filepath.Join(data, "state"), l.topics.Ticks, 0)
	if err := os.RemoveAll(stateDir); err != nil {
		t.Fatal(err)
	}
	p = start()
	l.write(l.next(), false)
	l.flush()
	p.counts(1)
	for range 3 {
		began := time.Now()
		p.kill()
		if err := os.RemoveAll(stateDir); err != nil {
			t.Fatal(err)
		}
		l.write(l.next(), false)
		l.flush()
		p = start()
		p.counts(1)
		took := time.Since(began)
		t.Logf("kill -9 to the first new commit, without state: %v", took.Round(time.Millisecond))
		if took > *coldBound {
			t.Errorf("it took %v", took)
		}
	}
	if said := p.log.String(); !regexp.MustCompile(`state restored from a checkpoint`).MatchString(said) {
		t.Errorf("nothing was said of a checkpoint:\n%s", said)
	}
	p.kill()
}

// counts waits until a processor has applied and committed so many micro-batches.
func (c *child) counts(n int64) {
	c.t.Helper()
	url := c.await(`msg="serving HTTP" role=process url=(\S+)`)
	everyFor(c.t, *coldBound, func(ctx context.Context) error {
		var f struct {
			Stages []struct {
				Name  string `json:"stage"`
				Count int64  `json:"count"`
			} `json:"stages"`
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/status.json", nil)
		if err != nil {
			return err
		}
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(b, &f)
		}
		if err != nil {
			return err
		}
		for _, s := range f.Stages {
			if s.Name == "micro-batch to commit" && s.Count >= n {
				return nil
			}
		}
		return fmt.Errorf("it says %s", b)
	})
}
