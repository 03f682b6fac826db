package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/schema"
)

// desk is where an operator's records about one symbol are written: into the
// symbol's partition of the log. What comes of one is read from the topic of
// gaps, where the processor tells a symbol's eras, and from the dead letters.
type desk struct {
	app       *app
	s         *settings
	kafka     kafka.Config
	client    *kgo.Client // asks and writes
	symbol    string
	partition int32
	word      schema.GapSet // the processor's newest word on the symbol
	heard     bool          // there is one
	refused   map[int64]string
	reader    *kgo.Client // reads the words
	until     map[string]int64
	dead      int64 // up to where the dead letters were read
}

// deskFlags are those that all such commands have.
type deskFlags struct {
	symbol string
	yes    bool
	wait   time.Duration
}

func (o *deskFlags) add(f *pflag.FlagSet) {
	f.StringVar(&o.symbol, "symbol", "", "`SYMBOL` that it is about")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	f.DurationVar(&o.wait, "wait", 30*time.Second, "how long to wait for the processor to say what came of it")
}

// deskGroups are the settings of these commands, and deskLeave those that they
// do without.
var (
	deskGroups = []string{gKafka, gLog}
	deskLeave  = []string{"candles-topic", "partitions", "replication", "ticks-retention", "candles-retention", "compression", "periods", "three-day-anchor", "empty-seconds"}
)

// openDesk connects, makes sure that the log takes records of a kind, and reads
// what the processor has said of the symbol.
func (a *app) openDesk(ctx context.Context, s *settings, symbol string, kind schema.Kind) (_ *desk, err error) {
	if symbol == "" {
		return nil, usagef("wanted --symbol")
	}
	if err := schema.ValidateSymbol(symbol); err != nil {
		return nil, usagef("--symbol: %w", err)
	}
	d := &desk{app: a, s: s, symbol: symbol, refused: map[int64]string{}}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.kafka, err = s.Kafka.config("operator", slog.New(slog.DiscardHandler)); err != nil {
		return nil, err
	}
	if d.client, err = connect(ctx, d.kafka); err != nil {
		return nil, err
	}
	topics := s.topics()
	log, err := kafka.Find(ctx, d.client, topics)
	if err != nil {
		return nil, err
	}
	if err := log.Settings.Allows(kind); err != nil {
		return nil, usagef("%w", err)
	}
	list, err := kadm.NewClient(d.client).ListTopics(ctx, topics.Ticks, topics.Gaps(), topics.Dead())
	if err == nil {
		err = list.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("topic %s and its own: %w", topics.Ticks, err)
	}
	d.partition = schema.Partition(symbol, int32(len(list[topics.Ticks].Partitions)))
	gaps, err := d.bounds(ctx, topics.Gaps())
	if err != nil {
		return nil, err
	}
	dead, err := d.bounds(ctx, topics.Dead())
	if err != nil {
		return nil, err
	}
	d.until, d.dead = map[string]int64{}, dead[1]
	if gaps[0] < gaps[1] {
		d.until[topics.Gaps()] = gaps[1]
	}
	d.reader, err = kafka.Connect(ctx, d.kafka, kgo.KeepControlRecords(), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		topics.Gaps(): {d.partition: kgo.NewOffset().At(gaps[0])},
		topics.Dead(): {d.partition: kgo.NewOffset().At(dead[1])},
	}))
	if err != nil {
		return nil, err
	}
	for len(d.until) > 0 {
		if err := d.read(ctx); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *desk) close() {
	if d.reader != nil {
		d.reader.Close()
	}
	if d.client != nil {
		d.client.Close()
	}
}

// deadTopic names the topic of dead letters.
func (d *desk) deadTopic() string { return schema.DeadTopic(d.s.Log.Ticks) }

// bounds gives the first offset of the symbol's partition of a topic, and the
// one behind its last.
func (d *desk) bounds(ctx context.Context, topic string) (at [2]int64, err error) {
	admin := kadm.NewClient(d.client)
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return at, fmt.Errorf("ask where %s begins: %w", topic, err)
	}
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return at, fmt.Errorf("ask where %s ends: %w", topic, err)
	}
	s, _ := starts.Lookup(topic, d.partition)
	e, _ := ends.Lookup(topic, d.partition)
	return [2]int64{s.Offset, e.Offset}, nil
}

// read takes what has come of the processor's words.
func (d *desk) read(ctx context.Context) error {
	fetches := d.reader.PollFetches(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := fetches.Err(); err != nil {
		return fmt.Errorf("read the processor's words: %w", err)
	}
	fetches.EachRecord(func(r *kgo.Record) {
		if end, ok := d.until[r.Topic]; ok && r.Offset >= end-1 {
			delete(d.until, r.Topic)
		}
		if r.Topic == d.deadTopic() {
			d.dead = r.Offset + 1
		}
		headers := map[string]string{}
		for _, h := range r.Headers {
			headers[h.Key] = string(h.Value)
		}
		if at := headers[schema.HeaderOffset]; at != "" {
			var offset int64
			if _, err := fmt.Sscan(at, &offset); err == nil {
				d.refused[offset] = headers[schema.HeaderError]
			}
			return
		}
		if string(r.Key) != d.symbol {
			return
		}
		if set, err := schema.DecodeGapSet(r.Value); err == nil && (set.Applied > d.word.Applied || set.Applied == d.word.Applied && set.Opened >= d.word.Opened) {
			d.word, d.heard = set, true
		}
	})
	return nil
}

// nextEra is the one above all that the symbol has.
func (d *desk) nextEra() (uint8, error) {
	if d.word.Granted >= schema.MaxEra {
		return 0, fmt.Errorf("%s is in the era %d, the last there is", d.symbol, d.word.Granted)
	}
	return d.word.Granted + 1, nil
}

// write writes a record, and gives its place in the log.
func (d *desk) write(ctx context.Context, body any) (int64, error) {
	value, err := schema.AppendControl(nil, body)
	if err != nil {
		return 0, err
	}
	return d.produce(ctx, value)
}

func (d *desk) produce(ctx context.Context, values ...[]byte) (first int64, err error) {
	recs := make([]*kgo.Record, len(values))
	for i, v := range values {
		recs[i] = &kgo.Record{Topic: d.s.Log.Ticks, Partition: d.partition, Key: []byte(d.symbol), Value: v}
	}
	if err := d.client.ProduceSync(ctx, recs...).FirstErr(); err != nil {
		return 0, fmt.Errorf("write into %s: %w", d.s.Log.Ticks, err)
	}
	return recs[0].Offset, nil
}

var errNoWord = errors.New("no processor has said yet that it has it; it will when one runs and has come there")

// await reads the processor's words until it has come to the record at an offset
// and done says so too, or until it has refused a record from there on. What it
// refuses stands in the dead letters before it says anything of the rest.
func (d *desk) await(ctx context.Context, wait time.Duration, from int64, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		if d.word.Changed >= from && done() {
			end, err := d.bounds(ctx, d.deadTopic())
			for err == nil && d.dead < end[1] {
				err = d.read(ctx)
			}
			if err != nil {
				return err
			}
		}
		for offset, why := range maps.All(d.refused) {
			if offset >= from && strings.Contains(why, d.symbol) {
				return fmt.Errorf("refused by the processor, which changed nothing: %s; if another such record came just before, give the command again", why)
			}
		}
		if d.word.Changed >= from && done() {
			return nil
		}
		if err := d.read(ctx); errors.Is(err, context.DeadlineExceeded) {
			return awayf("%w (waited %v)", errNoWord, wait)
		} else if err != nil {
			return err
		}
	}
}

// confirm asks, unless it was told not to.
func (a *app) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	fmt.Fprintf(a.stderr, "%s [y/N] ", question)
	answer, _ := bufio.NewReader(a.stdin).ReadString('\n')
	if t := strings.ToLower(strings.TrimSpace(answer)); t != "y" && t != "yes" {
		return usagef("not confirmed; nothing was written")
	}
	return nil
}
