package testenv

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Fake is Kafka's protocol in the test's own process. The cluster's methods
// (Control, ControlKey, MoveTopicPartition …) make its faults.
type Fake struct {
	*kfake.Cluster
	Brokers string // host:port of one node; clients learn the others from it
}

// StartFake gives the test a cluster of its own, one node unless an option says
// more. As with the real one, no topic appears by itself.
func StartFake(tb testing.TB, options ...kfake.Opt) *Fake {
	tb.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, options...)...)
	if err != nil {
		tb.Fatalf("start kfake: %v", err)
	}
	tb.Cleanup(cluster.Close)
	return &Fake{Cluster: cluster, Brokers: cluster.ListenAddrs()[0]}
}
