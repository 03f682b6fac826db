package file

import (
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

var errRedirect = errors.New("a redirection that is not followed")

// newClient makes a client that trusts the system's certificates and, if caFile
// is not empty, those in it. It unpacks nothing on the way: ranges and
// checksums are of the bytes as they lie on the server.
func newClient(caFile string) (*http.Client, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    10 * time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
	}
	if caFile != "" {
		pool, err := trust.Also(caFile)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: t, CheckRedirect: func(to *http.Request, from []*http.Request) error {
		switch {
		case len(from) > 5:
			return fmt.Errorf("%w: more than 5 of them", errRedirect)
		case from[0].URL.Scheme == "https" && to.URL.Scheme != "https":
			return fmt.Errorf("%w: away from TLS", errRedirect)
		}
		return nil
	}}, nil
}

// baseURL checks a base address and cuts slashes from its end.
func baseURL(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the address itself: it might hold a password
		}
		return "", fmt.Errorf("address: %w", err)
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", fmt.Errorf("address %q: wanted https://HOST[:PORT]/PATH without a user and without anything behind a question mark", u.Redacted())
	}
	return strings.TrimRight(base, "/"), nil
}
