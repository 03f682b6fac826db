// Package trust reads the authorities by which TLS connections know servers.
package trust

import (
	"crypto/x509"
	"fmt"
	"os"
)

// Only gives the authorities of a file in PEM form, and no others.
func Only(file string) (*x509.CertPool, error) {
	return read(file, x509.NewCertPool())
}

// Also gives those of a file beside the system's own.
func Also(file string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil { // the system has none
		pool = x509.NewCertPool()
	}
	return read(file, pool)
}

func read(file string, into *x509.CertPool) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("authorities to trust: %w", err)
	}
	if !into.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("authorities to trust: %s holds no certificate in PEM form", file)
	}
	return into, nil
}
