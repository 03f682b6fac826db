package schema

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"millrace/schema/schemapb"
)

// TestGoldenOfFormat1 reads what the programs wrote that knew no other format:
// logs of theirs are there, and an ingestor is upgraded after the processors.
// The file is never written anew.
func TestGoldenOfFormat1(t *testing.T) {
	golden := readGoldenFile(t, filepath.Join("testdata", "formats-1.golden"))
	var tick Tick
	for name, trades := range goldenTrades() {
		if err := tick.Decode(golden[name]); err != nil || !slices.Equal(tick.Batch.Trades, trades) {
			t.Errorf("%s: %+v, %v", name, tick.Batch, err)
		}
	}
	for _, want := range controls() {
		name := strings.ToLower(reflect.TypeOf(want).Name())
		if s, ok := want.(Settings); ok {
			s.Format = 1
			want = s
		}
		if formatOf(kindOf(t, want)) > 1 {
			continue // nobody wrote these in a log of format 1
		}
		if err := tick.Decode(golden[name]); err != nil || !reflect.DeepEqual(tick.body(), want) {
			t.Errorf("%s: %+v, %v, want %+v", name, tick.body(), err, want)
		}
		if again, err := AppendControl(nil, want); err != nil || string(again) != string(golden[name]) {
			t.Errorf("%s: written again it is %x, was %x", name, again, golden[name])
		}
	}
	for name, want := range goldenCandles() {
		if c, err := DecodeCandle(golden[name]); err != nil || c != want {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func readGoldenFile(t *testing.T, name string) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return parseGolden(t, string(text))
}

func kindOf(t *testing.T, body any) Kind {
	t.Helper()
	value, err := AppendControl(nil, body)
	if err != nil {
		t.Fatal(err)
	}
	var tick Tick
	if err := tick.Decode(value); err != nil {
		t.Fatal(err)
	}
	return tick.Kind
}

// TestRecordsOfALaterIngestor: a field that this program doesn't know is passed
// over in every kind of record, trades and marks alike.
func TestRecordsOfALaterIngestor(t *testing.T) {
	for name, value := range readGolden(t) {
		var tick, longer Tick
		if err := tick.Decode(value); err != nil || strings.HasPrefix(name, "candle") || name == "gap set" {
			continue
		}
		if err := longer.Decode(withField(t, value, 999)); err != nil {
			t.Errorf("%s with another field: %v", name, err)
			continue
		}
		if tick.Kind != longer.Kind || !reflect.DeepEqual(tick.body(), longer.body()) ||
			tick.Kind == KindTrades && !slices.Equal(tick.Batch.Trades, longer.Batch.Trades) {
			t.Errorf("%s: with another field it reads as %+v", name, longer.body())
		}
	}
}

// withField gives the record with a number and a text of fields that nobody
// knows, behind the others of its body.
func withField(t *testing.T, value []byte, field protowire.Number) []byte {
	t.Helper()
	num, _, n := protowire.ConsumeTag(value)
	body, m := protowire.ConsumeBytes(value[n:])
	if n < 0 || m < 0 {
		t.Fatalf("%x is no record", value)
	}
	body = protowire.AppendVarint(protowire.AppendTag(slices.Clone(body), field, protowire.VarintType), 7)
	body = protowire.AppendString(protowire.AppendTag(body, field+1, protowire.BytesType), "later")
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), body)
}

// TestNewerSettings: a format, an arithmetic or a period of later is told from
// what is merely wrong, with the version to use.
func TestNewerSettings(t *testing.T) {
	record := func(do func(*schemapb.Settings)) []byte {
		s := defaults()
		pb := s.toProto()
		do(pb)
		value, err := proto.Marshal(&schemapb.Tick{Body: &schemapb.Tick_Settings{Settings: pb}})
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	for _, c := range []struct {
		name  string
		newer bool
		do    func(*schemapb.Settings)
		want  string
	}{
		{"format", true, func(s *schemapb.Settings) { s.Format, s.Program = LogFormat+1, "1.4.0" }, "use millrace 1.4.0 or later"},
		{"arithmetic", true, func(s *schemapb.Settings) { s.Arithmetic = 2 }, "use the version that has written it"},
		{"a period of a newer format", true, func(s *schemapb.Settings) { s.Format, s.Periods = LogFormat+1, []string{"10s"} }, "format 3"},
		{"a period of this one", false, func(s *schemapb.Settings) { s.Periods = []string{"10s"} }, "10s"},
		{"a program's name that is none", true, func(s *schemapb.Settings) { s.Format, s.Program = 99, "a\nb" }, "use the version that has written it"},
	} {
		var tick Tick
		err := tick.Decode(record(c.do))
		if !errors.Is(err, ErrTick) || errors.Is(err, ErrNewer) != c.newer || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestAllows(t *testing.T) {
	old, now := defaults(), defaults()
	old.Format = 1
	for k := KindTrades; k <= KindRepair; k++ {
		if err := now.Allows(k); err != nil {
			t.Errorf("kind %d in a new log: %v", k, err)
		}
		err := old.Allows(k)
		if later := k == KindSeal || k == KindNewSeries || k == KindRepair; later != (err != nil) {
			t.Errorf("kind %d in a log of format 1: %v", k, err)
		}
		if err != nil && !strings.Contains(err.Error(), "millrace settings set format=2") {
			t.Errorf("kind %d: %v", k, err)
		}
	}
}
