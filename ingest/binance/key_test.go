package binance

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadAPIKey(t *testing.T) {
	key := strings.Repeat("vmPUZE6mv9SD5VNH", 4)
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat("s", ed25519.SeedSize)))
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	path := filepath.Join(t.TempDir(), "key")
	for _, c := range []struct{ name, content, says string }{
		{"alone", key, ""},
		{"with an end of line", key + "\n", ""},
		{"with white space around", "\r\n\t " + key + " \r\n\n", ""},
		{"empty", "", "nothing in it"},
		{"blank", " \n\n", "nothing in it"},
		{"private key", block, "not the private key"},
		{"private key behind a comment", "# mine\n" + block, "not the private key"},
		{"private key without its frame", base64.StdEncoding.EncodeToString(der), "not the private key"},
		{"encrypted private key", strings.ReplaceAll(block, "PRIVATE", "ENCRYPTED PRIVATE"), "not the private key"},
		{"two words", key + "\n" + key, "more than one word"},
		{"assignment", "KEY = " + key, "more than one word"},
		{"control character", key + "\x00" + key, "more than one word"},
		{"byte order mark", "\ufeff" + key, "more than one word"},
		{"too long", strings.Repeat("k", maxKeyFile+1), "longer than"},
		{"too long by white space", key + strings.Repeat("\n", maxKeyFile), "longer than"},
	} {
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadAPIKey(path)
		if c.says == "" {
			if err != nil || got != key {
				t.Errorf("%s: %q %v", c.name, got, err)
			}
			continue
		}
		if err == nil || got != "" || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %q %v", c.name, got, err)
			continue
		}
		for _, word := range strings.Fields(c.content) {
			if len(word) > 7 && strings.Contains(err.Error(), word) {
				t.Errorf("%s: the error shows what was read: %v", c.name, err)
			}
		}
	}
	if _, err := ReadAPIKey(path + "-none"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if _, err := ReadAPIKey(filepath.Dir(path)); err == nil {
		t.Error("a folder was read as a key")
	}
}
