package bridge

import (
	"testing"

	"millrace/internal/testenv"
	"millrace/schema"
)

// Apache Kafka goes away in mid-run and comes back: nothing is left out, and
// positions taken from it hold.
func TestKafkaIsKilled(t *testing.T) {
	t.Parallel()
	broker := testenv.StartKafka(t)
	for name, group := range map[string]string{"all": "", "group": "bridges"} {
		h := newHarnessOn(t, broker.Brokers)
		l := h.listen()
		c := h.config()
		c.Group = group
		symbols := []string{"BTCUSDT", "ETHUSDT", "BNBUSDT"}
		produced := growing(symbols, 0, 40)
		h.produce(produced...)
		r := h.start(c)
		waitFor(t, h, r, 100)
		if err := broker.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := broker.Start(); err != nil {
			t.Fatal(err)
		}
		r.settled()
		more := growing(symbols, 40, 50)
		h.produce(more...)
		produced = append(produced, more...)
		r.settled()
		heard := l.all()
		if len(heard) != len(produced) {
			t.Errorf("%s: heard %d messages, wanted %d", name, len(heard), len(produced))
		}
		checkNoneMissing(t, heard, produced)
		checkStream(t, h, produced)
		checkLast(t, h, heard, produced)
		r.stop()

		r = h.start(c)
		last := candle("BTCUSDT", schema.P1m, 60, 1, schema.Live)
		h.produce(last)
		r.settled()
		if st := r.Stats(); st.Records != 1 {
			t.Errorf("%s: read %d records after the start, wanted 1; log:\n%s", name, st.Records, h.logs)
		}
		r.stop()
	}
}
