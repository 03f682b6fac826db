package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/failpoint"
	"millrace/internal/testenv"
)

// TestEveryFailpoint kills a real process at each step that has a name, twice,
// and compares: the table, what subscribers got, and the stream are those of a
// run in which nothing died.
func TestEveryFailpoint(t *testing.T) {
	m := newMarket(t)
	// The dump in two parts: the second, and the market after it, move time on
	// when the sinks have what the first brought, so that windows are forgotten.
	rows := bytes.SplitAfter(contents(t, xrpDump), []byte("\n"))
	dir := t.TempDir()
	var dumps [2]string
	for i, part := range [][][]byte{rows[:len(rows)/2], rows[len(rows)/2:]} {
		dumps[i] = filepath.Join(dir, fmt.Sprint(i), "XRPETH.csv")
		write(t, dumps[i], string(bytes.Join(part, nil)))
	}
	want := dumped(t, develop(t, "", m.file, dumps[0], dumps[1]).sql)
	for _, name := range failpoint.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newParts(t, testenv.SharedMariaDB(t))
			s := subscribe(t, p.nats.URL)
			replay := func(files ...string) []string {
				return append(append([]string{"replay", "--ticks-topic", p.ticks, "--symbols", "XRPETH"}, files...), p.log()...)
			}
			process := append([]string{"process", "--ticks-topic", p.ticks, "--sql", p.sql, "--data", filepath.Join(t.TempDir(), "data")}, p.log()...)
			bridge := append([]string{"bridge", "--nats", p.nats.URL}, p.log()...)
			role, _, _ := strings.Cut(name, ".")
			if role == "ingest" {
				p.dies(name, nil, replay(m.file, dumps[0], dumps[1])...)
			}
			spawn(t, replay(dumps[0])...).succeed()
			p.garbage()
			if role == "settings" { // a change that died is completed by the next
				change := append([]string{"settings", "set", "alive-bound=20s", "--ticks-topic", p.ticks}, p.log()...)
				p.dies(name, nil, change...)
				spawn(t, change...).succeed()
			}
			more := func() {
				spawn(t, replay(dumps[1], m.file)...).succeed()
				p.garbage()
			}
			switch role {
			case "state", "processor", "candles", "sql":
				p.dies(name, more, process...)
			}
			more()
			processor := spawn(t, process...)
			processor.await("partition assigned")
			if role == "bridge" {
				p.dies(name, p.garbage, bridge...)
			}
			passes := spawn(t, bridge...)
			p.settled()
			same(t, name, dumped(t, p.sql), want)
			s.agrees(want)
			s.newestKept(want) // after which the stream has all before it
			s.onceFinal(want)
			processor.stop()
			passes.stop()
		})
	}
}

// dies runs the program, twice, until it reaches a step. more brings more to do.
func (p *parts) dies(name string, more func(), args ...string) {
	p.t.Helper()
	for range 2 {
		c := spawnWith(p.t, childBound, []string{failpoint.Variable + "=" + name}, args...)
		tick := time.NewTicker(time.Second)
		for bound := time.After(patience); c.running(); {
			select {
			case <-c.done:
			case <-tick.C:
				if more != nil && p.lacks(p.t.Context()) == nil {
					more()
				}
			case <-bound:
				p.t.Fatalf("%s is not reached\n%s", name, tail(c.log.String()))
			}
		}
		tick.Stop()
		if status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
			p.t.Fatalf("%s: not killed but ended: %v\n%s", name, c.cmd.ProcessState, tail(c.log.String()))
		}
	}
}

// garbage puts what is no tick into the log.
func (p *parts) garbage() {
	p.t.Helper()
	for partition := range int32(partitions) {
		r := &kgo.Record{Topic: p.ticks, Partition: partition, Key: []byte("BTCUSDT"), Value: []byte("no tick")}
		if err := p.client.ProduceSync(p.t.Context(), r).FirstErr(); err != nil {
			p.t.Fatal(err)
		}
	}
}
