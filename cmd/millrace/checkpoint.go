package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"

	"millrace/processor"
	"millrace/state/checkpoint"
)

func (a *app) checkpointCommand() command {
	return command{
		use:   "checkpoint",
		short: "copies of the state: list, look into, verify, restore, collect",
		long: "A processor copies each partition's state into the store of --checkpoints while it works, and goes on from the newest copy where its own state is gone or damaged. " +
			"These commands show what is in the store, verify every byte of it, and restore from it. Without --checkpoints they look into the folder checkpoints below --data, where dev keeps them.",
		example: "millrace checkpoint list\n" +
			"millrace checkpoint restore --at 2024-08-08T12:00:00Z --dry-run",
		subs: []command{a.checkpointList(), a.checkpointInspect(), a.checkpointVerify(), a.checkpointRestore(), a.checkpointExport(), a.checkpointDiff(), a.checkpointGC()},
		run: func(context.Context, *settings, []string) error {
			return usagef("wanted list, inspect, verify, restore, export, diff or gc; see millrace checkpoint --help")
		},
	}
}

// checkpointGroups are the settings of these commands, and checkpointLeave those
// that they do without.
var (
	checkpointGroups = []string{gKafka, gLog, gKeeping, gRun}
	checkpointLeave  = []string{"candles-topic", "partitions", "replication", "ticks-retention", "candles-retention", "compression", "periods", "three-day-anchor", "empty-seconds",
		"checkpoint-every", "checkpoint-upload", "checkpoint-keep", "checkpoint-keep-for", "http", "for", "log-level", "log-format"}
)

// logPatience is how long Kafka is waited for by a command that can do without.
const logPatience = 3 * time.Second

// vault is what the commands work on: a store, and the log if it can be asked.
type vault struct {
	s          *settings
	store      *checkpoint.Store
	log        *processor.Log // nil if it can't be asked
	says       string         // why not
	partitions int
	close      func()
}

// openVault opens the store and asks for the log. own: nobody else may use the
// data folder meanwhile.
func openVault(ctx context.Context, s *settings, own bool) (*vault, error) {
	if s.Keeping.Store == "" {
		s.Keeping.Store = defaultKeeping(s)
		if _, err := os.Stat(s.Keeping.Store); err != nil {
			return nil, usagef("there is no folder %s: name the store with --checkpoints", s.Keeping.Store)
		}
	}
	k, err := openKeeping(ctx, s)
	if err != nil {
		return nil, err
	}
	if k == nil {
		return nil, usagef("--checkpoints %s: there is nothing to look at", noStore)
	}
	v := &vault{s: s, store: k.store}
	var closers []func()
	v.close = func() {
		for i := len(closers) - 1; i >= 0; i-- {
			closers[i]()
		}
	}
	closers = append(closers, k.close)
	// What dev has stopped with has no Kafka unless it is started here.
	_, err = os.Stat(kafkaDir(s))
	embedded := err == nil && !s.given("kafka")
	if own || embedded {
		lock, err := lockData(s.Run.Data)
		if err != nil && own {
			v.close()
			return nil, err
		}
		if embedded = embedded && err == nil; err == nil {
			closers = append(closers, func() { _ = lock.unlock() }) // the kernel drops the lock with the process
		}
	}
	if embedded {
		kafka, err := embedKafka(s, 0)
		if err != nil {
			v.close()
			return nil, err
		}
		closers = append(closers, kafka.Close)
	}
	closers = append(closers, v.ask(ctx))
	return v, nil
}

// ask connects to the log, or says why it can't be asked.
func (v *vault) ask(ctx context.Context) (hangUp func()) {
	ctx, cancel := context.WithTimeout(ctx, logPatience)
	defer cancel()
	k, err := v.s.Kafka.config("checkpoint", slog.New(slog.DiscardHandler))
	if err != nil {
		v.says = oneLine(err)
		return func() {}
	}
	client, err := connect(ctx, k)
	if err != nil {
		v.says = oneLine(err)
		return func() {}
	}
	topics, err := kadm.NewClient(client).ListTopics(ctx, v.s.Log.Ticks)
	if err == nil {
		err = topics[v.s.Log.Ticks].Err
	}
	if err != nil {
		v.says = fmt.Sprintf("topic %s: %s", v.s.Log.Ticks, oneLine(err))
		return client.Close
	}
	v.log = &processor.Log{Asker: client, Topic: v.s.Log.Ticks, ID: [16]byte(topics[v.s.Log.Ticks].ID)}
	v.partitions = len(topics[v.s.Log.Ticks].Partitions)
	return client.Close
}

// logs gives the partitions whose checkpoints are meant: of the topic's life
// that is there now, or of the only one that the store knows.
func (v *vault) logs(ctx context.Context) ([]checkpoint.Log, error) {
	refs, err := v.store.List(ctx, checkpoint.Log{})
	if err != nil {
		return nil, err
	}
	var logs []checkpoint.Log
	lives := map[[16]byte]bool{}
	for _, r := range refs {
		if r.Topic != v.s.Log.Ticks || v.log != nil && r.TopicID != v.log.ID {
			continue
		}
		lives[r.TopicID] = true
		if n := len(logs); n == 0 || logs[n-1] != r.Log {
			logs = append(logs, r.Log)
		}
	}
	switch {
	case len(lives) > 1:
		return nil, fmt.Errorf("%s has checkpoints of %d lives of topic %s, and the log can't be asked which is the one: %s", v.store.Name(), len(lives), v.s.Log.Ticks, v.says)
	case len(logs) == 0:
		return nil, fmt.Errorf("%s has no checkpoint of topic %s%s", v.store.Name(), v.s.Log.Ticks, v.elsewhere(refs))
	}
	return logs, nil
}

// elsewhere says of whom the store has checkpoints instead.
func (v *vault) elsewhere(refs []checkpoint.Ref) string {
	other := ""
	for _, r := range refs {
		if r.Topic == v.s.Log.Ticks {
			return fmt.Sprintf(" as it is now (id %x); it has some of one that was made anew since (id %x)", v.log.ID, r.TopicID)
		}
		other = fmt.Sprintf("; it has some of %s: name it with --ticks-topic", r.Topic)
	}
	return other
}

// find gives the checkpoint of a name, or the newest of the only partition.
func (v *vault) find(ctx context.Context, name string) (*checkpoint.Manifest, error) {
	refs, err := v.store.List(ctx, checkpoint.Log{})
	if err != nil {
		return nil, err
	}
	r, err := checkpoint.Find(refs, name)
	if err != nil {
		return nil, usagef("%w; see millrace checkpoint list", err)
	}
	return v.store.Manifest(ctx, r)
}

// scratch gives a folder of its own that is removed by the function.
func scratch() (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp("", "millrace-checkpoint-")
	return dir, func() { _ = os.RemoveAll(dir) }, err
}

// jsonFlag adds --json.
func jsonFlag(f *pflag.FlagSet, on *bool) { f.BoolVar(on, "json", false, "print it as JSON") }

// showBytes shows how far a transfer is: a bar on a terminal, else nothing.
func (a *app) showBytes(ctx context.Context, what string, work func(checkpoint.Progress) error) error {
	return a.showBar(ctx, func(n, total int64, took time.Duration) string { return bar(what, n, total, took) }, func(p func(n, total int64)) error { return work(p) })
}

// showBar shows a line that draw makes of how far work is.
func (a *app) showBar(ctx context.Context, draw func(n, total int64, took time.Duration) string, work func(func(n, total int64)) error) error {
	sc := newScreen(a.stdout, a.env)
	if !sc.live() {
		return work(func(int64, int64) {})
	}
	began := time.Now()
	at := make(chan [2]int64, 1)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		var last [2]int64
		done <- sc.run(ctx, func() frame {
			select {
			case last = <-at:
			default:
			}
			return frame{Title: draw(last[0], last[1], time.Since(began))}
		})
	}()
	err := work(func(n, total int64) {
		select {
		case <-at: // an older figure that nobody took
		default:
		}
		select {
		case at <- [2]int64{n, total}:
		default:
		}
	})
	cancel()
	return cmp.Or(err, <-done)
}

func bar(what string, n, total int64, took time.Duration) string {
	const cells = 24
	f := 1.0
	if total > 0 {
		f = min(float64(n)/float64(total), 1)
	}
	full := int(f * cells)
	line := fmt.Sprintf("%s [%s%s] %3.0f %% · %s of %s", what, strings.Repeat("#", full), strings.Repeat(".", cells-full), f*100, byteText(n), byteText(total))
	if s := took.Seconds(); s > 0.5 {
		line += fmt.Sprintf(" · %s/s", byteText(int64(float64(n)/s)))
		if n > 0 {
			line += " · " + time.Duration(float64(took)*(1-f)/max(f, 0.001)).Round(time.Second).String() + " left"
		}
	}
	return line
}
