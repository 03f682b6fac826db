package testenv_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/testenv"
)

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func produce(t *testing.T, brokers, topic, value string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	record := &kgo.Record{Topic: topic, Key: []byte("BTCUSDT"), Value: []byte(value)}
	if err := client.ProduceSync(deadline(t), record).FirstErr(); err != nil {
		t.Fatalf("produce to %s at %s: %v", topic, brokers, err)
	}
}

// consume returns the first n values of the topic.
func consume(t *testing.T, brokers, topic string, n int) []string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var values []string
	for ctx := deadline(t); len(values) < n; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("consume %s at %s: %d of %d records, then: %v", topic, brokers, len(values), n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	return values
}

// A record that the broker acknowledged is there after a kill, on the same port.
func TestKafkaKeepsARecordOverAKill(t *testing.T) {
	t.Parallel()
	began := time.Now()
	kafka := testenv.StartKafka(t)
	t.Logf("started in %v", time.Since(began))
	topic := testenv.NewTopic(t, kafka.Brokers, 1, nil)
	produce(t, kafka.Brokers, topic, "tick")
	if got := consume(t, kafka.Brokers, topic, 1); got[0] != "tick" {
		t.Fatalf("consumed %q, want %q", got[0], "tick")
	}

	if err := kafka.Kill(); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	if err := kafka.Start(); err != nil {
		t.Fatal(err)
	}
	t.Logf("started again after a kill in %v", time.Since(began))
	if got := consume(t, kafka.Brokers, topic, 1); got[0] != "tick" {
		t.Fatalf("after the kill consumed %q, want %q", got[0], "tick")
	}

	began = time.Now()
	if err := kafka.Stop(); err != nil {
		t.Fatal(err)
	}
	t.Logf("stopped in %v", time.Since(began))
	began = time.Now()
	if err := kafka.Start(); err != nil {
		t.Fatal(err)
	}
	t.Logf("started again after a stop in %v", time.Since(began))
	produce(t, kafka.Brokers, topic, "tock")
	if got := consume(t, kafka.Brokers, topic, 2); got[1] != "tock" {
		t.Fatalf("after the stop consumed %q, want %q", got[1], "tock")
	}
}
