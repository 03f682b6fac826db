package double

import (
	"testing"
	"time"

	"millrace/ingest/binance"
	"millrace/schema"
)

// Whatever goes wrong on the way, no trade is changed by it or made up: what a
// collector gets is what was traded, and so is what REST gives afterwards. A
// collector that keeps to the limits is never told that it did not.
func TestFaultsNeverChangeATrade(t *testing.T) {
	from := origin + 100*schema.Day
	until := from + 30*schema.Minute
	d := start(t, Config{
		Synthetic: Synthetic{Seed: 2, Symbols: 5, Rate: 100, Start: from, Until: until, Pace: 200},
		WaitFor:   []string{"BTCUSDT"},
		Faults: Scenario{Random: &Random{Seed: 8, PerMinute: 240, Longest: time.Second, Kinds: []string{
			faultCut, faultHalfDead, faultShutdown, faultStall, faultDrop, faultDouble, faultReorder, faultLate, faultSlow}}},
	})
	out := newCollector(1 << 30)
	stop := collect(t, d, binance.Config{Symbols: d.Symbols(), MinPause: 50 * time.Millisecond}, out)
	await(t, "the end of the market", d.Done())
	stop()
	if len(out.refused) != 0 {
		t.Errorf("refused: %v", out.refused[0])
	}
	for _, symbol := range d.Symbols() {
		truth := d.Truth(symbol, from-schema.Minute, until)
		got := out.of(symbol)
		for _, tr := range got {
			if i := tr.ID - truth[0].ID; i < 0 || i >= int64(len(truth)) {
				t.Fatalf("%s: trade %d never was", symbol, tr.ID)
			} else {
				same(t, symbol, []schema.Trade{tr}, truth[i:i+1])
			}
		}
		if symbol == "BTCUSDT" && len(got) < len(truth)/20 {
			t.Errorf("only %d of %d trades came", len(got), len(truth))
		}
		p, err := restOf(t, d).HistoricalTrades(t.Context(), symbol, truth[0].ID, 1000)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "REST", p.Trades, truth[:len(p.Trades)])
	}
	c := d.Counters()
	begun := int64(0)
	for _, n := range c.Faults {
		begun += n
	}
	if begun < 15 || len(c.Faults) < 6 {
		t.Errorf("faults begun: %v", c.Faults)
	}
	if c.TooMany+c.Banned+c.Refused != 0 || c.MessagesPeak > 5 || c.AttemptsPeak > 300 || c.WeightPeak > 6000 {
		t.Errorf("%+v", c)
	}
}
