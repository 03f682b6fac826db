//go:build synctests

package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/kafka"
	sqlsink "millrace/processor/sink/sql"
	"millrace/schema"
	"millrace/schema/schemapb"
)

// fault is one thing that goes wrong.
type fault struct {
	At   time.Duration
	Kind string
	Who  int
	Rand uint64
	Off  bool // left out, to see whether the run fails without it
}

func (f *fault) String() string { return fmt.Sprintf("%s (%d)", f.Kind, f.Who) }

// faults are all kinds, and how each befalls. r is the fault's own.
var faults = map[string]func(w *world, who int, r *rand.Rand){
	// Processes and disks.
	"processor killed": func(w *world, who int, r *rand.Rand) { w.machine(who).down(r, nil) },
	"power cut": func(w *world, who int, r *rand.Rand) {
		w.machine(who).down(r, &vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 100, r.IntN(101)}[r.IntN(3)], RNG: r})
	},
	"processor killed at a step": func(w *world, who int, r *rand.Rand) { w.machine(who).dieAt(r) },
	"disk full": func(w *world, who int, r *rand.Rand) {
		m := w.machine(who)
		m.kill(nil)
		m.fill(true)
		w.later(time.Duration(r.IntN(5000))*time.Millisecond, m.start)
		w.later(time.Duration(r.IntN(15_000))*time.Millisecond, func() { m.fill(false) })
	},
	"processor stopped": func(w *world, who int, r *rand.Rand) {
		m := w.machine(who)
		w.later(0, func() { m.stop(); w.pause(r, 8*time.Second); m.start() })
	},
	"disk lost": func(w *world, who int, r *rand.Rand) {
		m := w.machine(who)
		m.kill(nil)
		m.wipe()
		w.later(time.Duration(r.IntN(8000))*time.Millisecond, m.start)
	},
	"disk copied": func(w *world, who int, r *rand.Rand) { w.machine(who).copyDisk() },
	"disk set back": func(w *world, who int, r *rand.Rand) {
		m := w.machine(who)
		m.kill(nil)
		m.setBack()
		w.later(time.Duration(r.IntN(8000))*time.Millisecond, m.start)
	},
	"collector killed": func(w *world, who int, r *rand.Rand) { w.collector(who).kill() },
	// The network and Kafka.
	"processor cut off": func(w *world, who int, r *rand.Rand) {
		if l := w.machine(who).alive(); l != nil {
			l.wire.cut(true)
			w.later(time.Duration(r.IntN(15_000))*time.Millisecond, l.wire.mend)
		}
	},
	"processor's answers lost": func(w *world, who int, r *rand.Rand) {
		if l := w.machine(who).alive(); l != nil {
			for range 1 + r.IntN(5) {
				l.wire.cut(false)
				w.pause(r, 200*time.Millisecond)
			}
		}
	},
	"collector cut off": func(w *world, who int, r *rand.Rand) {
		l := w.collector(who).life
		l.wire.cut(true)
		w.later(time.Duration(r.IntN(15_000))*time.Millisecond, l.wire.mend)
	},
	"collector's answers lost": func(w *world, who int, r *rand.Rand) {
		for range 1 + r.IntN(5) {
			w.collector(who).life.wire.cut(false)
			w.pause(r, 200*time.Millisecond)
		}
	},
	"kafka refuses": func(w *world, who int, r *rand.Rand) {
		kinds := []struct {
			key    kmsg.Key
			errors []*kerr.Error
		}{
			{kmsg.Produce, []*kerr.Error{kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend, kerr.NotLeaderForPartition, kerr.NotEnoughReplicas, kerr.KafkaStorageError}},
			{kmsg.Fetch, []*kerr.Error{kerr.NotLeaderForPartition, kerr.OffsetNotAvailable, kerr.KafkaStorageError, kerr.UnknownServerError, kerr.FencedLeaderEpoch}},
			{kmsg.ListOffsets, []*kerr.Error{kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.UnknownServerError}},
			{kmsg.Metadata, []*kerr.Error{kerr.LeaderNotAvailable}},
			{kmsg.JoinGroup, []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.NotCoordinator}},
			{kmsg.SyncGroup, []*kerr.Error{kerr.RebalanceInProgress, kerr.NotCoordinator}},
			{kmsg.Heartbeat, []*kerr.Error{kerr.RebalanceInProgress, kerr.UnknownMemberID, kerr.IllegalGeneration, kerr.NotCoordinator}},
			{kmsg.OffsetCommit, []*kerr.Error{kerr.RequestTimedOut, kerr.RebalanceInProgress}},
			{kmsg.OffsetFetch, []*kerr.Error{kerr.CoordinatorLoadInProgress}},
			{kmsg.InitProducerID, []*kerr.Error{kerr.CoordinatorLoadInProgress}},
		}
		k := kinds[[]int{0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 6, 7, 8, 9}[r.IntN(15)]]
		f := kfake.Fault{Keys: []kmsg.Key{k.key}, Err: k.errors[r.IntN(len(k.errors))], Count: 1 + r.IntN(6)}
		w.note("  %v answers %v, %d times", k.key.Name(), f.Err.Message, f.Count)
		h := w.kafka.Fault(f)
		w.later(20*time.Second, h.Remove)
	},
	"leader moved": func(w *world, who int, r *rand.Rand) {
		topic := []string{w.topics.Ticks, w.topics.Candles, w.topics.Gaps(), w.topics.Dead()}[r.IntN(4)]
		if err := w.kafka.MoveTopicPartition(topic, int32(who)%w.plan.Partitions, int32(r.IntN(brokers))); err != nil {
			w.fault("move a leader: %v", err)
		}
	},
	"coordinator moved": func(w *world, who int, r *rand.Rand) { w.kafka.RehashCoordinators() },
	"candles made anew": func(w *world, who int, r *rand.Rand) { w.renewCandles() },
	"candles compacted": func(w *world, who int, r *rand.Rand) {
		if !w.plan.has("zombie on candles") { // the lag leaves an owner time to answer
			w.keepCandles()
			w.kafka.Compact()
		}
	},
	"kafka kept":       func(w *world, who int, r *rand.Rand) { w.keepKafka() },
	"kafka set back":   func(w *world, who int, r *rand.Rand) { w.setBackKafka() },
	"retention passes": func(w *world, who int, r *rand.Rand) { w.retain(int32(who)%w.plan.Partitions, r) },
	// SQL.
	"database in trouble": func(w *world, who int, r *rand.Rand) {
		if l := w.machine(who).alive(); l != nil {
			for range 1 + r.IntN(4) {
				x := randomTrouble(r)
				w.note("  %s on %s, %v", x.what, x.on, x.wait)
				l.tap.arm(x)
			}
		}
	},
	"database away": func(w *world, who int, r *rand.Rand) {
		if l := w.machine(who).alive(); l != nil {
			l.tap.set(true)
			w.later(time.Duration(r.IntN(30_000))*time.Millisecond, func() { l.tap.set(false) })
		}
	},
	"database slow": func(w *world, who int, r *rand.Rand) {
		if l := w.machine(who).alive(); l != nil {
			l.tap.slower(time.Duration(r.IntN(4000)) * time.Millisecond)
			w.later(time.Duration(r.IntN(40_000))*time.Millisecond, func() { l.tap.slower(0) })
		}
	},
	"database kept": func(w *world, who int, r *rand.Rand) {
		if err := w.db.backup(); err != nil {
			w.note("  back up: %v", err) // somebody holds a lock
			return
		}
		w.db.kept = true
	},
	"database set back": func(w *world, who int, r *rand.Rand) {
		if !w.db.kept {
			return
		}
		if err := w.db.restore(); err != nil {
			w.note("  restore: %v", err)
		}
	},
	// Others who write.
	"zombie on candles": func(w *world, who int, r *rand.Rand) { w.zombieTopic(int32(who)%w.plan.Partitions, r) },
	"zombie on sql":     func(w *world, who int, r *rand.Rand) { w.zombieSQL(int32(who)%w.plan.Partitions, r) },
	// What the log may hold.
	"settings changed": func(w *world, who int, r *rand.Rand) { w.resettle(r) },
	"mark from the future": func(w *world, who int, r *rand.Rand) {
		if id := w.collector(who).id(); id != "" {
			for p := range w.plan.Partitions {
				w.append(p, nil, schema.Mark{Ingestor: id, W: w.exchange() + schema.Time(11+r.Int64N(100_000))*schema.Second})
			}
		}
	},
	"clock of a collector wrong": func(w *world, who int, r *rand.Rand) {
		w.collector(who).lie(time.Duration(r.IntN(60_000)) * time.Millisecond)
	},
	"trade from the future": func(w *world, who int, r *rand.Rand) {
		s := w.market[who%len(w.market)]
		if len(s.trades) > 0 {
			t := s.trades[r.IntN(len(s.trades))]
			t.ID += int64(r.IntN(2)) * 100_000
			t.Last = t.ID
			t.Time = schema.FromStd(time.Now()) + schema.Time(11+r.Int64N(100))*schema.Second
			w.appendTrades(s.name, t)
		}
	},
	"junk": func(w *world, who int, r *rand.Rand) {
		junk := make([]byte, r.IntN(40))
		for i := range junk {
			junk[i] = byte(r.IntN(256))
		}
		w.appendRaw(int32(who)%w.plan.Partitions, []byte("S0"), junk)
	},
	"unknown kind": func(w *world, who int, r *rand.Rand) {
		s := w.market[who%len(w.market)]
		w.append(schema.Partition(s.name, w.plan.Partitions), []byte(s.name), schema.Seal{Symbol: s.name, Before: w.exchange()})
	},
	"ids begin anew": func(w *world, who int, r *rand.Rand) {
		s := w.market[who%len(w.market)]
		// A log that is set back may hold either of two trades of one id.
		if len(s.trades) > 0 && !w.plan.has("kafka set back") && !w.plan.Greedy {
			t := s.trades[0]
			t.Time = w.exchange()
			w.appendTrades(s.name, t)
		}
	},
	"symbol in a break": func(w *world, who int, r *rand.Rand) {
		c := w.collector(who)
		c.status(r, schemapb.TradingStatus_TRADING_STATUS_BREAK)
		w.later(time.Duration(r.IntN(70_000))*time.Millisecond, func() { c.status(r, schemapb.TradingStatus_TRADING_STATUS_TRADING) })
	},
	"stream down": func(w *world, who int, r *rand.Rand) {
		c := w.collector(who)
		c.silence(true)
		w.later(time.Duration(r.IntN(20_000))*time.Millisecond, func() { c.silence(false) })
	},
	"exchange's clock jumps": func(w *world, who int, r *rand.Rand) {
		w.mu.Lock()
		w.skew = time.Duration(r.IntN(30_000)-15_000) * time.Millisecond
		w.mu.Unlock()
	},
	"old trades again": func(w *world, who int, r *rand.Rand) {
		s := w.market[who%len(w.market)]
		for range 1 + r.IntN(5) {
			if len(s.trades) > 0 {
				if t := s.trades[r.IntN(len(s.trades))]; t.Time < w.exchange() {
					w.appendTrades(s.name, t)
				}
			}
		}
	},
}

func (f *fault) befall(w *world) { faults[f.Kind](w, f.Who, rand.New(rand.NewPCG(f.Rand, 1))) }

func (w *world) machine(who int) *machine { return w.machines[who%len(w.machines)] }

func (w *world) collector(who int) *collector { return w.collectors[who%len(w.collectors)] }

// later does something after a while, or when the faults end.
func (w *world) later(d time.Duration, f func()) {
	w.delayed.Go(func() {
		w.wait(w.calm, d)
		f()
	})
}

func (w *world) pause(r *rand.Rand, most time.Duration) {
	w.wait(w.calm, time.Duration(r.Int64N(int64(most))))
}

// down kills the processor and starts it again after a while.
func (m *machine) down(r *rand.Rand, cut *vfs.CrashCloneCfg) {
	m.kill(cut)
	m.w.later(time.Duration(r.IntN(3)*r.IntN(4000))*time.Millisecond, m.start)
}

// appendRaw writes a record to `ticks` beside the collectors.
func (w *world) appendRaw(p int32, key, value []byte) {
	ctx, cancel := context.WithTimeout(w.ctx, 30*time.Second)
	defer cancel()
	if err := w.client.ProduceSync(ctx, &kgo.Record{Topic: w.topics.Ticks, Partition: p, Key: key, Value: value}).FirstErr(); err != nil {
		w.note("append: %v", err)
	}
}

func (w *world) append(p int32, key []byte, body any) {
	value, err := schema.AppendControl(nil, body)
	if err != nil {
		w.fault("encode %T: %v", body, err)
		return
	}
	w.appendRaw(p, key, value)
}

func (w *world) appendTrades(symbol string, t ...schema.Trade) {
	value, _ := schema.AppendTrades(nil, symbol, t, schema.FromStd(time.Now()), schemapb.Source_SOURCE_REST)
	w.appendRaw(schema.Partition(symbol, w.plan.Partitions), []byte(symbol), value)
}

// resettle changes the periods from here on, in every partition's log.
func (w *world) resettle(r *rand.Rand) {
	s := w.plan.Settings
	w.revision++
	s.Revision += w.revision
	sets := [][]schema.Period{{schema.P1m, schema.P5m}, {schema.P1m, schema.P3m}, {schema.P1s, schema.P1m, schema.P5m}, {schema.P1m}, {schema.P1s, schema.P1m}}
	s.Periods = sets[r.IntN(len(sets))]
	w.note("  periods are %v", s.Periods)
	for p := range w.plan.Partitions {
		w.append(p, nil, s)
	}
}

// keepKafka copies the brokers' disk; setBackKafka goes back to the copy, as a
// lone broker that lost its page cache does: offsets come back with other records.
func (w *world) keepKafka() {
	if err := errors.Join(os.RemoveAll(w.dir+"/kept"), os.CopyFS(w.dir+"/kept", os.DirFS(w.dir+"/kafka"))); err != nil {
		w.note("  copy the brokers' disk: %v", err)
	}
}

func (w *world) setBackKafka() {
	if _, err := os.Stat(w.dir + "/kept"); err != nil {
		return
	}
	w.mu.Lock()
	w.relaxed["skipped"], w.relaxed["set back"] = true, true
	w.mu.Unlock()
	w.keepCandles()
	w.lives++
	clear(w.gone)
	w.kafka.Close()
	if err := errors.Join(os.RemoveAll(w.dir+"/kafka"), os.CopyFS(w.dir+"/kafka", os.DirFS(w.dir+"/kept"))); err != nil {
		w.fault("set the brokers back: %v", err)
	}
	if err := w.startKafka(); err != nil {
		w.fault("start the brokers again: %v", err)
	}
}

// zombieTopic writes an old candle to `candles`: what a process that was
// frozen in the middle of a flush does when it wakes.
func (w *world) zombieTopic(p int32, r *rand.Rand) {
	recs, err := w.read(w.topics.Candles, p)
	if err != nil || len(recs) == 0 {
		w.note("  the zombie has nothing to say: %v", err)
		return
	}
	for range 1 + r.IntN(4) {
		old := recs[r.IntN(len(recs))]
		headers := slices.Clone(old.Headers)
		for i := range headers {
			if headers[i].Key == schema.HeaderWriter {
				headers[i].Value = []byte(zombie)
			}
		}
		rec := &kgo.Record{Topic: w.topics.Candles, Partition: p, Key: old.Key, Value: old.Value, Headers: headers}
		err := w.client.ProduceSync(w.ctx, rec).FirstErr()
		w.note("  %s of offset %d again, at %d: %v", old.Key, old.Offset, rec.Offset, err)
	}
}

const zombie = "zombie"

// zombieSQL writes old candles into the database, as a piece of a catch-up.
func (w *world) zombieSQL(p int32, r *rand.Rand) {
	recs, err := w.read(w.topics.Candles, p)
	if err != nil || len(recs) == 0 {
		w.note("  the zombie has nothing to say: %v", err)
		return
	}
	var b sqlsink.Batch
	for range 1 + r.IntN(4) {
		if c, err := schema.DecodeCandle(recs[r.IntN(len(recs))].Value); err == nil {
			b.Candles = append(b.Candles, c)
		}
	}
	db, err := sqlsink.Open(w.ctx, sqlsink.Config{DSN: "sqlite:" + w.db.file, Wrap: newTap(w).wrap})
	if err != nil {
		w.note("  zombie: %v", err)
		return
	}
	defer db.Close()
	if err := db.Write(w.ctx, sqlsink.Key{Partition: 99}, nil, b); err != nil {
		w.note("  zombie: %v", err)
	}
}

// keepCandles remembers what stands in `candles` before some of it goes.
func (w *world) keepCandles() {
	for p := range w.plan.Partitions {
		recs, err := w.read(w.topics.Candles, p)
		if err != nil {
			w.fault("read candles: %v", err)
			return
		}
		for _, r := range recs {
			w.candles[p] = append(w.candles[p], stood{w.lives, r})
		}
	}
}

// stood is a record of `candles` and the life of the topic that it was in.
type stood struct {
	life int
	*kgo.Record
}

func (w *world) renewCandles() {
	w.keepCandles()
	w.lives++
	if err := w.kafka.DeleteTopic(w.topics.Candles); err != nil {
		w.fault("delete candles: %v", err)
	}
	for range 10 { // a processor that starts just now makes it too
		_, err := kafka.Ensure(w.ctx, w.client, w.topics, w.plan.Settings)
		if err == nil {
			return
		}
		w.note("  make candles anew: %v", err)
		w.wait(w.ctx, 300*time.Millisecond)
	}
}
