package checkpoint

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"gocloud.dev/gcerrors"

	"millrace/schema"
	"millrace/state"
)

// manifestFormat is the version of the manifest's form that this program
// writes, and the newest that it reads.
const manifestFormat = 1

var (
	// ErrGone reports a checkpoint, or a file of one, that isn't there.
	ErrGone = errors.New("it is not there any more")
	// ErrRefused reports a checkpoint that can't be used. The error says why.
	ErrRefused = errors.New("checkpoint refused")
	// ErrNewer reports a checkpoint of a newer program.
	ErrNewer = errors.New("checkpoint of a newer program")
)

// Log is whose state a checkpoint holds: a partition of one life of a topic.
type Log struct {
	Topic     string
	TopicID   [16]byte
	Partition int32
}

func (l Log) dir() string {
	return fmt.Sprintf("%s/%x/%05d/", l.Topic, l.TopicID, l.Partition)
}

func (l Log) files() string     { return l.dir() + "files/" }
func (l Log) manifests() string { return l.dir() + "manifests/" }

// File is one file of a checkpoint. Key names it in the store; an empty file, of
// which Pebble has some whose name says all, isn't there.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Key    string `json:"key,omitempty"`
	// Packed is how many bytes the object in the store has, packed by zstd; 0: it
	// has the file's own.
	Packed int64 `json:"zstd,omitempty"`
}

// stored is the size of the file's object.
func (f *File) stored() int64 { return cmp.Or(f.Packed, f.Size) }

// Manifest is a checkpoint: what it holds, of which log, as of which record.
type Manifest struct {
	Format      int        `json:"format"`
	Topic       string     `json:"topic"`
	TopicID     string     `json:"topic_id"` // 32 hex digits
	Partition   int32      `json:"partition"`
	Offset      int64      `json:"offset"` // next record to apply
	Epoch       int32      `json:"epoch"`  // leader epoch of the last record applied
	Hash        string     `json:"hash"`   // of the last record applied, 16 hex digits
	LogTime     *time.Time `json:"log_time,omitempty"`
	Newest      *time.Time `json:"newest,omitempty"`    // newest applied trade time
	Watermark   *time.Time `json:"watermark,omitempty"` // lowest of the symbols that are watched
	Periods     []string   `json:"periods,omitempty"`   // in force
	Symbols     int        `json:"symbols"`
	Windows     int64      `json:"windows"`
	Gaps        int        `json:"gaps"`
	StateFormat int        `json:"state_format"`
	Program     string     `json:"program"` // version of the program that wrote it
	Taken       time.Time  `json:"taken"`
	Rate        float64    `json:"rate,omitempty"` // records a second that were applied there, of the time spent at it
	Size        int64      `json:"size"`
	Files       []File     `json:"files"`
	Ref         Ref        `json:"-"`
}

// Ref names a checkpoint in a store.
type Ref struct {
	Log
	Offset int64
	ID     string    // what leads the hash of the manifest
	Stored time.Time // by the store's clock
	key    string
}

// String is the checkpoint's name in commands: PARTITION/OFFSET-ID.
func (r Ref) String() string { return fmt.Sprintf("%d/%d-%s", r.Partition, r.Offset, r.ID) }

const idDigits = 12

func moment(t schema.Time) *time.Time {
	if t == schema.MinTime {
		return nil
	}
	s := t.Std()
	return &s
}

// newManifest says what a summary holds.
func newManifest(topic string, s *state.Summary, program string, taken time.Time) *Manifest {
	m := &Manifest{
		Format: manifestFormat, Topic: topic, TopicID: hex.EncodeToString(s.Position.TopicID[:]), Partition: s.Position.Partition,
		Offset: s.Position.Offset, Epoch: s.Position.Epoch, Hash: fmt.Sprintf("%016x", s.Position.Hash),
		LogTime: moment(s.LogTime), Newest: moment(s.Newest), Watermark: moment(s.Watermark),
		Symbols: len(s.Symbols), Windows: s.Windows(), Gaps: s.Gaps(),
		StateFormat: state.FormatVersion, Program: program, Taken: taken.UTC().Truncate(time.Microsecond),
	}
	if s.Settings != nil {
		for _, p := range s.Settings.Periods {
			m.Periods = append(m.Periods, p.String())
		}
	}
	return m
}

// stored gives how many bytes the checkpoint has in the store.
func (m *Manifest) stored() (n int64) {
	for i := range m.Files {
		n += m.Files[i].stored()
	}
	return n
}

// Log gives whose state it is.
func (m *Manifest) Log() Log {
	l := Log{Topic: m.Topic, Partition: m.Partition}
	b, _ := hex.DecodeString(m.TopicID) // was checked
	copy(l.TopicID[:], b)
	return l
}

// Position gives where in the log the checkpoint stands.
func (m *Manifest) Position() state.Position {
	l := m.Log()
	h, _ := strconv.ParseUint(m.Hash, 16, 64) // was checked
	return state.Position{TopicID: l.TopicID, Partition: m.Partition, Offset: m.Offset, Epoch: m.Epoch, Hash: h}
}

// encode gives the manifest's bytes and where they belong.
func (m *Manifest) encode() (key string, b []byte, err error) {
	if b, err = json.MarshalIndent(m, "", " "); err != nil {
		return "", nil, fmt.Errorf("write the manifest: %w", err)
	}
	return fmt.Sprintf("%s%020d-%s.json", m.Log().manifests(), m.Offset, hashID(b)), b, nil
}

// hashID is the id of a manifest of these bytes.
func hashID(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:idDigits/2])
}

// parseKey takes a manifest's key apart; ok is false if it is another's.
func parseKey(key string) (r Ref, ok bool) {
	p := strings.Split(key, "/")
	if len(p) != 5 || p[3] != "manifests" || !strings.HasSuffix(p[4], ".json") {
		return r, false
	}
	id, err := hex.DecodeString(p[1])
	n, bad := strconv.ParseInt(p[2], 10, 32)
	at, hash, found := strings.Cut(strings.TrimSuffix(p[4], ".json"), "-")
	offset, worse := strconv.ParseInt(at, 10, 64)
	if err != nil || bad != nil || worse != nil || len(id) != 16 || !found || len(hash) != idDigits || n < 0 || offset < 0 {
		return r, false
	}
	r = Ref{Log: Log{Topic: p[0], Partition: int32(n)}, Offset: offset, ID: hash, key: key}
	copy(r.TopicID[:], id)
	return r, true
}

// decode reads a manifest and holds it against its key.
func decode(r Ref, b []byte) (*Manifest, error) {
	if hashID(b) != r.ID {
		return nil, fmt.Errorf("%w: its manifest is damaged: its bytes have another hash than its name", ErrRefused)
	}
	var lead struct {
		Format      int    `json:"format"`
		StateFormat int    `json:"state_format"`
		Program     string `json:"program"`
	}
	if err := json.Unmarshal(b, &lead); err != nil {
		return nil, fmt.Errorf("%w: its manifest: %w", ErrRefused, err)
	}
	if lead.Format > manifestFormat || lead.StateFormat > state.FormatVersion {
		return nil, fmt.Errorf("%w: %w: it needs millrace %s or later (manifest format %d, state format %d; this program reads up to %d and %d)",
			ErrRefused, ErrNewer, lead.Program, lead.Format, lead.StateFormat, manifestFormat, state.FormatVersion)
	}
	m := &Manifest{Ref: r}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("%w: its manifest: %w", ErrRefused, err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("%w: its manifest: %w", ErrRefused, err)
	}
	if m.Log() != r.Log || m.Offset != r.Offset {
		return nil, fmt.Errorf("%w: its manifest is of %s%d, its name is %s", ErrRefused, m.Log().dir(), m.Offset, r.key)
	}
	return m, nil
}

// check holds what a manifest says of files against the folder they may go to.
func (m *Manifest) check() error {
	if id, err := hex.DecodeString(m.TopicID); err != nil || len(id) != 16 {
		return fmt.Errorf("topic id %q", m.TopicID)
	}
	if _, err := strconv.ParseUint(m.Hash, 16, 64); err != nil {
		return fmt.Errorf("hash %q", m.Hash)
	}
	if m.Format < 1 || m.StateFormat < 1 || len(m.Files) == 0 {
		return errors.New("it names no files or no format")
	}
	var size int64
	names := map[string]bool{}
	for _, f := range m.Files {
		hash, err := hex.DecodeString(f.SHA256)
		switch {
		case f.Name == "" || f.Name != path.Base(f.Name) || strings.ContainsAny(f.Name, `/\`) || f.Name == "." || f.Name == "..":
			return fmt.Errorf("a file %q", f.Name)
		case names[f.Name]:
			return fmt.Errorf("the file %s twice", f.Name)
		case err != nil || len(hash) != sha256.Size || f.Size < 0 || f.Packed < 0:
			return fmt.Errorf("the file %s has no hash or size", f.Name)
		case (f.Size > 0 || f.Key != "") && !strings.HasPrefix(f.Key, m.Log().files()+f.SHA256+"-"):
			return fmt.Errorf("the file %s is named %s in the store", f.Name, f.Key)
		}
		names[f.Name] = true
		size += f.Size
	}
	if size != m.Size {
		return fmt.Errorf("its files have %d bytes, it says %d", size, m.Size)
	}
	return nil
}

// Manifest reads a checkpoint's manifest.
func (s *Store) Manifest(ctx context.Context, r Ref) (*Manifest, error) {
	s.mu.Lock()
	m := s.read[r.key]
	s.mu.Unlock()
	if m != nil {
		return m, nil
	}
	b, err := s.bucket.ReadAll(ctx, r.key)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, fmt.Errorf("checkpoint %v: %w", r, ErrGone)
	}
	if err != nil {
		return nil, fmt.Errorf("read checkpoint %v of %s: %w", r, s.name, err)
	}
	if m, err = decode(r, b); err != nil {
		return nil, fmt.Errorf("checkpoint %v: %w", r, err)
	}
	s.mu.Lock()
	s.read[r.key] = m // never changes: its name is its hash
	s.mu.Unlock()
	return m, nil
}
