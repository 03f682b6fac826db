package collect

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/ingest/binance"
	"millrace/ingest/double"
	"millrace/ingest/file"
	"millrace/schema"
	"millrace/schema/schemapb"
)

// thursday is a slow market on the fourth day of a week that is over.
func thursday(symbols int) double.Config {
	week := cal.Start(schema.P1w, schema.FromStd(time.Now())-8*schema.Day)
	return double.Config{Synthetic: double.Synthetic{
		Seed: 3, Symbols: symbols, Rate: 0.02 * float64(symbols), Start: week + 3*schema.Day + 2*schema.Hour, Pace: 60,
	}}
}

// dumps gives a store of the double's dumps and what was asked for. A day that
// hidden names is not published.
func (b *bench) dumps(hidden func(day string) bool) (*file.Store, func() []string) {
	b.Helper()
	_, rest := b.double.URLs()
	to, err := url.Parse(rest)
	if err != nil {
		b.Fatal(err)
	}
	var mu sync.Mutex
	var asked []string
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.Transport = &http.Transport{DisableKeepAlives: true}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.Path)
		mu.Unlock()
		if name, _, ok := strings.Cut(r.URL.Path, ".zip"); ok && hidden != nil && hidden(name[len(name)-len(time.DateOnly):]) {
			http.NotFound(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	store, err := file.NewStore(file.StoreConfig{Base: server.URL + "/data/spot", Dir: b.TempDir(), MinPause: time.Millisecond})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		store.Close()
		server.Close()
	})
	return store, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), asked...)
	}
}

// sources counts the trades of each source, by the day of their time.
func sources(log [][]record) map[schema.Source]map[schema.Time]int64 {
	all := map[schema.Source]map[schema.Time]int64{}
	for _, part := range log {
		for i := range part {
			x := &part[i].tick
			if x.Kind != schema.KindTrades {
				continue
			}
			if all[x.Batch.Source] == nil {
				all[x.Batch.Source] = map[schema.Time]int64{}
			}
			for _, t := range x.Batch.Trades {
				all[x.Batch.Source][cal.Start(schema.P1d, t.Time)] += t.Count()
			}
		}
	}
	return all
}

const (
	ofDump = schemapb.Source_SOURCE_DUMP
	ofREST = schemapb.Source_SOURCE_REST
)

// finish waits until all is whole, and gives the log.
func (b *bench) finish(c *collector) [][]record {
	b.Helper()
	b.settled(c)
	c.stop()
	log := b.log()
	if b.kept(log) == 0 {
		b.Error("no mark")
	}
	return log
}

// TestHistoryByDumps: what is over of the week comes from dumps, today by REST.
func TestHistoryByDumps(t *testing.T) {
	t.Parallel()
	cfg := thursday(2)
	today := cal.Start(schema.P1d, cfg.Synthetic.Start)
	b := newBench(t, cfg)
	store, _ := b.dumps(nil)
	c := b.collect(func(l *Live) { l.History, l.Dumps = History(schema.P1w), store })
	log := b.finish(c)
	b.wholeSince(log, schema.P1w)
	from := sources(log)
	for day := cal.Start(schema.P1w, today); day < today; day += schema.Day {
		if from[ofDump][day] == 0 || from[ofREST][day] != 0 {
			t.Errorf("%v: %d by dump, %d by REST", day, from[ofDump][day], from[ofREST][day])
		}
	}
	if from[ofDump][today] != 0 || from[ofREST][today] == 0 {
		t.Errorf("today: %d by dump, %d by REST", from[ofDump][today], from[ofREST][today])
	}
}

// TestHistoryOfToday: no day of it is over, so no dump is asked for.
func TestHistoryOfToday(t *testing.T) {
	t.Parallel()
	b := newBench(t, thursday(2))
	store, asked := b.dumps(nil)
	c := b.collect(func(l *Live) { l.History, l.Dumps = History(schema.P1d), store })
	log := b.finish(c)
	b.wholeSince(log, schema.P1d)
	if a := asked(); len(a) != 0 {
		t.Errorf("asked for %v", a)
	}
}

// TestUnpublishedDay: one day's dump is not there; REST has that day.
func TestUnpublishedDay(t *testing.T) {
	t.Parallel()
	cfg := thursday(2)
	gone := cal.Start(schema.P1d, cfg.Synthetic.Start) - schema.Day
	b := newBench(t, cfg)
	store, _ := b.dumps(func(day string) bool { return day == gone.Std().Format(time.DateOnly) })
	c := b.collect(func(l *Live) { l.History, l.Dumps, l.HoleMax = History(schema.P1w), store, 500 })
	log := b.finish(c)
	b.wholeSince(log, schema.P1w)
	from := sources(log)
	if from[ofDump][gone] != 0 || from[ofREST][gone] <= 500 || from[ofDump][gone-schema.Day] == 0 {
		t.Errorf("%d by dump, %d by REST; the day before %d by dump", from[ofDump][gone], from[ofREST][gone], from[ofDump][gone-schema.Day])
	}
}

// TestRetentionShorterThanHistory: REST reaches back to yesterday; the anchor
// and the days before come from dumps.
func TestRetentionShorterThanHistory(t *testing.T) {
	t.Parallel()
	cfg := thursday(2)
	cfg.Retention = 20 * schema.Hour
	b := newBench(t, cfg)
	store, _ := b.dumps(nil)
	c := b.collect(func(l *Live) { l.History, l.Dumps = History(schema.P1w), store })
	b.wholeSince(b.finish(c), schema.P1w)
}

// TestAnchorAtTheEndOfADump: REST reaches back to midnight and no further; the
// last trade before stands in yesterday's dump.
func TestAnchorAtTheEndOfADump(t *testing.T) {
	t.Parallel()
	cfg := thursday(1)
	m := &cfg.Synthetic
	m.Start = cal.Start(schema.P1d, m.Start) + 50*schema.Minute
	m.Rate, m.Pace = 0.001, 1
	cfg.Retention = 50 * schema.Minute
	b := newBench(t, cfg)
	store, asked := b.dumps(nil)
	c := b.collect(func(l *Live) { l.History, l.Dumps = History(schema.P1d), store })
	b.wholeSince(b.finish(c), schema.P1d)
	if len(asked()) == 0 {
		t.Error("no dump was asked for")
	}
}

// TestLongGapByDump: a collector comes back after two days. The gap is longer
// than what is asked of REST, or REST has forgotten its beginning.
func TestLongGapByDump(t *testing.T) {
	t.Parallel()
	t.Run("too long", func(t *testing.T) {
		t.Parallel()
		longGap(t, 0, 50)
	})
	t.Run("forgotten", func(t *testing.T) {
		t.Parallel()
		longGap(t, 4*schema.Hour, 0)
	})
}

func longGap(t *testing.T, retention schema.Time, longest int64) {
	cfg := thursday(2)
	cfg.Retention = retention
	start := cfg.Synthetic.Start
	now := start - 2*schema.Day
	var mu sync.Mutex
	start += 40 * schema.Minute
	now += 40 * schema.Minute
	cfg.Synthetic.Start, cfg.Synthetic.Pace = 0, 0
	began := time.Now()
	cfg.Now = func() schema.Time {
		mu.Lock()
		defer mu.Unlock()
		return now + schema.Time(time.Since(began).Microseconds())
	}
	b := newBench(t, cfg)
	store, _ := b.dumps(nil)
	c := b.collect()
	b.settled(c)
	c.stop()
	mu.Lock()
	now += 2 * schema.Day
	mu.Unlock()
	_, rest := b.double.URLs()
	client, err := binance.NewClient(rest, "")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	b.until("the market has come so far", func() bool {
		at, err := client.ServerTime(t.Context())
		return err == nil && at >= start
	})
	c = b.collect(func(l *Live) { l.Dumps, l.HoleMax = store, longest })
	log := b.finish(c)
	b.whole(log)
	from := sources(log)
	for _, day := range []schema.Time{start - 2*schema.Day, start - schema.Day} {
		if day = cal.Start(schema.P1d, day); from[ofDump][day] == 0 {
			t.Errorf("%v: %d by dump, %d by REST", day, from[ofDump][day], from[ofREST][day])
		}
	}
	if day := cal.Start(schema.P1d, start-schema.Day); retention == 0 && from[ofREST][day] != 0 {
		t.Errorf("%v: %d by REST", day, from[ofREST][day])
	}
}

// TestHistoryOfQuietSymbols: they have not traded for a day, so the day's
// figures don't tell their last id, and the next trade is long in coming.
func TestHistoryOfQuietSymbols(t *testing.T) {
	t.Parallel()
	cfg := thursday(3)
	cfg.Synthetic.Rate, cfg.Synthetic.Pace = 0.001, 1
	b := newBench(t, cfg)
	_, rest := b.double.URLs()
	to, err := url.Parse(rest)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.Transport = &http.Transport{DisableKeepAlives: true}
	ids := regexp.MustCompile(`"(firstId|lastId)":\d+`)
	count := regexp.MustCompile(`"count":\d+`)
	proxy.ModifyResponse = func(r *http.Response) error {
		if r.Request.URL.Path != "/api/v3/ticker/24hr" {
			return nil
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		body = count.ReplaceAll(ids.ReplaceAll(body, []byte(`"$1":-1`)), []byte(`"count":0`))
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		r.Header.Set("Content-Length", strconv.Itoa(len(body)))
		return nil
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	client, err := binance.NewClient(server.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	c := b.collect(func(l *Live) { l.History, l.Source.REST = History(schema.P1w), client })
	log := b.finish(c)
	b.wholeSince(log, schema.P1w)
	told := tell(log)
	for _, name := range b.double.Symbols() {
		truth := b.double.Truth(name, cal.Start(schema.P1w, cfg.Synthetic.Start), cfg.Synthetic.Start)
		last := truth[len(truth)-1]
		if s := told[name]; s == nil || s.max < last.Last {
			t.Errorf("%s: trade %d at %v is not in the log", name, last.ID, last.Time)
		}
	}
}
