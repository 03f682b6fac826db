package testenv_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace/internal/testenv"
)

func connectNATS(t *testing.T, url string) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatalf("connect to %s: %v", url, err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// A message that JetStream acknowledged is there after the server was ended and
// started again, on the same port.
func TestJetStreamKeepsAMessage(t *testing.T) {
	type restartable struct {
		url string
		end func() error
		run func() error
	}
	for name, start := range map[string]func() restartable{
		"in process, stopped": func() restartable {
			n := testenv.StartNATS(t)
			return restartable{n.URL, func() error { n.Stop(); return nil }, n.Start}
		},
		"own process, stopped": func() restartable {
			n := testenv.StartNATSProcess(t)
			return restartable{n.URL, n.Stop, n.Start}
		},
		"own process, killed": func() restartable {
			n := testenv.StartNATSProcess(t)
			return restartable{n.URL, n.Kill, n.Start}
		},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			server := start()
			t.Logf("started in %v", time.Since(began))
			js, err := jetstream.New(connectNATS(t, server.url))
			if err != nil {
				t.Fatal(err)
			}
			ctx := deadline(t)
			if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "CANDLES", Subjects: []string{"candles.>"}}); err != nil {
				t.Fatalf("create stream: %v", err)
			}
			if _, err := js.Publish(ctx, "candles.BTCUSDT.1m", []byte("candle")); err != nil {
				t.Fatalf("publish: %v", err)
			}
			if err := server.end(); err != nil {
				t.Fatal(err)
			}
			if err := server.run(); err != nil {
				t.Fatal(err)
			}
			js, err = jetstream.New(connectNATS(t, server.url))
			if err != nil {
				t.Fatal(err)
			}
			stream, err := js.Stream(ctx, "CANDLES")
			if err != nil {
				t.Fatalf("stream CANDLES after the restart: %v", err)
			}
			message, err := stream.GetMsg(ctx, 1)
			if err != nil {
				t.Fatalf("message 1 after the restart: %v", err)
			}
			if string(message.Data) != "candle" {
				t.Fatalf("message 1 is %q, want %q", message.Data, "candle")
			}
		})
	}
}

// A paused server keeps its connections and does not answer.
func TestPauseHoldsAnswersBack(t *testing.T) {
	server := testenv.StartNATSProcess(t)
	conn := connectNATS(t, server.URL)
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := conn.FlushTimeout(200 * time.Millisecond); err == nil {
		t.Error("a paused server answered")
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := conn.FlushTimeout(10 * time.Second); err != nil {
		t.Errorf("after Resume: %v", err)
	}
}
