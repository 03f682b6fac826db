//go:build synctests

package sim

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/processor"
	sqlsink "millrace/processor/sink/sql"
	"millrace/state/checkpoint"
)

const (
	dataDir = "data"
	session = 3 * time.Second
)

// machine is where one processor runs: its disk stays when the process dies.
type machine struct {
	w *world
	n int

	mu     sync.Mutex // guards what follows
	disk   *vfs.MemFS
	copied *vfs.MemFS // an older copy
	life   *life      // nil: nothing runs
	p      *processor.Processor
	starts int
	full   bool // the disk takes nothing; only while no store is open, as Pebble would end the simulator
}

func newMachine(w *world, n int) *machine {
	return &machine{w: w, n: n, disk: vfs.NewCrashableMem()}
}

// start has a processor run on the machine until stop or a kill; one that ends
// by itself is started again after a second, as systemd does.
func (m *machine) start() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.life != nil {
		return
	}
	l := m.w.newLife()
	m.life = l
	m.w.group.Go(func() {
		defer close(l.done)
		for l.ctx.Err() == nil {
			err := m.process(l)
			if l.ctx.Err() != nil {
				return
			}
			m.w.note("machine %d: the processor ended: %s", m.n, text(err))
			m.remedy(err)
			m.w.wait(l.ctx, time.Second)
		}
	})
}

// process is one process from its start to its end.
func (m *machine) process(l *life) error {
	m.mu.Lock()
	m.starts++
	cfg := processor.Config{
		Kafka: m.w.kafkaConfig(l.wire), Topics: m.w.topics, Dir: dataDir, Settings: m.w.plan.Settings,
		SQL:        &sqlsink.Config{DSN: "sqlite:" + m.w.db.file, Wrap: l.tap.wrap},
		MicroBatch: m.w.plan.MicroBatch, MaxRecords: m.w.plan.MaxRecords, Keep: m.w.plan.Keep, SQLEvery: m.w.plan.SQLEvery, CandlesEvery: m.w.plan.CandlesEvery,
		SessionTimeout: session, Standby: m.w.plan.Standby, FS: &lifeFS{m.disk, l, func() bool { return m.isFull(l) }}, Rand: m.w.rand(fmt.Sprint("machine", m.n, m.starts)),
		Log: slog.New(&listener{w: m.w, m: m, l: l}),
	}
	full := m.full
	m.mu.Unlock()
	if full {
		m.w.note("machine %d: its disk is full", m.n)
	}
	if m.w.plan.Checkpoints > 0 {
		store, err := checkpoint.Open(l.ctx, m.w.dir+"/checkpoints", checkpoint.Options{Now: time.Now})
		if err != nil {
			return err
		}
		defer store.Close()
		cfg.Checkpoints = &processor.Checkpoints{Store: store, Every: m.w.plan.Checkpoints, LastTime: time.Second}
	}
	p, err := processor.New(cfg)
	if err != nil {
		return err
	}
	if err := p.Open(l.ctx); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	m.mu.Lock()
	if m.life == l {
		m.p = p
	}
	m.mu.Unlock()
	err = p.Run(l.ctx)
	m.mu.Lock()
	if m.p == p {
		m.p = nil
	}
	m.mu.Unlock()
	p.Close()
	return err
}

// stop ends the processor as SIGTERM does.
func (m *machine) stop() {
	m.mu.Lock()
	l := m.life
	m.life, m.p = nil, nil
	m.mu.Unlock()
	if l != nil {
		l.cancel()
		<-l.done
	}
}

// kill ends it as kill -9 does, or as a power cut, of which part of what was
// not synced survives.
func (m *machine) kill(cut *vfs.CrashCloneCfg) { m.killLife(nil, cut) }

// killLife kills only if it is that one, unless it is nil.
func (m *machine) killLife(only *life, cut *vfs.CrashCloneCfg) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.life
	if only != nil && l != only {
		return false
	}
	m.life, m.p = nil, nil
	if l != nil {
		l.kill()
		m.w.mu.Lock()
		m.w.instance[m.nameOn(m.disk)] = true
		m.w.mu.Unlock()
	}
	if cut == nil {
		cut = &vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: m.w.dice("kill")}
	}
	m.disk = m.disk.CrashClone(*cut)
	return true
}

// isFull is asked by a life, which may be over.
func (m *machine) isFull(l *life) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.full && m.life == l
}

func (m *machine) fill(full bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.full = full
}

// wipe loses the disk.
func (m *machine) wipe() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.disk = vfs.NewCrashableMem()
}

// copyDisk keeps a copy of the disk as it is; setBack brings it back.
func (m *machine) copyDisk() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.copied = m.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: m.w.dice("copy")})
}

func (m *machine) setBack() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.copied != nil {
		m.disk, m.copied = m.copied, nil
	}
}

func (m *machine) alive() *life {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.life
}

// heal brings everything of the machine back to work.
func (m *machine) heal() {
	m.mu.Lock()
	l := m.life
	m.mu.Unlock()
	if l != nil {
		l.wire.mend()
		l.tap.set(false)
		l.tap.slower(0)
	}
	m.fill(false)
	m.start()
}

// remedy does what the processor's last words ask an operator to do.
func (m *machine) remedy(err error) {
	said := text(err)
	i := strings.Index(said, "move "+dataDir)
	if i < 0 {
		return
	}
	dir, _, _ := strings.Cut(said[i+len("move "):], " ")
	m.w.note("machine %d: %s is moved away", m.n, dir)
	if err := m.disk.RemoveAll(dir); err != nil {
		m.w.fault("move %s away: %v", dir, err)
	}
}

func (m *machine) status() []processor.PartitionStatus {
	m.mu.Lock()
	p := m.p
	m.mu.Unlock()
	if p == nil {
		return nil
	}
	return p.Status()
}

// instance is the name under which the machine's processor is in the group.
func (m *machine) instance() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nameOn(m.disk)
}

func (m *machine) nameOn(fs vfs.FS) string {
	f, err := fs.Open(fs.PathJoin(dataDir, "instance"))
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(f)
	return strings.TrimSpace(string(b))
}

// excuse reports what must not happen unless one of these befell.
func (w *world) excuse(said string, kinds ...string) {
	w.mu.Lock()
	skipped := w.relaxed["skipped"]
	w.mu.Unlock()
	if !skipped && !w.befell(kinds...) {
		w.fault("without a cause: %s", said)
	}
}

func (w *world) befell(kinds ...string) bool { return slices.ContainsFunc(kinds, w.plan.has) }

// listener is the processor's log: part of the story, and what the oracle must
// be told of.
type listener struct {
	w *world
	m *machine
	l *life
}

func (h *listener) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

func (h *listener) Handle(_ context.Context, r slog.Record) error {
	if h.l.killed {
		return nil
	}
	said := r.Message
	r.Attrs(func(a slog.Attr) bool {
		said += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	h.w.note("machine %d: %s", h.m.n, said)
	relax := func(what string) {
		h.w.mu.Lock()
		defer h.w.mu.Unlock()
		h.w.relaxed[what] = true
	}
	switch {
	case r.Message == "the log begins behind what was applied":
		relax("skipped")
	case strings.HasPrefix(r.Message, "candles: what state has forgotten is not sent again"):
		// Where nothing had to be sent, none tells how far all was.
		if h.w.befell("candles made anew", "kafka set back", "disk set back", "disk lost") {
			relax("candles")
		}
	case strings.HasPrefix(r.Message, "the database lacks candles that state has forgotten and whose ticks"):
		h.w.excuse(said, "database set back", "kafka set back", "disk set back", "disk lost")
		relax("sql")
	case strings.HasPrefix(r.Message, "the database lacks candles that state has forgotten"):
		h.w.excuse(said, "database set back", "kafka set back", "disk set back", "disk lost")
	case strings.HasPrefix(r.Message, "checkpoint refused"):
		h.w.excuse(said, "kafka set back")
	}
	return nil
}

func (h *listener) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h *listener) WithGroup(string) slog.Handler { return h }
