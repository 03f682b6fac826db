package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/failpoint"
	"millrace/internal/testenv"
	"millrace/schema"
)

// chaotic asks for the longer variants; make chaos has them.
var chaotic = flag.Bool("chaos", false, "run each fault of the chaos tests on its own too, and each failpoint on each store")

// aroundCheckpoints tells the steps of taking, collecting and restoring
// checkpoints from others.
func aroundCheckpoints(name string) bool {
	return strings.HasPrefix(name, "checkpoint.") || strings.HasPrefix(name, "restore.")
}

// TestEveryCheckpointFailpoint kills a real process, twice, at each step around
// checkpoints, with a store in a folder or in S3. Afterwards the state is
// destroyed, and so is the database: what the store has, and the log behind it,
// make the table of a run in which nothing died.
func TestEveryCheckpointFailpoint(t *testing.T) {
	t.Parallel()
	m := newMarket(t)
	lines := m.lines[:len(m.lines)/3] // two minutes will do
	var files []string
	for i := range 3 {
		files = append(files, m.write(fmt.Sprintf("part%d.gz", i), lines[i*len(lines)/3:(i+1)*len(lines)/3]))
	}
	want := dumped(t, develop(t, "", files...).sql)
	for i, name := range slices.DeleteFunc(failpoint.Names(), func(n string) bool { return !aroundCheckpoints(n) }) {
		for j, kind := range []string{"folder", "s3"} {
			// Each step on one store; on both where there is time.
			if name == "checkpoint.rename" && kind == "s3" || !*chaotic && name != "checkpoint.rename" && i%2 != j {
				continue
			}
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				p := partsOn(t, testenv.SharedKafka(t).Brokers, testenv.SharedMariaDB(t))
				k := &killed{parts: p, name: name, data: filepath.Join(t.TempDir(), "data"), files: files, want: want, store: newShelfStore(t, kind)}
				k.run()
			})
		}
	}
}

// killed is one case of TestEveryCheckpointFailpoint.
type killed struct {
	*parts
	name, data string
	files      []string
	want       string
	store      *shelfStore
}

func (k *killed) process() []string {
	return append([]string{"process", "--ticks-topic", k.ticks, "--sql", k.sql, "--data", k.data, "--checkpoints", k.store.where,
		"--checkpoint-every", "1s", "--checkpoint-keep", "1", "--checkpoint-keep-for", "0s"}, k.log()...)
}

// once runs the processor until it has all, and ends it in good order.
func (k *killed) once() {
	k.t.Helper()
	c := spawnWith(k.t, childBound, k.store.env, k.process()...)
	c.await(allAssigned)
	k.settled()
	c.stop()
}

func (k *killed) run() {
	k.replay(k.files[0])
	more := func() { k.replay(k.files[1]) }
	switch {
	case strings.HasPrefix(k.name, "checkpoint.collect"):
		k.once()
		more()
		k.once()
		k.store.age()
		k.dies(k.name, k.store.env, more, k.process()...)
	case strings.HasPrefix(k.name, "restore."):
		for range 2 {
			k.once()
			overwrite(k.t, filepath.Join(k.data, "state"), `/ticks-[^/]*-\d/MANIFEST-\d+$`)
			k.diesOnce(k.name, k.store.env, nil, k.process()...)
		}
	default:
		k.dies(k.name, k.store.env, more, k.process()...)
	}
	more()

	rows := k.list()
	if err := os.RemoveAll(filepath.Join(k.data, "state")); err != nil {
		k.t.Fatal(err)
	}
	k.sql = testenv.SharedMariaDB(k.t).NewDatabase(k.t)
	c := spawnWith(k.t, childBound, k.store.env, k.process()...)
	c.await(allAssigned)
	k.replay(k.files[2])
	k.settled()
	same(k.t, k.name, dumped(k.t, k.sql), k.want)
	same(k.t, k.name+": candles", k.lastRecords(), k.want)
	c.stop()
	for _, r := range rows {
		if said := fmt.Sprintf("state restored from a checkpoint; the log gives back the rest\" partition=%d", r.Partition); r.Offset > 0 && !strings.Contains(strings.ReplaceAll(c.log.String(), "role=process ", ""), said) {
			k.t.Errorf("the store has %s, but partition %d was not restored:\n%s", r.Name, r.Partition, tail(c.log.String()))
		}
	}
	k.list()
}

// list gives what the store has; each checkpoint of it must verify.
func (k *killed) list() (rows []checkpointRow) {
	k.t.Helper()
	c := spawnWith(k.t, childBound, k.store.env, "checkpoint", "list", "--verify", "--json", "--checkpoints", k.store.where, "--ticks-topic", k.ticks, "--kafka", k.brokers)
	c.succeed()
	if err := json.Unmarshal(c.out.Bytes(), &rows); err != nil {
		k.t.Fatalf("%v in\n%s", err, c.out.String())
	}
	return rows
}

// shelfStore is a store of checkpoints whose contents can be made older.
type shelfStore struct {
	where string
	env   []string
	age   func()
}

// allAssigned is in the log of a processor that has all partitions.
var allAssigned = fmt.Sprintf("(?s)(partition assigned.*){%d}", partitions)

// old is more than the grace of collecting.
const old = 7 * time.Hour

func newShelfStore(t *testing.T, kind string) *shelfStore {
	t.Helper()
	if kind == "folder" {
		dir := filepath.Join(t.TempDir(), "checkpoints")
		return &shelfStore{where: dir, age: func() {
			err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				at := time.Now().Add(-old)
				return os.Chtimes(path, at, at)
			})
			if err != nil {
				t.Fatal(err)
			}
		}}
	}
	clock := &shifted{}
	backend := s3mem.New(s3mem.WithTimeSource(clock))
	srv := httptest.NewServer(gofakes3.New(backend, gofakes3.WithTimeSource(clock), gofakes3.WithTimeSkewLimit(0)).Server())
	t.Cleanup(srv.Close)
	if err := backend.CreateBucket("millrace"); err != nil {
		t.Fatal(err)
	}
	return &shelfStore{
		where: "s3://millrace/some/where?region=eu-west-1&endpoint=" + srv.URL,
		env:   []string{"AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret"},
		age:   func() { clock.by.Store(int64(old)) },
	}
}

// shifted is a clock that can be set forward.
type shifted struct{ by atomic.Int64 }

func (s *shifted) Now() time.Time                  { return time.Now().Add(time.Duration(s.by.Load())) }
func (s *shifted) Since(t time.Time) time.Duration { return s.Now().Sub(t) }

// lastRecords is what the topic of candles says, the last record of each key, in
// the form and order of a table.
func (p *parts) lastRecords() string {
	p.t.Helper()
	ends := map[int32]int64{}
	from := map[int32]kgo.Offset{}
	for partition, end := range p.ends(p.candles) {
		if end > 0 {
			ends[partition], from[partition] = end, kgo.NewOffset().AtStart()
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(p.brokers), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{p.candles: from}))
	if err != nil {
		p.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	last := map[string]string{}
	for len(ends) > 0 {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			p.t.Fatalf("read %s to its end: %v, lacking %v", p.candles, err, ends)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= ends[r.Partition] {
				delete(ends, r.Partition)
			}
			c, err := schema.DecodeCandle(r.Value)
			var m message
			if err == nil {
				err = json.Unmarshal(c.AppendJSON(nil), &m)
			}
			if err != nil {
				p.t.Errorf("%s/%d at %d: %v", p.candles, r.Partition, r.Offset, err)
				return
			}
			last[string(r.Key)] = m.row() + "\n"
		})
	}
	rows := make([]string, 0, len(last))
	for _, row := range last {
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b string) int {
		return slices.Compare(strings.Fields(a)[:3], strings.Fields(b)[:3])
	})
	return strings.Join(rows, "")
}
