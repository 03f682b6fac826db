package sqlsink

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"millrace/schema"
)

func TestProgressIsComparedAndWritten(t *testing.T) {
	on(t, func(t *testing.T, db *DB) {
		load := func() (Progress, bool) {
			t.Helper()
			p, exists, err := db.Load(soon(t), aKey.TopicID, aKey.Partition)
			if err != nil {
				t.Fatal(err)
			}
			return p, exists
		}
		if p, exists := load(); exists || p != (Progress{}) {
			t.Fatalf("an empty database has the progress %+v", p)
		}
		one := []schema.Candle{candle("A", schema.P1s, aStart, 1, schema.Live, 100)}
		if err := db.Write(soon(t), aKey, nil, Batch{Candles: one, Progress: progress(10)}); err != nil {
			t.Fatal(err)
		}
		if p, exists := load(); !exists || p != *progress(10) {
			t.Fatalf("read %+v, wanted %+v", p, *progress(10))
		}
		// A piece without progress, then the heartbeat, then the next one.
		then := text(t, db, "SELECT updated_at FROM progress")
		for _, b := range []Batch{{Candles: one}, {Progress: progress(10)}, {}} {
			if err := db.Write(soon(t), aKey, progress(10), b); err != nil {
				t.Fatal(err)
			}
		}
		if got := text(t, db, "SELECT updated_at FROM progress"); got != then {
			t.Errorf("a heartbeat moved updated_at from %s to %s", then, got)
		}
		next := progress(20)
		next.Epoch, next.Hash, next.Writer = -1, 0, "w2 ‘é’"
		if err := db.Write(soon(t), aKey, progress(10), Batch{Progress: next}); err != nil {
			t.Fatal(err)
		}
		if p, _ := load(); p != *next {
			t.Errorf("read %+v, wanted %+v", p, *next)
		}
		// Another partition and another life of the topic have their own.
		other := aKey
		other.Partition = 4
		if err := db.Write(soon(t), other, nil, Batch{}); err != nil {
			t.Error(err)
		}
		other = aKey
		other.TopicID[3] = 1
		if err := db.Write(soon(t), other, nil, Batch{}); err != nil {
			t.Error(err)
		}
		if err := db.Write(soon(t), other, nil, Batch{Progress: next}); err == nil {
			t.Error("a progress of another topic than the key's was taken")
		}
	})
}

func TestMovedProgressWritesNothing(t *testing.T) {
	on(t, func(t *testing.T, db *DB) {
		b := Batch{
			Candles:  []schema.Candle{candle("A", schema.P1s, aStart, 1, schema.Live, 100)},
			Gaps:     []schema.GapSet{{Symbol: "A", Applied: 1, Gaps: []schema.Gap{{First: 1, Last: 2, Found: aStart}}}},
			Progress: progress(99),
		}
		moved := func(name string, expect *Progress, b Batch, want MovedError) {
			t.Helper()
			err := db.Write(soon(t), aKey, expect, b)
			var got *MovedError
			if !errors.As(err, &got) || *got != want {
				t.Errorf("%s: %v, wanted %+v", name, err, want)
			}
			if Retriable(err) {
				t.Errorf("%s: retriable", name)
			}
			if rows := dump(t, db) + text(t, db, "SELECT COUNT(*) FROM gaps"); rows != "0" {
				t.Errorf("%s: something was written: %s", name, rows)
			}
		}
		moved("no row there", progress(10), b, MovedError{})
		moved("no row there, heartbeat", progress(10), Batch{}, MovedError{})
		write(t, db, Batch{Progress: progress(10)})
		there := MovedError{Found: *progress(10), Exists: true}
		moved("a row nobody expects", nil, b, there)
		for name, change := range map[string]func(*Progress){
			"offset ahead":  func(p *Progress) { p.Offset = 11 },
			"offset behind": func(p *Progress) { p.Offset = 9 },
			"epoch":         func(p *Progress) { p.Epoch++ },
			"hash":          func(p *Progress) { p.Hash++ },
			"writer":        func(p *Progress) { p.Writer = "W1" },
		} {
			expect := progress(10)
			change(expect)
			moved(name, expect, b, there)
			moved(name+", heartbeat", expect, Batch{}, there)
		}
	})
}

// Of writers that all begin at once, one makes the row; the others are told.
func TestOneOfManyWritersMakesTheRow(t *testing.T) {
	on(t, func(t *testing.T, db *DB) {
		const writers = 8
		errs := make([]error, writers)
		var all sync.WaitGroup
		for i := range writers {
			all.Go(func() {
				p := progress(1)
				p.Writer = strings.Repeat("w", i+1)
				errs[i] = db.Write(soon(t), aKey, nil, Batch{Progress: p, Candles: []schema.Candle{candle("A", schema.P1s, aStart, int64(i+1), schema.Live, 100)}})
			})
		}
		all.Wait()
		p, _, err := db.Load(soon(t), aKey.TopicID, aKey.Partition)
		if err != nil {
			t.Fatal(err)
		}
		won := 0
		for i, err := range errs {
			var moved *MovedError
			switch {
			case err == nil:
				won++
				if len(p.Writer) != i+1 {
					t.Errorf("writer %d won, the row is of %q", i, p.Writer)
				}
			case !errors.As(err, &moved) || moved.Found != p:
				t.Errorf("writer %d: %v", i, err)
			}
		}
		if won != 1 {
			t.Errorf("%d writers made the row", won)
		}
	})
}
