package processor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kadm"

	"millrace/internal/kafka"
	"millrace/internal/testenv"
	sqlsink "millrace/processor/sink/sql"
	"millrace/schema"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		fmt.Fprintln(os.Stderr, runChild())
		os.Exit(1)
	}
	os.Exit(testenv.Main(m))
}

// childEnv makes this test binary a processor instead: one that can be killed.
const childEnv = "MILLRACE_TEST_PROCESSOR"

func runChild() error {
	cfg := Config{
		Kafka: kafka.Config{Brokers: []string{os.Getenv(childEnv)}}, Dir: os.Getenv("TEST_DIR"), Settings: testSettings(),
		Topics: kafka.Topics{Ticks: schema.TicksTopic, Candles: schema.CandlesTopic, Partitions: partitions},
		SQL:    &sqlsink.Config{DSN: os.Getenv("TEST_DSN")}, SessionTimeout: testSession,
	}
	if n := os.Getenv("TEST_STANDBY"); n != "" {
		var err error
		if cfg.Standby, err = strconv.Atoi(n); err != nil {
			return err
		}
	}
	if os.Getenv("TEST_TRANSACTIONS") == "true" {
		cfg.Transactions = &Transactions{}
	}
	if room, err := strconv.ParseInt(os.Getenv("TEST_ROOM"), 10, 64); err == nil {
		disk := &small{FS: vfs.Default}
		disk.room.Store(room)
		cfg.FS = disk
	}
	p, err := New(cfg)
	if err == nil {
		err = p.Open(context.Background())
	}
	if err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString("open\n"); err != nil {
		return err
	}
	return p.Run(context.Background())
}

// child is a processor in a process of its own.
type child struct {
	w   *world
	cmd *exec.Cmd
	dir string
}

// spawn starts a processor in a process of its own and waits until it is open.
func (w *world) spawn(dir, dsn string, more ...string) *child {
	w.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+w.brokers, "TEST_DIR="+dir, "TEST_DSN="+dsn, fmt.Sprintf("TEST_TRANSACTIONS=%t", w.transactions))
	cmd.Env = append(cmd.Env, more...)
	cmd.Stderr = w.Output()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		w.Fatal(err)
	}
	c := &child{w, cmd, dir}
	w.Cleanup(func() {
		if cmd.ProcessState == nil {
			c.kill()
		}
	})
	said := make(chan error, 1)
	go func() {
		_, err := out.Read(make([]byte, 5))
		said <- err
	}()
	select {
	case err := <-said:
		if err != nil {
			w.Fatalf("the processor ended: %v, %v", err, cmd.Wait())
		}
	case <-time.After(time.Minute):
		w.Fatal("the processor does not open")
	}
	return c
}

// kill ends it as kill -9 does.
func (c *child) kill() {
	c.w.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		c.w.Fatal(err)
	}
	_ = c.cmd.Wait() // "signal: killed"
	name, err := os.ReadFile(filepath.Join(c.dir, instanceFile))
	if err != nil {
		c.w.Fatal(err)
	}
	c.w.killed = append(c.w.killed, strings.TrimSpace(string(name)))
}

// expire takes members that were killed out of the group, as a broker does once
// their session has passed. The fake never does so with one that was killed
// while it waited to be let in (testenv's TestWhoDiesWaitingIsExpired): its
// partitions would be nobody's for ever.
func (w *world) expire(alive []*running) {
	w.Helper()
	admin := kadm.NewClient(w.client)
	for _, r := range alive {
		w.killed = slices.DeleteFunc(w.killed, func(name string) bool { return name == r.instance })
	}
	for _, name := range w.killed {
		if _, err := admin.LeaveGroup(w.Context(), kadm.LeaveGroup(alive[0].cfg.Group).InstanceIDs(name).Reason("killed")); err != nil {
			w.Fatal(err)
		}
	}
	w.killed = nil
}
