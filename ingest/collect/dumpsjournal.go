package collect

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"millrace/ingest/file"
	"millrace/internal/kafka"
)

// maxEntry bounds a line of the journal: a name has 255 bytes at most.
const maxEntry = 64 << 10

// Entry is a file that is whole in the log. Its name counts, since it tells a
// dump's symbol, kind and day, and so what is promised of the rows.
type Entry struct {
	Topic  kafka.TopicID // that of `ticks`: a topic made anew has nothing of it
	Digest file.Digest
	Name   string // without its folder
	Symbol string // where the name didn't tell it
}

// Journal is a file with a line for each file that is whole in a log. It only
// saves work: a file that is replayed again does no harm. Hence nothing in it
// is repaired, and a line that can't be read is passed over.
type Journal struct {
	mu    sync.Mutex
	f     *os.File
	known map[Entry]bool
	names map[Entry]bool // as known, without digests
}

// line is an entry as it stands in the file.
type line struct {
	Topic  string `json:"topic"`
	Digest string `json:"sha256"`
	Name   string `json:"name"`
	Symbol string `json:"symbol,omitempty"`
	Trades int64  `json:"trades"`
}

// OpenJournal reads the journal at path, which need not be there. Several
// processes may use it: each reads what was there when it began.
func OpenJournal(path string, log *slog.Logger) (_ *Journal, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := &Journal{f: f, known: map[Entry]bool{}, names: map[Entry]bool{}}
	if err := j.read(log); err != nil {
		return nil, errors.Join(fmt.Errorf("journal %s: %w", path, err), f.Close())
	}
	return j, nil
}

func (j *Journal) read(log *slog.Logger) error {
	r := bufio.NewReaderSize(j.f, maxEntry)
	whole := true // the line read last had an end
	for n := 1; ; n++ {
		text, err := r.ReadSlice('\n')
		long := false
		for errors.Is(err, bufio.ErrBufferFull) {
			long = true
			text, err = r.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		atEnd := err != nil
		if atEnd && len(text) == 0 {
			break
		}
		whole = !atEnd
		if e, ok := parseEntry(text); ok && !long {
			j.take(e)
		} else if long || len(bytes.TrimSpace(text)) > 0 {
			log.Warn("a damaged line of the journal is passed over; its file is replayed again", "journal", j.f.Name(), "line", n)
		}
		if atEnd {
			break
		}
	}
	if whole {
		return nil
	}
	// The next entry must not be written behind half a line.
	if _, err := j.f.WriteString("\n"); err != nil {
		return err
	}
	return nil
}

func parseEntry(text []byte) (e Entry, ok bool) {
	var l line
	if json.Unmarshal(text, &l) != nil || l.Name == "" {
		return e, false
	}
	topic, err := hex.DecodeString(l.Topic)
	if err != nil || len(topic) != len(e.Topic) {
		return e, false
	}
	digest, err := file.ParseDigest(l.Digest)
	if err != nil {
		return e, false
	}
	return Entry{kafka.TopicID(topic), digest, l.Name, l.Symbol}, true
}

func (j *Journal) take(e Entry) {
	j.known[e] = true
	e.Digest = file.Digest{}
	j.names[e] = true
}

// Has reports whether the file is whole in the log.
func (j *Journal) Has(e Entry) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.known[e]
}

// HasName is Has but for the digest: a version of the file is in the log.
func (j *Journal) HasName(e Entry) bool {
	e.Digest = file.Digest{}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.names[e]
}

// Add writes that a file is whole in the log: everything of it acknowledged. It
// returns when the line is on disk.
func (j *Journal) Add(e Entry, trades int64) error {
	text, err := json.Marshal(line{hex.EncodeToString(e.Topic[:]), e.Digest.String(), e.Name, e.Symbol, trades})
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	_, err = j.f.Write(append(text, '\n'))
	if err == nil {
		err = j.f.Sync()
	}
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	j.take(e)
	return nil
}

// Close closes the file.
func (j *Journal) Close() error { return j.f.Close() }
