package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/failpoint"
	"millrace/internal/testenv"
)

// TestEveryFailpoint kills a real process at each step that has a name, twice,
// and compares: the table, what subscribers got, and the stream are those of a
// run in which nothing died.
func TestEveryFailpoint(t *testing.T) {
	m := newMarket(t)
	dump := absolute(t, xrpDump) // days, so that windows are forgotten
	want := dumped(t, develop(t, "", m.file, dump).sql)
	for _, name := range failpoint.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newParts(t, testenv.SharedMariaDB(t))
			s := subscribe(t, p.nats.URL)
			role, _, _ := strings.Cut(name, ".")
			replay := func() []string {
				return append([]string{"replay", "--ticks-topic", p.ticks, "--symbols", "XRPETH", absolute(t, m.file), dump}, p.log()...)
			}
			if role == "ingest" {
				for hit := range 2 {
					p.dies(name, 1+20*hit, replay()...)
				}
			}
			spawn(t, replay()...).succeed()
			p.garbage()
			process := []string{"process", "--ticks-topic", p.ticks, "--sql", p.sql, "--data", filepath.Join(t.TempDir(), "data")}
			process = append(process, p.log()...)
			switch role {
			case "state", "processor", "candles", "sql":
				for hit := range 2 {
					p.dies(name, 1+hit, process...)
				}
			}
			processor := spawn(t, process...)
			bridge := []string{"bridge", "--nats", p.nats.URL}
			bridge = append(bridge, p.log()...)
			processor.await("partition assigned")
			if role == "bridge" {
				for hit := range 2 {
					p.dies(name, 1+hit, bridge...)
				}
			}
			passes := spawn(t, bridge...)
			p.settled()
			same(t, name, dumped(t, p.sql), want)
			s.agrees(want)
			s.onceFinal(want)
			s.newestKept(want)
			processor.stop()
			passes.stop()
		})
	}
}

// dies runs the program until it reaches a step for the n-th time.
func (p *parts) dies(name string, n int, args ...string) {
	p.t.Helper()
	c := spawnWith(p.t, childBound, []string{fmt.Sprintf("%s=%s@%d", failpoint.Variable, name, n)}, args...)
	<-c.done
	if status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		p.t.Fatalf("%s: not killed at hit %d but ended: %v\n%s", name, n, c.cmd.ProcessState, tail(c.log.String()))
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
