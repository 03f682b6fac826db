package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// claimName is the file in dev's data folder that says whose trades it holds.
const claimName = "market"

// ours are the entries of a data folder that --fresh deletes: what dev made,
// and nothing else that somebody keeps there.
var ours = []string{"kafka", "state", "nats", "checkpoints", "millrace.db", "millrace.db-wal", "millrace.db-shm", claimName}

// freshData deletes what dev has made in a data folder.
func freshData(dir string) error {
	var errs []error
	for _, name := range ours {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, name)))
	}
	return errors.Join(errs...)
}

// madeUp reports whether the trades are those of a made-up market.
func (s *settings) madeUp() bool {
	return len(s.Market.From) == 0 && !s.given("binance-ws") && !s.given("binance-rest")
}

// claimData refuses to mix a made-up market's trades with real ones, or with
// another made-up market's, in one folder: their ids would stand side by side
// as one history with a hole of billions.
func claimData(s *settings) error {
	mine := "real trades"
	if s.madeUp() {
		mine = fmt.Sprintf("a made-up market of seed %d, %d symbols, %v trades a second", s.Market.Seed, s.Market.Symbols, s.Market.Rate)
	}
	path := filepath.Join(s.Run.Data, claimName)
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := os.WriteFile(path, []byte(mine+"\n"), 0o644); err != nil {
			return fmt.Errorf("data folder: %w", err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("data folder: %w", err)
	}
	if theirs := strings.TrimSpace(string(b)); theirs != mine {
		return usagef("data folder %s holds %s, this run has %s: choose another folder with --data, or begin anew with --fresh", s.Run.Data, theirs, mine)
	}
	return nil
}
