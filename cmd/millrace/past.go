package main

import (
	"log/slog"
	"path/filepath"

	"millrace/ingest/collect"
	"millrace/ingest/file"
	"millrace/schema"
)

// history gives the period to whose start a new symbol is fetched.
func (s *settings) history() collect.History {
	return collect.History(map[string]schema.Period{"day": schema.P1d, "week": schema.P1w, "month": schema.P1M}[s.Binance.History])
}

// dumpsFolder is where dumps are kept.
func (s *settings) dumpsFolder() string { return filepath.Join(s.Run.Data, "dumps") }

// pastDumps gives the dumps from which a live collector takes days that are
// over; nil where it does without. Their folder is made and locked at once: one
// that can't be had is better known before anything is collected. Where another
// process has it this one does without, since two ingestors may well run side by
// side in one folder.
func (s *settings) pastDumps(log *slog.Logger) (store *file.Store, done func(), err error) {
	done = func() {}
	if string(s.Binance.REST) != defaultREST && !s.given("binance-dumps") {
		// Another market's ids must not be filled with Binance's trades.
		log.Info("no dumps are used: --binance-rest names another server than Binance's, and --binance-dumps none")
		return nil, done, nil
	}
	lock, err := lockData(s.dumpsFolder())
	if exitCode(err) == exitAway {
		log.Warn("no dumps are used: what is missing comes by REST alone", "why", err)
		return nil, done, nil
	}
	if err != nil {
		return nil, done, err
	}
	store, err = file.NewStore(file.StoreConfig{Base: string(s.Binance.Dumps), Dir: s.dumpsFolder(), CA: s.Binance.CA, Log: log})
	if err != nil {
		lock.unlock() //nolint:errcheck // nothing was written
		return nil, done, usagef("--binance-dumps: %w", err)
	}
	return store, func() {
		store.Close()
		lock.unlock() //nolint:errcheck // the kernel drops the lock with the process
	}, nil
}
