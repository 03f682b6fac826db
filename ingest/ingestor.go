package ingest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/schema"
)

// ErrEnded reports a call after Run has ended.
var ErrEnded = errors.New("ingest: ended")

// Ingestor owns the producer and the streams. There is one in a process.
type Ingestor struct {
	cfg    Config
	id     string
	client *kgo.Client
	// produce is the client's. Tests of what the way of a trade allocates put
	// in one that acknowledges at once.
	produce func(context.Context, *kgo.Record, func(*kgo.Record, error))
	pool    sync.Pool // of *record: made here, given back by the client's goroutine
	counts  counters
	waiting *waiting

	dirty   chan struct{} // a packer has trades that wait
	acks    chan struct{} // a lane that somebody waits for has nothing on its way
	ending  chan struct{} // closed when the end begins
	failed  chan struct{} // closed with the first failure
	err     atomic.Pointer[error]
	ended   atomic.Bool
	endOnce sync.Once

	mu      sync.Mutex
	streams []*Stream
	opened  int
}

// Open connects to Kafka. Close ends what it began.
func Open(ctx context.Context, cfg Config) (*Ingestor, error) {
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	i, err := newIngestor(cfg)
	if err != nil {
		return nil, err
	}
	codec, err := kafka.Codec(cfg.Compression)
	if err != nil {
		return nil, err
	}
	// The packers linger; a second wait in the client would double it. Where
	// each trade is a record of its own, the client's is the only one.
	linger := time.Duration(0)
	if cfg.BatchMax == 1 {
		linger = cfg.Linger
	}
	i.client, err = kafka.Connect(ctx, cfg.Kafka,
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(codec),
		kgo.ProducerLinger(linger),
		kgo.MaxBufferedBytes(cfg.BufferBytes),
		kgo.MaxBufferedRecords(cfg.BufferBytes/recordBytes),
		kgo.WithHooks(listener{i.waiting}),
	)
	if err != nil {
		return nil, err
	}
	i.produce = i.client.Produce
	return i, nil
}

func newIngestor(cfg Config) (*Ingestor, error) {
	var id [8]byte
	if _, err := io.ReadFull(cfg.Rand, id[:]); err != nil {
		return nil, fmt.Errorf("ingest: make an id: %w", err)
	}
	i := &Ingestor{
		cfg: cfg, id: hex.EncodeToString(id[:]),
		dirty: make(chan struct{}, 1), acks: make(chan struct{}, 1), ending: make(chan struct{}), failed: make(chan struct{}),
	}
	i.waiting = newWaiting(&cfg)
	i.pool.New = func() any { return i.newRecord() }
	return i, nil
}

// Ending says that the end has begun, before Run is told to: what Kafka has not
// acknowledged within CloseWait from now is given up, by streams that are still
// to be closed as by Run, and nobody waits for room any more.
func (i *Ingestor) Ending() { i.endOnce.Do(func() { close(i.ending) }) }

// ID is that of this start of the process; the streams' begin with it.
func (i *Ingestor) ID() string { return i.id }

// Run flushes what lingers and writes the marks until ctx ends or a record is
// refused for good. It returns nil when everything delivered until the end of
// ctx is acknowledged. A stream may still be closed after it.
func (i *Ingestor) Run(ctx context.Context) error {
	inner, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	var work, bound sync.WaitGroup
	bound.Go(func() { i.bound(ctx, done) })
	work.Go(func() { i.flushes(inner) })
	i.marks(inner)
	cancel()
	work.Wait()
	i.ended.Store(true)
	err := i.drain()
	close(done)
	bound.Wait()
	return err
}

// bound sees to it that the end comes. A source that is blocked by a full
// buffer holds its stream's lock, and a broker that is away would hold both for
// ever: CloseWait after the end began the client is closed, which fails what it
// still has. The first failure is an end too.
func (i *Ingestor) bound(ctx context.Context, done chan struct{}) {
	select {
	case <-ctx.Done():
		i.Ending()
	case <-i.ending:
	case <-i.failed:
	case <-done:
		return
	}
	t := time.NewTimer(i.cfg.CloseWait)
	defer t.Stop()
	select {
	case <-t.C:
		i.fail(i.unacknowledged())
		i.client.Close()
	case <-done:
	}
}

// flushes sends the trades that have waited for the linger.
func (i *Ingestor) flushes(ctx context.Context) {
	t := time.NewTimer(i.cfg.Linger)
	defer t.Stop()
	for {
		select {
		case <-i.dirty:
		case <-ctx.Done():
			return
		case <-i.failed:
			return
		}
		t.Reset(i.cfg.Linger)
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		case <-i.failed:
			return
		}
		for _, s := range i.all() {
			s.sweep()
		}
	}
}

// drain flushes all streams and waits for the acknowledgements.
func (i *Ingestor) drain() error {
	for _, s := range i.all() {
		if err := i.failure(); err != nil {
			return err
		}
		s.sweep()
		if err := s.acknowledged(context.Background()); err != nil {
			return err
		}
	}
	return i.failure()
}

// Close ends the connection to Kafka. Run must have returned.
func (i *Ingestor) Close() { i.client.Close() }

// fail keeps the first failure and ends Run.
func (i *Ingestor) fail(err error) {
	if i.err.CompareAndSwap(nil, &err) {
		close(i.failed)
	}
}

func (i *Ingestor) failure() error {
	if err := i.err.Load(); err != nil {
		return *err
	}
	return nil
}

func (i *Ingestor) all() []*Stream {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]*Stream(nil), i.streams...)
}

func (i *Ingestor) partition(symbol string) int32 {
	return schema.Partition(symbol, i.cfg.Partitions)
}

// signal wakes who waits on c, once.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
