package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"millrace/state"
)

// defaultProcessURL is asked where no setting tells where process serves.
const defaultProcessURL = "http://127.0.0.1:8082"

func (a *app) stateCommand() command {
	return command{
		use:     "state",
		short:   "ask a processor's state: symbols, ids, gaps, candles",
		long:    "Asks what a processor's state holds: `millrace state query`.",
		example: "millrace state query BTCUSDT --url http://127.0.0.1:8082",
		subs:    []command{a.stateQuery()},
		run: func(context.Context, *settings, []string) error {
			return usagef("wanted query; see millrace state query --help")
		},
	}
}

// stateFlags are those of `state query` itself.
type stateFlags struct {
	url, dir, period, from, to string
	limit                      int
	all, json                  bool
}

func (a *app) stateQuery() command {
	var f stateFlags
	return command{
		use:   "query [SYMBOL…]",
		short: "ask a live processor, or a stopped one's folder",
		long: "Asks a running processor, or dev, over HTTP what its state holds: of each symbol the id up to which nothing is missing (frontier), the highest, the newest trade, the watermark, the era, gaps and windows; with --json the intervals of applied ids and windows by period too. " +
			"With --period and one symbol it gives candles straight from the state. A processor knows the partitions that it has. " +
			"With --dir it reads the folder of a state that no process uses instead, such as DATA/state.",
		example: "millrace state query\n" +
			"millrace state query BTCUSDT --url http://10.0.0.5:8082 --json\n" +
			"millrace state query BTCUSDT --period 1m --from 2024-08-08T12:00:00Z --limit 20",
		groups: []string{gRun}, leave: []string{"data", "for", "log-level", "log-format"}, args: 1000,
		own: func(fs *pflag.FlagSet) {
			fs.StringVar(&f.url, "url", "", "`URL` of the processor; without it where http says, else "+defaultProcessURL)
			fs.StringVar(&f.dir, "dir", "", "`DIR` of a state that no process uses, instead of asking one")
			fs.StringVar(&f.period, "period", "", "candles of this `PERIOD`")
			fs.StringVar(&f.from, "from", "", "candles that start at this `TIME` or later")
			fs.StringVar(&f.to, "to", "", "candles that start before this `TIME`")
			fs.IntVar(&f.limit, "limit", 100, "`N` candles at most")
			fs.BoolVar(&f.all, "all", false, "print every symbol, not the first 20")
			jsonFlag(fs, &f.json)
		},
		run: func(ctx context.Context, s *settings, args []string) error { return a.queryState(ctx, s, &f, args) },
	}
}

func (a *app) queryState(ctx context.Context, s *settings, f *stateFlags, args []string) error {
	if f.url != "" && f.dir != "" {
		return usagef("wanted --url or --dir, not both")
	}
	for i := range args {
		args[i] = strings.ToUpper(args[i])
	}
	if f.period == "" {
		if f.from != "" || f.to != "" {
			return usagef("--from and --to are for candles: name their --period")
		}
		return a.querySymbols(ctx, s, f, args)
	}
	if len(args) != 1 {
		return usagef("wanted one symbol with --period")
	}
	q, err := newSeriesAsked(args[0], f.period, f.from, f.to, strconv.Itoa(f.limit))
	if err != nil {
		return err
	}
	whole := &candlesAnswer{Symbol: q.symbol, Period: q.period.String(), Candles: []candleFromState{}}
	from := f.from
	for len(whole.Candles) < f.limit {
		page := &candlesAnswer{}
		q.limit = f.limit - len(whole.Candles)
		if f.dir != "" {
			page, err = askCandles(ctx, folderState(f.dir), q)
			if errors.Is(err, errNoSuch) {
				err = usagef("%w", err)
			}
		} else {
			err = f.ask(ctx, s, "candles.json", url.Values{"symbol": {q.symbol}, "period": {f.period}, "from": {from}, "to": {f.to}, "limit": {strconv.Itoa(q.limit)}}, page)
		}
		if err != nil {
			return err
		}
		whole.Candles = append(whole.Candles, page.Candles...)
		whole.Next = page.Next
		if page.Next == nil {
			break
		}
		from = page.Next.Format(time.RFC3339Nano)
		if q, err = newSeriesAsked(args[0], f.period, from, f.to, strconv.Itoa(f.limit)); err != nil {
			return err
		}
	}
	if f.json {
		return writeJSON(a.stdout, whole)
	}
	_, err = io.WriteString(a.stdout, whole.text())
	return err
}

func (a *app) querySymbols(ctx context.Context, s *settings, f *stateFlags, names []string) (err error) {
	answer := &stateAnswer{}
	if f.dir != "" {
		answer, err = askSymbols(ctx, folderState(f.dir), names, time.Now())
	} else {
		err = f.ask(ctx, s, "symbols.json", url.Values{"symbol": names}, answer)
	}
	if err != nil {
		return err
	}
	for _, n := range names {
		if !slices.ContainsFunc(answer.Symbols, func(x stateSymbol) bool { return x.Symbol == n }) {
			return usagef("no symbol %s in the partitions of this state: %s", n, answer.parts())
		}
	}
	if f.json {
		return writeJSON(a.stdout, answer)
	}
	most := attentionMost
	if f.all || len(names) > 0 {
		most = len(answer.Symbols)
	}
	_, err = io.WriteString(a.stdout, answer.text(most))
	return err
}

func (a *stateAnswer) parts() string {
	var list []string
	for _, p := range a.Partitions {
		list = append(list, fmt.Sprint(p.Partition))
	}
	return cmp.Or(strings.Join(list, ", "), "it has none")
}

func (a *stateAnswer) text(most int) string {
	var b strings.Builder
	if len(a.Partitions) == 0 {
		return "no partition is assigned to this processor\n"
	}
	rows := [][]string{{"partition", "offset", "newest record", "newest trade", "watermark", "symbols", "settings"}}
	for _, p := range a.Partitions {
		rows = append(rows, []string{fmt.Sprint(p.Partition), fmt.Sprint(p.Offset), timeText(p.LogTime), timeText(p.Newest), timeText(p.Watermark), fmt.Sprint(p.Symbols), fmt.Sprintf("revision %d", p.Revision)})
	}
	writeTable(&b, rows, "rrlllrl")
	if len(a.Symbols) == 0 {
		return b.String()
	}
	b.WriteByte('\n')
	rows = [][]string{{"symbol", "partition", "era", "frontier", "highest", "newest trade", "watermark", "holes", "gaps", "windows", "watched by", ""}}
	for i := range a.Symbols[:min(most, len(a.Symbols))] {
		x := &a.Symbols[i]
		var windows int64
		for _, n := range x.Windows {
			windows += n
		}
		note := ""
		if x.Stopped {
			note = "stopped: a new series of ids"
		}
		rows = append(rows, []string{clip(x.Symbol, 30), fmt.Sprint(x.Partition), fmt.Sprint(x.Era), fmt.Sprint(x.Frontier), fmt.Sprint(x.Highest), timeText(x.Newest), timeText(x.Watermark),
			fmt.Sprint(x.Holes), fmt.Sprint(len(x.Gaps)), fmt.Sprint(windows), cmp.Or(clip(strings.Join(x.Watching, " "), 60), "nobody"), note})
	}
	writeTable(&b, rows, "lrrrrllrrrll")
	if n := len(a.Symbols) - most; n > 0 {
		fmt.Fprintf(&b, "… and %d more: see them with --all\n", n)
	}
	if a.More > 0 {
		fmt.Fprintf(&b, "%s left out of the answer: name those you want\n", plural(a.More, "symbol"))
	}
	return b.String()
}

func (a *candlesAnswer) text() string {
	var b strings.Builder
	rows := [][]string{{"start", "open", "high", "low", "close", "volume", "trades", "ids", "status", "missing"}}
	for i := range a.Candles {
		c := &a.Candles[i]
		rows = append(rows, []string{timeText(&c.Start), c.Open, c.High, c.Low, c.Close, c.Volume, fmt.Sprint(c.Trades), fmt.Sprintf("%d-%d", c.First, c.Last), c.Status, fmt.Sprint(c.Missing)})
	}
	fmt.Fprintf(&b, "%s %s\n", a.Symbol, a.Period)
	writeTable(&b, rows, "lrrrrrrllr")
	if a.Next != nil {
		fmt.Fprintf(&b, "… more from %s on\n", a.Next.Format(time.RFC3339))
	}
	return b.String()
}

// ask gets an answer from a processor.
func (f *stateFlags) ask(ctx context.Context, s *settings, what string, q url.Values, into any) error {
	base, err := baseURL(f.url, s.Run.HTTP, defaultProcessURL)
	if err != nil {
		return err
	}
	code, body, err := ask(ctx, base, "state/"+what, q, "process serves HTTP only where --http tells it to: start it with --http 127.0.0.1:8082, or say by --url where it serves")
	if err != nil {
		return err
	}
	said := clip(strings.TrimSpace(string(body[:min(len(body), 400)])), 200)
	switch {
	case code == http.StatusServiceUnavailable:
		return awayf("ask %s: it is busy with another question: try again", base.Redacted())
	case code == http.StatusBadRequest || code == http.StatusNotFound && strings.Contains(said, errNoSuch.Error()):
		return usagef("ask %s: %s", base.Redacted(), said)
	case code == http.StatusInternalServerError:
		return fmt.Errorf("ask %s: it could not read its state: %s", base.Redacted(), said)
	case code != http.StatusOK:
		return usagef("ask %s: it answers %d, so it is no processor: say by --url where one serves", base.Redacted(), code)
	}
	if err := json.Unmarshal(body, into); err != nil || len(body) > maxStatus {
		return usagef("ask %s: its answer is no processor's: say by --url where one serves", base.Redacted())
	}
	return nil
}

// folderState gives the states in a folder: one, or those of partitions below it.
func folderState(dir string) stateSource {
	return func(_ context.Context, f func(*state.View) error) error {
		dirs := []string{dir}
		if found, err := filepath.Glob(filepath.Join(dir, "CURRENT*")); err != nil || len(found) == 0 {
			if found, err = filepath.Glob(filepath.Join(dir, "MANIFEST-*")); err != nil || len(found) == 0 {
				if dirs, err = partitionDirs(dir); err != nil {
					return err
				}
			}
		}
		for _, d := range dirs {
			v, err := state.OpenView(state.Options{Dir: d})
			if errors.Is(err, state.ErrLocked) {
				return awayf("%w; ask the processor that uses it, by --url", err)
			}
			if err != nil {
				return err
			}
			if err := errors.Join(f(v), v.Close()); err != nil {
				return err
			}
		}
		return nil
	}
}

// partitionDirs gives the folders of partitions below a folder of state.
func partitionDirs(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, usagef("--dir: %w", err)
	}
	var dirs []string
	for _, e := range entries {
		i := strings.LastIndexByte(e.Name(), '-')
		if _, err := strconv.Atoi(e.Name()[i+1:]); i > 0 && err == nil && e.IsDir() {
			dirs = append(dirs, filepath.Join(dir, e.Name()))
		}
	}
	if len(dirs) == 0 {
		return nil, usagef("--dir: %s holds no state: name DATA/state, or the folder of a partition in it", dir)
	}
	return dirs, nil
}
