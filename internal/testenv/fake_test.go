package testenv_test

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/testenv"
)

// What a test reads from kfake it must be able to read from Kafka.
func TestFakeAndKafkaAgree(t *testing.T) {
	t.Parallel()
	for name, brokers := range map[string]func() string{
		"kfake": func() string { return testenv.StartFake(t).Brokers },
		"kafka": func() string { return testenv.SharedKafka(t).Brokers },
	} {
		t.Run(name, func(t *testing.T) {
			at := brokers()
			topic := testenv.NewTopic(t, at, 3, map[string]string{"cleanup.policy": "compact"})
			produce(t, at, topic, "tick")
			if got := consume(t, at, topic, 1); got[0] != "tick" {
				t.Errorf("consumed %q, want %q", got[0], "tick")
			}

			client, err := kgo.NewClient(kgo.SeedBrokers(at), kgo.UnknownTopicRetries(0))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			err = client.ProduceSync(deadline(t), &kgo.Record{Topic: "nobody-made-it"}).FirstErr()
			if !errors.Is(err, kerr.UnknownTopicOrPartition) {
				t.Errorf("produce to a topic that nobody made: %v, want %v", err, kerr.UnknownTopicOrPartition)
			}
		})
	}
}
