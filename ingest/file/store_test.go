package file

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/schema"
)

// vision serves one dump as Binance's server does, with the faults a test asks
// for.
type vision struct {
	t    *testing.T
	data []byte
	etag string // "" serves without

	mu       sync.Mutex
	requests []string // "GET name" or "RANGE name from"
	breaks   []int    // each request of the dump breaks off after so many bytes
	status   []int    // what the next requests are answered with
	noRange  bool
	spoil    func([]byte) []byte // what is served in the place of data
}

const day = 1735689600 * schema.Second // 2025-01-01

var dumpRef = Ref{Kind: Trades, Symbol: "LINKUSDT", Day: day}

func (v *vision) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	name := filepath.Base(r.URL.Path)
	if from := r.Header.Get("Range"); from != "" {
		v.requests = append(v.requests, "RANGE "+name+" "+strings.TrimPrefix(from, "bytes="))
	} else {
		v.requests = append(v.requests, "GET "+name)
	}
	if len(v.status) > 0 {
		code := v.status[0]
		v.status = v.status[1:]
		if code != http.StatusOK {
			w.WriteHeader(code)
			return
		}
	}
	if r.URL.Path != "/data/spot/daily/trades/LINKUSDT/"+name || !strings.HasPrefix(name, dumpRef.Name()) {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if strings.HasSuffix(name, checksumEnding) {
		_, _ = fmt.Fprintf(w, "%x  %s\n", sha256.Sum256(v.data), dumpRef.Name())
		return
	}
	data := v.data
	if v.spoil != nil {
		data = v.spoil(slices.Clone(data))
	}
	if v.etag != "" {
		w.Header().Set("ETag", v.etag)
	}
	if v.noRange {
		r.Header.Del("Range")
	}
	if len(v.breaks) > 0 {
		w = &breaking{w, v.breaks[0]}
		v.breaks = v.breaks[1:]
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// breaking breaks off a body after left bytes.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	if len(p) > b.left {
		_, _ = b.ResponseWriter.Write(p[:b.left])
		_ = http.NewResponseController(b.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	b.left -= len(p)
	return b.ResponseWriter.Write(p)
}

func (v *vision) asked() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := v.requests
	v.requests = nil
	return all
}

func newVision(t *testing.T) (*vision, *Store) {
	t.Helper()
	v := &vision{t: t, data: zipped("a.csv", spotTrades, "noise", strings.Repeat("0123456789", 100)), etag: `"one"`}
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	s, err := NewStore(StoreConfig{Base: server.URL + "/data/spot/", Dir: t.TempDir(), MinPause: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return v, s
}

// fetched fails the test unless the dump is there, whole, with nothing beside
// it but its checksum.
func (v *vision) fetched(s *Store) {
	v.t.Helper()
	path, err := s.Fetch(v.t.Context(), dumpRef)
	if err != nil {
		v.t.Fatal(err)
	}
	all, _, err := readAll(v.t, path, Options{RequireChecksum: true})
	if err != nil || len(all) != 2 {
		v.t.Fatalf("%d rows, %v", len(all), err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 2 {
		v.t.Errorf("in the folder: %v, %v", entries, err)
	}
}

func (v *vision) wants(want ...string) {
	v.t.Helper()
	for i := range want {
		want[i] = strings.Replace(want[i], "DUMP", dumpRef.Name(), 1)
	}
	if got := v.asked(); !slices.Equal(got, want) {
		v.t.Errorf("asked for\n%q, want\n%q", got, want)
	}
}

func TestFetch(t *testing.T) {
	v, s := newVision(t)
	v.fetched(s)
	v.wants("GET DUMP.CHECKSUM", "GET DUMP")
	v.fetched(s)
	v.wants() // it is there
	if n := s.Fetched(); n != int64(len(v.data)) {
		t.Errorf("%d bytes fetched of %d", n, len(v.data))
	}
	if d, err := s.Digest(t.Context(), dumpRef); err != nil || d != sha256.Sum256(v.data) {
		t.Errorf("digest %v, %v", d, err)
	}
	v.wants()
	path := s.path(dumpRef)
	// Without its checksum only that is fetched; damaged, all.
	if err := os.Remove(path + checksumEnding); err != nil {
		t.Fatal(err)
	}
	v.fetched(s)
	v.wants("GET DUMP.CHECKSUM")
	if err := os.WriteFile(path, v.data[:50], 0o600); err != nil {
		t.Fatal(err)
	}
	v.fetched(s)
	v.wants("GET DUMP.CHECKSUM", "GET DUMP")
}

func TestFetchGoesOn(t *testing.T) {
	half := func(v *vision) int { return len(v.data) / 2 }
	for _, c := range []struct {
		name string
		set  func(*vision)
		want func(*vision) []string
	}{
		{"a connection that breaks", func(v *vision) { v.breaks = []int{half(v)} },
			func(v *vision) []string {
				return []string{"GET DUMP.CHECKSUM", "GET DUMP", fmt.Sprintf("RANGE DUMP %d-", half(v))}
			}},
		{"a server without ranges", func(v *vision) { v.breaks, v.noRange = []int{half(v)}, true },
			func(v *vision) []string {
				return []string{"GET DUMP.CHECKSUM", "GET DUMP", fmt.Sprintf("RANGE DUMP %d-", half(v))}
			}},
		{"no version told", func(v *vision) { v.breaks, v.etag = []int{half(v)}, "" },
			func(*vision) []string { return []string{"GET DUMP.CHECKSUM", "GET DUMP", "GET DUMP"} }},
		{"a weak version", func(v *vision) { v.breaks, v.etag = []int{half(v)}, `W/"one"` },
			func(*vision) []string { return []string{"GET DUMP.CHECKSUM", "GET DUMP", "GET DUMP"} }},
		{"a server that can't now", func(v *vision) { v.status = []int{503, 500, 200, 502, 429} },
			func(*vision) []string {
				return []string{"GET DUMP.CHECKSUM", "GET DUMP.CHECKSUM", "GET DUMP.CHECKSUM", "GET DUMP", "GET DUMP", "GET DUMP"}
			}},
		{"a version that changed", func(v *vision) {
			v.breaks = []int{half(v)}
			v.spoil = func(b []byte) []byte { v.etag, v.spoil = `"two"`, nil; b[10] ^= 1; return b }
		}, func(v *vision) []string {
			return []string{"GET DUMP.CHECKSUM", "GET DUMP", fmt.Sprintf("RANGE DUMP %d-", half(v)), "GET DUMP.CHECKSUM", "GET DUMP"}
		}},
		{"bytes that are spoilt once", func(v *vision) { v.spoil = func(b []byte) []byte { v.spoil = nil; b[10] ^= 1; return b } },
			func(*vision) []string {
				return []string{"GET DUMP.CHECKSUM", "GET DUMP", "GET DUMP.CHECKSUM", "GET DUMP"}
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, s := newVision(t)
			c.set(v)
			v.fetched(s)
			v.wants(c.want(v)...)
		})
	}
}

// What a killed process leaves is gone on with by the next.
func TestFetchGoesOnInAnotherProcess(t *testing.T) {
	for _, whole := range []bool{false, true} {
		v, s := newVision(t)
		part := s.path(dumpRef) + ".part"
		if err := os.MkdirAll(filepath.Dir(part), 0o700); err != nil {
			t.Fatal(err)
		}
		n := 70
		if whole {
			n = len(v.data)
		}
		for path, data := range map[string][]byte{part: v.data[:n], part + etagEnding: []byte(v.etag)} {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		v.fetched(s)
		if whole {
			v.wants("GET DUMP.CHECKSUM")
		} else {
			v.wants("GET DUMP.CHECKSUM", "RANGE DUMP 70-")
		}
	}
}

func TestFetchFails(t *testing.T) {
	always := func(code int) []int { return slices.Repeat([]int{code}, 20) }
	for _, c := range []struct {
		name string
		set  func(*vision)
		is   error
		says string
	}{
		{"not published", func(v *vision) { v.status = always(404) }, ErrNotPublished, "LINKUSDT-trades-2025-01-01.zip"},
		{"always away", func(v *vision) { v.status = always(503) }, ErrAway, "tried 6 times: the server answers 503"},
		{"forbidden", func(v *vision) { v.status = always(403) }, nil, "the server answers 403 Forbidden"},
		{"always spoilt", func(v *vision) { v.spoil = func(b []byte) []byte { b[10] ^= 1; return b } }, ErrChecksum, "twice"},
	} {
		v, s := newVision(t)
		c.set(v)
		_, err := s.Fetch(t.Context(), dumpRef)
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := os.Stat(s.path(dumpRef)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a dump is there: %v", c.name, err)
		}
	}
	v, s := newVision(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Fetch(ctx, dumpRef); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for _, r := range []Ref{{Trades, "../x", day, false}, {Trades, "", day, false}, {Unknown, "A", day, false}, {Trades, "A", day + 1, false}, {Trades, "A", day + schema.Day, true}} {
		if _, err := s.Fetch(t.Context(), r); err == nil {
			t.Errorf("%+v was fetched", r)
		}
	}
	v.wants()
	for _, base := range []string{"ftp://a", "https://u:hunter2@a/b", "http://a?b", "http://", "%"} {
		if _, err := NewStore(StoreConfig{Base: base}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", base, err)
		}
	}
}

// A server that falls silent is left.
func TestFetchLeavesASilentServer(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-release }))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	s, err := NewStore(StoreConfig{Base: server.URL, Dir: t.TempDir(), MinPause: time.Millisecond, Stall: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if _, err := s.Fetch(t.Context(), dumpRef); !errors.Is(err, ErrAway) || !strings.Contains(err.Error(), "sent nothing") {
		t.Error(err)
	}
}

func TestRefs(t *testing.T) {
	at := func(s string) schema.Time {
		d, err := time.Parse(time.DateOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		return schema.FromStd(d)
	}
	names := func(refs []Ref) (all []string) {
		for _, r := range refs {
			all = append(all, r.Name())
		}
		return all
	}
	got := names(Refs(AggTrades, []string{"B", "A", "A"}, at("2024-01-31"), at("2024-03-01"), true))
	want := []string{"A-aggTrades-2024-01-31.zip", "B-aggTrades-2024-01-31.zip", "A-aggTrades-2024-02.zip", "B-aggTrades-2024-02.zip", "A-aggTrades-2024-03-01.zip", "B-aggTrades-2024-03-01.zip"}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if n := len(Refs(Trades, []string{"A"}, at("2024-01-31"), at("2024-03-01"), false)); n != 31 {
		t.Errorf("%d days", n)
	}
	days := names(Ref{Trades, "A", at("2024-02-01"), true}.Days())
	if len(days) != 29 || days[28] != "A-trades-2024-02-29.zip" {
		t.Errorf("%v", days)
	}
}
