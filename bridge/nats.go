package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	defaultURL = "nats://127.0.0.1:4222"
	// startTimeout bounds the first answers of NATS and of Kafka.
	startTimeout = 10 * time.Second
	// pingEvery finds a connection that died without a word after twice of it.
	pingEvery = 10 * time.Second
	// reconnectMost is the longest pause between two tries to connect again.
	reconnectMost = 2 * time.Second
)

// NATS says where NATS is and how to get in. It prints without its secrets.
type NATS struct {
	URLs              []string // default nats://127.0.0.1:4222
	Name              string   // of the connection, default "millrace-bridge"
	CAFile            string   // PEM; default: the system's authorities
	CertFile, KeyFile string   // PEM; the client's certificate, if the server wants one

	// One way to log in, or none.
	Token          string
	User, Password string
	CredsFile      string
	NKeySeedFile   string
}

// EnsureDefaults fills what is not set.
func (n *NATS) EnsureDefaults() {
	if len(n.URLs) == 0 {
		n.URLs = []string{defaultURL}
	}
	setDefault(&n.Name, "millrace-bridge")
}

// Validate expects EnsureDefaults to have run. Its errors never quote a URL
// as it was given: it may hold a password.
func (n *NATS) Validate() error {
	for i, raw := range n.URLs {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" {
			return fmt.Errorf("nats: URL number %d cannot be read: wanted nats://HOST:PORT or tls://HOST:PORT", i+1)
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return fmt.Errorf("nats: %s: wanted nats://, tls://, ws:// or wss://", shown(raw))
		}
	}
	if (n.CertFile == "") != (n.KeyFile == "") {
		return errors.New("nats: TLS wants the certificate's file and the key's file together")
	}
	if n.Password != "" && n.User == "" {
		return errors.New("nats: a password without a user")
	}
	ways := 0
	for _, s := range []string{n.Token, n.User, n.CredsFile, n.NKeySeedFile} {
		if s != "" {
			ways++
		}
	}
	if ways > 1 {
		return errors.New("nats: more than one way to log in is set: choose a token, a user, a credentials file or an NKey")
	}
	return nil
}

// shown is a URL without whatever could be a secret: a lone user is a token.
func shown(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(unreadable URL)"
	}
	return u.Scheme + "://" + u.Host
}

// String names the servers, without any secret.
func (n NATS) String() string {
	list := make([]string, len(n.URLs))
	for i, u := range n.URLs {
		list[i] = shown(u)
	}
	return strings.Join(list, ",")
}

// GoString keeps %#v from printing secrets.
func (n NATS) GoString() string { return "bridge.NATS{" + n.String() + "}" }

// LogValue keeps slog from printing secrets.
func (n NATS) LogValue() slog.Value { return slog.StringValue(n.String()) }

// dialer remembers why a dial failed: the client says only that no server was
// available.
type dialer struct {
	timeout time.Duration

	mu  sync.Mutex
	err error
}

func (d *dialer) Dial(network, addr string) (net.Conn, error) {
	conn, err := net.DialTimeout(network, addr, d.timeout)
	d.mu.Lock()
	d.err = err
	d.mu.Unlock()
	return conn, err
}

func (d *dialer) last() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// connect opens the connection. Later it comes back by itself, for ever.
// wait bounds how long a write may hang; denied hears of what the server does
// not allow.
func (n *NATS) connect(ctx context.Context, log *slog.Logger, wait time.Duration, denied func(error)) (*nats.Conn, error) {
	d := &dialer{timeout: max(startTimeout/time.Duration(len(n.URLs)), time.Second)}
	opts := []nats.Option{
		nats.Name(n.Name),
		nats.SetCustomDialer(d),
		nats.Timeout(d.timeout),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // an account may be away for a while as well
		nats.CustomReconnectDelay(reconnectDelay),
		nats.FlusherTimeout(wait),
		nats.PingInterval(pingEvery),
		nats.MaxPingsOutstanding(2),
		// What is not proven to have arrived is sent again by the bridge, in
		// order. A client that buffers meanwhile would send it once more.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("nats is away; waiting for it", "nats", n, "err", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("nats is back", "nats", n) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				denied(err)
				return
			}
			log.Warn("nats reports a fault", "err", err)
		}),
	}
	login, err := n.login()
	if err != nil {
		return nil, err
	}
	opts = append(opts, login...)
	type result struct {
		conn *nats.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() { // ends within the timeouts above
		conn, err := nats.Connect(strings.Join(n.URLs, ","), opts...)
		done <- result{conn, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, n.explain(r.err, d.last())
		}
		return r.conn, nil
	case <-ctx.Done():
		if r := <-done; r.conn != nil {
			r.conn.Close()
		}
		return nil, fmt.Errorf("connect to nats at %s: %w", n, context.Cause(ctx))
	}
}

func (n *NATS) login() ([]nats.Option, error) {
	var opts []nats.Option
	for _, f := range []struct{ what, name string }{
		{"authority", n.CAFile}, {"certificate", n.CertFile}, {"key", n.KeyFile},
		{"credentials", n.CredsFile}, {"NKey seed", n.NKeySeedFile},
	} {
		if f.name == "" {
			continue
		}
		if _, err := os.ReadFile(f.name); err != nil {
			return nil, fmt.Errorf("nats: read the %s: %w", f.what, err)
		}
	}
	if n.CAFile != "" {
		opts = append(opts, nats.RootCAs(n.CAFile))
	}
	if n.CertFile != "" {
		opts = append(opts, nats.ClientCert(n.CertFile, n.KeyFile))
	}
	switch {
	case n.Token != "":
		opts = append(opts, nats.Token(n.Token))
	case n.User != "":
		opts = append(opts, nats.UserInfo(n.User, n.Password))
	case n.CredsFile != "":
		opts = append(opts, nats.UserCredentials(n.CredsFile))
	case n.NKeySeedFile != "":
		key, err := nats.NkeyOptionFromSeed(n.NKeySeedFile)
		if err != nil {
			return nil, fmt.Errorf("nats: %s holds no NKey seed", n.NKeySeedFile) // the cause may quote it
		}
		opts = append(opts, key)
	}
	return opts, nil
}

// explain says what a failed first connection means to the person who set n.
func (n *NATS) explain(err, dial error) error {
	at := "no nats at " + n.String()
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		return fmt.Errorf("%s: it refused the login: %w; check user, password, token or credentials", at, err)
	case errors.Is(err, nats.ErrSecureConnRequired), errors.Is(err, nats.ErrSecureConnWanted):
		return fmt.Errorf("%s: %w; name it tls:// or nats:// as the server has it", at, err)
	case errors.Is(err, nats.ErrNoServers) && dial != nil:
		return fmt.Errorf("%s: %w; start it or set --nats", at, dial)
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrTimeout), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%s: %w; start it, set --nats, or check that it is a NATS server", at, err)
	}
	return fmt.Errorf("%s: %w; start it or set --nats", at, err)
}

// reconnectDelay doubles from a tenth of a second and spreads the clients of
// one server.
func reconnectDelay(attempts int) time.Duration {
	d := min(100*time.Millisecond<<min(attempts, 8), reconnectMost)
	return d/2 + rand.N(d/2)
}

// awaitConnected returns once the connection stands.
func awaitConnected(ctx context.Context, conn *nats.Conn) error {
	ch := conn.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer conn.RemoveStatusListener(ch)
	for !conn.IsConnected() {
		if conn.IsClosed() {
			return nats.ErrConnectionClosed
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
