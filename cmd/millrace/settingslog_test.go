package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/internal/testenv"
	"millrace/schema"
)

// desk is an operator's: a log with a processor on it, and commands that look.
type operator struct {
	*testing.T
	brokers string
	client  *kgo.Client
	now     schema.Time
}

func newOperator(t *testing.T) *operator {
	d := &operator{T: t, brokers: testenv.StartFake(t).Brokers, now: schema.FromStd(time.Now())}
	client, err := kafka.Connect(t.Context(), defaulted(d.brokers))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	d.client = client
	return d
}

// do runs a command in this process.
func (d *operator) do(want int, args ...string) string {
	d.Helper()
	args = append(strings.Fields(args[0]), args[1:]...)
	if args[0] != "state" {
		args = append(args, "--kafka", d.brokers)
	}
	code, out, errs := runTest(d.T, nil, args...)
	if code != want {
		d.Fatalf("%v ended with %d, wanted %d:\n%s%s", args, code, want, out, errs)
	}
	return out + errs
}

func (d *operator) json(v any, want int, args ...string) {
	d.Helper()
	out := d.do(want, append(args, "--json")...)
	reflect.ValueOf(v).Elem().SetZero() // it is used again
	if err := json.NewDecoder(strings.NewReader(out)).Decode(v); err != nil {
		d.Fatalf("%v in\n%s", err, out)
	}
}

// says wants each of words in a command's output.
func (d *operator) says(out string, words ...string) {
	d.Helper()
	for _, w := range words {
		if !strings.Contains(out, w) {
			d.Errorf("%q is missing in:\n%s", w, out)
		}
	}
}

// trade writes one trade, at some time from now.
func (d *operator) trade(symbol string, id int64, in time.Duration) {
	d.Helper()
	at := d.now + schema.Time(in.Microseconds())
	value, _ := schema.AppendTrades(nil, symbol, []schema.Trade{{ID: id, Last: id, Time: at, Price: schema.Decimal{Mantissa: 100 + id, Scale: 2}, Qty: schema.Decimal{Mantissa: 1}}}, d.now, 0)
	rec := &kgo.Record{Topic: schema.TicksTopic, Partition: schema.Partition(symbol, 4), Key: []byte(symbol), Value: value}
	if err := d.client.ProduceSync(d.Context(), rec).FirstErr(); err != nil {
		d.Fatal(err)
	}
}

// TestOperatorsDesk: the log's settings are shown, tried, changed; a processor
// takes them over; what it refused before is sent again and applied.
func TestOperatorsDesk(t *testing.T) {
	d := newOperator(t)
	d.says(d.do(exitUsage, "settings"), "there is no topic ticks")
	dir := filepath.Join(t.TempDir(), "data")
	p := start(t, "process", "--kafka", d.brokers, "--data", dir, "--http", "127.0.0.1:0")
	url := p.log.await(t, `serving HTTP.* url=(\S+)`)
	p.log.await(t, "partition assigned")
	for id := int64(1); id <= 5; id++ {
		d.trade("BTCUSDT", id, time.Duration(id-200)*time.Second)
	}
	d.trade("BTCUSDT", 6, 30*time.Minute) // too far ahead
	p.log.await(t, "refused a tick")

	// The state, live.
	var answer stateAnswer
	every(t, func(context.Context) error {
		d.json(&answer, exitOK, "state query --url "+url)
		if len(answer.Partitions) != 4 || len(answer.Symbols) != 1 || answer.Symbols[0].Frontier != 5 {
			return fmt.Errorf("%+v", answer)
		}
		return nil
	})
	if y := answer.Symbols[0]; y.Symbol != "BTCUSDT" || y.Highest != 5 || y.Applied != 5 || y.Windows["1s"] != 5 || y.Holes != 0 || y.Newest == nil {
		t.Errorf("%+v", y)
	}
	d.says(d.do(exitOK, "state query btcusdt --url "+url), "frontier", "BTCUSDT", "revision 1")
	d.says(d.do(exitUsage, "state query NONE --url "+url), "no symbol NONE", "0, 1, 2, 3")
	var candles candlesAnswer
	d.json(&candles, exitOK, "state query BTCUSDT --period 1s --limit 3 --url "+url)
	if len(candles.Candles) != 3 || candles.Candles[0].Open != "1.01" || candles.Candles[2].First != 3 || candles.Next == nil {
		t.Errorf("%+v", candles)
	}
	d.json(&candles, exitOK, "state query BTCUSDT --period 1s --url "+url+" --from "+candles.Candles[2].Start.Format(time.RFC3339))
	if len(candles.Candles) != 3 || candles.Candles[0].First != 3 || candles.Next != nil {
		t.Errorf("%+v", candles)
	}
	d.says(d.do(exitUsage, "state query BTCUSDT --period 3m --url "+url), "no period 3m")
	d.says(d.do(exitUsage, "state query BTCUSDT --period 7m --url "+url), "unknown period")
	d.says(d.do(exitAway, "state query --url http://127.0.0.1:1"), "--http 127.0.0.1:8082")
	d.says(d.do(exitAway, "state query --dir "+filepath.Join(dir, "state")), "by --url")

	// The letter, and a try that fails again.
	var dead deadReport
	d.json(&dead, exitOK, "dead list")
	if dead.Letters != 1 || dead.Reasons["future"] != 1 || len(dead.Newest) != 1 || dead.Newest[0].Symbol != "BTCUSDT" {
		t.Fatalf("%+v", dead)
	}
	name := dead.Newest[0].ID
	d.says(d.do(exitOK, "dead list --reason future --symbol btcusdt --since 1h"), "1 dead letter: future 1", name, "BTCUSDT", "after it was appended")
	d.says(d.do(exitOK, "dead list --reason straddle"), "no dead letters")
	d.says(d.do(exitOK, "dead list --since 2999-01-01"), "no dead letters")
	d.says(d.do(exitUsage, "dead list --since yesterday"), "--since")
	d.says(d.do(exitOK, "dead show "+name), "future", `"ID": 6`, "partition")
	d.says(d.do(exitUsage, "dead show 0/99"), "no dead letter 0/99")
	d.says(d.do(exitUsage, "dead show 99"), "PARTITION/OFFSET")
	d.says(d.do(exitUsage, "dead retry"), "--all")
	d.says(d.do(exitOK, "dead retry --all --dry-run"), "1 record would be sent again: future 1")
	d.says(d.do(exitNotWhole, "dead retry --wait "+name), "1 record sent again", "0 applied", "1 refused again", "future")

	// Settings: shown, tried, refused, changed.
	var log logReport
	d.json(&log, exitOK, "settings")
	if !log.Known || !log.Agree || log.Revision != 1 || len(log.Partitions) != 4 || log.Settings["future-bound"] != "10s" || log.Settings["format"] != fmt.Sprint(schema.LogFormat) {
		t.Fatalf("%+v", log)
	}
	d.says(d.do(exitUsage, "settings set partitions=5"), "can't be changed", "--ticks-topic NEW")
	d.says(d.do(exitUsage, "settings set period=1m"), "did you mean periods?")
	d.says(d.do(exitUsage, "settings set format=1"), "can't go back")
	d.says(d.do(exitUsage, "settings set format=99"), "this program knows up to")
	d.says(d.do(exitUsage, "settings set future-bound=2h"), "future bound: 2h0m0s is not within")
	d.says(d.do(exitUsage, "settings set periods=3m,5m"), "made of whole windows")
	d.says(d.do(exitOK, "settings set periods=1s,1m,3m future-bound=1h --dry-run"), "3m is new", "5m is dropped", "future-bound: 1h instead of 10s", "revision 2, into 4 partitions", "nothing was written")
	d.says(d.do(exitOK, "settings"), "revision 1")
	d.says(d.do(exitOK, "settings set periods=1s,1m,3m future-bound=1h"), "partition 3: in force from offset")
	d.says(d.do(exitOK, "settings set future-bound=1h"), "nothing to change: all partitions have revision 2")
	d.json(&log, exitOK, "settings")
	if !log.Agree || log.Revision != 2 || log.Settings["periods"] != "1s,1m,3m" || log.Program == "" || log.Partitions[0].Since < 1 {
		t.Fatalf("%+v", log)
	}

	// The processor has taken them over: the same letter is applied now.
	d.says(d.do(exitOK, "dead retry --wait "+name), "1 applied", "0 refused again")
	d.json(&answer, exitOK, "state query BTCUSDT --url "+url)
	if y := answer.Symbols[0]; y.Frontier != 6 || answer.Partitions[y.Partition].Revision != 2 || y.Windows["3m"] != 1 || y.Windows["5m"] != 0 {
		t.Errorf("%+v", answer)
	}
	if code := p.stop(); code != exitOK {
		t.Fatalf("exit code %d: %s", code, p.log.text.String())
	}
	d.json(&answer, exitOK, "state query --dir "+filepath.Join(dir, "state"))
	if len(answer.Partitions) != 4 || len(answer.Symbols) != 1 {
		t.Errorf("%+v", answer)
	}
	d.json(&candles, exitOK, "state query BTCUSDT --period 3m --dir "+filepath.Join(dir, "state"))
	if len(candles.Candles) == 0 {
		t.Errorf("%+v", candles)
	}

	// Roles that start later are held against the new ones.
	code, _, errs := runTest(t, nil, "process", "--kafka", d.brokers, "--data", dir, "--periods", "1s,1m,5m,15m,1h,4h,1d", "--for", "1s")
	if code != exitUsage || !strings.Contains(errs, "periods") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	if code, _, errs := runTest(t, nil, "process", "--kafka", d.brokers, "--data", dir, "--periods", "1s,1m,3m", "--for", "1s"); code != exitOK {
		t.Errorf("exit code %d: %s", code, errs)
	}
}
