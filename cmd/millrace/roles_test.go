package main

import (
	"path/filepath"
	"testing"

	"millrace/internal/testenv"
)

// The roles as processes of their own, on the real servers, make the table that
// one process makes with everything embedded. Three symbols lie on three of the
// four partitions; two come live over a websocket, one from a dump.
func rolesMakeTheTable(t *testing.T, m *market) {
	want := m.both
	p := newParts(t, testenv.SharedMariaDB(t))
	s := subscribe(t, p.nats.URL)
	dir := t.TempDir()
	first, second := p.process(filepath.Join(dir, "1")), p.process(filepath.Join(dir, "2"))
	first.await("partition assigned") // the topics are there
	second.await("partition assigned")
	bridge := p.bridge()
	double := p.double(m.file, 0)
	ingest := p.ingest(double)
	p.replay(m.dump)
	p.arrived(want)

	// What has come is all there is, but a live collector doesn't know: it
	// promises time up to what the exchange says less its margin. The end of
	// the recording is told by a replay of its last trades.
	ingest.stop()
	double.stop()
	p.replay(m.end())
	p.settled()
	same(t, "the roles' table", dumped(t, p.sql), want)

	s.agrees(want)
	s.newestKept(want) // after which the stream has all before it
	s.onceFinal(want)
	first.stop()
	second.stop()
	bridge.stop()
}

// The same files replayed by separate processes, twice, before and while a
// processor runs.
func replayedMakesTheTable(t *testing.T, m *market) {
	want := m.both
	p := newParts(t, testenv.SharedMariaDB(t))
	p.replay(m.file, m.dump)
	processor := p.process(t.TempDir())
	p.settled()
	same(t, "replayed", dumped(t, p.sql), want)
	p.replay(m.dump, m.file)
	p.settled()
	same(t, "replayed again", dumped(t, p.sql), want)
	processor.stop()
}
