package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Options gives c as options of a client, for who makes one itself. The client
// logs nothing: its warnings go to c.Log only when Connect made it.
func (c *Config) Options() ([]kgo.Opt, error) { return c.options(new(atomic.Bool)) }

// options is Options; open is set once a broker has answered.
func (c *Config) options(open *atomic.Bool) ([]kgo.Opt, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	dial, err := c.dialer(open)
	if err != nil {
		return nil, err
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(c.ClientID),
		kgo.Dialer(dial),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.DisableClientMetrics(),
		// What a transaction has not committed, or has aborted, was never told.
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		// After a leader has moved or a topic was made, the client asks no more
		// often than this where a partition is; kgo's 5 s would be a pause of 5 s.
		kgo.MetadataMinAge(250 * time.Millisecond),
	}
	if m := c.mechanism(); m != nil {
		opts = append(opts, kgo.SASL(m))
	}
	return opts, nil
}

func (c *Config) mechanism() sasl.Mechanism {
	auth := scram.Auth{User: c.SASLUser, Pass: c.SASLPassword}
	switch c.SASLMechanism {
	case SASLPlain:
		return plain.Auth{User: c.SASLUser, Pass: c.SASLPassword}.AsMechanism()
	case SASLScramSHA256:
		return auth.AsSha256Mechanism()
	case SASLScramSHA512:
		return auth.AsSha512Mechanism()
	}
	return nil
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// dialer puts TLS on top of whatever opens the connection: kgo itself takes a
// dialer or a TLS configuration, not both.
func (c *Config) dialer(open *atomic.Bool) (dialFunc, error) {
	timeout, dial := c.ConnectTimeout, c.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	secure, err := c.TLS.config()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		conn, err := dial(ctx, network, addr)
		if err == nil && open.Load() {
			conn = &hopeful{Conn: conn}
		}
		if err != nil || secure == nil {
			return conn, err
		}
		cfg := secure.Clone()
		if cfg.ServerName == "" {
			cfg.ServerName, _, _ = net.SplitHostPort(addr)
		}
		safe := tls.Client(conn, cfg)
		if err := safe.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, tlsError{err}
		}
		return safe, nil
	}, nil
}

// hopeful is a connection to a broker that has answered before. kgo takes it for
// a wrong setting if one is closed before it has said a word, and gives up what
// it was to send. But that is what a proxy, or a machine that forwards, does
// while the broker behind it is away: to us it is a connection that was lost.
type hopeful struct {
	net.Conn
	heard atomic.Bool
}

func (h *hopeful) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if n > 0 {
		h.heard.Store(true)
	}
	if errors.Is(err, io.EOF) && !h.heard.Load() {
		err = &net.OpError{Op: "read", Net: "tcp", Addr: h.RemoteAddr(), Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	}
	return n, err
}

// tlsError marks what went wrong in the handshake, after the dial.
type tlsError struct{ err error }

func (e tlsError) Error() string { return "tls handshake: " + e.err.Error() }
func (e tlsError) Unwrap() error { return e.err }

// Connect makes a client and asks a broker for an answer. If none of them
// gives one within c.ConnectTimeout, the error says in one line what is wrong.
func Connect(ctx context.Context, c Config, opts ...kgo.Opt) (*kgo.Client, error) {
	c.EnsureDefaults()
	log := &logger{to: c.Log}
	all, err := c.options(&log.open)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(append(all, kgo.WithLogger(log)), opts...)...)
	if err != nil {
		return nil, fmt.Errorf("kafka: make a client: %w", err)
	}
	// A broker that takes the connection and stays silent would hold Ping for
	// longer than its context; closing the client ends that.
	bound, cancel := context.WithTimeout(ctx, c.ConnectTimeout)
	defer cancel()
	stop := context.AfterFunc(bound, client.Close)
	err = client.Ping(bound)
	if !stop() {
		err = errors.Join(context.Cause(bound), err)
	}
	if err != nil {
		client.Close()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("kafka: connect to %s: %w", strings.Join(c.Brokers, ","), context.Cause(ctx))
		}
		return nil, c.explain(err)
	}
	log.open.Store(true)
	return client, nil
}

// explain says what a failed first answer means to the person who set c.
func (c *Config) explain(err error) error {
	at := "no kafka at " + strings.Join(c.Brokers, ",")
	var (
		cut       *kgo.ErrFirstReadEOF
		record    tls.RecordHeaderError
		handshake tlsError
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		hint := "check whether it wants TLS"
		if c.TLS.Enabled {
			hint = "check whether it speaks TLS on that port"
		}
		return fmt.Errorf("%s: no answer within %v; start it, set --kafka, or %s", at, c.ConnectTimeout, hint)
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return fmt.Errorf("%s: it refused the login of %q by %s: %w; check user, password and mechanism", at, c.SASLUser, c.SASLMechanism, err)
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return fmt.Errorf("%s: it does not know the login %s: %w; set another mechanism", at, c.SASLMechanism, err)
	case errors.As(err, &authority):
		return fmt.Errorf("%s: its TLS certificate is of an unknown authority: %w; set the authority's file", at, err)
	case errors.As(err, &hostname):
		return fmt.Errorf("%s: its TLS certificate is for another name: %w; set the server name", at, err)
	case errors.As(err, &record), c.TLS.Enabled && (errors.As(err, &cut) || errors.As(err, &handshake) && gone(err)):
		return fmt.Errorf("%s: TLS is on and it does not speak it: %w; turn TLS off or name its TLS port", at, err)
	case errors.As(err, &handshake):
		return fmt.Errorf("%s: %w; check the TLS files", at, err)
	case c.SASLMechanism != SASLNone && (errors.As(err, &cut) || gone(err)):
		return fmt.Errorf("%s: it closed the connection during the login of %q by %s: %w; check user, password, mechanism and whether it wants TLS", at, c.SASLUser, c.SASLMechanism, err)
	case errors.As(err, &cut), gone(err):
		return fmt.Errorf("%s: it closes connections at once: %w; it may want TLS or a login", at, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s: connection refused; start it or set --kafka", at)
	case errors.As(err, &dns):
		return fmt.Errorf("%s: %w; set --kafka", at, dns)
	}
	return fmt.Errorf("%s: %w; start it or set --kafka", at, err)
}

func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
