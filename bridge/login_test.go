package bridge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"millrace/internal/testenv"
	"millrace/schema"
)

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// Each way to log in, and what is said when it is the wrong one.
func TestLogins(t *testing.T) {
	t.Parallel()
	user := must[nkeys.KeyPair](t)(nkeys.CreateUser())
	public, seed := must[string](t)(user.PublicKey()), must[[]byte](t)(user.Seed())
	stranger := must[[]byte](t)(must[nkeys.KeyPair](t)(nkeys.CreateUser()).Seed())
	for name, x := range map[string]struct {
		server       server.Options
		right, wrong NATS
	}{
		"token":    {server.Options{Authorization: "geheim"}, NATS{Token: "geheim"}, NATS{Token: "falsch"}},
		"password": {server.Options{Username: "u", Password: "geheim"}, NATS{User: "u", Password: "geheim"}, NATS{User: "u", Password: "falsch"}},
		"nkey": {server.Options{Nkeys: []*server.NkeyUser{{Nkey: public}}},
			NATS{NKeySeedFile: write(t, "seed", seed)}, NATS{NKeySeedFile: write(t, "seed", stranger)}},
		"none": {server.Options{Authorization: "geheim"}, NATS{Token: "geheim"}, NATS{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testenv.StartNATSWith(t, x.server)
			tryLogin(t, s.URL, x.right, x.wrong, "it refused the login")
		})
	}
}

func tryLogin(t *testing.T, url string, right, wrong NATS, want string) {
	t.Helper()
	right.URLs, wrong.URLs = []string{url}, []string{url}
	c := Config{}
	c.EnsureDefaults()
	right.EnsureDefaults()
	conn, err := right.connect(t.Context(), c.Log, c.AnswerWait, func(error) {})
	if err != nil {
		t.Fatalf("the right login: %v", err)
	}
	conn.Close()
	wrong.EnsureDefaults()
	conn, err = wrong.connect(t.Context(), c.Log, c.AnswerWait, func(error) {})
	if err == nil {
		conn.Close()
		t.Fatal("the wrong login was taken")
	}
	if s := err.Error(); !strings.Contains(s, want) || !strings.Contains(s, url) || strings.Contains(s, "falsch") || strings.Contains(s, "geheim") {
		t.Errorf("the wrong login: %v; wanted %q", err, want)
	}
}

func TestCredentialsFile(t *testing.T) {
	t.Parallel()
	operator := must[nkeys.KeyPair](t)(nkeys.CreateOperator())
	account := must[nkeys.KeyPair](t)(nkeys.CreateAccount())
	operatorID, accountID := must[string](t)(operator.PublicKey()), must[string](t)(account.PublicKey())
	accountJWT := must[string](t)(jwt.NewAccountClaims(accountID).Encode(operator))
	// A server with JetStream does not come up without a system account.
	systemID := must[string](t)(must[nkeys.KeyPair](t)(nkeys.CreateAccount()).PublicKey())
	systemJWT := must[string](t)(jwt.NewAccountClaims(systemID).Encode(operator))
	resolver := &server.MemAccResolver{}
	if err := errors.Join(resolver.Store(accountID, accountJWT), resolver.Store(systemID, systemJWT)); err != nil {
		t.Fatal(err)
	}
	operatorClaims := must[*jwt.OperatorClaims](t)(jwt.DecodeOperatorClaims(must[string](t)(jwt.NewOperatorClaims(operatorID).Encode(operator))))
	creds := func(signer nkeys.KeyPair) string {
		user := must[nkeys.KeyPair](t)(nkeys.CreateUser())
		claims := jwt.NewUserClaims(must[string](t)(user.PublicKey()))
		data := must[[]byte](t)(jwt.FormatUserConfig(must[string](t)(claims.Encode(signer)), must[[]byte](t)(user.Seed())))
		return write(t, "user.creds", data)
	}
	s := testenv.StartNATSWith(t, server.Options{TrustedOperators: []*jwt.OperatorClaims{operatorClaims}, AccountResolver: resolver, SystemAccount: systemID})
	stranger := must[nkeys.KeyPair](t)(nkeys.CreateAccount())
	tryLogin(t, s.URL, NATS{CredsFile: creds(account)}, NATS{CredsFile: creds(stranger)}, "it refused the login")
}

func TestTLS(t *testing.T) {
	t.Parallel()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: must[[]byte](t)(x509.MarshalECPrivateKey(key))})
	pair := must[tls.Certificate](t)(tls.X509KeyPair(certPEM, keyPEM))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	s := testenv.StartNATSWith(t, server.Options{TLS: true, TLSVerify: true, TLSTimeout: 5, TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	}})
	ca, cert, keyFile := write(t, "ca.pem", certPEM), write(t, "cert.pem", certPEM), write(t, "key.pem", keyPEM)
	tryLogin(t, s.URL, NATS{CAFile: ca, CertFile: cert, KeyFile: keyFile}, NATS{CertFile: cert, KeyFile: keyFile}, "certificate")
	tryLogin(t, s.URL, NATS{CAFile: ca, CertFile: cert, KeyFile: keyFile}, NATS{CAFile: ca}, "no nats at")
}

// An account that may not publish would lose every candle without a word from
// the client: the bridge ends instead.
func TestForbiddenSubjectEndsTheBridge(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.nats = testenv.StartNATSWith(t, server.Options{Users: []*server.User{{
		Username: "bridge", Password: "geheim",
		Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"candles.1m.>"}}},
	}}})
	c := h.config()
	c.NATS.User, c.NATS.Password = "bridge", "geheim"
	h.produce(candle("BTCUSDT", schema.P1m, 1, 1, schema.Live))
	r := h.start(c)
	<-r.done
	if !errors.Is(r.err, errDenied) || !strings.Contains(r.err.Error(), "candles.1m.BTCUSDT") || strings.Contains(r.err.Error(), "\n") {
		t.Errorf("run: %v", r.err)
	}
}
