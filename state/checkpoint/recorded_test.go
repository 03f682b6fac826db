package checkpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/schema"
	"millrace/state"
)

// recordedLog is the partition of which testdata/recorded-1 has a checkpoint.
var recordedLog = Log{Topic: "ticks", TopicID: [16]byte{0x08, 0xfa, 0x69, 0x80, 0x1a, 0x33, 0xe7, 0x7c, 0xd5, 0x62, 0x46, 0x5a, 0x68, 0xba, 0xb6, 0x39}}

// TestCheckpointOfRecordedTrades restores what the first program that knew
// checkpoints took of ETHUSDT as it was recorded on 2024-08-08, and holds every
// row against what that program exported of it. Neither file is ever written anew.
func TestCheckpointOfRecordedTrades(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join("testdata", "recorded-1"), Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	fs := vfs.NewMem()
	m, refused, err := s.Restore(t.Context(), Want{Log: recordedLog, Scratch: "restored", FS: fs})
	if err != nil || m == nil || len(refused) > 0 {
		t.Fatalf("restored %v, refused %v: %v", m, refused, err)
	}
	v, err := state.OpenView(state.Options{Dir: "restored", FS: fs})
	if err == nil {
		err = v.Check()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if got := v.Summary().Settings; got.Format != 1 || got.Arithmetic != 1 || got.Revision != 1 {
		t.Errorf("settings in force: %+v", got)
	}
	golden, err := os.ReadFile(filepath.Join("testdata", "recorded-1.csv"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(golden)), "\n")
	want, got := lines[1:], rowsOf(t, v)
	slices.Sort(want)
	slices.Sort(got)
	if len(want) < 300 || !slices.Equal(got, want) {
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("row %d: got\n%s\nwant\n%s", i, got[i], want[i])
			}
		}
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
}

// rowsOf gives what the state publishes, in the columns of the CSV.
func rowsOf(t *testing.T, v *state.View) (rows []string) {
	row := func(c *schema.Candle) bool {
		rows = append(rows, fmt.Sprintf("%s,%v,%v,%v,%v,%v,%v,%v,%v,%d,%v,%v,%d,%d,%v,%d,%d", c.Symbol, c.Period, c.Start, c.Open, c.High, c.Low, c.Close,
			c.Volume, c.Quote, c.Trades, c.TakerVolume, c.TakerQuote, c.First, c.Last, c.Status, c.Missing, c.Version))
		return true
	}
	err := v.Since(0, 100, func(c *state.Changes) error {
		for i := range c.Candles {
			row(&c.Candles[i])
		}
		for i := range c.Runs {
			c.Runs[i].Expand(c.Calendar, row)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}
