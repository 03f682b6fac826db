package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"millrace/ingest"
	"millrace/ingest/collect"
	"millrace/ingest/file"
	"millrace/internal/kafka"
)

func (a *app) replayCommand() command {
	return command{
		use:   "replay PATH…",
		short: "bring Binance's dumps and recorded frames into Kafka",
		long: "Reads Binance's public dumps of trades or aggregate trades (csv, gz, zip) and recorded websocket frames, one after the other, and writes every trade into the topic of ticks. " +
			"Of a folder it takes all dumps below, by day; --symbols picks some. With --days it fetches the days of the symbols from Binance and keeps them in the data folder. " +
			"A file beside which its checksum lies (NAME.CHECKSUM) is verified before a row of it is read.\n\n" +
			"A dump of a whole day proves its own left edge. What is there already is dropped as a copy, so a file may be replayed again. " +
			"The data folder's journal tells which files this log has whole: a run that was stopped goes on at the next, and --again replays all. " +
			"The symbol comes from Binance's file name, or from --symbols.",
		example: "millrace replay BTCUSDT-trades-2024-08-08.zip BTCUSDT-trades-2024-08-09.zip\n" +
			"millrace replay --require-checksum dumps/\n" +
			"millrace replay --symbols BTCUSDT,ETHUSDT --days 2024-08-01..2024-08-07\n" +
			"millrace replay --symbols XRPETH aggTrades.csv",
		groups: []string{gKafka, gLog, gProduce, gBinance, gReplay, gRun},
		leave:  []string{"http", "binance-ws", "binance-rest", "history", "streams", "binance-proxy", "binance-api-key", "binance-api-key-file", "weight-share", "margin"},
		args:   1 << 20,
		own:    func(*pflag.FlagSet) {},
		run: func(ctx context.Context, s *settings, args []string) error {
			sc := newScreen(a.stderr, a.env)
			out := a.stderr
			if sc.live() {
				out = sc // log lines appear above the bar
			}
			log := newLogger(out, &s.Run).With("role", "replay")
			ctx, cancel := forTime(ctx, s.Run.For)
			defer cancel()
			err := runReplay(ctx, s, args, sc, log)
			if err != nil && ctx.Err() != nil && ended(err) {
				return errUnfinished
			}
			return err
		},
	}
}

func runReplay(ctx context.Context, s *settings, paths []string, sc *screen, log *slog.Logger) error {
	files, err := s.filesToReplay(paths)
	if err != nil {
		return err
	}
	if missing, have := without(s.Binance.Symbols, files); len(missing) > 0 {
		log.Warn("no file is of these symbols", "symbols", missing, "files are of", have)
	}
	d := &collect.Dumps{Again: s.Replay.Again, RequireChecksum: s.Replay.RequireChecksum, Log: log}
	if s.Replay.Days != (dayRange{}) {
		d.Store, err = file.NewStore(file.StoreConfig{Base: string(s.Binance.Dumps), Dir: s.dumpsFolder(), CA: s.Binance.CA, Log: log})
		if err != nil {
			return usagef("--binance-dumps: %w", err)
		}
		defer d.Store.Close()
		// The journal can be shared; what is half fetched can't.
		lock, err := lockData(s.dumpsFolder())
		if err != nil {
			return err
		}
		defer lock.unlock() //nolint:errcheck // the kernel drops the lock with the process
	}
	var lineage kafka.Lineage
	if d.Ingestor, lineage, err = openIngestor(ctx, s, log); err != nil {
		return err
	}
	defer d.Ingestor.Close()
	d.Topic = lineage.Ticks
	if d.Journal, err = collect.OpenJournal(filepath.Join(s.Run.Data, "replay.journal"), log); err != nil {
		return usagef("%w: choose another folder with --data", err)
	}
	defer d.Journal.Close() //nolint:errcheck // each line is on disk already

	showing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var shown errgroup.Group
	shown.Go(func() error { return showProgress(showing, d, sc, log) })
	err = withIngestor(ctx, d.Ingestor, log, func(ctx context.Context) error { return d.Run(ctx, files) })
	stop()
	if failed := shown.Wait(); err == nil {
		err = failed
	}
	p := d.Progress()
	switch {
	case errors.As(err, new(*ingest.UnacknowledgedError)):
		return err
	case err != nil && ctx.Err() != nil:
		return errUnfinished
	case errors.Is(err, file.ErrAway):
		return awayf("%w", err)
	case err != nil:
		return err
	case len(p.Unpublished) > 0:
		return awayf("%s", unpublished(s.Binance.Symbols, p.Unpublished, p.Files, s.Replay.Days.count()))
	}
	return nil
}

// filesToReplay lists what the paths or the days name.
func (s *settings) filesToReplay(paths []string) ([]collect.File, error) {
	if err := s.plainSymbols(); err != nil {
		return nil, err
	}
	if s.Replay.Days != (dayRange{}) {
		return s.daysToReplay(paths)
	}
	if len(paths) == 0 {
		return nil, usagef("no files to replay: name files or folders, or give --symbols and --days")
	}
	var files []collect.File
	for _, path := range paths {
		if st, err := os.Stat(path); err != nil || !st.IsDir() {
			kinds, err := kindsOf([]string{path}, s.Binance.Symbols)
			if err != nil {
				return nil, err
			}
			symbol := ""
			if !kinds[0] {
				if symbol, err = s.symbolOf(path); err != nil {
					return nil, err
				}
			}
			files = append(files, collect.File{Path: path, Frames: kinds[0], Symbol: symbol})
			continue
		}
		found, err := file.Find(path, s.Binance.Symbols)
		if err != nil {
			return nil, usagef("%w", err)
		}
		if len(found) == 0 {
			return nil, s.nothingBelow(path)
		}
		for _, f := range found {
			files = append(files, collect.File{Path: f})
		}
	}
	return files, nil
}

// nothingBelow says that a folder has none of the dumps wanted, and which it has.
func (s *settings) nothingBelow(path string) error {
	all, err := file.Find(path, nil)
	if err != nil {
		return usagef("%w", err)
	}
	if len(all) == 0 {
		return usagef("%s: no dump below it has a name of Binance's (SYMBOL-trades-YYYY-MM-DD.zip)", path)
	}
	return usagef("%s: no dump below it is of %s; below it are those of %s", path, some(s.Binance.Symbols), some(symbolsOf(all)))
}

// without gives those of the symbols of which there is no file; none where a
// file's name doesn't tell.
func without(symbols []string, files []collect.File) (missing, have []string) {
	var paths []string
	for _, f := range files {
		if _, named := file.ParseName(f.Path); !named {
			return nil, nil
		}
		paths = append(paths, f.Path)
	}
	have = symbolsOf(paths)
	return slices.DeleteFunc(slices.Clone(symbols), func(x string) bool { return slices.Contains(have, x) }), have
}

// symbolsOf gives the symbols that the names of dumps tell.
func symbolsOf(paths []string) []string {
	var all []string
	for _, path := range paths {
		if n, ok := file.ParseName(path); ok {
			all = append(all, n.Symbol)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// some lists names, the first ten where there are more.
func some(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// unpublished tells which of the dumps of days there are not, and which of the
// symbols has any in the log. A month that is missing was asked for by its days.
func unpublished(symbols, missing []string, files, days int) string {
	text := fmt.Sprintf("%d of %s not published, or not yet; the first is %s", len(missing), plural(files, "dump"), missing[0])
	of := map[string]int{}
	for _, name := range missing {
		if n, ok := file.ParseName(name); ok {
			of[n.Symbol]++
		}
	}
	var none, have []string
	for _, x := range symbols {
		if of[x] == days {
			none = append(none, x)
		} else {
			have = append(have, x)
		}
	}
	if len(none) > 0 {
		text += fmt.Sprintf("; of %s there is none: is that a symbol of Binance's, and was it traded then?", some(none))
	}
	switch {
	case len(have) == 0:
		return text
	case len(none) == 0:
		text += "."
	}
	return text + fmt.Sprintf(" The other %d, of %s, are in the log", files-len(missing), some(have))
}

// symbolOf gives the symbol to read a dump with. Of several, one with a name of
// Binance's says which it is of.
func (s *settings) symbolOf(path string) (string, error) {
	n, named := file.ParseName(path)
	if named && len(s.Binance.Symbols) > 0 && !slices.Contains(s.Binance.Symbols, n.Symbol) {
		return "", usagef("%s: its name says %s, which is none of --symbols %s", path, n.Symbol, some(s.Binance.Symbols))
	}
	if named && len(s.Binance.Symbols) > 1 {
		return "", nil
	}
	return s.dumpSymbol()
}

func (s *settings) daysToReplay(paths []string) ([]collect.File, error) {
	switch {
	case len(paths) > 0:
		return nil, usagef("--days fetches what it replays: name no files with it")
	case len(s.Binance.Symbols) == 0:
		return nil, usagef("--days: of which symbols? For example --symbols BTCUSDT,ETHUSDT")
	}
	kind := file.Trades
	if s.Replay.Kind == file.AggTrades.String() {
		kind = file.AggTrades
	}
	refs := file.Refs(kind, s.Binance.Symbols, s.Replay.Days.From, s.Replay.Days.To, s.Replay.Monthly)
	files := make([]collect.File, len(refs))
	for i := range refs {
		files[i].Ref = &refs[i]
	}
	return files, nil
}

// replayFile brings one file into the log.
func replayFile(ctx context.Context, in *ingest.Ingestor, path string, frames bool, symbol string, log *slog.Logger) (r collect.Replayed, err error) {
	o := collect.Options{Symbol: symbol}
	if frames {
		r, err = collect.Frames(ctx, in, path, o, log)
	} else {
		r, err = collect.Dump(ctx, in, path, o)
	}
	log.Info("replayed", "file", path, "trades", r.Trades, "refused", r.Refused, "last", r.Last, "whole", err == nil)
	return r, err
}

// dumpSymbol gives the symbol for dumps whose name does not tell it.
func (s *settings) dumpSymbol() (string, error) {
	switch len(s.Binance.Symbols) {
	case 0:
		return "", nil
	case 1:
		return s.Binance.Symbols[0], nil
	}
	return "", usagef("--symbols: a dump holds one symbol, %d were named", len(s.Binance.Symbols))
}

// kindsOf tells which of the files are recorded frames. It refuses what will
// not do before anything is begun: the rest of a file is read only when it is
// replayed.
func kindsOf(paths, symbols []string) ([]bool, error) {
	kinds := make([]bool, len(paths))
	for i, path := range paths {
		if err := readable(path); err != nil {
			return nil, usagef("%w", err)
		}
		if n, ok := file.ParseName(path); ok && n.Kind != file.Unknown {
			continue // a dump, of which no row is read before its checksum is
		}
		f, err := file.OpenFrames(path)
		if err != nil {
			return nil, usagef("%w", err)
		}
		_, frame, err := f.Next()
		kinds[i] = err == nil && len(frame) > 0 && frame[0] == '{'
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if errors.Is(err, io.EOF) {
			return nil, usagef("%s: the file is empty", path)
		}
		if _, named := file.ParseName(path); !kinds[i] && !named && len(symbols) == 0 {
			return nil, usagef("%s: a dump whose name tells no symbol: give it by --symbols", path)
		}
	}
	return kinds, nil
}
