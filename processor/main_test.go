package processor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

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
}

// spawn starts a processor in a process of its own and waits until it is open.
func (w *world) spawn(dir, dsn string) *child {
	w.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+w.brokers, "TEST_DIR="+dir, "TEST_DSN="+dsn)
	cmd.Stderr = w.Output()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		w.Fatal(err)
	}
	c := &child{w, cmd}
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
}
