package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"millrace/schema"
)

// message is what subscribers need of a candle's JSON.
type message struct {
	Symbol  string    `json:"symbol"`
	Period  string    `json:"period"`
	Start   time.Time `json:"start_time"`
	Open    string    `json:"open"`
	High    string    `json:"high"`
	Low     string    `json:"low"`
	Close   string    `json:"close"`
	Volume  string    `json:"volume"`
	Quote   string    `json:"quote_volume"`
	Trades  int64     `json:"trades"`
	TakerV  string    `json:"taker_buy_volume"`
	TakerQ  string    `json:"taker_buy_quote_volume"`
	First   int64     `json:"first_trade_id"`
	Last    int64     `json:"last_trade_id"`
	Status  string    `json:"status"`
	Missing int64     `json:"missing"`
	Version string    `json:"version"`
}

// row writes it as Dump writes the row.
func (m *message) row() string {
	return fmt.Sprintf("%s %s %s %s %s %s %s %s %s %d %s %s %d %d %s %d %s", m.Symbol, m.Period, schema.FromStd(m.Start),
		m.Open, m.High, m.Low, m.Close, m.Volume, m.Quote, m.Trades, m.TakerV, m.TakerQ, m.First, m.Last, m.Status, m.Missing, m.Version)
}

func (m *message) window() string {
	return m.Symbol + "|" + m.Period + "|" + m.Start.UTC().Format(time.RFC3339)
}

// subscriber is a service that listens to every candle on core NATS.
type subscriber struct {
	t    *testing.T
	conn *nats.Conn

	mu     sync.Mutex // guards what follows
	last   map[string]message
	count  int
	newest time.Time     // start of the newest second seen
	more   chan struct{} // closed and made anew with each message
}

func subscribe(t *testing.T, url string) *subscriber {
	t.Helper()
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	s := &subscriber{t: t, conn: conn, last: map[string]message{}, more: make(chan struct{})}
	sub, err := conn.Subscribe(schema.SubjectPrefix+"*.*", s.take)
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	if err == nil {
		err = conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *subscriber) take(msg *nats.Msg) {
	var m message
	if err := json.Unmarshal(msg.Data, &m); err != nil {
		s.t.Errorf("%s: %v in %q", msg.Subject, err, msg.Data)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[m.window()] = m
	s.count++
	if m.Period == "1s" && m.Start.After(s.newest) {
		s.newest = m.Start
	}
	close(s.more)
	s.more = make(chan struct{})
}

// reached waits until the market has come to a second.
func (s *subscriber) reached(at time.Time) {
	s.t.Helper()
	s.until("the candle of "+at.UTC().Format(time.TimeOnly), func() bool { return !s.newest.Before(at) })
}

// until waits for what messages bring; done is asked under the lock.
func (s *subscriber) until(what string, done func() bool) {
	s.t.Helper()
	bound := time.NewTimer(patience)
	defer bound.Stop()
	for {
		s.mu.Lock()
		ok, more, n := done(), s.more, s.count
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-more:
		case <-bound.C:
			s.t.Fatalf("waited %v for %s; %d messages came", patience, what, n)
		}
	}
}

// agrees waits until the last message of each window is the table's row.
func (s *subscriber) agrees(table string) {
	s.t.Helper()
	rows := map[string]string{}
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		rows[f[0]+"|"+f[1]+"|"+f[2]] = strings.TrimSpace(line)
	}
	every(s.t, func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for window, row := range rows {
			m, ok := s.last[window]
			if !ok {
				return fmt.Errorf("no message of %s", window)
			}
			if got := m.row(); got != row {
				return fmt.Errorf("the last message of %s is\n  %s, the row\n  %s", window, got, row)
			}
		}
		if len(s.last) != len(rows) {
			return fmt.Errorf("messages of %d windows, rows of %d", len(s.last), len(rows))
		}
		return nil
	})
}

// onceFinal reads the stream from its start: each final candle is in it once,
// as the table has it, and nothing that may still grow.
func (s *subscriber) onceFinal(table string) {
	s.t.Helper()
	finals := map[string]int{}
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); f[14] == "final" {
			finals[strings.TrimSpace(line)] = 0
		}
	}
	js, err := jetstream.New(s.conn)
	if err != nil {
		s.t.Fatal(err)
	}
	consumer, err := js.OrderedConsumer(s.t.Context(), schema.FinalStream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		s.t.Fatal(err)
	}
	info, err := consumer.Info(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	versions := map[string]int{}
	for left := info.NumPending; left > 0; {
		batch, err := consumer.Fetch(int(min(left, 1000)), jetstream.FetchMaxWait(patience))
		if err != nil {
			s.t.Fatal(err)
		}
		for msg := range batch.Messages() {
			left--
			var m message
			if err := json.Unmarshal(msg.Data(), &m); err != nil {
				s.t.Fatalf("%s: %v", msg.Subject(), err)
			}
			versions[m.window()+"|"+m.Version]++
			switch m.Status {
			case "final":
				if _, ok := finals[m.row()]; !ok {
					s.t.Errorf("in the stream but not in the table: %s", m.row())
				}
				finals[m.row()]++
			case "closed", "holed":
			default:
				s.t.Errorf("a candle that is %s in the stream: %s", m.Status, m.row())
			}
		}
		if batch.Error() != nil {
			s.t.Fatalf("with %d to come: %v", left, batch.Error())
		}
	}
	for row, n := range finals {
		if n != 1 {
			s.t.Errorf("%d times in the stream: %s", n, row)
		}
	}
	for v, n := range versions {
		if n != 1 {
			s.t.Errorf("version %s is %d times in the stream", v, n)
		}
	}
}

// newestKept looks for the newest candle of each series in the bucket.
func (s *subscriber) newestKept(table string) {
	s.t.Helper()
	newest := map[string]string{} // by key; the table is in the order of time
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		newest[f[1]+"."+schema.Token(f[0])] = strings.TrimSpace(line)
	}
	js, err := jetstream.New(s.conn)
	if err != nil {
		s.t.Fatal(err)
	}
	bucket, err := js.KeyValue(s.t.Context(), schema.CandlesBucket)
	if err != nil {
		s.t.Fatal(err)
	}
	for key, row := range newest {
		every(s.t, func(ctx context.Context) error {
			e, err := bucket.Get(ctx, key)
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			var m message
			if err := json.Unmarshal(e.Value(), &m); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			if m.row() != row {
				return fmt.Errorf("the bucket has of %s\n  %s, the table\n  %s", key, m.row(), row)
			}
			return nil
		})
	}
	keys, err := bucket.Keys(s.t.Context())
	if err != nil || len(keys) != len(newest) {
		s.t.Errorf("%d keys, want %d: %v, %v", len(keys), len(newest), keys, err)
	}
}
