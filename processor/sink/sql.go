package sink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	sqlsink "millrace/processor/sink/sql"
	"millrace/schema"
	"millrace/state"
)

// SQL writes one partition's candles and gaps into a database.
type SQL struct {
	DB        *sqlsink.DB
	Store     *state.Store
	Mailbox   *Mailbox
	TopicID   [16]byte
	Partition int32
	Writer    string        // names this processor in the progress row
	Every     time.Duration // the least time between two flushes
	Heartbeat time.Duration // how often an idle sink looks at its progress row
	Holds     Holds
	Partial   bool // what the state has forgotten cannot be had again
	Log       *slog.Logger
	Hooks     Hooks

	key  sqlsink.Key
	last *sqlsink.Progress // the progress row as this sink last knew it; nil: there is none
	void bool              // last is of a log that was rewritten since, or of a state that saw other records
	// replaying: the state stands before last.
	replaying bool
}

// Holds tells whether the log still has the record of a hash right before an
// offset, or why not. A progress without that record stands for nothing.
type Holds func(ctx context.Context, offset int64, hash uint64) (held bool, why string, err error)

// Hooks tell what a sink does. Each may be nil.
type Hooks struct {
	// Progress is called when everything before offset is in the sink.
	Progress func(offset int64)
	// Written is called with what was written, after it was committed.
	Written func(candles []schema.Candle, took time.Duration)
	// Failed is called with each error that is tried again, Recovered when one
	// try succeeds after it.
	Failed func(err error)
}

// errForgotten: what a database lacks that was set back far.
var errForgotten = errors.New("sql sink: the database lacks candles that state has forgotten")

// pieceRows is how many rows one transaction takes at most while catching up.
const pieceRows = 5000

// writeTimeout bounds one transaction: a server that has vanished would hold it
// for as long as TCP likes.
const writeTimeout = 30 * time.Second

// Run writes until ctx ends. What was offered before that is written as far as
// one last try goes. It returns only errors that trying again does not mend.
func (s *SQL) Run(ctx context.Context) error {
	s.key = sqlsink.Key{TopicID: s.TopicID, Partition: s.Partition}
	beat := time.NewTicker(s.Heartbeat)
	defer beat.Stop()
	pause := backoff{}
	for {
		err := s.step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, state.ErrDamaged), errors.Is(err, errForgotten):
			return err
		case err != nil:
			if moved := (*sqlsink.MovedError)(nil); errors.As(err, &moved) {
				s.Log.Warn("sql sink: another writer is at this partition's rows; trying again", "partition", s.Partition, "found", err)
			} else if !sqlsink.Retriable(err) && !errors.Is(err, context.DeadlineExceeded) {
				s.Log.Error("sql sink: cannot write; trying again every 10 s", "partition", s.Partition, "err", err)
				pause.max()
			} else if pause.n == 0 {
				s.Log.Warn("sql sink: cannot write for now; state keeps what it lacks", "partition", s.Partition, "err", err)
			}
			if s.Hooks.Failed != nil {
				s.Hooks.Failed(err)
			}
			s.Mailbox.Lose()
			if !pause.wait(ctx) {
				return nil
			}
			continue
		case pause.n > 0:
			s.Log.Info("sql sink: writing again", "partition", s.Partition)
			pause.n = 0
		}
		if !sleep(ctx, s.Every) {
			return s.lastWord()
		}
		select {
		case <-ctx.Done():
			return s.lastWord()
		case <-s.Mailbox.Wake():
		case <-beat.C:
			if err := s.heartbeat(ctx); err != nil {
				s.moved(err)
				s.Mailbox.Lose() // the next step meets the same error, or catches up
			}
		}
	}
}

// lastWord writes what is there when the partition is given up.
func (s *SQL) lastWord() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if err := s.step(ctx); err != nil {
		s.Log.Warn("sql sink: stopped before all was written; it is sent after the next start", "partition", s.Partition, "err", err)
	}
	return nil
}

// step writes all that is there, from the mail or from state.
func (s *SQL) step(ctx context.Context) error {
	w, ok := s.Mailbox.Take()
	if !ok {
		return nil
	}
	if w.Behind {
		if err := s.load(ctx); err != nil {
			return err
		}
		return s.catchUp(ctx)
	}
	if s.replaying {
		return s.catchUp(ctx)
	}
	err := s.write(ctx, &w)
	if s.moved(err) {
		if err := s.load(ctx); err != nil {
			return err
		}
		s.Mailbox.Lose()
		s.Mailbox.Take()
		return s.catchUp(ctx)
	}
	return err
}

// moved reports, and tells, whether the progress row is another than the one
// that this sink wrote.
func (s *SQL) moved(err error) bool {
	moved := (*sqlsink.MovedError)(nil)
	if !errors.As(err, &moved) {
		return false
	}
	s.Log.Warn("sql sink: the database is not where this processor left it; bringing it up to date from state", "partition", s.Partition, "found", moved.Error())
	return true
}

func (s *SQL) load(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	p, ok, err := s.DB.Load(ctx, s.TopicID, s.Partition)
	if err != nil {
		return fmt.Errorf("read progress: %w", err)
	}
	s.last, s.void = nil, false
	if !ok {
		return nil
	}
	s.last = &p
	held, why, err := s.Holds(ctx, p.Offset, p.Hash)
	if err != nil {
		return fmt.Errorf("compare the progress with the log: %w", err)
	}
	if !held {
		s.void = true
		s.Log.Warn("sql sink: the database's progress stands for nothing any more; sending all of state", "partition", s.Partition, "progress", p.Offset, "why", why)
	}
	return nil
}

// ahead reports whether the sink already has more of the log than offset.
func (s *SQL) ahead(offset int64) bool { return s.last != nil && !s.void && s.last.Offset > offset }

func (s *SQL) progress(p state.Position) sqlsink.Progress {
	return sqlsink.Progress{TopicID: s.TopicID, Partition: s.Partition, Offset: p.Offset, Epoch: p.Epoch, Hash: p.Hash, History: p.History, Writer: s.Writer}
}

// write brings one Work into the database, the last piece with the progress.
func (s *SQL) write(ctx context.Context, w *Work) error {
	p := pieces{calendar: w.Calendar, flush: func(rows []schema.Candle) error { return s.commit(ctx, rows, nil, nil, w.Newest) }}
	for i := range w.Runs {
		if err := p.run(&w.Runs[i]); err != nil {
			return err
		}
	}
	for i := range w.Candles {
		if err := p.add(&w.Candles[i]); err != nil {
			return err
		}
	}
	to := s.progress(w.Position)
	return s.commit(ctx, p.rows, w.Gaps, &to, w.Newest)
}

// catchUp writes what changed in state after the sink's progress.
func (s *SQL) catchUp(ctx context.Context) error {
	v, err := s.Store.View()
	if err != nil {
		return err
	}
	defer v.Close() //nolint:errcheck // a snapshot is given back; there is nothing to do about it
	to := s.progress(v.Position())
	if s.replaying = s.ahead(to.Offset); s.replaying {
		return nil // what the sink lacks comes after its progress
	}
	from := int64(0)
	if s.last != nil && !s.void {
		if from = s.last.Offset; !v.Shares(state.Position{Offset: from, History: s.last.History}) {
			s.Log.Warn("sql sink: the database's progress is of a state that saw other records of the log; sending all of this one", "partition", s.Partition, "progress", from)
			s.void, from = true, 0
		}
	}
	if from < v.Forgotten() && !s.Partial {
		return fmt.Errorf("%w: it stands at %d, the state forgot what changed before %d; start again to make the state anew from the log", errForgotten, from, v.Forgotten())
	}
	n := 0
	newest := schema.MinTime
	err = v.Since(from, pieceRows, func(c *state.Changes) error {
		newest = c.Newest
		p := pieces{calendar: c.Calendar, flush: func(rows []schema.Candle) error {
			n += len(rows)
			return s.commit(ctx, rows, nil, nil, c.Newest)
		}}
		for i := range c.Runs {
			if err := p.run(&c.Runs[i]); err != nil {
				return err
			}
		}
		for i := range c.Candles {
			if err := p.add(&c.Candles[i]); err != nil {
				return err
			}
		}
		n += len(p.rows)
		return s.commit(ctx, p.rows, c.Gaps, nil, c.Newest)
	})
	if err == nil {
		err = s.commit(ctx, nil, nil, &to, newest)
	}
	if err == nil && n > 0 && from > 0 {
		s.Log.Info("sql sink: caught up from state", "partition", s.Partition, "rows", n, "from", from, "to", to.Offset)
	}
	return err
}

func (s *SQL) commit(ctx context.Context, rows []schema.Candle, gaps []schema.GapSet, to *sqlsink.Progress, newest schema.Time) error {
	if len(rows) == 0 && len(gaps) == 0 && to == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	began := time.Now()
	if err := s.DB.Write(ctx, s.key, s.last, sqlsink.Batch{Candles: rows, Gaps: gaps, Progress: to, Newest: newest}); err != nil {
		return err
	}
	if to != nil {
		s.last, s.void = to, false
		if s.Hooks.Progress != nil {
			s.Hooks.Progress(to.Offset)
		}
	}
	if s.Hooks.Written != nil && len(rows) > 0 {
		s.Hooks.Written(rows, time.Since(began))
	}
	return nil
}

// heartbeat looks whether the progress row is still what this sink wrote: a
// database may be set back while nothing happens.
func (s *SQL) heartbeat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return s.DB.Write(ctx, s.key, s.last, sqlsink.Batch{})
}

// pieces cuts rows into transactions of bounded size.
type pieces struct {
	calendar schema.Calendar
	rows     []schema.Candle
	flush    func([]schema.Candle) error
}

func (p *pieces) add(c *schema.Candle) error {
	p.rows = append(p.rows, *c)
	if len(p.rows) < pieceRows {
		return nil
	}
	err := p.flush(p.rows)
	p.rows = p.rows[:0]
	return err
}

func (p *pieces) run(r *state.Run) (err error) {
	r.Expand(p.calendar, func(c *schema.Candle) bool {
		err = p.add(c)
		return err == nil
	})
	return err
}
