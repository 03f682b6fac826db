package testenv_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"millrace/internal/testenv"
)

// echo is a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c) // ends with the connection
			}()
		}
	}()
	return l.Addr().String()
}

// caller is a client of it.
type caller struct {
	*testing.T
	net.Conn
}

func call(t *testing.T, addr string) *caller {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &caller{t, c}
}

// says sends a word and waits for it.
func (c *caller) says(wait time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("word")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 4))
	return err
}

const (
	soon = 10 * time.Second       // bounds what must come
	hush = 200 * time.Millisecond // and what must not
)

func (c *caller) hears(what string) {
	c.Helper()
	if err := c.says(soon); err != nil {
		c.Errorf("%s: %v", what, err)
	}
}

func (c *caller) hearsNothing(what string) {
	c.Helper()
	if err := c.says(hush); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.Errorf("%s: %v, wanted silence", what, err)
	}
}

func TestProxy(t *testing.T) {
	p := testenv.StartProxy(t, echo(t))
	first := call(t, p.Addr)
	first.hears("as it is")

	p.Cut()
	if err := first.says(soon); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a cut connection: %v", err)
	}
	if c, err := net.Dial("tcp", p.Addr); err == nil {
		c.Close()
		t.Error("a cut proxy takes connections")
	}
	p.Mend()

	for _, d := range []testenv.Direction{testenv.ToServer, testenv.ToClient} {
		old := call(t, p.Addr)
		old.hears("mended")
		p.Deafen(d)
		old.hearsNothing("deaf " + string(d))
		fresh := call(t, p.Addr)
		fresh.hears("a connection after it")
		old.hearsNothing("still deaf " + string(d))
		fresh.hears("the same")
	}

	slow := call(t, p.Addr)
	slow.hears("before the delay")
	p.Delay(100*time.Millisecond, 20*time.Millisecond)
	began := time.Now()
	slow.hears("delayed")
	if took := time.Since(began); took < 150*time.Millisecond {
		t.Errorf("delayed both ways by 100 ms it took %v", took)
	}
	p.Clear()
	slow.hears("after the delay")

	p.Hang()
	slow.hearsNothing("hanging")
	call(t, p.Addr).hearsNothing("a connection to one that hangs")
	p.Clear()
	call(t, p.Addr).hears("after it hung")
}

// The far side hears late that the near one has closed.
func TestProxyClosesSlowly(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := testenv.StartProxy(t, l.Addr().String())
	p.SlowClose(300 * time.Millisecond)
	near := call(t, p.Addr)
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if err := far.SetDeadline(time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	near.Close()
	began := time.Now()
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("%v, wanted the end", err)
	}
	if took := time.Since(began); took < 250*time.Millisecond {
		t.Errorf("it heard of it after %v", took)
	}
}

// A client that comes through the proxy stays behind it.
func TestKafkaBehindAProxy(t *testing.T) {
	t.Parallel()
	k := testenv.StartKafkaWith(t, testenv.KafkaConfig{Proxied: true})
	topic := testenv.NewTopic(t, k.Proxy.Addr, 1, nil)
	produce(t, k.Proxy.Addr, topic, "tick")
	if got := consume(t, k.Proxy.Addr, topic, 1); got[0] != "tick" {
		t.Errorf("consumed %q", got[0])
	}
	k.Proxy.Cut()
	if got := consume(t, k.Brokers, topic, 1); got[0] != "tick" {
		t.Errorf("beside the proxy: %q", got[0])
	}
}
