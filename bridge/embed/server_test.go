package embed

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

func TestServerKeepsItsDataAndItsPort(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "nats")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := StartServer(dir, "127.0.0.1", AnyPort)
	if err != nil {
		t.Fatal(err)
	}
	open := func(url string) (*nats.Conn, jetstream.JetStream) {
		conn, err := nats.Connect(url)
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(conn)
		if err != nil {
			t.Fatal(err)
		}
		return conn, js
	}
	conn, js := open(s.URL())
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(ctx, "k", "v"); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	_, portText, err := net.SplitHostPort(strings.TrimPrefix(s.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		t.Fatal(err)
	}

	began := time.Now()
	_, err = StartServer(t.TempDir(), "127.0.0.1", port)
	if err == nil || !strings.Contains(err.Error(), "listen on 127.0.0.1:"+portText+": ") || !strings.Contains(err.Error(), "--nats-port") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a second server on the port: %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %v to say so", took)
	}

	s.Close()
	if s, err = StartServer(dir, "127.0.0.1", port); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	conn, js = open(s.URL())
	defer conn.Close()
	kv, err = js.KeyValue(ctx, "b")
	if err != nil {
		t.Fatal(err)
	}
	if e, err := kv.Get(ctx, "k"); err != nil || string(e.Value()) != "v" {
		t.Errorf("after the restart: %v, %v", e, err)
	}
}

func TestServerRefusesAFolderItCannotWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := StartServer(file, "127.0.0.1", AnyPort)
	if err == nil {
		s.Close()
		t.Fatal("started in a file")
	}
	if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), file) {
		t.Errorf("error: %v", err)
	}
}
