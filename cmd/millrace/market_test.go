package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// Recorded data of Binance's; SOURCE.md beside it says what and whence.
const (
	btcFrames = "../../ingest/testdata/btcusdt-spot-2024-08-08/frames.gz"
	btcKlines = "../../ingest/testdata/btcusdt-spot-2024-08-08/klines_5m.csv"
	ethFirst  = "../../ingest/testdata/ethusdt-spot-2024-08-08/frames-1.gz"
	ethSecond = "../../ingest/testdata/ethusdt-spot-2024-08-08/frames-2.gz"
	xrpDump   = "../../ingest/testdata/xrpeth-spot-2019-10/aggTrades.csv"
)

// marketEnd is where the market of these tests ends, in the recorder's time:
// the last trades of both symbols lie in one second of the exchange's, shortly
// after midnight.
const marketEnd = 1723161600_700000000

// dumpRows of the dump are enough where the point is not its length.
const dumpRows = 1500

// frameLine is a line of a recording.
type frameLine struct {
	stamp int64 // ns
	frame []byte
}

// market is a recording of BTCUSDT and ETHUSDT over midnight, trades only: what
// two recordings of the same minutes hold, as one collector would have met it.
type market struct {
	t     *testing.T
	lines []frameLine
	file  string
	dump  string // a few hours of XRPETH
	table string // what file makes, embedded
	both  string // what file and dump make
}

// TestMarket plays the market in many ways. Each must make the table that one
// quiet run with everything embedded makes.
func TestMarket(t *testing.T) {
	m := newMarket(t)
	m.table = dumped(t, develop(t, "", m.file).sql)
	m.both = dumped(t, develop(t, "", m.file, m.dump).sql)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *market)
	}{
		{"Roles", rolesMakeTheTable},
		{"Replayed", replayedMakesTheTable},
		{"Shuffled", shuffledMakesTheTable},
		{"TwoIngestors", twoIngestorsMakeTheTable},
		{"ThreeTimes", threeTimesMakesTheTable},
		{"KilledRoles", killedRolesMakeTheTable},
		{"MariaDBAway", mariaDBAwayMakesTheTable},
		{"KilledDev", killedDevMakesTheTable},
		{"InterruptedDev", interruptedDevMakesTheTable},
		{"DamagedState", damagedStateMakesTheTable},
		{"DamagedKafka", damagedKafkaMakesTheTable},
	} {
		t.Run(c.name, func(t *testing.T) {
			mine := *m
			mine.t = t
			c.run(t, &mine)
		})
	}
}

func newMarket(t *testing.T) *market {
	t.Helper()
	m := &market{t: t}
	for _, path := range []string{btcFrames, ethFirst, ethSecond} {
		for _, line := range bytes.Split(unpacked(t, path), []byte("\n")) {
			stamp, frame, ok := bytes.Cut(line, []byte(" "))
			if !ok || !bytes.Contains(frame, []byte("@trade")) {
				continue
			}
			n, err := strconv.ParseInt(string(stamp), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if n < marketEnd {
				m.lines = append(m.lines, frameLine{n, frame})
			}
		}
	}
	slices.SortStableFunc(m.lines, func(a, b frameLine) int { return cmp.Compare(a.stamp, b.stamp) })
	m.file = m.write("market.gz", m.lines)
	m.dump = filepath.Join(t.TempDir(), "XRPETH.csv")
	rows := bytes.SplitAfter(contents(t, xrpDump), []byte("\n"))
	write(t, m.dump, string(bytes.Join(rows[:dumpRows], nil)))
	return m
}

// write makes a recording of the lines.
func (m *market) write(name string, lines []frameLine) string {
	m.t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for _, l := range lines {
		fmt.Fprintf(z, "%d %s\n", l.stamp, l.frame)
	}
	if err := z.Close(); err != nil {
		m.t.Fatal(err)
	}
	path := filepath.Join(m.t.TempDir(), name)
	write(m.t, path, b.String())
	return path
}

// end is a recording of the last trades alone. Replayed, they are copies that
// bring nothing but the mark which tells that the recording has ended: a live
// collector knows of no end.
func (m *market) end() string {
	m.t.Helper()
	last := map[bool]frameLine{}
	for _, l := range m.lines {
		last[bytes.Contains(l.frame, []byte("BTCUSDT"))] = l
	}
	return m.write("end.gz", []frameLine{last[true], last[false]})
}

// shuffled has the trades come up to two seconds late, each by a time of its
// own.
func (m *market) shuffled(r *rand.Rand) string {
	m.t.Helper()
	lines := slices.Clone(m.lines)
	for i := range lines {
		lines[i].stamp += r.Int64N(int64(2 * time.Second))
	}
	slices.SortStableFunc(lines, func(a, b frameLine) int { return cmp.Compare(a.stamp, b.stamp) })
	moved := 0
	for i := range lines {
		if !bytes.Equal(lines[i].frame, m.lines[i].frame) {
			moved++
		}
	}
	if moved < len(lines)/2 {
		m.t.Fatalf("only %d of %d trades were moved", moved, len(lines))
	}
	return m.write("shuffled.gz", lines)
}

func unpacked(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(z); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// absolute makes the path of a file good for a process in another folder.
func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// seeded gives randomness that a failed test tells how to repeat.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

func contents(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
