package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"millrace/internal/trust"
)

const (
	defaultBroker  = "127.0.0.1:9092"
	defaultTimeout = 10 * time.Second
	maxTimeout     = 10 * time.Minute
)

// SASL mechanisms.
const (
	SASLNone        = ""
	SASLPlain       = "PLAIN"
	SASLScramSHA256 = "SCRAM-SHA-256"
	SASLScramSHA512 = "SCRAM-SHA-512"
)

// Config says where Kafka is and how to get in. It prints without its password.
type Config struct {
	Brokers  []string // host:port; default 127.0.0.1:9092
	ClientID string   // default "millrace"
	TLS      TLS

	SASLMechanism string // "" is no login
	SASLUser      string
	SASLPassword  string

	// ConnectTimeout bounds Connect, and each dial later. Default 10 s.
	ConnectTimeout time.Duration
	// Log gets the client's own lines from warning up; nil drops them.
	Log *slog.Logger
	// Dial opens a connection in another way than by TCP. TLS goes on top of it.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// TLS says how to secure the connections.
type TLS struct {
	Enabled           bool
	CAFile            string // PEM; default: the system's authorities
	CertFile, KeyFile string // PEM; the client's certificate, if the brokers want one
	ServerName        string // default: the host that is dialled
}

// EnsureDefaults fills what is not set.
func (c *Config) EnsureDefaults() {
	if len(c.Brokers) == 0 {
		c.Brokers = []string{defaultBroker}
	}
	if c.ClientID == "" {
		c.ClientID = "millrace"
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = defaultTimeout
	}
}

// Validate expects EnsureDefaults to have run.
func (c *Config) Validate() error {
	for _, b := range c.Brokers {
		host, port, err := net.SplitHostPort(b)
		if err != nil || host == "" || port == "" {
			return fmt.Errorf("kafka: broker %q is not host:port", b)
		}
	}
	switch c.SASLMechanism {
	case SASLNone:
		if c.SASLUser != "" || c.SASLPassword != "" {
			return fmt.Errorf("kafka: a user or a password without a SASL mechanism: set %s, %s or %s", SASLPlain, SASLScramSHA256, SASLScramSHA512)
		}
	case SASLPlain, SASLScramSHA256, SASLScramSHA512:
		if c.SASLUser == "" || c.SASLPassword == "" {
			return fmt.Errorf("kafka: SASL %s wants a user and a password", c.SASLMechanism)
		}
	default:
		return fmt.Errorf("kafka: unknown SASL mechanism %q, known are %s, %s and %s", c.SASLMechanism, SASLPlain, SASLScramSHA256, SASLScramSHA512)
	}
	if c.ConnectTimeout < 10*time.Millisecond || c.ConnectTimeout > maxTimeout {
		return fmt.Errorf("kafka: connect timeout %v is not within 10ms to %v", c.ConnectTimeout, maxTimeout)
	}
	return c.TLS.validate()
}

func (t *TLS) validate() error {
	if !t.Enabled && *t != (TLS{}) {
		return errors.New("kafka: a file or a server name for TLS is set, but TLS is not enabled")
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return errors.New("kafka: TLS wants the certificate's file and the key's file together")
	}
	return nil
}

// config reads the files. It is nil without TLS.
func (t *TLS) config() (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pool, err := trust.Only(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("kafka: %w", err)
		}
		c.RootCAs = pool
	}
	if t.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("kafka: read TLS certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

// String describes c without its password.
func (c Config) String() string {
	s := strings.Join(c.Brokers, ",")
	if c.TLS.Enabled {
		s += " tls"
	}
	if c.SASLMechanism != SASLNone {
		s += fmt.Sprintf(" %s as %s", c.SASLMechanism, c.SASLUser)
	}
	return s
}

// GoString keeps %#v from printing the password.
func (c Config) GoString() string { return "kafka.Config{" + c.String() + "}" }

// LogValue keeps slog from printing the password.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }
