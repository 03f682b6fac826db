package bridge

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/schema"
)

// growing gives the updates of minutes [from, to) of some symbols: two live
// ones, closed, final, each window before the next one's first.
func growing(symbols []string, from, to int64) []schema.Candle {
	var list []schema.Candle
	for n := from; n < to; n++ {
		for _, s := range symbols {
			list = append(list,
				candle(s, schema.P1m, n, 1, schema.Live), candle(s, schema.P1m, n, 2, schema.Live),
				candle(s, schema.P1m, n, 3, schema.Closed), candle(s, schema.P1m, n, 3, schema.Final))
		}
	}
	return list
}

// idOf is the message id a candle must have.
func idOf(c schema.Candle) string {
	return fmt.Sprintf("%s|%s|%d|%d", schema.Token(c.Symbol), c.Period, c.Start.Millis(), int64(c.Version))
}

// checkStream says that each candle that goes into the stream is there once.
func checkStream(t *testing.T, h *harness, produced []schema.Candle) {
	t.Helper()
	want := map[string]int{}
	for _, c := range produced {
		if c.Status >= schema.Closed {
			want[idOf(c)] = 1
		}
	}
	have := map[string]int{}
	for _, g := range h.stream() {
		have[g.id]++
		if !strings.HasPrefix(g.subject, "candles.final.") {
			t.Errorf("the stream has %s", g.subject)
		}
	}
	for id := range want {
		if have[id] != 1 {
			t.Errorf("the stream has %s %d times, wanted once", id, have[id])
		}
	}
	if len(have) != len(want) {
		t.Errorf("the stream has %d candles, wanted %d", len(have), len(want))
	}
}

// checkLast says that the last core message of each window is its highest
// version, and that the bucket has the newest of each series.
func checkLast(t *testing.T, h *harness, heard []got, produced []schema.Candle) {
	t.Helper()
	last, newest := map[string]got{}, map[string]schema.Candle{}
	for _, g := range heard {
		last[g.window()] = g
	}
	highest := map[string]schema.Candle{}
	for _, c := range produced {
		k := c.Symbol + "|" + c.Period.String() + "|" + c.Start.Std().Format("2006-01-02T15:04:05Z07:00")
		if is, ok := highest[k]; !ok || c.Version > is.Version {
			highest[k] = c
		}
		s := schema.SeriesKey(c.Period, c.Symbol)
		is, ok := newest[s]
		if !ok || c.Start > is.Start || c.Start == is.Start && c.Version > is.Version {
			newest[s] = c
		}
	}
	for k, c := range highest {
		if last[k].Version != c.Version.String() {
			t.Errorf("the last message of %s has version %s, wanted %s", k, last[k].Version, c.Version)
		}
	}
	for k, c := range newest {
		g := h.newest(k)
		if g.Version != c.Version.String() || g.Start != c.Start.Std().Format("2006-01-02T15:04:05Z07:00") {
			t.Errorf("bucket: %s is %s of %s, wanted %s of %s", k, g.Version, g.Start, c.Version, c.Start)
		}
	}
}

func TestEveryUpdateComesInOrder(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	l := h.listen()
	symbols := []string{"BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPETH"}
	produced := growing(symbols, 0, 50)
	h.produce(produced...)
	r := h.start(h.config())
	r.settled()

	heard := l.all()
	if len(heard) != len(produced) {
		t.Errorf("heard %d messages, wanted %d", len(heard), len(produced))
	}
	perSymbol := func(ids []string, symbol string) []string {
		return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !strings.HasPrefix(id, symbol+"|") })
	}
	var want, have []string
	for _, c := range produced {
		want = append(want, idOf(c))
	}
	for _, g := range heard {
		have = append(have, g.id)
		if g.subject != "candles.1m."+g.Symbol {
			t.Errorf("%s came on %s", g.id, g.subject)
		}
	}
	for _, s := range symbols {
		if a, b := perSymbol(have, s), perSymbol(want, s); !slices.Equal(a, b) {
			t.Errorf("%s: heard %d messages, and not the %d produced in their order", s, len(a), len(b))
		}
	}
	checkStream(t, h, produced)
	checkLast(t, h, heard, produced)

	st := r.Stats()
	if n := int64(len(produced)); st.Records != n || st.Published != n || st.Acked != n/2 || st.TotalLag() != 0 {
		t.Errorf("stats: %+v", st)
	}
	if st.Written < int64(len(symbols)) || st.Written >= st.Published {
		t.Errorf("%d entries written for %d messages of %d series: not conflated", st.Written, st.Published, len(symbols))
	}
	if st.Committed.Count != uint64(len(produced)) || st.Committed.Quantile(0.5) <= 0 {
		t.Errorf("latency: %+v", st.Committed)
	}
}

// The bucket has the newest window even when an older one is revised later,
// and the higher version even when a lower one comes after it.
func TestNewestStays(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	l := h.listen()
	r := h.start(h.config())
	produced := []schema.Candle{
		candle("BTCUSDT", schema.P1m, 1, 5, schema.Closed),
		candle("BTCUSDT", schema.P1m, 2, 1, schema.Live),
		candle("BTCUSDT", schema.P1m, 1, 9, schema.Final),  // late, and higher
		candle("BTCUSDT", schema.P1m, 2, 7, schema.Live),   // the newest
		candle("BTCUSDT", schema.P1m, 2, 3, schema.Live),   // of a processor that was replaced
		candle("BTCUSDT", schema.P1m, 1, 8, schema.Closed), // the same
	}
	for _, c := range produced { // one at a time: each is a round of its own
		h.produce(c)
		r.settled()
	}
	checkLast(t, h, l.all(), produced)
	r.stop()

	// A new bridge knows no versions; the bucket does.
	r = h.start(h.config())
	late := candle("BTCUSDT", schema.P1m, 1, 10, schema.Final)
	h.produce(late)
	r.settled()
	if g := h.newest("1m.BTCUSDT"); g.Version != produced[3].Version.String() {
		t.Errorf("the bucket has %+v, wanted version %s", g, produced[3].Version)
	}
}

func TestPositionResumes(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	symbols := []string{"BTCUSDT", "ETHUSDT"}
	first := growing(symbols, 0, 10)
	h.produce(first...)
	r := h.start(h.config())
	r.settled()
	r.stop()
	for p, end := range h.ends {
		if at := h.position(p); at.Offset != end || at.TopicID == "" || at.Hash == "" || at.Stream.Seq == 0 {
			t.Errorf("position of %d: %+v, wanted %d", p, at, end)
		}
	}

	l := h.listen()
	second := growing(symbols, 10, 12)
	h.produce(second...)
	r = h.start(h.config())
	r.settled()
	if st := r.Stats(); st.Records != int64(len(second)) {
		t.Errorf("read %d records after the start, wanted %d", st.Records, len(second))
	}
	if n := len(l.all()); n != len(second) {
		t.Errorf("heard %d messages after the start, wanted %d", n, len(second))
	}
}

// The stream goes while the bridge runs: all is sent again.
func TestStreamIsDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	produced := growing([]string{"BTCUSDT", "ETHUSDT"}, 0, 5)
	h.produce(produced...)
	r := h.start(h.config())
	r.settled()
	for n, name := range []string{schema.FinalStream, "KV_" + schema.CandlesBucket, "KV_" + schema.PositionBucket} {
		if err := h.js().DeleteStream(h.ctx(), name); err != nil {
			t.Fatal(err)
		}
		more := growing([]string{"BTCUSDT", "ETHUSDT"}, int64(5+n), int64(6+n))
		h.produce(more...)
		produced = append(produced, more...)
		r.settled()
		checkStream(t, h, produced)
		for _, k := range []string{"1m.BTCUSDT", "1m.ETHUSDT"} {
			if g, want := h.newest(k), more[len(more)-1]; g.Version != want.Version.String() || g.Start != want.Start.Std().Format("2006-01-02T15:04:05Z07:00") {
				t.Errorf("without %s: bucket: %s is %+v, wanted version %s", name, k, g, want.Version)
			}
		}
	}
	for p, end := range h.ends {
		if at := h.position(p); at.Offset != end {
			t.Errorf("position of %d: %+v, wanted %d", p, at, end)
		}
	}
}

// A topic that was made anew, or a NATS that was emptied, voids the position.
func TestPositionIsOfOneLife(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	produced := growing([]string{"BTCUSDT"}, 0, 5)
	h.produce(produced...)
	r := h.start(h.config())
	r.settled()
	r.stop()

	if err := h.js().DeleteStream(h.ctx(), schema.FinalStream); err != nil {
		t.Fatal(err)
	}
	l := h.listen()
	r = h.start(h.config())
	r.settled()
	if n := len(l.all()); n != len(produced) {
		t.Errorf("heard %d messages after the stream was lost, wanted %d", n, len(produced))
	}
	checkStream(t, h, produced)
	if !strings.Contains(h.logs.String(), "the stream of final candles is not what it was") {
		t.Errorf("the log does not say why:\n%s", h.logs)
	}
	r.stop()

	old := h.topic
	h.newTopic()
	again := growing([]string{"BTCUSDT"}, 5, 15)
	h.produce(again...)
	js := h.js()
	kv, err := js.KeyValue(h.ctx(), schema.PositionBucket)
	if err != nil {
		t.Fatal(err)
	}
	p := schema.Partition("BTCUSDT", partitions)
	e, err := kv.Get(h.ctx(), positionKey(old, p))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(h.ctx(), positionKey(h.topic, p), e.Value()); err != nil {
		t.Fatal(err)
	}
	r = h.start(h.config())
	r.settled()
	if st := r.Stats(); st.Records != int64(len(again)) {
		t.Errorf("read %d records of the new topic, wanted %d", st.Records, len(again))
	}
	if !strings.Contains(h.logs.String(), "another life of the topic") {
		t.Errorf("the log does not say why:\n%s", h.logs)
	}
	r.stop()

	// The same topic with other content before the position, as after an
	// unclean election.
	forged := h.position(p)
	forged.Hash = "1234567890abcdef"
	data, err := json.Marshal(forged)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(h.ctx(), positionKey(h.topic, p), data); err != nil {
		t.Fatal(err)
	}
	r = h.start(h.config())
	r.settled()
	if st := r.Stats(); st.Records != int64(len(again)) || !strings.Contains(h.logs.String(), "other content") {
		t.Errorf("read %d records of a log with other content, wanted %d; log:\n%s", st.Records, len(again), h.logs)
	}
}

func TestSymbolsOfAnyKind(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	l := h.listen()
	symbols := []string{"这是测试币456", "A.B", "*", ">", "$x=y", `quo"te\`, "BTC-USDT_240628"}
	produced := growing(symbols, 0, 2)
	h.produce(produced...)
	r := h.start(h.config())
	r.settled()
	heard := l.all()
	if len(heard) != len(produced) {
		t.Errorf("heard %d messages, wanted %d", len(heard), len(produced))
	}
	for _, g := range heard {
		back, err := schema.ParseToken(strings.TrimPrefix(g.subject, "candles.1m."))
		if err != nil || back != g.Symbol || !slices.Contains(symbols, g.Symbol) {
			t.Errorf("%s carries the symbol %q (%v)", g.subject, g.Symbol, err)
		}
		for _, c := range g.id {
			if c > 126 || c < 33 {
				t.Errorf("message id %q is not plain ASCII", g.id)
			}
		}
	}
	checkStream(t, h, produced)
	checkLast(t, h, heard, produced)
}

// Two in a group share the partitions; when one goes, the other has them all.
func TestTwoShareThePartitions(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	l := h.listen()
	var symbols []string
	for i := range 20 {
		symbols = append(symbols, fmt.Sprintf("S%dUSDT", i))
	}
	c := h.config()
	c.Group = "bridges"
	a, b := h.start(c), h.start(c)
	share := func(want ...int) {
		t.Helper()
		for ctx := h.ctx(); ; {
			if slices.Equal([]int{len(a.Stats().Lag), len(b.Stats().Lag)}, want) {
				return
			}
			changed := func(r *running) chan struct{} {
				r.progress.mu.Lock()
				defer r.progress.mu.Unlock()
				return r.progress.changed
			}
			select {
			case <-changed(a):
			case <-changed(b):
			case <-ctx.Done():
				t.Fatalf("the partitions are shared %d to %d, wanted %v", len(a.Stats().Lag), len(b.Stats().Lag), want)
			}
		}
	}
	share(2, 2)
	produced := growing(symbols, 0, 10)
	h.produce(produced...)
	both := func() {
		t.Helper()
		for p, end := range h.ends {
			if _, ours := a.Stats().Lag[p]; ours {
				if err := a.CaughtUp(h.ctx(), map[int32]int64{p: end}); err != nil {
					t.Fatal(err)
				}
			} else if err := b.CaughtUp(h.ctx(), map[int32]int64{p: end}); err != nil {
				t.Fatal(err)
			}
		}
	}
	both()
	if n := a.Stats().Records + b.Stats().Records; n != int64(len(produced)) || a.Stats().Records == 0 || b.Stats().Records == 0 {
		t.Errorf("they read %d and %d records, wanted %d together", a.Stats().Records, b.Stats().Records, len(produced))
	}
	a.kill()
	more := growing(symbols, 10, 12)
	h.produce(more...)
	produced = append(produced, more...)
	b.settled()
	checkStream(t, h, produced)
	checkLast(t, h, l.all(), produced)
}

// Bridges come and go while candles flow.
func TestBridgesComeAndGo(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	l := h.listen()
	var symbols []string
	for i := range 12 {
		symbols = append(symbols, fmt.Sprintf("S%dUSDT", i))
	}
	c := h.config()
	c.Group, c.BatchRecords = "bridges", 40
	var produced []schema.Candle
	bridges := []*running{h.start(c)}
	for n := range int64(6) {
		run := growing(symbols, 5*n, 5*n+5)
		h.produce(run[:len(run)/2]...)
		bridges = append(bridges, h.start(c))
		h.produce(run[len(run)/2:]...)
		produced = append(produced, run...)
		if n%2 == 0 {
			bridges[0].kill()
		} else {
			bridges[0].stop()
		}
		bridges = bridges[1:]
	}
	last := bridges[len(bridges)-1]
	last.settled() // it is the only one left, so all partitions are its
	heard := l.all()
	checkNoneMissing(t, heard, produced)
	checkStream(t, h, produced)
	checkLast(t, h, heard, produced)
}

func TestDamagedRecordsAreToldAndPassedOver(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	l := h.listen()
	good := candle("BTCUSDT", schema.P1m, 1, 5, schema.Final)
	p := schema.Partition(good.Symbol, partitions)
	h.produceRecords(
		&kgo.Record{Topic: h.topic, Partition: p, Key: []byte("BTCUSDT|1m|0"), Value: []byte("not a candle")},
		&kgo.Record{Topic: h.topic, Partition: p, Key: []byte("ETHUSDT|1m|0"), Value: schema.AppendCandle(nil, &good)},
		&kgo.Record{Topic: h.topic, Partition: p, Key: []byte("BTCUSDT|1m|60000")}, // deleted
		&kgo.Record{Topic: h.topic, Partition: p, Key: []byte("x\ny"), Value: []byte{}},
	)
	h.produce(good)
	r := h.start(h.config())
	r.settled()
	if st := r.Stats(); st.Damaged != 3 || st.Deleted != 1 || st.Published != 1 {
		t.Errorf("stats: %+v", st)
	}
	if heard := l.all(); len(heard) != 1 || heard[0].id != idOf(good) {
		t.Errorf("heard %+v", heard)
	}
	for _, want := range []string{"offset=0", "offset=1", "offset=3", "passed over"} {
		if !strings.Contains(h.logs.String(), want) {
			t.Errorf("the log does not have %s:\n%s", want, h.logs)
		}
	}
}
