package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/internal/testenv"
	"millrace/schema"
)

// A bridge that is killed at any moment, with records that repeat in the log
// as a restarted processor makes them, and each final candle is once.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	l := h.listen()
	var produced []schema.Candle
	random := rand.New(rand.NewPCG(1, 2))
	symbols := []string{"BTCUSDT", "ETHUSDT", "BNBUSDT"}
	c := h.config()
	c.BatchRecords = 50
	r := h.start(c)
	recalled := int64(0)
	for n := range int64(30) {
		run := growing(symbols, 10*n, 10*n+10)
		h.produce(run...)
		h.produce(run[len(run)/2:]...) // sent again
		produced = append(produced, run...)
		if n%2 == 0 {
			// Somewhere between the first message and the last position.
			waitFor(t, h, r, int64(random.IntN(len(run))))
			recalled += r.Stats().Recalled
			r.kill()
			r = h.start(c)
		}
	}
	r.settled()
	checkStream(t, h, produced)
	heard := l.all()
	checkLast(t, h, heard, produced)
	checkNoneMissing(t, heard, produced)
	t.Logf("%d messages heard of %d candles, %d found in the stream after a start", len(heard), len(produced), recalled+r.Stats().Recalled)
}

// waitFor returns once a bridge has sent n messages.
func waitFor(t *testing.T, h *harness, r *running, n int64) {
	t.Helper()
	tick := time.NewTicker(100 * time.Microsecond)
	defer tick.Stop()
	for ctx := h.ctx(); r.Stats().Published < n; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d messages sent, wanted %d", r.Stats().Published, n)
		}
	}
}

// checkNoneMissing says that each version of each window was heard at least
// once, and that what is new at a subscriber came in the log's order.
func checkNoneMissing(t *testing.T, heard []got, produced []schema.Candle) {
	t.Helper()
	have, highest := map[string]bool{}, map[string]int64{}
	perWindow := map[string][]string{}
	for _, g := range heard {
		have[g.id] = true
		if v := g.version(); v > highest[g.window()] {
			highest[g.window()] = v
			perWindow[g.window()] = append(perWindow[g.window()], g.id)
		}
	}
	missing := 0
	for _, c := range produced {
		if !have[idOf(c)] {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d candles were never heard", missing, len(produced))
	}
	for w, ids := range perWindow {
		if len(ids) != 4 {
			t.Errorf("%s grew in %d steps, wanted 4: %v", w, len(ids), ids)
		}
	}
}

// What is in the stream and in no position is found there, however long the
// bridge was away: the stream's own memory of ids is not needed.
func TestStreamIsLookedThroughAfterACrash(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	first := growing([]string{"BTCUSDT"}, 0, 5)
	h.produce(first...)
	r := h.start(h.config())
	r.settled()
	r.stop()
	p := schema.Partition("BTCUSDT", partitions)
	old := h.position(p)

	second := growing([]string{"BTCUSDT"}, 5, 10)
	h.produce(second...)
	r = h.start(h.config())
	r.settled()
	r.stop()
	// As if it had died before it could store a position.
	kv, err := h.js().KeyValue(h.ctx(), schema.PositionBucket)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(h.ctx(), positionKey(h.topic, p), data); err != nil {
		t.Fatal(err)
	}
	r = h.start(h.config())
	r.settled()
	if st := r.Stats(); st.Recalled != 10 || st.Published != 20 {
		t.Errorf("%d candles were found in the stream and %d published, wanted 10 and 20", st.Recalled, st.Published)
	}
	checkStream(t, h, append(first, second...))
}

// The server stops and starts again on its port and folder in mid-run.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	r := h.start(h.config())
	var produced []schema.Candle
	for n := range int64(4) {
		run := growing([]string{"BTCUSDT", "ETHUSDT"}, 50*n, 50*n+50)
		h.produce(run...)
		produced = append(produced, run...)
		if n == 3 {
			break
		}
		waitFor(t, h, r, int64(len(produced)-100))
		h.nats.Stop()
		away := growing([]string{"BNBUSDT"}, 10*n, 10*n+10)
		h.produce(away...) // nobody to send it to
		produced = append(produced, away...)
		if err := h.nats.Start(); err != nil {
			t.Fatal(err)
		}
	}
	r.settled()
	checkStream(t, h, produced)
	l := h.listen()
	last := growing([]string{"BTCUSDT", "ETHUSDT", "BNBUSDT"}, 200, 201)
	h.produce(last...)
	r.settled()
	checkLast(t, h, l.all(), last)
	if st := r.Stats(); st.Published != int64(len(produced)+len(last)) {
		t.Errorf("published %d, wanted %d: %+v", st.Published, len(produced)+len(last), st)
	}
}

// The server is killed with no chance to write anything down, then it hangs.
func TestServerIsKilledAndHangs(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	server := testenv.StartNATSProcess(t)
	h.nats = &testenv.NATS{URL: server.URL}
	c := h.config()
	c.AnswerWait = time.Second
	r := h.start(c)
	produced := growing([]string{"BTCUSDT", "ETHUSDT"}, 0, 100)
	h.produce(produced...)
	waitFor(t, h, r, 300)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	r.settled()

	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	more := growing([]string{"BTCUSDT", "ETHUSDT"}, 100, 110)
	h.produce(more...)
	// Longer than an answer may take: the connection is given up.
	ctx, cancel := context.WithTimeout(t.Context(), 3*c.AnswerWait)
	defer cancel()
	if err := r.CaughtUp(ctx, h.ends); err == nil {
		t.Error("caught up with a server that hangs")
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	r.settled()
	produced = append(produced, more...)
	checkStream(t, h, produced)
	for _, k := range []string{"1m.BTCUSDT", "1m.ETHUSDT"} {
		if g, want := h.newest(k), produced[len(produced)-1]; g.Version != want.Version.String() || g.Start != want.Start.Std().Format("2006-01-02T15:04:05Z07:00") {
			t.Errorf("bucket: %s is %+v, wanted version %s", k, g, want.Version)
		}
	}
}

// The connection is cut again and again while subscribers keep theirs: they
// hear everything, and what repeats never replaces what is newer in the end.
func TestConnectionIsCut(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	l := h.listen()
	relay := newRelay(t, strings.TrimPrefix(h.nats.URL, "nats://"))
	c := h.config()
	c.NATS.URLs = []string{"nats://" + relay.addr}
	c.BatchRecords, c.MaxInFlight = 40, 200
	r := h.start(c)
	random := rand.New(rand.NewPCG(3, 4))
	var produced []schema.Candle
	for n := range int64(15) {
		run := growing([]string{"BTCUSDT", "ETHUSDT", "BNBUSDT"}, 20*n, 20*n+20)
		h.produce(run...)
		produced = append(produced, run...)
		waitFor(t, h, r, int64(len(produced)-len(run)+random.IntN(len(run))))
		relay.cut()
	}
	r.settled()
	heard := l.all()
	checkNoneMissing(t, heard, produced)
	checkStream(t, h, produced)
	checkLast(t, h, heard, produced)
	if st := r.Stats(); st.Resent == 0 {
		t.Error("nothing was sent again: the cuts came at the wrong time")
	} else {
		t.Logf("%d candles, %d sent again, %d found in the stream", len(produced), st.Resent, st.Recalled)
	}
}

// relay is a TCP connection that can be cut in the middle.
type relay struct {
	addr string

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: l.Addr().String(), conns: map[net.Conn]bool{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			r.mu.Lock()
			r.conns[in], r.conns[out] = true, true
			r.mu.Unlock()
			for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
				wg.Go(func() {
					_, _ = io.Copy(way[0], way[1]) // its end is the cut, or the other side's
					way[0].Close()
					way[1].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		l.Close()
		r.cut()
		wg.Wait()
	})
	return r
}

// cut drops what is under way, with a reset.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a closed one is as good
		}
		c.Close()
		delete(r.conns, c)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	free.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	h.start(h.config()).stop() // lays NATS out
	for name, x := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no nats":      {func(c *Config) { c.NATS.URLs = []string{"nats://u:geheim@" + nobody} }, "no nats at nats://" + nobody},
		"silent nats":  {func(c *Config) { c.NATS.URLs = []string{"nats://" + silent.Addr().String()} }, "no nats at nats://"},
		"no kafka":     {func(c *Config) { c.Kafka.Brokers = []string{nobody} }, "no kafka at " + nobody},
		"no topic":     {func(c *Config) { c.Topic = "nobody-made-it" }, "topic nobody-made-it: the topic is not there"},
		"other stream": {func(c *Config) { c.MaxAge = 3 * time.Hour }, "stream CANDLES: it contradicts the settings: max age is 168h0m0s, wanted 3h0m0s"},
		"no CA file":   {func(c *Config) { c.NATS.CAFile = "/nowhere/ca.pem" }, "read the authority"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := h.config()
			x.change(&c)
			b, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			err = b.Open(h.ctx())
			if err == nil {
				b.Close()
				t.Fatal("opened")
			}
			if took := time.Since(began); took > startTimeout+2*time.Second {
				t.Errorf("it took %v", took)
			}
			if s := err.Error(); !strings.Contains(s, x.want) || strings.Contains(s, "geheim") || strings.Contains(s, "\n") {
				t.Errorf("error %q, wanted %q", s, x.want)
			}
			t.Log(err)
		})
	}
}

func TestNATSPrintsNoSecrets(t *testing.T) {
	t.Parallel()
	c := NATS{URLs: []string{"nats://user:geheim@host:4222", "tls://geheim@other:4222"}, Token: "geheim", User: "geheim", Password: "geheim"}
	for _, s := range []string{fmt.Sprint(c), fmt.Sprintf("%+v %#v", c, c), c.LogValue().String()} {
		if strings.Contains(s, "geheim") || !strings.Contains(s, "nats://host:4222") {
			t.Errorf("printed as %s", s)
		}
	}
	c = NATS{URLs: []string{"nats://user:geheim@ho st:x"}}
	c.EnsureDefaults()
	if err := c.Validate(); err == nil || strings.Contains(err.Error(), "geheim") {
		t.Errorf("an unreadable URL: %v", err)
	}
}
