package binance

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"millrace/internal/trust"
)

// readBuffer is what a websocket's bytes are read into. The library's own
// buffer of 4 KB would cost a system call per 25 trades.
const readBuffer = 64 << 10

// idleConns is how many connections to a REST server are kept for the next
// calls: as many as go side by side. The library would keep two, and make the
// others anew for every call.
const idleConns = 32

// newTransport makes a transport that trusts the system's certificates and, if
// caFile is not empty, those in it.
func newTransport(caFile string, buffered bool) (*http.Transport, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	t := &http.Transport{
		Proxy:                  environmentProxy,
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  15 * time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConnsPerHost:    idleConns,
	}
	if buffered {
		t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &bufferedConn{c, bufio.NewReaderSize(c, readBuffer)}, nil
		}
	}
	if caFile != "" {
		pool, err := trust.Also(caFile)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return t, nil
}

// environmentProxy gives the proxy that the environment names. An address that
// is none is not shown: it might hold a password.
func environmentProxy(r *http.Request) (*url.URL, error) {
	u, err := http.ProxyFromEnvironment(r)
	if err != nil {
		return nil, errors.New("proxy: the environment names one that is no address: correct HTTPS_PROXY or HTTP_PROXY")
	}
	return u, nil
}

// setProxy sends what goes through t by the proxy; "" leaves the environment's.
// No error shows the proxy's address, which may hold a password.
func setProxy(t *http.Transport, proxy string) error {
	if proxy == "" {
		return nil
	}
	u, err := url.Parse(proxy)
	if err != nil {
		return errors.New("proxy: it is no address: wanted http://, https:// or socks5://[USER:PASSWORD@]HOST:PORT")
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
	default:
		return errors.New("proxy: wanted http://, https:// or socks5://[USER:PASSWORD@]HOST:PORT")
	}
	if u.Host == "" || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return fmt.Errorf("proxy %s://…: wanted only [USER:PASSWORD@]HOST:PORT behind it", u.Scheme)
	}
	t.Proxy = http.ProxyURL(u)
	return nil
}

// bufferedConn reads ahead.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// baseURL checks a base address and cuts a slash from its end.
func baseURL(base string, schemes ...string) (string, error) {
	u, err := url.Parse(base)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the address itself: it might hold a password
		}
		return "", fmt.Errorf("address: %w", err)
	}
	for _, s := range schemes {
		if u.Scheme == s && u.Host != "" && u.RawQuery == "" && u.Fragment == "" && u.User == nil {
			return strings.TrimRight(base, "/"), nil
		}
	}
	if u.Opaque != "" { // USER:PASSWORD@HOST without a scheme looks like that
		return "", fmt.Errorf("address: wanted %s://HOST[:PORT]", strings.Join(schemes, ":// or "))
	}
	return "", fmt.Errorf("address %q: wanted %s://HOST[:PORT] without anything behind a question mark", u.Redacted(), strings.Join(schemes, ":// or "))
}
