package kafka_test

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/internal/testenv"
	"millrace/schema"
)

// TestChange: a change that died halfway is found so, by every role, and the next
// one completes it.
func TestChange(t *testing.T) {
	servers(t, func(t *testing.T, brokers string) {
		client, topics := connect(t, brokers), names(t, "")
		if _, err := kafka.Find(t.Context(), client, topics); !errors.Is(err, kafka.ErrNoTopic) {
			t.Fatalf("no topic: %v", err)
		}
		if _, err := kafka.Ensure(t.Context(), client, topics, schema.Settings{Partitions: 3}); err != nil {
			t.Fatal(err)
		}
		find := func() kafka.Lineage {
			t.Helper()
			l, err := kafka.Find(t.Context(), client, topics)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		l := find()
		if c, ok := l.At(2, 100); !ok || c.Offset != 0 || l.Changed() || len(l.Behind(&l.Settings)) != 0 {
			t.Errorf("begun: %+v", c)
		}
		second := l.Settings
		second.Revision, second.AliveBound, second.Program = 2, schema.Minute, "1.2.3"

		// It died with the note written and no record.
		note(t, client, topics, l, 1, second)
		l = find()
		if l.Settings.AliveBound != schema.Minute || l.Settings.Revision != 2 || !slices.Equal(l.Behind(&l.Settings), []int32{0, 1, 2}) {
			t.Errorf("noted: %+v, behind %v", l.Settings, l.Behind(&l.Settings))
		}
		told := map[int32]int64{}
		tell := func(p int32, offset int64) { told[p] = offset }
		if err := l.Change(t.Context(), client, second, []int32{1}, tell); err != nil {
			t.Fatal(err)
		}
		l = find()
		if behind := l.Behind(&l.Settings); !slices.Equal(behind, []int32{0, 2}) {
			t.Errorf("behind %v after one partition", behind)
		}
		if err := l.Change(t.Context(), client, second, l.Behind(&l.Settings), tell); err != nil {
			t.Fatal(err)
		}
		for p := range int32(3) {
			var tick schema.Tick
			rec, err := kafka.Read(t.Context(), client, topics.Ticks, l.Ticks, p, told[p])
			if err != nil || rec == nil || tick.Decode(rec.Value) != nil || tick.Settings.Diff(&second) != "" || tick.Settings.Program != "1.2.3" {
				t.Errorf("partition %d at %d: %v %v", p, told[p], rec, err)
			}
		}
		// Every role that starts later goes by it, wherever the log begins.
		role, err := kafka.Ensure(t.Context(), client, topics, schema.Settings{})
		if err != nil || role.Settings.Diff(&second) != "" || !role.Known || len(role.Behind(&second)) != 0 {
			t.Errorf("%+v, %v", role.Settings, err)
		}
		if c, ok := role.At(1, told[1]); !ok || c.Settings.Revision != 2 || c.Offset != told[1] {
			t.Errorf("at the record: %+v", c)
		}
		if c, ok := role.At(1, told[1]-1); !ok || c.Settings.Revision != 1 {
			t.Errorf("before the record: %+v", c)
		}
		if err := role.Check(schema.Settings{}); err == nil || !strings.Contains(err.Error(), "other settings") {
			t.Errorf("%v", err)
		}
		// Retention takes both records; the note stays.
		var at kadm.Offsets
		for p := range int32(3) {
			produce(t, client, topics.Ticks, p, []byte{0x12, 0})
			at.Add(kadm.Offset{Topic: topics.Ticks, Partition: p, At: told[p] + 1})
		}
		if r, err := kadm.NewClient(client).DeleteRecords(t.Context(), at); err != nil || r.Error() != nil {
			t.Fatal(err, r.Error())
		}
		if l = find(); !l.Known || l.Settings.Diff(&second) != "" {
			t.Errorf("known %v: %+v", l.Known, l.Settings)
		}
		if c, ok := l.At(0, told[0]+5); !ok || c.Settings.Revision != 2 {
			t.Errorf("behind the log's new start: %+v", c)
		}
	})
}

// note writes what a change writes first.
func note(t *testing.T, client *kgo.Client, topics kafka.Topics, l kafka.Lineage, p int32, s schema.Settings) {
	t.Helper()
	value, err := schema.AppendControl(nil, s)
	if err != nil {
		t.Fatal(err)
	}
	topics.EnsureDefaults()
	rec := &kgo.Record{Topic: topics.Gaps(), Partition: p, Key: schema.SettingsKey(s.Revision), Value: value,
		Headers: []kgo.RecordHeader{{Key: schema.HeaderTopicID, Value: []byte(hex.EncodeToString(l.Ticks[:]))}}}
	if err := client.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// TestNewerLog: a log whose format is of a later program is no log that was
// never ours.
func TestNewerLog(t *testing.T) {
	client := connect(t, testenv.StartFake(t).Brokers)
	topics := names(t, "")
	l, err := kafka.Ensure(t.Context(), client, topics, schema.Settings{Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	later := l.Settings
	later.Revision, later.Format, later.Program = 2, schema.LogFormat+1, "9.9.9"
	note(t, client, topics, l, 0, later)
	for name, f := range map[string]func() error{
		"a role": func() error {
			_, err := kafka.Ensure(t.Context(), client, topics, schema.Settings{})
			return err
		},
		"a command": func() error {
			_, err := kafka.Find(t.Context(), client, topics)
			return err
		},
	} {
		if err := f(); !errors.Is(err, schema.ErrNewer) || !strings.Contains(err.Error(), "use millrace 9.9.9 or later") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
