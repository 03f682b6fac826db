package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/bridge/embed"
)

// embedded are the servers that dev brings along.
type embedded struct {
	kafka *kfake.Cluster
	nats  *embed.Server
}

// embedServers starts what no setting names, and puts the addresses into s.
func embedServers(s *settings) (_ *embedded, err error) {
	e := new(embedded)
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	if !s.given("kafka") {
		if e.kafka, err = embedKafka(s, s.Dev.KafkaPort); err != nil {
			return nil, err
		}
	}
	if !s.given("nats") {
		port := s.Dev.NATSPort
		if port == 0 {
			port = embed.AnyPort
		}
		if e.nats, err = embed.StartServer(filepath.Join(s.Run.Data, "nats"), "127.0.0.1", port); err != nil {
			return nil, err
		}
		s.NATS.URL = location(e.nats.URL())
	}
	if !s.given("sql") {
		s.SQL.DSN = location("sqlite:" + filepath.Join(s.Run.Data, "millrace.db"))
	}
	if !s.given("checkpoints") {
		s.Keeping.Store = defaultKeeping(s)
	}
	return e, nil
}

// kafkaDir is where dev's Kafka keeps the log.
func kafkaDir(s *settings) string { return filepath.Join(s.Run.Data, "kafka") }

// embedKafka starts Kafka on the log in the data folder, and puts its address
// into s.
func embedKafka(s *settings, port int) (*kfake.Cluster, error) {
	dir := kafkaDir(s)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := free("kafka", port); err != nil {
		return nil, err
	}
	// Written to the operating system at each produce: killed, it loses
	// nothing; a power cut may take the last moments, from every part alike.
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(port), kfake.DataDir(dir))
	if err != nil {
		return nil, fmt.Errorf("start the embedded kafka in %s: %w; if its files are damaged, move them and the state folder beside them away: candles in SQL stay", dir, err)
	}
	s.Kafka.Brokers = c.ListenAddrs()
	return c, nil
}

// free makes a port in use one clear line.
func free(what string, port int) error {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return awayf("start the embedded %s: %w; stop what uses the port, or set --%s-port or --%s", what, err, what, what)
	}
	return l.Close()
}

func (e *embedded) close() {
	if e.nats != nil {
		e.nats.Close()
	}
	if e.kafka != nil {
		e.kafka.Close()
	}
}
