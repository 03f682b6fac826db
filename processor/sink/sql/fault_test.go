package sqlsink

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"millrace/internal/testenv"
	"millrace/schema"
)

// Two owners of different partitions write the same windows at once: whatever
// the order, the highest version stays, and nothing but retriable errors comes.
func TestWritersAtOnce(t *testing.T) {
	on(t, func(t *testing.T, db *DB) {
		const writers, windows, rounds = 4, 60, 25
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				key := Key{TopicID: aKey.TopicID, Partition: int32(w)}
				rng := rand.New(rand.NewPCG(7, uint64(w)))
				var last *Progress
				for round := range rounds {
					var b Batch
					for i := range windows {
						n := 1 + rng.Int64N(1000)
						if round == rounds-1 && i%writers == w {
							n = 2000 // each window's highest is written by one of them
						}
						b.Candles = append(b.Candles, candleOf(fmt.Sprintf("S%d", i%7), aStart+schema.Time(i)*schema.Second, n))
					}
					rng.Shuffle(len(b.Candles), func(i, j int) { b.Candles[i], b.Candles[j] = b.Candles[j], b.Candles[i] })
					b.Gaps = []schema.GapSet{{Symbol: "S1", Applied: rng.Int64N(100), Gaps: []schema.Gap{{First: 1, Last: rng.Int64N(9) + 1, Found: aStart}}}}
					b.Progress = &Progress{TopicID: key.TopicID, Partition: key.Partition, Offset: int64(round), Writer: fmt.Sprint(w)}
					for {
						err := db.Write(soon(t), key, last, b)
						if err == nil {
							break
						}
						if !Retriable(err) {
							t.Errorf("writer %d: %v", w, err)
							return
						}
						t.Logf("writer %d again after: %v", w, err)
					}
					last = b.Progress
				}
			})
		}
		all.Wait()
		for line := range strings.Lines(dump(t, db)) {
			if !strings.HasSuffix(line, " "+schema.TradesVersion(0, 2000, schema.Live).String()+"\n") {
				t.Errorf("not the highest version: %s", line)
			}
		}
		if got := text(t, db, "SELECT COUNT(*) FROM candles"); got != fmt.Sprint(windows) {
			t.Errorf("%s rows, wanted %d", got, windows)
		}
	})
}

// candleOf has figures that follow from n.
func candleOf(symbol string, start schema.Time, n int64) schema.Candle {
	c := candle(symbol, schema.P1s, start, 1, schema.Live, n)
	c.Trades, c.Version = n, schema.TradesVersion(0, n, schema.Live)
	return c
}

// A deadlock with somebody else's transaction: ours is rolled back as the
// smaller one, and can be tried again.
func TestDeadlockIsRetriable(t *testing.T) {
	on(t, func(t *testing.T, db *DB) {
		if db.to.file != "" {
			checkBusy(t, db)
			return
		}
		a, b := candle("A", schema.P1s, aStart, 1, schema.Live, 100), candle("B", schema.P1s, aStart, 1, schema.Live, 100)
		batch := []schema.Candle{a, b}
		for i := range 500 {
			batch = append(batch, candle("Z", schema.P1s, aStart+schema.Time(i)*schema.Second, 1, schema.Live, 100))
		}
		put(t, db, batch...)
		tx, err := db.sql.BeginTx(soon(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{"Z", "B"} { // much changed: not the one to be rolled back
			if _, err := tx.ExecContext(soon(t), "UPDATE candles SET missing = missing + 1 WHERE symbol = ?", s); err != nil {
				t.Fatal(err)
			}
		}
		a.Version, b.Version = a.Version+4, b.Version+4
		done := make(chan error, 1)
		go func() {
			done <- db.Write(soon(t), aKey, nil, Batch{Candles: []schema.Candle{a, b}, Progress: progress(1)})
		}()
		awaitLock(t, db)
		if _, err := tx.ExecContext(soon(t), "UPDATE candles SET missing = 7 WHERE symbol = 'A'"); err != nil {
			t.Fatalf("the other transaction was rolled back: %v", err)
		}
		if err := <-done; err == nil || !Retriable(err) || !strings.Contains(err.Error(), "1213") {
			t.Errorf("%v, wanted a deadlock that is retriable", err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		if _, exists, err := db.Load(soon(t), aKey.TopicID, aKey.Partition); err != nil || exists {
			t.Errorf("the progress was written: %v, %v", exists, err)
		}
		write(t, db, Batch{Candles: []schema.Candle{a, b}, Progress: progress(1)})
	})
}

// checkBusy: SQLite has no deadlock, but another process may hold the file.
func checkBusy(t *testing.T, db *DB) {
	short := open(t, Config{DSN: db.String(), LockTimeout: time.Second})
	other, err := db.sql.BeginTx(soon(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := short.Write(soon(t), aKey, nil, Batch{}); err == nil || !Retriable(err) || !strings.Contains(err.Error(), "another process holds the file's lock") {
		t.Errorf("%v, wanted busy, which is retriable", err)
	}
	// The deadline is kept also where the wait for the lock is longer.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := db.Write(ctx, aKey, nil, Batch{}); !errors.Is(err, context.DeadlineExceeded) || !Retriable(err) {
		t.Errorf("%v, wanted the deadline", err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("a deadline of 100 ms took %v", took)
	}
	if err := other.Rollback(); err != nil {
		t.Fatal(err)
	}
	write(t, db, Batch{Progress: progress(1)})
}

// awaitLock returns once another transaction has locked the row of A.
func awaitLock(t *testing.T, db *DB) {
	t.Helper()
	ctx, tick := soon(t), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for {
		rows, err := db.sql.QueryContext(ctx, "SELECT version FROM candles WHERE symbol = 'A' FOR UPDATE NOWAIT")
		if err == nil {
			for rows.Next() { // the lock is refused with the first row
			}
			err = errors.Join(rows.Err(), rows.Close())
		}
		var refused *mysql.MySQLError
		if errors.As(err, &refused) && (refused.Number == 1205 || refused.Number == 3572) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
			t.Fatal("nobody locks the row")
		case <-tick.C:
		}
	}
}

// blocked begins a Write that waits in mid transaction, its progress and its
// first rows already written.
func blocked(t *testing.T, ctx context.Context, db *DB) (*sql.Tx, <-chan error) {
	t.Helper()
	last := candle("Z", schema.P1s, aStart, 1, schema.Live, 100)
	write(t, db, Batch{Candles: []schema.Candle{last}, Progress: progress(1)})
	tx, err := db.sql.BeginTx(soon(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(soon(t), "UPDATE candles SET missing = 1"); err != nil {
		t.Fatal(err)
	}
	last.Version += 4
	done := make(chan error, 1)
	go func() {
		done <- db.Write(ctx, aKey, progress(1), Batch{Candles: []schema.Candle{last, candle("A", schema.P1s, aStart, 1, schema.Live, 100)}, Progress: progress(2)})
	}()
	return tx, done
}

func checkNothingWritten(t *testing.T, db *DB) {
	t.Helper()
	if p, _, err := db.Load(soon(t), aKey.TopicID, aKey.Partition); err != nil || p != *progress(1) {
		t.Errorf("progress %+v, %v, wanted that of before", p, err)
	}
	if got := dump(t, db); strings.HasPrefix(got, "A ") || strings.Count(got, "\n") != 1 {
		t.Errorf("part of a transaction is there:\n%s", got)
	}
}

func TestServerKilledInMidTransaction(t *testing.T) {
	maria := testenv.StartMariaDB(t)
	db := open(t, Config{DSN: maria.NewDatabase(t)})
	tx, done := blocked(t, soon(t), db)
	awaitLock(t, db)
	if err := maria.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !Retriable(err) {
		t.Errorf("%v is not retriable", err)
	}
	_ = tx.Rollback() // its server is gone
	for _, f := range []func() error{
		func() error { return db.Ping(soon(t)) },
		func() error { return db.Write(soon(t), aKey, progress(1), Batch{}) },
		func() error { _, _, err := db.Load(soon(t), aKey.TopicID, aKey.Partition); return err },
	} {
		if err := f(); !Retriable(err) || !strings.Contains(err.Error(), "no server answers") {
			t.Errorf("while the server is away: %v", err)
		}
	}
	if err := maria.Start(); err != nil {
		t.Fatal(err)
	}
	checkNothingWritten(t, db)
	if err := db.Write(soon(t), aKey, progress(1), Batch{Progress: progress(2)}); err != nil {
		t.Error(err)
	}
}

// A wait for a row ends with LockTimeout, any wait with the deadline.
func TestWaitsEnd(t *testing.T) {
	for _, b := range backends()[1:] { // SQLite's is in checkBusy
		t.Run(b.name, func(t *testing.T) {
			db := open(t, Config{DSN: b.make(t), LockTimeout: time.Second})
			tx, done := blocked(t, soon(t), db)
			if err := <-done; !Retriable(err) || !strings.Contains(err.Error(), "1205") {
				t.Errorf("%v, wanted a lock wait timeout", err)
			}
			if err := tx.Rollback(); err != nil {
				t.Fatal(err)
			}
			checkNothingWritten(t, db)
		})
		t.Run(b.name+"/deadline", func(t *testing.T) {
			db := open(t, Config{DSN: b.make(t), LockTimeout: time.Minute})
			ctx, cancel := context.WithCancel(soon(t))
			tx, done := blocked(t, ctx, db)
			awaitLock(t, db)
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) || Retriable(err) {
				t.Errorf("%v, wanted the cancelled context, which isn't retriable", err)
			}
			if err := tx.Rollback(); err != nil {
				t.Fatal(err)
			}
			checkNothingWritten(t, db)
		})
	}
}

// The connection breaks when the commit is on its way: the outcome is unknown,
// and the row tells it.
func TestCommitWithoutAnswer(t *testing.T) {
	dsn := testenv.SharedMariaDB(t).NewDatabase(t)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal("the test's DSN is no URL")
	}
	p := newCutter(t, u.Host)
	u.Host = p.addr
	db := open(t, Config{DSN: u.String()})
	write(t, db, Batch{Progress: progress(1)})
	p.armed.Store(true)
	one := []schema.Candle{candle("A", schema.P1s, aStart, 1, schema.Live, 100)}
	err = db.Write(soon(t), aKey, progress(1), Batch{Candles: one, Progress: progress(2)})
	if !Retriable(err) || !strings.Contains(err.Error(), "outcome is unknown") {
		t.Fatalf("%v, wanted an unknown outcome, which is retriable", err)
	}
	found, _, err := db.Load(soon(t), aKey.TopicID, aKey.Partition)
	if err != nil || found != *progress(2) {
		t.Fatalf("the commit reached the server, but the progress is %+v, %v", found, err)
	}
	var moved *MovedError
	if err := db.Write(soon(t), aKey, progress(1), Batch{Candles: one, Progress: progress(2)}); !errors.As(err, &moved) || moved.Found != found {
		t.Errorf("writing again without loading: %v", err)
	}
	if err := db.Write(soon(t), aKey, &found, Batch{Candles: one, Progress: progress(3)}); err != nil {
		t.Error(err)
	}
}

// cutter stands before a server. Armed, it passes the next COMMIT on, waits for
// the answer and cuts the connection instead of giving it.
type cutter struct {
	addr, server string
	listener     net.Listener
	all          sync.WaitGroup
	armed        atomic.Bool
}

func newCutter(t *testing.T, server string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &cutter{addr: l.Addr().String(), server: server, listener: l}
	p.all.Go(p.accept)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		p.all.Wait()
	})
	return p
}

func (p *cutter) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		var cut atomic.Bool
		p.all.Go(func() { p.forward(server, client, &cut) })
		p.all.Go(func() { p.answer(client, server, &cut) })
	}
}

func (p *cutter) forward(server, client net.Conn, cut *atomic.Bool) {
	defer server.Close()
	buf := make([]byte, 1<<16)
	for {
		n, err := client.Read(buf)
		if bytes.HasSuffix(buf[:n], []byte("\x03COMMIT")) && p.armed.CompareAndSwap(true, false) {
			cut.Store(true)
		}
		if _, werr := server.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (p *cutter) answer(client, server net.Conn, cut *atomic.Bool) {
	defer client.Close()
	buf := make([]byte, 1<<16)
	for {
		n, err := server.Read(buf)
		if err != nil || cut.Load() {
			return
		}
		if _, err := io.Copy(client, bytes.NewReader(buf[:n])); err != nil {
			return
		}
	}
}
