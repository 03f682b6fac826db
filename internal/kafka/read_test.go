package kafka_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/internal/testenv"
)

// TestReadPassesTransactions: marks, and what was aborted or is undecided, are no
// records, however much there is of them.
func TestReadPassesTransactions(t *testing.T) {
	brokers := testenv.StartFake(t).Brokers
	topic := testenv.NewTopic(t, brokers, 1, nil)
	client, err := kafka.Connect(t.Context(), kafka.Config{Brokers: []string{brokers}}, kgo.TransactionalID("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	write := func(values ...string) {
		t.Helper()
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(v)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	end := func(how kgo.TransactionEndTry) {
		t.Helper()
		if err := client.EndTransaction(t.Context(), how); err != nil {
			t.Fatal(err)
		}
	}
	large := string(make([]byte, 600<<10)) // of three one answer holds two at most
	write("a")
	end(kgo.TryCommit) // 0, mark 1
	write(large, large, large)
	end(kgo.TryAbort) // 2 to 4, mark 5
	write("b")
	end(kgo.TryCommit) // 6, mark 7
	write("c")         // 8, open
	topics, err := kadm.NewClient(client).ListTopics(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	id := kafka.TopicID(topics[topic].ID)
	for offset, want := range []int64{0, 6, 6, 6, 6, 6, 6, -1, -1, -1} {
		got := int64(-1)
		rec, err := kafka.Read(t.Context(), client, topic, id, 0, int64(offset))
		if err != nil {
			t.Fatalf("at %d: %v", offset, err)
		}
		if rec != nil {
			got = rec.Offset
		}
		if got != want {
			t.Errorf("the first record at or after %d is %d, wanted %d", offset, got, want)
		}
	}
	end(kgo.TryCommit)
	if rec, err := kafka.Read(t.Context(), client, topic, id, 0, 7); err != nil || rec == nil || string(rec.Value) != "c" {
		t.Errorf("once it is decided: %v, %v", rec, err)
	}
}
