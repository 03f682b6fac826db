package kafka_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/kafka"
	"millrace/internal/testenv"
)

// refused connects, wants an error that holds all of the words, in one line
// and without the password, and that nothing was logged beside it.
func refused(t *testing.T, c kafka.Config, words ...string) {
	t.Helper()
	var log bytes.Buffer
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	client, err := kafka.Connect(t.Context(), c)
	if err == nil {
		client.Close()
		t.Fatal("it connected")
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q is missing in: %v", w, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %v", err)
	}
	if c.SASLPassword != "" && strings.Contains(err.Error(), c.SASLPassword) {
		t.Errorf("the password is in: %v", err)
	}
	if log.Len() > 0 {
		t.Errorf("logged beside the error: %s", log.String())
	}
}

func accepted(t *testing.T, c kafka.Config) {
	t.Helper()
	client, err := kafka.Connect(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
}

// silence listens and never answers.
func silence(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func TestConnectSaysWhatIsWrong(t *testing.T) {
	dead := silence(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()

	authority, config := certificate(t, "127.0.0.1")
	other, elsewhere := certificate(t, "kafka.example")
	open := testenv.StartFake(t).Brokers
	secure := testenv.StartFake(t, kfake.TLS(config)).Brokers
	named := testenv.StartFake(t, kfake.TLS(elsewhere)).Brokers
	login := testenv.StartFake(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "mill", "wheel-77"),
		kfake.Superuser("SCRAM-SHA-256", "mill", "wheel-77"), kfake.Superuser("SCRAM-SHA-512", "mill", "wheel-77")).Brokers
	ca := kafka.TLS{Enabled: true, CAFile: authority}

	t.Run("nobody there", func(t *testing.T) {
		refused(t, kafka.Config{Brokers: []string{closed}}, "no kafka at "+closed+": connection refused; start it or set --kafka")
	})
	t.Run("silence", func(t *testing.T) {
		refused(t, kafka.Config{Brokers: []string{dead}, ConnectTimeout: 200 * time.Millisecond}, "no kafka at "+dead, "no answer within 200ms")
	})
	t.Run("unknown host", func(t *testing.T) {
		refused(t, kafka.Config{Brokers: []string{"no-such-host.invalid:9092"}}, "no-such-host.invalid", "set --kafka")
	})
	t.Run("TLS wanted by the client only", func(t *testing.T) {
		// kfake waits for more, Kafka closes the connection.
		refused(t, kafka.Config{Brokers: []string{open}, TLS: ca, ConnectTimeout: 300 * time.Millisecond}, "no answer within 300ms", "speaks TLS on that port")
		refused(t, kafka.Config{Brokers: []string{testenv.SharedKafka(t).Brokers}, TLS: ca}, "TLS is on and it does not speak it")
	})
	t.Run("TLS wanted by the broker only", func(t *testing.T) {
		refused(t, kafka.Config{Brokers: []string{secure}}, "it may want TLS")
	})
	t.Run("unknown authority", func(t *testing.T) {
		refused(t, kafka.Config{Brokers: []string{secure}, TLS: kafka.TLS{Enabled: true, CAFile: other}}, "unknown authority")
	})
	t.Run("certificate for another name", func(t *testing.T) {
		refused(t, kafka.Config{Brokers: []string{named}, TLS: kafka.TLS{Enabled: true, CAFile: other}}, "for another name", "set the server name")
	})
	t.Run("wrong password", func(t *testing.T) {
		for _, m := range []string{kafka.SASLPlain, kafka.SASLScramSHA256, kafka.SASLScramSHA512} {
			refused(t, kafka.Config{Brokers: []string{login}, SASLMechanism: m, SASLUser: "mill", SASLPassword: "stone-88"},
				"login", `"mill"`, m, "check user, password")
		}
	})
	t.Run("login refused by word", func(t *testing.T) {
		// kfake closes the connection, Kafka says why.
		fake := testenv.StartFake(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "mill", "wheel-77"))
		fake.ControlKey(int16(kmsg.SASLAuthenticate), func(kmsg.Request) (kmsg.Response, error, bool) {
			fake.KeepControl()
			return &kmsg.SASLAuthenticateResponse{Version: 2, ErrorCode: kerr.SaslAuthenticationFailed.Code}, nil, true
		})
		refused(t, kafka.Config{Brokers: []string{fake.Brokers}, SASLMechanism: kafka.SASLPlain, SASLUser: "mill", SASLPassword: "stone-88"},
			`it refused the login of "mill" by PLAIN`)
	})
	t.Run("no login", func(t *testing.T) {
		refused(t, kafka.Config{Brokers: []string{login}}, "it may want TLS or a login")
	})
	t.Run("all well", func(t *testing.T) {
		accepted(t, kafka.Config{Brokers: []string{open}})
		accepted(t, kafka.Config{Brokers: []string{closed, open}})
		accepted(t, kafka.Config{Brokers: []string{secure}, TLS: ca})
		accepted(t, kafka.Config{Brokers: []string{named}, TLS: kafka.TLS{Enabled: true, CAFile: other, ServerName: "kafka.example"}})
		for _, m := range []string{kafka.SASLPlain, kafka.SASLScramSHA256, kafka.SASLScramSHA512} {
			accepted(t, kafka.Config{Brokers: []string{login}, SASLMechanism: m, SASLUser: "mill", SASLPassword: "wheel-77"})
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := kafka.Connect(ctx, kafka.Config{Brokers: []string{dead}})
		if err == nil || !strings.Contains(err.Error(), "canceled") {
			t.Errorf("%v, want a cancellation", err)
		}
	})
}

func TestConfigIsRefused(t *testing.T) {
	for want, c := range map[string]kafka.Config{
		"not host:port":                     {Brokers: []string{"localhost"}},
		"without a SASL mechanism":          {SASLUser: "mill"},
		"wants a user and a password":       {SASLMechanism: kafka.SASLPlain, SASLUser: "mill"},
		"unknown SASL mechanism \"GSSAPI\"": {SASLMechanism: "GSSAPI"},
		"TLS is not enabled":                {TLS: kafka.TLS{CAFile: "ca.pem"}},
		"together":                          {TLS: kafka.TLS{Enabled: true, CertFile: "c.pem"}},
		"authorities to trust":              {TLS: kafka.TLS{Enabled: true, CAFile: "no-such-file.pem"}},
		"connect timeout":                   {ConnectTimeout: time.Hour},
	} {
		if _, err := kafka.Connect(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestConfigHidesItsPassword(t *testing.T) {
	c := kafka.Config{Brokers: []string{"k:9092"}, SASLMechanism: kafka.SASLPlain, SASLUser: "mill", SASLPassword: "wheel-77"}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("start", "kafka", c)
	for _, s := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), fmt.Sprintf("%v", &c), fmt.Sprintf("%+v", struct{ Kafka kafka.Config }{c}), log.String()} {
		if strings.Contains(s, "wheel-77") || !strings.Contains(s, "mill") {
			t.Errorf("%s", s)
		}
	}
}

// certificate makes one for host that is its own authority.
func certificate(t *testing.T, host string) (file string, server *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "millrace test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}
