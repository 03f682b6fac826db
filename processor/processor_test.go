package processor

import (
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"millrace/internal/testenv"
	sqlsink "millrace/processor/sink/sql"
	"millrace/schema"
)

// same holds a database, and the last records of candles, against the truth.
func same(t *testing.T, w *world, dsn string) {
	t.Helper()
	db, err := sqlsink.Open(t.Context(), sqlsink.Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	want := w.truth()
	if got := dump(t, db); got != want {
		t.Fatalf("the table differs:\n%s", firstDiff(got, want))
	}
	path := filepath.Join(t.TempDir(), "candles.db")
	side, err := sqlsink.Open(t.Context(), sqlsink.Config{DSN: "sqlite:" + path})
	if err != nil {
		t.Fatal(err)
	}
	defer side.Close()
	var rows []schema.Candle
	for _, c := range w.lastCandles() {
		rows = append(rows, c)
	}
	if err := side.Write(t.Context(), sqlsink.Key{}, nil, sqlsink.Batch{Candles: rows}); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, side); got != want {
		t.Fatalf("the topic's last records differ:\n%s", firstDiff(got, want))
	}
}

func firstDiff(got, want string) string {
	for i := 0; i < len(got) && i < len(want); i++ {
		if got[i] != want[i] {
			return "got  …" + got[max(0, i-150):min(len(got), i+150)] + "\nwant …" + want[max(0, i-150):min(len(want), i+150)]
		}
	}
	return "one ends before the other: " + got[min(len(got), len(want)):] + want[min(len(got), len(want)):]
}

// newFakeWorld makes a world on Kafka's protocol in this process.
func newFakeWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, testenv.StartFake(t, kfake.GroupMinSessionTimeout(testSession)).Brokers)
	w.fake = true
	return w
}

func TestTheWholeWayOnAFake(t *testing.T) {
	w := newFakeWorld(t)
	r := rand.New(rand.NewPCG(1, 1))
	w.market(r, 7, 600)
	dir, dsn := t.TempDir(), "sqlite:"+filepath.Join(t.TempDir(), "x.db")
	p := w.run(w.config(dir, dsn))
	w.log(r, 0, 300)
	w.caughtUp(p)
	w.log(r, 300, 600)
	w.caughtUp(p)
	p.stop()
	same(t, w, dsn)
	// A second start has nothing to do and changes nothing.
	p = w.run(w.config(dir, dsn))
	w.caughtUp(p)
	p.stop()
	same(t, w, dsn)
	// Without its state it comes back from the log, and still changes nothing.
	p = w.run(w.config(t.TempDir(), dsn))
	w.caughtUp(p)
	p.stop()
	same(t, w, dsn)
}
