package collect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"millrace/ingest"
	"millrace/ingest/file"
	"millrace/internal/kafka"
)

// File is one to be brought into the log: one that lies at Path, or one of the
// Store's that Ref names.
type File struct {
	Path   string
	Frames bool   // recorded frames, not a dump
	Symbol string // of a dump whose name doesn't tell it
	Ref    *file.Ref
}

// Dumps brings files into the log, one after the other. While one is read, the
// next is fetched, and no more than that one.
type Dumps struct {
	Ingestor *ingest.Ingestor
	Store    *file.Store // for files with a Ref
	// Journal, if set, tells which files are in the topic of this id already,
	// and learns which have come to be.
	Journal *Journal
	Topic   kafka.TopicID
	// Again replays what the journal knows all the same.
	Again           bool
	RequireChecksum bool
	Log             *slog.Logger

	watch Watch // of the file that is read

	mu       sync.Mutex
	progress Progress
}

// Progress is how far a run has come.
type Progress struct {
	Files        int // all of them
	Done         int // in the log, Known and Unpublished among them
	Known        int // were in the log already
	Unpublished  []string
	Name         string // of the file that is read; "" while it is waited for
	Bytes        int64  // read, packed as they are
	Sized, Total int64  // how many files' sizes are known, and their sum; Known ones aside
	Trades       int64
	Fetched      int64 // bytes received
}

// Progress may be called while Run runs, and after it.
func (d *Dumps) Progress() Progress {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.progress
	if p.Name != "" {
		p.Bytes += d.watch.Bytes.Load()
		p.Trades += d.watch.Trades.Load()
	}
	if d.Store != nil {
		p.Fetched = d.Store.Fetched()
	}
	return p
}

func (d *Dumps) note(f func(*Progress)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(&d.progress)
}

// ready is a file that lies there, or why it doesn't.
type ready struct {
	File
	size  int64 // 0: not known
	known bool  // the journal has it, so it wasn't fetched
	err   error
}

// Run brings the files into the log. After an error nothing of the file it is
// about is promised, and what stands before it is in the log and the journal.
// A file that is not published is no error: see Progress.
func (d *Dumps) Run(ctx context.Context, files []File) error {
	d.note(func(p *Progress) {
		p.Files = len(files)
		for i := range files {
			if st, err := os.Stat(files[i].Path); err == nil && files[i].Ref == nil {
				p.Sized, p.Total = p.Sized+1, p.Total+st.Size()
			}
		}
	})
	ctx, cancel := context.WithCancel(ctx)
	next := make(chan ready)
	var fetching sync.WaitGroup
	fetching.Go(func() {
		defer close(next)
		d.fetch(ctx, files, next)
	})
	defer fetching.Wait()
	defer cancel()
	for r := range next {
		if err := d.one(ctx, &r); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// fetch hands the files on in their order. The one it waits with is the one
// ahead.
func (d *Dumps) fetch(ctx context.Context, files []File, next chan<- ready) {
	queue := append([]File(nil), files...)
	for len(queue) > 0 {
		r := ready{File: queue[0]}
		queue = queue[1:]
		if r.Ref != nil {
			d.get(ctx, &r)
			if r.Ref.Month && errors.Is(r.err, file.ErrNotPublished) {
				days := r.Ref.Days()
				d.Log.Info("a month is not published; its days instead", "file", r.Ref.Name())
				var instead []File
				for i := range days {
					instead = append(instead, File{Ref: &days[i]})
				}
				queue = append(instead, queue...)
				d.note(func(p *Progress) { p.Files += len(days) - 1 })
				continue
			}
		}
		select {
		case next <- r:
		case <-ctx.Done():
			return
		}
		if r.err != nil && !errors.Is(r.err, file.ErrNotPublished) {
			return
		}
	}
}

// get fetches a file unless the journal has it.
func (d *Dumps) get(ctx context.Context, r *ready) {
	e := Entry{Topic: d.Topic, Name: r.Ref.Name()}
	if d.Journal != nil && !d.Again && d.Journal.HasName(e) {
		if e.Digest, r.err = d.Store.Digest(ctx, *r.Ref); r.err != nil {
			return
		}
		if r.known = d.Journal.Has(e); r.known {
			return
		}
	}
	if r.Path, r.err = d.Store.Fetch(ctx, *r.Ref); r.err != nil {
		return
	}
	if st, err := os.Stat(r.Path); err == nil {
		r.size = st.Size()
		d.note(func(p *Progress) { p.Sized, p.Total = p.Sized+1, p.Total+r.size })
	}
}

// one brings a file into the log.
func (d *Dumps) one(ctx context.Context, r *ready) error {
	switch {
	case errors.Is(r.err, file.ErrNotPublished):
		d.Log.Warn("a dump is not published, or not yet", "file", r.Ref.Name())
		d.note(func(p *Progress) { p.Done, p.Unpublished = p.Done+1, append(p.Unpublished, r.Ref.Name()) })
		return nil
	case r.err != nil:
		return r.err
	case r.known:
		d.skipped(r.Ref.Name(), 0)
		return nil
	}
	if st, err := os.Stat(r.Path); err == nil {
		r.size = st.Size()
	}
	e := Entry{Topic: d.Topic, Name: filepath.Base(r.Path), Symbol: r.Symbol}
	if n, ok := file.ParseName(r.Path); r.Frames || ok && n.Symbol == r.Symbol {
		e.Symbol = "" // it says no more than the name
	}
	d.watch.Bytes.Store(0)
	d.watch.Trades.Store(0)
	d.note(func(p *Progress) { p.Name = e.Name })
	o := Options{Symbol: r.Symbol, RequireChecksum: d.RequireChecksum, Watch: &d.watch}
	if d.Journal != nil && !d.Again {
		o.Known = func(digest file.Digest) bool {
			e.Digest = digest
			return d.Journal.Has(e)
		}
	}
	var got Replayed
	var err error
	if r.Frames {
		got, err = Frames(ctx, d.Ingestor, r.Path, o, d.Log)
	} else {
		got, err = Dump(ctx, d.Ingestor, r.Path, o)
	}
	if err != nil {
		d.note(func(p *Progress) { p.Name, p.Trades = "", p.Trades+got.Trades })
		d.Log.Info("replayed", "file", r.Path, "trades", got.Trades, "refused", got.Refused, "last", got.Last, "whole", false)
		return err
	}
	if got.Known {
		d.skipped(r.Path, r.size)
		return nil
	}
	e.Digest = got.Digest
	if d.Journal != nil {
		if err := d.Journal.Add(e, got.Trades); err != nil {
			return fmt.Errorf("%s is in the log: %w", r.Path, err)
		}
	}
	d.note(func(p *Progress) {
		p.Done, p.Name, p.Bytes, p.Trades = p.Done+1, "", p.Bytes+r.size, p.Trades+got.Trades
	})
	d.Log.Info("replayed", "file", r.Path, "trades", got.Trades, "refused", got.Refused, "last", got.Last, "whole", true)
	return nil
}

// skipped says that a file is in the log already. It counts for no speed.
func (d *Dumps) skipped(name string, size int64) {
	d.Log.Info("skipped: it is in this log already; --again replays it", "file", name)
	d.note(func(p *Progress) {
		p.Done, p.Known, p.Name = p.Done+1, p.Known+1, ""
		if size > 0 {
			p.Sized, p.Total = p.Sized-1, p.Total-size
		}
	})
}
