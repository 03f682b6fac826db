package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// hidden stands for a secret wherever one is shown.
const hidden = "***"

// secret is a password or a token. It prints as *** whatever the verb, in logs
// and in JSON too; string(s) takes it out.
type secret string

// String hides what s holds; an empty one is shown as such.
func (s secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// Format hides it from every verb: %#v and %x would not ask String.
func (s secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// MarshalText hides it from encoders.
func (s secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// location is a DSN, or URLs separated by commas, that may hold a login. It
// prints without it.
type location string

// String gives the location with its password, or the token in place of a user,
// replaced.
func (l location) String() string { return hideLogin(string(l)) }

// Format hides the login from every verb.
func (l location) Format(f fmt.State, _ rune) { fmt.Fprint(f, l.String()) }

// MarshalText hides it from encoders.
func (l location) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// urlStart finds where each URL of a list begins.
var urlStart = regexp.MustCompile(`(?:^|,)[a-z+]+://`)

// hideLogin hides, in each URL, what stands before its last @. It doesn't parse
// them: a password with characters that should have been escaped must not show
// because of them. It rather hides too much.
func hideLogin(text string) string {
	if strings.HasPrefix(text, "sqlite:") { // a file, whose name may hold an @
		return text
	}
	starts := urlStart.FindAllStringIndex(text, -1)
	if len(starts) == 0 {
		starts = [][]int{{0, 0}}
	}
	var b strings.Builder
	b.WriteString(text[:starts[0][0]])
	for i, at := range starts {
		end := len(text)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		scheme, rest := text[at[0]:at[1]], text[at[1]:end]
		b.WriteString(scheme)
		if last := strings.LastIndexByte(rest, '@'); last >= 0 {
			user, _, both := strings.Cut(rest[:last], ":")
			switch {
			case both && scheme != "":
				b.WriteString(user + ":" + hidden)
			case scheme == "mysql://": // elsewhere a user alone is a token
				b.WriteString(user)
			default:
				b.WriteString(hidden)
			}
			rest = rest[last:]
		}
		b.WriteString(rest)
	}
	return b.String()
}

// maxSecretFile bounds what is read of a file with a secret.
const maxSecretFile = 64 << 10

// readSmall reads a whole file, which must not be longer than limit.
func readSmall(path string, limit int64) (b []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is over %d bytes long: it must be another file", path, limit)
	}
	return b, err
}

// readSecret reads a secret from a file; the line feed at its end is none of it.
func readSecret(path string) (string, error) {
	b, err := readSmall(path, maxSecretFile)
	if err != nil {
		return "", err
	}
	text := strings.TrimRight(string(b), "\r\n")
	switch {
	case text == "":
		return "", fmt.Errorf("%s is empty", path)
	case strings.ContainsAny(text, "\r\n\x00"):
		return "", fmt.Errorf("%s has more than one line, a secret is one", path)
	}
	return text, nil
}
