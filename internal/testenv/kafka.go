package testenv

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// kafkaVersion names the cache folder; the versions fetched are in pom.xml.
	kafkaVersion = "4.3.1"
	// kafkaClusterID is the same for all: the clusters never meet.
	kafkaClusterID = "bWlsbHJhY2UtdGVzdC0wMQ"
	// defaultHeapMB is enough for a few hundred partitions.
	defaultHeapMB = 512
)

//go:embed kafka/pom.xml
var kafkaPOM []byte

//go:embed kafka/server.properties
var kafkaProperties string

//go:embed kafka/log4j2.properties
var kafkaLogging []byte

// KafkaConfig says how a broker differs from the usual one. Zero is the usual.
type KafkaConfig struct {
	// Dir holds the data, the settings and the log. Default: a folder that is
	// gone with the test.
	Dir string
	// HeapMB is the size of Java's heap. Default 512.
	HeapMB int
	// Settings are lines of server.properties, stronger than the usual ones.
	Settings map[string]string
	// Optimize lets Java compile as it does in production. By default it stops
	// at its quick compiler: faster for seconds, slower for minutes.
	Optimize bool
	// Proxied gives the broker a second door with a Proxy before it: clients that
	// come through it stay behind it, since it is also what that door tells them.
	Proxied bool

	proxy *Proxy
	door  int // the port behind the proxy
}

// Kafka is Apache Kafka, one node, on 127.0.0.1.
type Kafka struct {
	server
	Brokers string // host:port
	Dir     string
	Proxy   *Proxy // nil unless asked for
}

// StartKafka gives the test a broker of its own.
func StartKafka(tb testing.TB) *Kafka {
	tb.Helper()
	return StartKafkaWith(tb, KafkaConfig{})
}

// StartKafkaWith is StartKafka with other settings.
func StartKafkaWith(tb testing.TB, cfg KafkaConfig) *Kafka {
	tb.Helper()
	if cfg.Dir == "" {
		cfg.Dir = tb.TempDir()
	}
	if cfg.Proxied {
		var err error
		if cfg.door, err = freePort(); err != nil {
			tb.Fatal(err)
		}
		cfg.proxy = StartProxy(tb, loopback(cfg.door))
	}
	k, err := newKafka(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	if err := k.Start(); err != nil {
		tb.Fatal(err)
	}
	k.endWith(tb)
	return k
}

// newKafka prepares a broker on new ports; Start runs it.
func newKafka(cfg KafkaConfig) (*Kafka, error) {
	if cfg.HeapMB == 0 {
		cfg.HeapMB = defaultHeapMB
	}
	java, err := javaTool()
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	jars, err := FetchKafka()
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	controller, err := freePort()
	if err != nil {
		return nil, err
	}
	if err := writeKafkaFiles(cfg, port, controller); err != nil {
		return nil, fmt.Errorf("kafka: write settings: %w", err)
	}
	if err := formatKafka(java, jars, cfg.Dir); err != nil {
		return nil, err
	}
	k := &Kafka{Brokers: loopback(port), Dir: cfg.Dir, Proxy: cfg.proxy}
	k.name = "kafka on " + k.Brokers
	k.log = filepath.Join(cfg.Dir, "kafka.log")
	k.command = func() *exec.Cmd {
		heap := strconv.Itoa(cfg.HeapMB) + "m"
		args := append(javaFlags(jars, cfg.Dir), "-Xms"+heap, "-Xmx"+heap)
		if !cfg.Optimize {
			args = append(args, "-XX:TieredStopAtLevel=1")
		}
		return exec.Command(java, append(args, "kafka.Kafka", filepath.Join(cfg.Dir, "server.properties"))...)
	}
	k.ready = func(ctx context.Context) error { return kafkaAnswers(ctx, k.Brokers) }
	return k, nil
}

func writeKafkaFiles(cfg KafkaConfig, port, controller int) error {
	settings := map[string]string{
		"listeners":                fmt.Sprintf("PLAINTEXT://%s,CONTROLLER://%s", loopback(port), loopback(controller)),
		"advertised.listeners":     "PLAINTEXT://" + loopback(port),
		"controller.quorum.voters": "1@" + loopback(controller),
		"log.dirs":                 filepath.Join(cfg.Dir, "data"),
	}
	if cfg.proxy != nil {
		settings["listeners"] += ",PROXIED://" + loopback(cfg.door)
		settings["advertised.listeners"] += ",PROXIED://" + cfg.proxy.Addr
		settings["listener.security.protocol.map"] = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT"
	}
	for key, value := range cfg.Settings {
		settings[key] = value
	}
	lines := make([]string, 0, len(settings))
	for key, value := range settings {
		lines = append(lines, key+"="+value)
	}
	slices.Sort(lines)
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return err
	}
	properties := kafkaProperties + "\n" + strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(cfg.Dir, "server.properties"), []byte(properties), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(cfg.Dir, "log4j2.properties"), kafkaLogging, 0o644)
}

// formatKafka gives a new data folder its first files and leaves an old one.
// They are the same for every broker of ours, so Kafka's tool makes them once
// and they are copied: a JVM less for each start.
func formatKafka(java, jars, dir string) error {
	made, err := cached("kafka-"+kafkaVersion+"-formatted", func(made string) error {
		if err := writeKafkaFiles(KafkaConfig{Dir: made}, firstPort, lastPort); err != nil {
			return err
		}
		args := append(javaFlags(jars, made), "-Xmx256m", "-XX:TieredStopAtLevel=1",
			"kafka.tools.StorageTool", "format",
			"--cluster-id", kafkaClusterID, "--config", filepath.Join(made, "server.properties"))
		_, err := output(exec.Command(java, args...))
		return err
	})
	if err != nil {
		return fmt.Errorf("kafka: format a data folder: %w", err)
	}
	data := filepath.Join(dir, "data")
	if _, err := os.Stat(data); err == nil {
		return nil
	}
	if err := os.CopyFS(data, os.DirFS(filepath.Join(made, "data"))); err != nil {
		return fmt.Errorf("kafka: format %s: %w", dir, err)
	}
	return nil
}

func javaFlags(jars, dir string) []string {
	return []string{
		"-cp", filepath.Join(jars, "*"),
		"-XX:+UseSerialGC", // the least threads beside a test on two cores
		"-Djava.awt.headless=true",
		"-Dlog4j2.configurationFile=" + filepath.Join(dir, "log4j2.properties"),
	}
}

// kafkaAnswers asks for metadata. A broker that is up but not yet let in by its
// controller answers too, with no broker in the list.
func kafkaAnswers(ctx context.Context, brokers string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.RequestRetries(0))
	if err != nil {
		return err
	}
	defer client.Close()
	request := kmsg.NewPtrMetadataRequest()
	request.Topics = []kmsg.MetadataRequestTopic{} // none, not all
	answer, err := request.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	if len(answer.Brokers) == 0 {
		return errors.New("the controller has not let the broker in yet")
	}
	return nil
}

// FetchKafka returns the folder with Kafka's jars, fetched with Maven on first
// use.
func FetchKafka() (string, error) {
	return cached("kafka-"+kafkaVersion, func(dir string) error {
		mvn, err := tool("mvn", "maven")
		if err != nil {
			return fmt.Errorf("kafka: %w", err)
		}
		work, err := os.MkdirTemp("", "millrace-kafka-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(work)
		pom := filepath.Join(work, "pom.xml")
		if err := os.WriteFile(pom, kafkaPOM, 0o644); err != nil {
			return err
		}
		// Fifty-odd files from a server far away: one of them may fail once.
		for try := 1; ; try++ {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
			_, err = output(exec.CommandContext(ctx, mvn, "-q", "-B", "-f", pom,
				"dependency:copy-dependencies", "-DoutputDirectory="+dir))
			cancel()
			if err == nil {
				return nil
			}
			if try == 3 {
				return fmt.Errorf("kafka: fetch the jars: %w", err)
			}
		}
	})
}

func javaTool() (string, error) {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		if path, err := exec.LookPath(filepath.Join(home, "bin", "java")); err == nil {
			return path, nil
		}
	}
	return tool("java", "default-jdk-headless")
}
