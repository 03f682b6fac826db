package processor

import (
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/encoding/protowire"

	"millrace/internal/kafka"
	"millrace/internal/testenv"
	"millrace/schema"
	"millrace/state"
)

// everywhere writes a record into each partition of ticks.
func (w *world) everywhere(value []byte) {
	w.Helper()
	for p := range int32(partitions) {
		if err := w.client.ProduceSync(w.Context(), &kgo.Record{Topic: w.topics.Ticks, Partition: p, Value: value}).FirstErr(); err != nil {
			w.Fatal(err)
		}
	}
}

// oldWorld is one whose log was begun by a program that knew format 1 alone.
func oldWorld(t *testing.T) *world {
	w := &world{TB: t, fake: true, brokers: testenv.StartFake(t, kfake.GroupMinSessionTimeout(testSession)).Brokers, trades: map[string][]schema.Trade{}}
	w.topics = kafka.Topics{Ticks: schema.TicksTopic, Candles: schema.CandlesTopic, Partitions: partitions}
	w.topics.EnsureDefaults()
	client, err := kafka.Connect(t.Context(), kafka.Config{Brokers: []string{w.brokers}}, kgo.ProducerLinger(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	w.client = client
	old := testSettings()
	old.Format = 1
	if _, err := kafka.Ensure(t.Context(), client, w.topics, old); err != nil {
		t.Fatal(err)
	}
	return w
}

// TestFormatRises: a log of format 1 holds no records of format 2, whoever reads
// it; from a record of settings on it may, and that record is met behind a
// synced commit, with a word.
func TestFormatRises(t *testing.T) {
	w := oldWorld(t)
	seal := w.control(schema.Seal{Symbol: "AUSDT", Before: schema.Day})
	w.everywhere(seal)
	var said words
	cfg := w.config(t.TempDir(), "sqlite:"+filepath.Join(t.TempDir(), "x.db"))
	cfg.Log = slog.New(slog.NewTextHandler(&said, nil))
	p := w.run(cfg)
	w.caughtUp(p)
	next := testSettings()
	next.Revision, next.Format, next.Program = 2, 2, "2.0.0"
	w.everywhere(w.control(next))
	w.everywhere(seal)
	w.caughtUp(p)
	p.stop()
	text := said.take()
	if n := strings.Count(text, "the log goes on in another form; all before it is synced"); n != partitions || !strings.Contains(text, "format=2 was=1") || !strings.Contains(text, "by=2.0.0") {
		t.Errorf("said %d times:\n%s", n, text)
	}
	old := 0
	for _, r := range w.records(w.topics.Dead()) {
		for _, h := range r.Headers {
			if h.Key == schema.HeaderError && strings.Contains(string(h.Value), "millrace settings set format=2") {
				old++
			}
		}
	}
	if old != partitions {
		t.Errorf("%d of %d records of a later format were refused for it", old, partitions)
	}
}

// TestFormatOfALaterProgram: the processor stops at the record, with all before
// it committed, and a newer one goes on from there.
func TestFormatOfALaterProgram(t *testing.T) {
	w := newFakeWorld(t)
	w.market(rand.New(rand.NewPCG(1, 2)), 3, 50)
	w.log(rand.New(rand.NewPCG(1, 3)), 0, 50)
	dir := t.TempDir()
	cfg := w.config(dir, "sqlite:"+filepath.Join(t.TempDir(), "x.db"))
	p := w.run(cfg)
	w.caughtUp(p)
	ends := map[int32]int64{}
	for _, s := range p.Status() {
		ends[s.Partition] = s.Offset
	}
	later := testSettings()
	later.Revision, later.Format, later.Program = 2, schema.LogFormat+1, "9.9.9"
	w.everywhere(w.control(later))
	w.everywhere(w.control(schema.Mark{Ingestor: "i", W: schema.Day}))
	err := <-p.done
	p.Close()
	if err == nil || !strings.Contains(err.Error(), "of a newer millrace") || !strings.Contains(err.Error(), "use millrace 9.9.9 or later") || strings.Contains(err.Error(), "\n") {
		t.Errorf("it ended with %v", err)
	}
	w.fails(cfg, "use millrace 9.9.9 or later") // and not only once
	for part := range int32(partitions) {
		v, err := state.OpenView(state.Options{Dir: state.PartitionDir(dir, w.topics.Ticks, part)})
		if err != nil {
			t.Fatal(err)
		}
		if at := v.Position().Offset; at != ends[part] {
			t.Errorf("partition %d stands at %d, the record that it must not skip at %d", part, at, ends[part])
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRecordsOfOtherIngestors: what ingestors of format 1 wrote, byte by byte,
// and what a later one writes, with fields that are not known here, is applied;
// nothing of it becomes a dead letter.
func TestRecordsOfOtherIngestors(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "schema", "testdata", "formats-1.golden"))
	if err != nil {
		t.Fatal(err)
	}
	w := oldWorld(t)
	sent := 0
	for line := range strings.Lines(string(text)) {
		name, digits, _ := strings.Cut(strings.TrimSpace(line), ": ")
		value, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		switch name {
		case "anchor", "mark", "watch", "trades many":
			w.everywhere(value)
			w.everywhere(withField(t, value))
			sent++
		}
	}
	p := w.run(w.config(t.TempDir(), "sqlite:"+filepath.Join(t.TempDir(), "x.db")))
	w.caughtUp(p)
	var c state.Counts
	for _, s := range p.Status() {
		c.Trades += s.Counts.Trades
		c.Duplicates += s.Counts.Duplicates
		c.Refused += s.Counts.Refused
	}
	p.stop()
	if sent != 4 || c.Trades != 2*10*partitions || c.Duplicates != 10*partitions || c.Refused != 0 || len(w.records(w.topics.Dead())) != 0 {
		t.Errorf("%d kinds of records: %+v", sent, c)
	}
}

// withField puts a field that nobody knows behind those of a record's body.
func withField(t *testing.T, value []byte) []byte {
	t.Helper()
	num, _, n := protowire.ConsumeTag(value)
	body, m := protowire.ConsumeBytes(value[n:])
	if n < 0 || m < 0 {
		t.Fatalf("%x is no record", value)
	}
	body = protowire.AppendString(protowire.AppendTag(append([]byte{}, body...), 999, protowire.BytesType), "later")
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), body)
}
