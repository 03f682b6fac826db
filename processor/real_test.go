package processor

import (
	"math/rand/v2"
	"testing"
	"time"

	"millrace/internal/testenv"
)

// TestRealParts: Apache Kafka and MariaDB, two processors of which one is
// killed. MariaDB is away for some seconds, during which candles go on; then the
// broker is. In the end every figure is as it is on kfake and SQLite.
func TestRealParts(t *testing.T) {
	broker := testenv.StartKafkaWith(t, testenv.KafkaConfig{Settings: map[string]string{"group.min.session.timeout.ms": "1000"}})
	maria := testenv.StartMariaDB(t)
	w := newWorld(t, broker.Brokers)
	r := rand.New(rand.NewPCG(14, 1))
	w.market(r, 7, 700)
	dsn := maria.NewDatabase(t)
	p := w.run(w.config(t.TempDir(), dsn))
	w.log(r, 0, 100)
	w.caughtUp(p)
	c := w.spawn(t.TempDir(), dsn)
	w.log(r, 100, 250)
	w.pass(r, 2*time.Second)

	if err := maria.Stop(); err != nil {
		t.Fatal(err)
	}
	away := time.Now()
	stood := p.sunk("sql")
	before := len(w.records(w.topics.Candles))
	w.log(r, 250, 400)
	w.grows(before + 100)
	c.kill()
	w.log(r, 400, 450)
	w.reaches(p, "candles") // it has the other's partitions now
	for time.Since(away) < 3*time.Second {
		w.pass(r, 200*time.Millisecond)
	}
	if p.sunk("sql") > stood { // a new owner finds no progress
		t.Error("the database went on while it was away")
	}
	if err := maria.Start(); err != nil {
		t.Fatal(err)
	}
	w.caughtUp(p)

	w.log(r, 450, 500)
	if err := broker.Kill(); err != nil {
		t.Fatal(err)
	}
	w.pass(r, 2*time.Second)
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	w.log(r, 400, 700) // what the broker had not kept comes again
	w.caughtUp(p)
	p.stop()
	same(t, w, dsn)
}
