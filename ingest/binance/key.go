package binance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxKeyFile bounds what is read of a key's file. Binance's keys have 64
// characters.
const maxKeyFile = 4 << 10

// ed25519DER is how a private Ed25519 key begins in PKCS #8 and base64: a PEM
// file whose first line was cut off.
const ed25519DER = "MC4CAQAwBQYDK2Vw"

// ReadAPIKey reads the API key that SBE streams ask for from a file that holds
// it and nothing else but white space around it. An error never shows what was
// read: it may be a secret that was put there by mistake.
func ReadAPIKey(file string) (string, error) {
	data, err := readSecret(file)
	if err != nil {
		return "", fmt.Errorf("api key: %w", err)
	}
	key := data
	if len(data) <= maxKeyFile {
		key = bytes.TrimSpace(data)
	}
	if err := checkAPIKey(key); err != nil {
		return "", fmt.Errorf("api key: %s: %w: give a file with the API key alone", file, err)
	}
	return string(key), nil
}

// checkAPIKey refuses what can be no API key, without showing it.
func checkAPIKey(key []byte) error {
	switch {
	case len(key) > maxKeyFile:
		return fmt.Errorf("longer than %d bytes", maxKeyFile)
	case len(key) == 0:
		return errors.New("nothing in it")
	case bytes.Contains(key, []byte("-----BEGIN")) || bytes.HasPrefix(key, []byte(ed25519DER)):
		return errors.New("it holds a PEM key: the API key is wanted, the text that Binance shows for the registered key, not the private key itself")
	}
	for _, c := range key {
		if c <= ' ' || c >= 0x7f { // it becomes a header's value
			return errors.New("it holds more than one word of plain ASCII")
		}
	}
	return nil
}

// readSecret reads a little more than may be there, so that too much shows.
func readSecret(file string) (_ []byte, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, maxKeyFile+1))
}
