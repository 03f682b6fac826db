//go:build synctests

package sim

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/schema"
)

const (
	broker  = "localhost:9092"
	brokers = 2
)

// world is one simulated run.
type world struct {
	plan    *plan
	ctx     context.Context
	cancel  context.CancelFunc
	net     kfake.VirtualNetwork
	kafka   *kfake.Cluster
	dir     string      // on a disk of memory
	client  *kgo.Client // the simulator's own
	topics  kafka.Topics
	began   time.Time
	skew    time.Duration   // of the exchange's clock against the brokers'
	over    chan struct{}   // the market has ended
	calm    context.Context // ends when the faults do
	group   sync.WaitGroup
	delayed sync.WaitGroup // what faults do later

	market     []listing
	collectors []*collector
	machines   []*machine
	db         *database
	lineage    kafka.TopicID
	owners     map[int32]int // at the end: whose a partition is

	mu       sync.Mutex // guards what follows
	story    []string
	broken   []string
	instance map[string]bool // names of processes that were killed
	revision uint32
	lives    int                     // of candles
	candles  map[int32][]stood       // what stood in the topic before it was compacted or made anew
	gone     map[int32][]*kgo.Record // what retention took of the log
	past     map[string]bool         // keys that were published before periods were switched off
	relaxed  map[string]bool         // what cannot be had again, by the processor's own words
}

// outcome is what a run came to.
type outcome struct {
	broken []string
	story  []string
	told   map[string]bool
}

func (w *world) note(format string, args ...any) {
	said := fmt.Sprintf(format, args...)
	w.mu.Lock()
	defer w.mu.Unlock()
	said = fmt.Sprintf("%8.3f %s", time.Since(w.began).Seconds(), said)
	if w.plan.Loud {
		say("%s\n", said)
	}
	w.story = append(w.story, said)
}

// fault reports a broken promise.
func (w *world) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.broken) < 20 {
		w.broken = append(w.broken, fmt.Sprintf(format, args...))
	}
}

// passed is the time since the start; exchange is Binance's clock.
func (w *world) passed() time.Duration { return time.Since(w.began) }

func (w *world) exchange() schema.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return schema.FromStd(time.Now().Add(w.skew))
}

// rand gives a part of the run its own randomness, so that one part's draws
// don't change another's.
func (w *world) rand(part string) *rand.ChaCha8 { return chacha(w.plan.Seed, part) }

func (w *world) dice(part string) *rand.Rand { return rand.New(w.rand(part)) }

func chacha(seed uint64, part string) *rand.ChaCha8 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], seed)
	return rand.NewChaCha8(sha256.Sum256(append(b[:], part...)))
}

// wait is false if ctx ends first.
func (w *world) wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// run plays the plan in the bubble of the caller.
func run(t *testing.T, p *plan) outcome {
	w := &world{plan: p, began: time.Now(), over: make(chan struct{}), instance: map[string]bool{}, candles: map[int32][]stood{}, gone: map[int32][]*kgo.Record{}, relaxed: map[string]bool{}, past: map[string]bool{}}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	defer w.cancel()
	told := map[string]bool{}
	if err := w.open(t); err != nil {
		w.fault("the simulation does not begin: %v", err)
		return outcome{broken: w.broken, story: w.story}
	}
	var rest context.CancelFunc
	w.calm, rest = context.WithCancel(w.ctx)
	w.play()
	rest()
	w.delayed.Wait()
	w.settle()
	if len(w.broken) == 0 {
		w.check(told)
	}
	w.close()
	return outcome{broken: w.broken, story: w.story, told: told}
}

func (w *world) open(t *testing.T) (err error) {
	if w.db, err = newDatabase(t); err != nil {
		return err
	}
	w.dir = filepath.Dir(w.db.file)
	if err = w.startKafka(); err != nil {
		return err
	}
	w.topics = kafka.Topics{Ticks: schema.TicksTopic, Candles: schema.CandlesTopic, Partitions: w.plan.Partitions, Compression: "none"}
	w.topics.EnsureDefaults()
	if w.client, err = kafka.Connect(w.ctx, w.kafkaConfig(&wire{to: &w.net}), kgo.ProducerLinger(0)); err != nil {
		return err
	}
	l, err := kafka.Ensure(w.ctx, w.client, w.topics, w.plan.Settings)
	if err != nil {
		return err
	}
	w.lineage = l.Ticks
	w.began = time.Now()
	start := w.exchange()
	w.market = makeMarket(w.dice("market"), start, w.plan.Length, w.plan.Symbols, w.plan.Falling)
	if w.plan.Cut > 0 { // a failing plan is made smaller
		for i := range w.market {
			m := &w.market[i]
			m.trades = m.trades[:min(len(m.trades), w.plan.Cut)]
		}
	}
	r := w.dice("deliveries")
	for n, symbols := range w.plan.Collectors {
		c := &collector{w: w, n: n}
		for _, i := range symbols {
			c.symbols = append(c.symbols, w.market[i])
			c.feed = append(c.feed, deliveries(r, start, &w.market[i], w.plan.Troubles)...)
		}
		slices.SortStableFunc(c.feed, func(a, b delivery) int { return int(a.at - b.at) })
		w.collectors = append(w.collectors, c)
	}
	for n := range w.plan.Processors {
		w.machines = append(w.machines, newMachine(w, n))
	}
	return nil
}

func (w *world) startKafka() (err error) {
	opts := []kfake.Opt{kfake.NumBrokers(brokers), kfake.Ports(9092, 9093), kfake.ListenFn(w.net.Listen), kfake.GroupMinSessionTimeout(time.Second)}
	if w.plan.has("kafka set back") {
		opts = append(opts, kfake.DataDir(w.dir+"/kafka"))
	}
	w.kafka, err = kfake.NewCluster(opts...)
	return err
}

// play lets the market pass and the faults befall.
func (w *world) play() {
	for _, c := range w.collectors {
		c.start()
	}
	for _, m := range w.machines {
		m.start()
	}
	for i := range w.plan.Faults {
		f := &w.plan.Faults[i]
		if f.Off {
			continue
		}
		if d := f.At - w.passed(); d > 0 {
			w.wait(w.ctx, d)
		}
		w.note("fault %d: %v", i, f)
		f.befall(w)
	}
	if d := w.plan.Length + 30*time.Second - w.passed(); d > 0 {
		w.wait(w.ctx, d)
	}
}

// settle heals all, and waits until everything has come everywhere.
func (w *world) settle() {
	for _, c := range w.collectors {
		c.life.wire.mend()
	}
	for _, m := range w.machines {
		m.heal()
	}
	w.note("healed")
	close(w.over)
	if w.plan.SayEnd {
		for _, c := range w.collectors {
			select {
			case <-c.life.done:
			case <-time.After(time.Minute):
				w.fault("collector %d does not end within a minute", c.n)
				return
			}
		}
	} else {
		w.wait(w.ctx, 5*time.Second)
		for _, c := range w.collectors {
			c.life.cancel()
			<-c.life.done
		}
	}
	if w.plan.Mend {
		if err := w.mend(); err != nil {
			w.fault("mend: %v", err)
			return
		}
	}
	if !w.everywhere(3 * time.Minute) {
		return
	}
	// A database that was set back is noticed by the heartbeat, an old record of
	// a forgotten window by the next look at all of the topic.
	rest := 12 * time.Second
	if w.plan.has("zombie on candles") && w.plan.Keep < time.Hour {
		rest = 75 * time.Second
	}
	w.wait(w.ctx, rest)
	if !w.everywhere(2 * time.Minute) {
		return
	}
}

// everywhere waits until the processors have all of the log and each sink too.
func (w *world) everywhere(patience time.Duration) bool {
	adm := kadm.NewClient(w.client)
	end := time.Now().Add(patience)
	began := time.Now()
	freed := false
	for {
		starts, err1 := adm.ListStartOffsets(w.ctx, w.topics.Ticks)
		ends, err2 := adm.ListEndOffsets(w.ctx, w.topics.Ticks)
		if err := errors.Join(err1, err2); err != nil {
			w.fault("ask for the log's end: %v", err)
			return false
		}
		done, owners := 0, map[int32]int{}
		stand := ""
		for _, m := range w.machines {
			for _, s := range m.status() {
				owners[s.Partition] = m.n
				at, _ := ends.Lookup(w.topics.Ticks, s.Partition)
				stand += fmt.Sprintf(" [machine %d: %d at %d of %d, sinks %v]", m.n, s.Partition, s.Offset, at.Offset, s.Sinks)
				if start, _ := starts.Lookup(w.topics.Ticks, s.Partition); start.Offset == at.Offset {
					done++ // retention has taken all there was
				} else if s.Offset >= at.Offset && s.Sinks["candles"] >= at.Offset && s.Sinks["sql"] >= at.Offset {
					done++
				}
			}
		}
		if done == int(w.plan.Partitions) {
			w.owners = owners
			return true
		}
		if time.Now().After(end) {
			w.fault("stuck: after %v of health not everything is everywhere:%s", patience, stand)
			return false
		}
		if !freed && time.Since(began) > 4*session {
			freed = true
			w.free()
		}
		w.wait(w.ctx, 300*time.Millisecond)
	}
}

// free takes members that were killed out of the group. The fake never does so
// with one that was killed while it waited to be let in, as a broker would.
func (w *world) free() {
	names := map[string]bool{}
	w.mu.Lock()
	for n := range w.instance {
		names[n] = true
	}
	w.mu.Unlock()
	for _, m := range w.machines {
		delete(names, m.instance())
	}
	for n := range names {
		_, err := kadm.NewClient(w.client).LeaveGroup(w.ctx, kadm.LeaveGroup("millrace-"+w.topics.Ticks).InstanceIDs(n).Reason("killed"))
		if err != nil {
			w.note("free %s: %v", n, err)
		}
	}
}

func (w *world) close() {
	for _, m := range w.machines {
		m.stop()
	}
	w.cancel()
	w.group.Wait()
	w.client.Close()
	w.kafka.Close()
	if err := w.db.raw.Close(); err != nil {
		w.fault("close the database: %v", err)
	}
}

// read gives all records of a topic's partition.
func (w *world) read(topic string, partition int32) ([]*kgo.Record, error) {
	adm := kadm.NewClient(w.client)
	starts, err1 := adm.ListStartOffsets(w.ctx, topic)
	ends, err2 := adm.ListEndOffsets(w.ctx, topic)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	start, _ := starts.Lookup(topic, partition)
	end, _ := ends.Lookup(topic, partition)
	if start.Offset >= end.Offset {
		return nil, nil
	}
	client, err := kafka.Connect(w.ctx, w.kafkaConfig(&wire{to: &w.net}), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(start.Offset)}}))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var out []*kgo.Record
	for next := start.Offset; next < end.Offset; {
		f := client.PollFetches(w.ctx)
		if err := f.Err(); err != nil {
			return nil, err
		}
		f.EachRecord(func(r *kgo.Record) { out = append(out, r); next = r.Offset + 1 })
	}
	return out, nil
}

func text(err error) string {
	if err == nil {
		return "nil"
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// retain has retention take the log up to somewhere: mostly what everybody has
// already, sometimes more.
func (w *world) retain(p int32, r *rand.Rand) {
	recs, err := w.read(w.topics.Ticks, p)
	if err != nil || len(recs) == 0 {
		return
	}
	low := int64(-1)
	for _, m := range w.machines {
		for _, s := range m.status() {
			if s.Partition == p {
				low = min(s.Offset, s.Sinks["sql"], s.Sinks["candles"])
			}
		}
	}
	to := recs[0].Offset + r.Int64N(int64(len(recs))+1)
	if !w.plan.Greedy {
		to = min(to, low)
	}
	if to <= recs[0].Offset {
		return
	}
	w.note("  the log of partition %d begins at %d", p, to)
	w.gone[p] = append(w.gone[p], recs[:to-recs[0].Offset]...)
	if err := w.kafka.DeleteRecords(w.topics.Ticks, p, to); err != nil {
		w.fault("retention: %v", err)
	}
}
