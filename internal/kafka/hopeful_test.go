package kafka_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/kafka"
	"millrace/internal/testenv"
)

// Behind a proxy a broker that is away looks like one that closes connections at
// once. Who has spoken with it before waits for it: kgo gave up what it had, and an
// ingestor ended for it.
func TestBrokerAwayBehindAProxy(t *testing.T) {
	t.Parallel()
	fake := testenv.StartFake(t)
	closer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	var turned atomic.Int64 // away
	go func() {
		for {
			c, err := closer.Accept()
			if err != nil {
				return
			}
			_ = c.(*net.TCPConn).CloseWrite() // without a reset
			turned.Add(1)
			context.AfterFunc(t.Context(), func() { c.Close() })
		}
	}()
	var away atomic.Bool
	conns := make(chan net.Conn, 100)
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if away.Load() {
			addr = closer.Addr().String()
		}
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil && !away.Load() {
			conns <- c
		}
		return c, err
	}
	client, err := kafka.Connect(t.Context(), kafka.Config{Brokers: []string{fake.Brokers}, Dial: dial})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ask := func() error {
		_, err := client.Request(t.Context(), kmsg.NewPtrMetadataRequest())
		return err
	}
	away.Store(true)
	for len(conns) > 0 {
		(<-conns).Close()
	}
	asked := make(chan error, 1)
	go func() { asked <- ask() }()
	for began := time.Now(); turned.Load() < 3 && time.Since(began) < 20*time.Second; {
		select {
		case err := <-asked:
			t.Fatalf("given up after %d connections: %v", turned.Load(), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	away.Store(false)
	select {
	case err := <-asked:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("no answer although the broker is back")
	}
}
