package processor

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/kafka"
	"millrace/processor/sink"
)

// Transactions has the candles of each partition come in transactions of Kafka's,
// one a flush: see sink.Transactions.
type Transactions struct {
	// Timeout is after how long the broker aborts one that nobody ends. Default 10 s.
	Timeout time.Duration
}

func (t *Transactions) ensureDefaults() {
	if t.Timeout == 0 {
		t.Timeout = 10 * time.Second
	}
}

const (
	transactionFeature = "transaction.version"
	// transactionProtocol is the one in which every transaction has an epoch of
	// its own: with those before, a record that was late on the wire could land
	// in the next transaction, or in one that nobody ends.
	transactionProtocol = 2
)

// checkTransactions refuses a cluster that does not have the protocol.
func (p *Processor) checkTransactions(ctx context.Context) error {
	if p.cfg.Transactions == nil {
		return nil
	}
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "millrace", "1"
	answer, err := req.RequestWith(ctx, p.asker)
	if err != nil {
		return fmt.Errorf("ask the brokers for their protocol of transactions: %w", err)
	}
	have := int16(0)
	for _, f := range answer.FinalizedFeatures {
		if f.Name == transactionFeature {
			have = f.MaxVersionLevel
		}
	}
	if have < transactionProtocol {
		return fmt.Errorf("candles in transactions need %s %d of the cluster, which brokers have from 4.0 on; it has %d: upgrade it (kafka-features.sh upgrade --feature %s=%d), or run without",
			transactionFeature, transactionProtocol, have, transactionFeature, transactionProtocol)
	}
	return nil
}

// transactions gives a partition's sink what it needs for them; nil without.
func (p *Processor) transactions(partition int32) *sink.Transactions {
	if p.cfg.Transactions == nil {
		return nil
	}
	codec, _ := kafka.Codec(p.cfg.Topics.Compression) // Open has looked at it
	return &sink.Transactions{
		Connect: func(opts ...kgo.Opt) (*kgo.Client, error) { return kafka.Connect(p.ctx, p.cfg.Kafka, opts...) },
		ID:      fmt.Sprintf("millrace-%s-%s-%d", p.cfg.Topics.Ticks, p.cfg.Topics.Candles, partition),
		Timeout: p.cfg.Transactions.Timeout, Codec: codec,
		Mine: func(ctx context.Context) (bool, error) { return p.mine(ctx, partition) },
	}
}

// mine asks the group's coordinator whether a partition is this member's.
func (p *Processor) mine(ctx context.Context, partition int32) (bool, error) {
	groups, err := kadm.NewClient(p.asker).DescribeGroups(ctx, p.cfg.Group)
	if err != nil {
		return false, err
	}
	group := groups[p.cfg.Group]
	if group.Err != nil {
		return false, group.Err
	}
	for _, m := range group.Members {
		if m.InstanceID == nil || *m.InstanceID != p.instance {
			continue
		}
		if a, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range a.Topics {
				for _, n := range t.Partitions {
					if t.Topic == p.cfg.Topics.Ticks && n == partition {
						return true, nil
					}
				}
			}
		}
	}
	return false, nil
}
