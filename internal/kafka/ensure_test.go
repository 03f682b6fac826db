package kafka_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/internal/testenv"
	"millrace/schema"
)

func connect(t *testing.T, brokers string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kafka.Connect(t.Context(), kafka.Config{Brokers: strings.Split(brokers, ",")}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// servers are those that every test of the topics must pass on.
func servers(t *testing.T, f func(t *testing.T, brokers string)) {
	t.Run("kfake", func(t *testing.T) { f(t, testenv.StartFake(t).Brokers) })
	t.Run("kafka", func(t *testing.T) { f(t, testenv.SharedKafka(t).Brokers) })
}

// names gives topics that no other test has.
func names(t *testing.T, suffix string) kafka.Topics {
	n := strings.NewReplacer("/", "-", " ", "-").Replace(strings.ToLower(t.Name())) + suffix
	return kafka.Topics{Ticks: n + ".ticks", Candles: n + ".candles"}
}

func value(t *testing.T, client *kgo.Client, topic, key string) string {
	t.Helper()
	configs, err := kadm.NewClient(client).DescribeTopicConfigs(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range configs[0].Configs {
		if c.Key == key {
			return c.MaybeValue()
		}
	}
	return ""
}

func TestEnsureMakesTheTopics(t *testing.T) {
	servers(t, func(t *testing.T, brokers string) {
		real := strings.HasSuffix(t.Name(), "/kafka")
		client, topics := connect(t, brokers), names(t, "")
		topics.TicksRetention = 48 * time.Hour
		l, err := kafka.Ensure(t.Context(), client, topics, schema.Settings{Partitions: 3, ThreeDay: schema.Day})
		if err != nil {
			t.Fatal(err)
		}
		want := schema.Settings{Partitions: 3, ThreeDay: schema.Day}
		want.EnsureDefaults()
		if d := want.Diff(&l.Settings); d != "" || !l.Known || l.Partitions != 3 {
			t.Errorf("%+v: %s", l, d)
		}
		details, err := kadm.NewClient(client).ListTopics(t.Context(), topics.Ticks, topics.Candles, topics.Dead(), topics.Gaps())
		if err != nil {
			t.Fatal(err)
		}
		for name, id := range map[string]kafka.TopicID{topics.Ticks: l.Ticks, topics.Candles: l.Candles, topics.Dead(): l.Dead, topics.Gaps(): l.Gaps} {
			if d := details[name]; len(d.Partitions) != 3 || kafka.TopicID(d.ID) != id || id == (kafka.TopicID{}) {
				t.Errorf("%s: %d partitions, id %v, told %v", name, len(d.Partitions), d.ID, id)
			}
		}
		for _, c := range [][3]string{
			{topics.Ticks, "message.timestamp.type", "LogAppendTime"},
			{topics.Ticks, "cleanup.policy", "delete"},
			{topics.Ticks, "retention.ms", "172800000"},
			{topics.Ticks, "compression.type", "lz4"},
			{topics.Candles, "cleanup.policy", "compact,delete"},
			{topics.Candles, "min.compaction.lag.ms", "600000"},
			{topics.Dead(), "retention.ms", "-1"},
			{topics.Gaps(), "cleanup.policy", "compact"},
		} {
			if got := value(t, client, c[0], c[1]); got != c[2] {
				t.Errorf("%s: %s is %q, want %q", c[0], c[1], got, c[2])
			}
		}
		// Each partition begins with the settings, and only one record of them.
		for p := range int32(3) {
			rec, err := kafka.Read(t.Context(), client, topics.Ticks, l.Ticks, p, 0)
			if err != nil || rec == nil || rec.Offset != 0 || rec.Key != nil {
				t.Fatalf("partition %d: %v, %v", p, rec, err)
			}
			// kfake keeps the producer's time; the setting is Kafka's to act on.
			if kind := rec.Attrs.TimestampType(); rec.LeaderEpoch < 0 || real && kind != 1 {
				t.Errorf("partition %d: leader epoch %d, timestamp type %d", p, rec.LeaderEpoch, kind)
			}
			if next, err := kafka.Read(t.Context(), client, topics.Ticks, l.Ticks, p, 1); err != nil || next != nil {
				t.Errorf("partition %d: %v, %v behind the settings", p, next, err)
			}
		}
		if _, err := kafka.Read(t.Context(), client, topics.Ticks, l.Ticks, 0, 99); err == nil || !strings.Contains(err.Error(), kafka.ErrOffset.Error()) {
			t.Errorf("offset 99: %v", err)
		}
		// Once more, with the number left open: nothing changes.
		again, err := kafka.Ensure(t.Context(), client, topics, schema.Settings{Periods: []schema.Period{schema.P1m}})
		if err != nil || again.Ticks != l.Ticks || again.Partitions != 3 || again.Settings.Diff(&l.Settings) != "" {
			t.Errorf("second time: %+v, %v", again, err)
		}
		other := again.Settings
		if err := again.Check(other); err != nil {
			t.Error(err)
		}
		other.Periods = []schema.Period{schema.P1m}
		if err := again.Check(other); err == nil || !strings.Contains(err.Error(), "periods ([1m] here") {
			t.Errorf("other periods: %v", err)
		}
	})
}

func TestEnsureRefuses(t *testing.T) {
	servers(t, func(t *testing.T, brokers string) {
		client := connect(t, brokers)
		admin := kadm.NewClient(client)
		at := func(s string) *string { return &s }
		good := map[string]*string{"message.timestamp.type": at("LogAppendTime")}
		create := func(name string, n int32, config map[string]*string) {
			t.Helper()
			if _, err := admin.CreateTopic(t.Context(), n, 1, config, name); err != nil {
				t.Fatal(err)
			}
		}
		refuse := func(topics kafka.Topics, s schema.Settings, words ...string) {
			t.Helper()
			_, err := kafka.Ensure(t.Context(), client, topics, s)
			if err == nil {
				t.Fatalf("%s: not refused", topics.Ticks)
			}
			for _, w := range words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is missing in: %v", w, err)
				}
			}
		}
		a := names(t, "-partitions")
		create(a.Ticks, 5, good)
		a.Partitions = 4
		refuse(a, schema.Settings{}, "topic "+a.Ticks, "has 5 partitions, wanted 4", "--partitions")

		b := names(t, "-candles")
		create(b.Candles, 2, map[string]*string{"cleanup.policy": at("compact,delete")})
		refuse(b, schema.Settings{Partitions: 4}, "topic "+b.Candles, "has 2 partitions, wanted 4")

		c := names(t, "-policy")
		create(c.Candles, 4, nil)
		refuse(c, schema.Settings{Partitions: 4}, "topic "+c.Candles, `cleanup.policy "delete", wanted "compact,delete"`, "kafka-configs.sh")

		d := names(t, "-time")
		create(d.Ticks, 4, nil)
		refuse(d, schema.Settings{Partitions: 4}, "topic "+d.Ticks, `message.timestamp.type "CreateTime", wanted "LogAppendTime"`)

		e := names(t, "-foreign")
		create(e.Ticks, 1, good)
		produce(t, client, e.Ticks, 0, []byte("not ours"))
		refuse(e, schema.Settings{}, "topic "+e.Ticks, "partition 0 does not begin with the settings", "not a tick record")

		f := names(t, "-grown")
		if _, err := kafka.Ensure(t.Context(), client, f, schema.Settings{Partitions: 2}); err != nil {
			t.Fatal(err)
		}
		for _, n := range []string{f.Ticks, f.Candles, f.Dead(), f.Gaps()} {
			if _, err := admin.CreatePartitions(t.Context(), 1, n); err != nil {
				t.Fatal(err)
			}
			grown(t, admin, n, 3)
		}
		refuse(f, schema.Settings{}, "topic "+f.Ticks, "has 3 partitions", "begun with 2", "new topic")

		g := names(t, "-two")
		create(g.Ticks, 2, good)
		one, two := schema.Settings{Partitions: 2}, schema.Settings{Partitions: 2, EmptySeconds: true}
		one.EnsureDefaults()
		two.EnsureDefaults()
		for p, s := range []schema.Settings{one, two} {
			v, err := schema.AppendControl(nil, s)
			if err != nil {
				t.Fatal(err)
			}
			produce(t, client, g.Ticks, int32(p), v)
		}
		refuse(g, schema.Settings{}, "topic "+g.Ticks, "different settings", "empty seconds (true here, false there)")

		h := names(t, "-bad")
		h.Compression = "gzip"
		refuse(h, schema.Settings{}, `compression "gzip"`)
		refuse(kafka.Topics{Ticks: "a b"}, schema.Settings{}, `"a b" is no name`)
		refuse(kafka.Topics{Ticks: "x", Candles: "x.dead"}, schema.Settings{}, "two topics")
		refuse(names(t, "-settings"), schema.Settings{AliveBound: schema.Day}, "alive bound")
	})
}

// grown waits until the broker tells of n partitions: it learns of new ones
// some time after it has said that they are made.
func grown(t *testing.T, admin *kadm.Client, topic string, n int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		found, err := admin.ListTopics(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		if len(found[topic].Partitions) == n {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("topic %s has no %d partitions", topic, n)
		}
	}
}

// A topic made by hand, with nothing in it, is a good one; it takes the
// settings after the pause in which another role could write them.
func TestEnsureBeginsAnEmptyTopic(t *testing.T) {
	client, topics := connect(t, testenv.StartFake(t).Brokers), names(t, "")
	policy := "LogAppendTime"
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 6, 1, map[string]*string{"message.timestamp.type": &policy}, topics.Ticks); err != nil {
		t.Fatal(err)
	}
	l, err := kafka.Ensure(t.Context(), client, topics, schema.Settings{})
	if err != nil || l.Partitions != 6 || l.Settings.Partitions != 6 || !l.Known {
		t.Errorf("%+v, %v", l, err)
	}
}

// Where retention took the settings, they are told to be unknown.
func TestEnsureWithoutSettingsLeft(t *testing.T) {
	servers(t, func(t *testing.T, brokers string) {
		client, topics := connect(t, brokers), names(t, "")
		if _, err := kafka.Ensure(t.Context(), client, topics, schema.Settings{Partitions: 1}); err != nil {
			t.Fatal(err)
		}
		mark, err := schema.AppendControl(nil, schema.Mark{Ingestor: "a", W: 1})
		if err != nil {
			t.Fatal(err)
		}
		produce(t, client, topics.Ticks, 0, mark)
		var at kadm.Offsets
		at.Add(kadm.Offset{Topic: topics.Ticks, Partition: 0, At: 1})
		if r, err := kadm.NewClient(client).DeleteRecords(t.Context(), at); err != nil || r.Error() != nil {
			t.Fatal(err, r.Error())
		}
		l, err := kafka.Ensure(t.Context(), client, topics, schema.Settings{})
		if err != nil || l.Known {
			t.Errorf("%+v, %v", l, err)
		}
		if _, err := kafka.Read(t.Context(), client, topics.Ticks, l.Ticks, 0, 0); err == nil || !strings.Contains(err.Error(), "offset is not in the log") {
			t.Errorf("read what retention took: %v", err)
		}
	})
}

// Retention may leave partitions that begin with settings of different
// revisions: the newest count. Of one revision there is only one set.
func TestEnsureWithTwoRevisions(t *testing.T) {
	client, topics := connect(t, testenv.StartFake(t).Brokers), names(t, "")
	first, err := kafka.Ensure(t.Context(), client, topics, schema.Settings{Partitions: 3})
	if err != nil {
		t.Fatal(err)
	}
	later := first.Settings
	later.Revision++
	later.EmptySeconds = true
	begin := func(partition int32, s schema.Settings) {
		t.Helper()
		value, err := schema.AppendControl(nil, s)
		if err != nil {
			t.Fatal(err)
		}
		produce(t, client, topics.Ticks, partition, value)
		var at kadm.Offsets
		at.Add(kadm.Offset{Topic: topics.Ticks, Partition: partition, At: 1})
		if r, err := kadm.NewClient(client).DeleteRecords(t.Context(), at); err != nil || r.Error() != nil {
			t.Fatal(err, r.Error())
		}
	}
	begin(1, later)
	l, err := kafka.Ensure(t.Context(), client, topics, schema.Settings{})
	if err != nil || !l.Known || l.Settings.Revision != later.Revision || !l.Settings.EmptySeconds {
		t.Errorf("%+v, %v", l, err)
	}
	later.GapAfter *= 2
	begin(2, later)
	if _, err := kafka.Ensure(t.Context(), client, topics, schema.Settings{}); err == nil || !strings.Contains(err.Error(), "partitions 2 and 1 begin with different settings: gap after") {
		t.Errorf("got %v", err)
	}
}

// Two roles that start at once with different settings must not both write.
func TestEnsureTwiceAtOnce(t *testing.T) {
	servers(t, func(t *testing.T, brokers string) {
		for round := range 3 {
			topics := names(t, "-"+string(rune('a'+round)))
			var both [2]kafka.Lineage
			var errs [2]error
			var wg sync.WaitGroup
			for i := range both {
				client := connect(t, brokers)
				wg.Go(func() {
					both[i], errs[i] = kafka.Ensure(t.Context(), client, topics, schema.Settings{Partitions: 2, EmptySeconds: i == 1})
				})
			}
			wg.Wait()
			if errs[0] != nil || errs[1] != nil {
				t.Fatal(errs)
			}
			if d := both[0].Settings.Diff(&both[1].Settings); d != "" || both[0].Ticks != both[1].Ticks {
				t.Errorf("they found different ones: %s", d)
			}
			ends, err := kadm.NewClient(connect(t, brokers)).ListEndOffsets(t.Context(), topics.Ticks)
			if err != nil {
				t.Fatal(err)
			}
			ends.Each(func(o kadm.ListedOffset) {
				if o.Offset != 1 {
					t.Errorf("partition %d has %d records, want one", o.Partition, o.Offset)
				}
			})
		}
	})
}

func TestHash(t *testing.T) {
	h := func(key, value string) uint64 {
		return kafka.Hash(&kgo.Record{Key: []byte(key), Value: []byte(value)})
	}
	if h("BTC", "USDT") == h("BTCU", "SDT") || h("", "a") == h("a", "") {
		t.Error("records are told apart by key and value, each by itself")
	}
	// It stands in state and in sinks: it must never change.
	if got := h("BTCUSDT", "tick"); got != 0xf6c57fd10836eb65 {
		t.Errorf("the hash is now %#x", got)
	}
	rec := &kgo.Record{Key: []byte("BTCUSDT"), Value: bytes.Repeat([]byte("tick"), 50)}
	if n := testing.AllocsPerRun(100, func() { kafka.Hash(rec) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func produce(t *testing.T, client *kgo.Client, topic string, partition int32, value []byte) {
	t.Helper()
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: partition, Value: value}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}
