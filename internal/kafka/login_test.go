package kafka_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/internal/kafka"
	"millrace/internal/testenv"
)

// Kafka itself says why it refuses a login; kfake only closes the connection.
func TestLoginToKafka(t *testing.T) {
	k := testenv.StartKafka(t)
	if err := k.Stop(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()

	file := filepath.Join(k.Dir, "server.properties")
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(old), "\n")
	for i, line := range lines {
		switch key, _, _ := strings.Cut(line, "="); key {
		case "listeners", "advertised.listeners":
			lines[i] += ",LOGIN://" + at
		case "listener.security.protocol.map":
			lines[i] += ",LOGIN:SASL_PLAINTEXT"
		}
	}
	lines = append(lines, "sasl.enabled.mechanisms=PLAIN",
		`listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_mill="wheel-77";`)
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.Start(); err != nil {
		t.Fatal(err)
	}
	login := kafka.Config{Brokers: []string{at}, SASLMechanism: kafka.SASLPlain, SASLUser: "mill", SASLPassword: "wheel-77"}
	accepted(t, login)
	login.SASLPassword = "stone-88"
	refused(t, login, fmt.Sprintf(`no kafka at %s: it refused the login of "mill" by PLAIN`, at), "check user, password")
	login.SASLMechanism = kafka.SASLScramSHA512
	refused(t, login, `the login SCRAM-SHA-512`, "another mechanism")
	refused(t, kafka.Config{Brokers: []string{at}}, "it may want TLS or a login")
}
