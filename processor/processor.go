package processor

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"millrace/internal/kafka"
	"millrace/processor/sink"
	sqlsink "millrace/processor/sink/sql"
	"millrace/state"
)

// Processor is one member of the group that shares the partitions of `ticks`.
type Processor struct {
	cfg       Config
	log       *slog.Logger
	client    *kgo.Client // the group's member; fetches nothing, and produces
	feed      *feeder     // fetches
	balancer  *balancer
	asker     *kgo.Client // asks and reads single records: they would wait behind the other's long polls
	lineage   kafka.Lineage
	db        *sqlsink.DB
	reader    *sink.Reader
	writer    string // names this process in progress rows and headers
	instance  string // names the data folder in the group
	stages    Stages
	lock      io.Closer // on the data folder
	queueHigh int       // the feeder's
	// heartbeat is how often an idle database is asked whether it was set back.
	heartbeat time.Duration
	// leftFor is how long state stays that is of no use here.
	leftFor time.Duration

	ctx    context.Context // ends with Run; owners live in it
	cancel context.CancelCauseFunc
	opened chan struct{} // closed when client is set; the group may call before
	hangUp func()        // ends what the client waits for

	alive sync.WaitGroup // every owner, those that are being given up too

	mu     sync.Mutex // guards what follows
	owners map[int32]*owner
	// standbys are of other partitions than owners.
	standbys map[int32]*standby
	member   bool // the group has given its word
}

var errClosed = errors.New("processor closed")

// New makes a processor; Open touches the world.
func New(cfg Config) (*Processor, error) {
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &Processor{cfg: cfg, log: cfg.Log, owners: map[int32]*owner{}, standbys: map[int32]*standby{}, opened: make(chan struct{}), hangUp: func() {}, queueHigh: 200_000, heartbeat: 5 * time.Second, leftFor: leftFor}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p, nil
}

// Open connects to Kafka and the database, makes and checks the topics and the
// tables. Each error is one line that says what is wrong and what to do.
func (p *Processor) Open(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if err := p.cfg.FS.MkdirAll(p.cfg.Dir, 0o755); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if p.lock, err = state.Lock(p.cfg.FS, p.cfg.Dir); err != nil {
		return err
	}
	var id [8]byte
	if _, err := io.ReadFull(p.cfg.Rand, id[:]); err != nil {
		return err
	}
	p.writer = hex.EncodeToString(id[:])
	if p.instance, err = instance(p.cfg.FS, p.cfg.Dir, p.writer); err != nil {
		return err
	}
	if err := p.ensure(ctx); err != nil {
		return err
	}
	if err := p.checkTransactions(ctx); err != nil {
		return err
	}
	if p.cfg.SQL != nil {
		if p.db, err = sqlsink.Open(ctx, *p.cfg.SQL); err != nil {
			return err
		}
	}
	codec, err := kafka.Codec(p.cfg.Topics.Compression)
	if err != nil {
		return err
	}
	p.reader = &sink.Reader{TopicID: p.lineage.Candles, Asker: p.asker, Connect: func(opts ...kgo.Opt) (*kgo.Client, error) {
		return kafka.Connect(p.ctx, p.cfg.Kafka, opts...)
	}}
	if err := p.reader.Open(); err != nil {
		return err
	}
	fetching, err := kafka.Connect(ctx, p.cfg.Kafka, kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchMaxWait(fetchWait))
	if err != nil {
		return err
	}
	p.feed = newFeeder(fetching, p.cfg.Topics.Ticks, p.queueHigh)
	p.balancer = newBalancer(p.cfg.Topics.Ticks, p.told, p.sayChoice)
	// The client joins the group as soon as it is made, so it comes last.
	life, hangUp := context.WithCancel(context.Background())
	p.hangUp = hangUp
	p.client, err = kafka.Connect(ctx, p.cfg.Kafka,
		kgo.WithContext(life),
		kgo.ConsumerGroup(p.cfg.Group),
		kgo.ConsumeTopics(p.cfg.Topics.Ticks),
		kgo.InstanceID(p.instance),
		kgo.SessionTimeout(p.cfg.SessionTimeout),
		// By its heartbeat a member hears that another has left.
		kgo.HeartbeatInterval(min(p.cfg.SessionTimeout/5, maxHeartbeat)),
		// A member that is killed while the group rebalances is waited for as
		// long as this; an owner gives its partition up within some seconds.
		kgo.RebalanceTimeout(2*p.cfg.SessionTimeout),
		kgo.Balancers(p.balancer),
		kgo.AutoCommitMarks(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		// Who owns and who fetches are two things: the feeder begins once the
		// state is open.
		kgo.AdjustFetchOffsetsFn(func(context.Context, map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			return nil, nil
		}),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { p.assigned(m) }),
		kgo.OnPartitionsRevoked(func(ctx context.Context, c *kgo.Client, m map[string][]int32) { p.revoked(ctx, c, m) }),
		kgo.OnPartitionsLost(func(ctx context.Context, _ *kgo.Client, m map[string][]int32) { p.lost(ctx, m) }),
		kgo.ProducerBatchCompression(codec),
		kgo.ProducerLinger(0),
		kgo.MaxBufferedRecords(100_000),
		// What was cancelled may land twice, which harms nobody; waiting for a
		// broker that is away would hold up the end of the process.
		kgo.AllowIdempotentProduceCancellation(),
	)
	close(p.opened)
	return err
}

// ensure makes and checks the topics. The consuming client is not there yet: it
// joins the group as soon as it is made.
func (p *Processor) ensure(ctx context.Context) (err error) {
	if p.asker, err = kafka.Connect(ctx, p.cfg.Kafka); err != nil {
		return err
	}
	if p.lineage, err = kafka.Ensure(ctx, p.asker, p.cfg.Topics, p.cfg.Settings); err != nil {
		return err
	}
	if p.cfg.Check != nil && p.lineage.Known {
		return p.cfg.Check(p.lineage.Settings)
	}
	return nil
}

// maxHeartbeat bounds how long a partition is nobody's after its owner has left.
const maxHeartbeat = 300 * time.Millisecond

// fetchWait is how long a broker that has nothing new holds a fetch back. A
// partition that is added meanwhile waits for the one that is under way; kgo's 5 s
// would be a pause of 5 s.
const fetchWait = 250 * time.Millisecond

const instanceFile = "instance"

// instance gives the name under which the folder's processor is a member of the
// group: kept in the folder, so that a killed process has its partitions back
// as soon as it is started again.
func instance(fs vfs.FS, dir, fresh string) (string, error) {
	file := fs.PathJoin(dir, instanceFile)
	b, err := readFile(fs, file)
	if err == nil && len(strings.TrimSpace(string(b))) > 0 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("data folder: %w", err)
	}
	if err := writeFile(fs, file, []byte(fresh+"\n")); err != nil {
		return "", fmt.Errorf("data folder: %w", err)
	}
	return fresh, nil
}

func readFile(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

func writeFile(fs vfs.FS, name string, b []byte) error {
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

// Run processes until ctx ends or something fails that trying again does not
// mend. Either way every owner has closed its store when it returns.
func (p *Processor) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { p.cancel(context.Cause(ctx)) })
	defer stop()
	group, inner := errgroup.WithContext(p.ctx)
	group.Go(func() error { return p.reader.Run(inner) })
	group.Go(func() error { return p.poll(inner) })
	group.Go(func() error { return p.feed.run(inner, p.judge) })
	group.Go(func() error { return p.maintain(inner) })
	group.Go(func() error { return p.tidy(inner) })
	err := group.Wait()
	p.cancel(err)
	p.stop()
	if ctx.Err() != nil {
		return nil
	}
	return cmp.Or(context.Cause(p.ctx), err)
}

// fail ends Run with err.
func (p *Processor) fail(err error) { p.cancel(err) }

// poll hears what the group's member has to say, which is errors only.
func (p *Processor) poll(ctx context.Context) error {
	for {
		fetches := p.client.PollFetches(ctx)
		if ctx.Err() != nil || fetches.IsClientClosed() {
			return nil
		}
		for _, e := range fetches.Errors() {
			if err := p.judge(e); err != nil {
				return err
			}
		}
	}
}

// judge tells what polling cannot go on after from what the client mends itself.
func (p *Processor) judge(e kgo.FetchError) error {
	var session *kgo.ErrGroupSession
	var lost *kgo.ErrDataLoss
	switch {
	case errors.Is(e.Err, context.Canceled):
		return nil
	case errors.Is(e.Err, kerr.FencedInstanceID):
		return fmt.Errorf("consume %s: another processor has joined group %s as this one (%s): is the data folder a copy of another's? remove the file %s in the copy",
			p.cfg.Topics.Ticks, p.cfg.Group, p.instance, instanceFile)
	case errors.As(e.Err, &lost):
		return fmt.Errorf("consume %s/%d: %w: the log has lost records that were applied; start again to see which", e.Topic, e.Partition, e.Err)
	case errors.As(e.Err, &session) && !errors.Is(e.Err, kerr.GroupAuthorizationFailed) && !errors.Is(e.Err, kerr.TopicAuthorizationFailed):
		p.log.Warn("lost touch with the consumer group; joining again", "group", p.cfg.Group, "err", e.Err)
		return nil
	}
	return fmt.Errorf("consume %s/%d: %w", e.Topic, e.Partition, e.Err)
}

// assigned sets the owners of new partitions going, and then brings about what
// the group has this process stand by for. It waits for no state to be opened.
func (p *Processor) assigned(m map[string][]int32) {
	<-p.opened
	p.mu.Lock()
	p.member = true
	if p.ctx.Err() == nil {
		for _, partition := range m[p.cfg.Topics.Ticks] {
			heir := p.standbys[partition]
			delete(p.standbys, partition)
			p.owners[partition] = p.newOwner(partition, heir)
		}
	}
	p.mu.Unlock()
	p.settle(p.balancer.standsBy())
}

// revoked gives partitions up: their owners finish the micro-batch at hand,
// their sinks write what they have, their stores are closed.
func (p *Processor) revoked(ctx context.Context, c *kgo.Client, m map[string][]int32) {
	var gone []*owner
	p.mu.Lock()
	for _, partition := range m[p.cfg.Topics.Ticks] {
		if o := p.owners[partition]; o != nil {
			gone = append(gone, o)
			delete(p.owners, partition)
		}
	}
	p.mu.Unlock()
	for _, o := range gone {
		o.cancel(errStopped)
	}
	for _, o := range gone {
		<-o.done
		p.log.Info("partition given up", "partition", o.partition)
	}
	if c != nil && len(gone) > 0 {
		if err := c.CommitMarkedOffsets(ctx); err != nil {
			p.log.Debug("commit for lag displays", "err", err)
		}
	}
}

// lost gives up what the group has given to others.
func (p *Processor) lost(ctx context.Context, m map[string][]int32) {
	p.mu.Lock()
	p.member = false
	p.mu.Unlock()
	p.revoked(ctx, nil, m)
}

// stop ends every owner and every standby.
func (p *Processor) stop() {
	p.mu.Lock()
	all := map[string][]int32{}
	for partition := range p.owners {
		all[p.cfg.Topics.Ticks] = append(all[p.cfg.Topics.Ticks], partition)
	}
	p.mu.Unlock()
	p.revoked(context.Background(), nil, all)
	p.settle(nil)
	p.alive.Wait() // the group may be taking one away just now
}

// Close leaves the group, so that others have the partitions at once, and
// closes the connections.
func (p *Processor) Close() {
	p.cancel(errClosed)
	if p.client != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		leave := kadm.LeaveGroup(p.cfg.Group).InstanceIDs(p.instance).Reason("stopped")
		if _, err := kadm.NewClient(p.asker).LeaveGroup(ctx, leave); err != nil {
			p.log.Debug("leave the group", "err", err)
		}
		p.hangUp() // else it waits until the group has let it in, to leave
		p.client.CloseAllowingRebalance()
	}
	p.hangUp()
	if p.feed != nil {
		p.feed.client.Close()
	}
	if p.reader != nil {
		p.reader.Close()
	}
	if p.asker != nil {
		p.asker.Close()
	}
	if p.db != nil {
		if err := p.db.Close(); err != nil {
			p.log.Warn("close the database", "err", err)
		}
	}
	if p.lock != nil {
		if err := p.lock.Close(); err != nil {
			p.log.Warn("give the data folder back", "err", err)
		}
	}
}

// Status gives where the partitions of this process stand whose state is open.
func (p *Processor) Status() []PartitionStatus {
	out := []PartitionStatus{}
	for _, o := range p.all() {
		o.mu.Lock()
		if !o.opened {
			o.mu.Unlock()
			continue
		}
		s := o.status
		s.Sinks = map[string]int64{}
		for k, v := range o.status.Sinks {
			s.Sinks[k] = v
		}
		o.mu.Unlock()
		out = append(out, s)
	}
	return out
}

// Opening gives the partitions of this process whose state is not open yet.
func (p *Processor) Opening() (out []int32) {
	for _, o := range p.all() {
		o.mu.Lock()
		if !o.opened {
			out = append(out, o.partition)
		}
		o.mu.Unlock()
	}
	return out
}

// all gives the owners, by partition.
func (p *Processor) all() []*owner {
	p.mu.Lock()
	out := slices.Collect(maps.Values(p.owners))
	p.mu.Unlock()
	slices.SortFunc(out, func(a, b *owner) int { return int(a.partition - b.partition) })
	return out
}

// Lineage gives the topics' ids and the log's settings. Open has run.
func (p *Processor) Lineage() kafka.Lineage { return p.lineage }

// DB gives the database, nil if there is none.
func (p *Processor) DB() *sqlsink.DB { return p.db }

// Stages gives the processor's latencies.
func (p *Processor) Stages() *Stages { return &p.stages }
