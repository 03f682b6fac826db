package collect

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millrace/ingest/file"
	"millrace/internal/kafka"
)

func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "replay.journal")
	var log bytes.Buffer
	open := func() *Journal {
		t.Helper()
		log.Reset()
		j, err := OpenJournal(path, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { j.Close() })
		return j
	}
	one := Entry{kafka.TopicID{1}, file.Digest{1}, "a b\"ü.zip", "AAA"}
	two := Entry{kafka.TopicID{1}, file.Digest{2}, "two.zip", ""}
	j := open()
	if err := j.Add(one, 5); err != nil {
		t.Fatal(err)
	}
	j = open()
	other := []Entry{two, one, one, one, one}
	other[1].Topic[0], other[2].Digest[0], other[3].Name, other[4].Symbol = 2, 2, "b.zip", "BBB"
	for _, e := range other {
		if j.Has(e) {
			t.Errorf("has %+v", e)
		}
	}
	if !j.Has(one) || !j.HasName(other[2]) || j.HasName(other[1]) || log.Len() > 0 {
		t.Errorf("has %v, log %s", j.Has(one), log.String())
	}

	// A process that was killed left half a line: the next line stands whole.
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, damage := range []string{string(whole[:len(whole)/2]), "\x00\x00\x00", "{}\n", `{"topic":"01","sha256":"02","name":"x"}` + "\n", strings.Repeat("x", 3*maxEntry) + "\n"} {
		if err := os.WriteFile(path, append(append([]byte{}, whole...), damage...), 0o600); err != nil {
			t.Fatal(err)
		}
		j = open()
		if err := j.Add(two, 1); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 1 || !strings.Contains(log.String(), "line=2") {
			t.Errorf("%.20q: warned %d times: %s", damage, n, log.String())
		}
		j = open()
		if !j.Has(one) || !j.Has(two) {
			t.Errorf("%.20q: %v %v", damage, j.Has(one), j.Has(two))
		}
	}
}
