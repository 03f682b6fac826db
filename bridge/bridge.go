package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
)

// Bridge carries candles from Kafka to NATS. New, Open, Run once, Close.
type Bridge struct {
	cfg      Config
	conn     *nats.Conn
	store    *store
	admin    *kgo.Client // asks, and reads single records
	progress *progress
	count    counters
	denied   refusal
}

// New makes a bridge of c, which it completes with the defaults.
func New(c Config) (*Bridge, error) {
	c.EnsureDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &Bridge{cfg: c, progress: newProgress(), denied: refusal{told: make(chan struct{})}}, nil
}

// Open connects, makes what is missing in NATS and refuses what contradicts
// the settings. Without an answer it gives up after 10 s for NATS and the
// settings' time for Kafka.
func (b *Bridge) Open(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	if b.conn, err = b.cfg.NATS.connect(ctx, b.cfg.Log, b.cfg.AnswerWait, b.denied.tell); err != nil {
		return err
	}
	natsCtx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if b.store, err = openStore(natsCtx, b.conn, &b.cfg); err != nil {
		return b.denied.or(err)
	}
	if b.cfg.Kafka.Log == nil {
		b.cfg.Kafka.Log = b.cfg.Log
	}
	if b.admin, err = kafka.Connect(ctx, b.cfg.Kafka); err != nil {
		return err
	}
	kafkaCtx, cancel := context.WithTimeout(ctx, b.cfg.Kafka.ConnectTimeout)
	defer cancel()
	_, _, err = b.topic(kafkaCtx)
	return err
}

// errDenied reports that the account may not do what a bridge does.
var errDenied = errors.New("nats does not allow it")

// refusal keeps the first thing that NATS does not allow us. The server says
// it beside the message, and to go on would lose candles without a word.
type refusal struct {
	once sync.Once
	told chan struct{} // closed when err is set
	err  error
}

func (r *refusal) tell(err error) {
	r.once.Do(func() {
		r.err = fmt.Errorf("%w: %w; the account must be allowed what the documentation of package bridge lists", errDenied, err)
		close(r.told)
	})
}

// or gives what the server said about its permissions rather than err, which
// is mostly the silence that followed.
func (r *refusal) or(err error) error {
	select {
	case <-r.told:
		return r.err
	default:
		return err
	}
}

// errNoTopic reports that the topic is not there.
var errNoTopic = errors.New("the topic is not there; start the processor first, or set --candles-topic")

// topic asks for the topic's id and partitions.
func (b *Bridge) topic(ctx context.Context) (id kadm.TopicID, partitions []int32, _ error) {
	topics, err := kadm.NewClient(b.admin).ListTopics(ctx, b.cfg.Topic)
	if err != nil {
		return id, nil, fmt.Errorf("kafka: ask for topic %s: %w", b.cfg.Topic, err)
	}
	t, ok := topics[b.cfg.Topic]
	if !ok || errors.Is(t.Err, kerr.UnknownTopicOrPartition) {
		return id, nil, fmt.Errorf("kafka: topic %s: %w", b.cfg.Topic, errNoTopic)
	}
	if t.Err != nil {
		return id, nil, fmt.Errorf("kafka: ask for topic %s: %w", b.cfg.Topic, t.Err)
	}
	return t.ID, t.Partitions.Numbers(), nil
}

// Close ends the connections. Run must have returned, or be made to by it.
func (b *Bridge) Close() {
	if b.conn != nil {
		b.conn.Close()
	}
	if b.admin != nil {
		b.admin.Close()
	}
}

// CaughtUp returns once everything before the offsets in end is in NATS and
// acknowledged, the position included. It waits for ever for a partition that
// another bridge of the group has, so ctx should end.
func (b *Bridge) CaughtUp(ctx context.Context, end map[int32]int64) error {
	if err := b.progress.wait(ctx, end); err != nil {
		return fmt.Errorf("wait for nats to have everything: %w", err)
	}
	return nil
}

// pauser waits longer each time, from 50 ms to 5 s.
type pauser struct{ next time.Duration }

func (p *pauser) reset() { p.next = 0 }

// wait says false when ctx ends first.
func (p *pauser) wait(ctx context.Context) bool {
	p.next = min(max(2*p.next, 50*time.Millisecond), 5*time.Second)
	t := time.NewTimer(p.next)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
