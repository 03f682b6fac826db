package testenv

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// requestTimeout bounds what the helpers themselves ask of a server.
const requestTimeout = 30 * time.Second

// NewTopic makes a topic that no other test has and returns its name. brokers
// is that of a Kafka or a Fake; configs are topic settings or nil.
func NewTopic(tb testing.TB, brokers string, partitions int32, configs map[string]string) string {
	tb.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers))
	if err != nil {
		tb.Fatalf("new topic: %v", err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	values := make(map[string]*string, len(configs))
	for key, value := range configs {
		values[key] = &value
	}
	name := "test-" + unique()
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		_, err := kadm.NewClient(client).CreateTopic(ctx, partitions, 1, values, name)
		if err == nil {
			return name
		}
		// The controller of a starved machine misses heartbeats and for a moment
		// knows no broker to put a replica on.
		if !errors.Is(err, kerr.InvalidReplicationFactor) || ctx.Err() != nil {
			tb.Fatalf("new topic %s at %s: %v", name, brokers, err)
		}
		<-tick.C
	}
}

// unique returns a word that no other test process has either.
func unique() string { return strings.ToLower(rand.Text()[:12]) }
