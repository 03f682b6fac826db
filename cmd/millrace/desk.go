package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/spf13/pflag"
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
	client    *kgo.Client // asks and writes, and hears the processor's words
	log       kafka.Lineage
	symbol    string
	partition int32
	word      schema.GapSet // the processor's newest word on the symbol
	heard     bool          // there is one
	refused   map[int64]string
	dead      int64       // up to where the dead letters were read
	tick      schema.Tick // the decoder's memory
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
	client, log, err := openLook(ctx, s, "operator")
	if err != nil {
		return nil, err
	}
	d := &desk{app: a, s: s, client: client, log: log, symbol: symbol, partition: schema.Partition(symbol, log.Partitions), refused: map[int64]string{}}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if err := log.Settings.Allows(kind); err != nil {
		return nil, usagef("%w", err)
	}
	gaps := schema.GapsTopic(s.Log.Ticks)
	start, end, err := kafka.Bounds(ctx, client, gaps, d.partition)
	if err == nil {
		_, d.dead, err = kafka.Bounds(ctx, client, d.deadTopic(), d.partition)
	}
	if err == nil {
		err = kafka.Scan(ctx, client, gaps, log.Gaps, d.partition, start, end, d.hear)
	}
	if err != nil {
		return nil, err
	}
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{
		gaps:          {d.partition: kgo.NewOffset().At(end)},
		d.deadTopic(): {d.partition: kgo.NewOffset().At(d.dead)},
	})
	return d, nil
}

func (d *desk) close() { d.client.Close() }

// deadTopic names the topic of dead letters.
func (d *desk) deadTopic() string { return schema.DeadTopic(d.s.Log.Ticks) }

// read takes what has come of the processor's words.
func (d *desk) read(ctx context.Context) error {
	fetches := d.client.PollFetches(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := fetches.Err(); err != nil {
		return fmt.Errorf("read the processor's words: %w", err)
	}
	fetches.EachRecord(func(r *kgo.Record) {
		if r.Topic != d.deadTopic() {
			_ = d.hear(r)
			return
		}
		d.dead = r.Offset + 1
		if x := newLetter(r, &d.tick); x.Offset != nil {
			d.refused[*x.Offset] = x.Text
		}
	})
	return nil
}

// hear takes a record of the topic of gaps.
func (d *desk) hear(r *kgo.Record) error {
	if string(r.Key) != d.symbol {
		return nil
	}
	set, err := schema.DecodeGapSet(r.Value)
	if err == nil && (set.Applied > d.word.Applied || set.Applied == d.word.Applied && set.Opened >= d.word.Opened) {
		d.word, d.heard = set, true
	}
	return nil
}

// each calls f with the records of the symbol's partition of a topic, up to its
// end as of now.
func (d *desk) each(ctx context.Context, topic string, id kafka.TopicID, f func(*kgo.Record) error) error {
	start, end, err := kafka.Bounds(ctx, d.client, topic, d.partition)
	if err != nil {
		return err
	}
	return kafka.Scan(ctx, d.client, topic, id, d.partition, start, end, f)
}

// nextEra is the one above all that the symbol has.
func (d *desk) nextEra() (uint8, error) {
	if d.word.Granted >= schema.MaxEra {
		return 0, fmt.Errorf("%s is in the era %d, the last there is", d.symbol, d.word.Granted)
	}
	return d.word.Granted + 1, nil
}

// put writes a record, says where it stands, and waits until the processor has it,
// as done tells.
func (d *desk) put(ctx context.Context, wait time.Duration, body any, done func() bool) (at int64, err error) {
	value, err := schema.AppendControl(nil, body)
	if err != nil {
		return 0, err
	}
	if at, err = d.produce(ctx, value); err != nil {
		return 0, err
	}
	fmt.Fprintf(d.app.stdout, "written at %s/%d offset %d\n", d.s.Log.Ticks, d.partition, at)
	return at, d.await(ctx, wait, at, done)
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
			_, end, err := kafka.Bounds(ctx, d.client, d.deadTopic(), d.partition)
			for err == nil && d.dead < end {
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
