package processor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"millrace/schema"
	"millrace/state"
	"millrace/state/checkpoint"
)

// Plan is what a restore of one partition would do. Making it changes nothing.
type Plan struct {
	Log        checkpoint.Log
	Dir        string               // of the state
	Now        string               // what stands there
	Checkpoint *checkpoint.Manifest // nil: none can be restored
	Refused    []checkpoint.Refusal
	// LogSays is why the log could not be asked; empty if it was. Then the
	// processor compares when it starts.
	LogSays    string
	Start, End int64 // of the log
	// Replay is how many records follow the checkpoint, Rate how many a second
	// were applied where it was taken; 0 if that isn't known.
	Replay int64
	Rate   float64
	// Lost is how many records behind the checkpoint the log no longer has; the
	// windows between LostFrom and LostTo would be partial.
	Lost             int64
	LostFrom, LostTo schema.Time

	want checkpoint.Want
}

// Takes gives how long the replay would take by the measured rate, 0 if that
// isn't known.
func (p *Plan) Takes() time.Duration {
	if p.Rate <= 0 {
		return 0
	}
	return time.Duration(float64(p.Replay-p.Lost) / p.Rate * float64(time.Second))
}

// Partial gives how many windows of a period and symbol would lack trades.
func (p *Plan) Partial(cal schema.Calendar, period schema.Period) (n int) {
	if p.Lost == 0 {
		return 0
	}
	for at := cal.Start(period, p.LostFrom); at <= p.LostTo && n < 1_000_000; at = cal.End(period, at) {
		n++
	}
	return n
}

// PlanRestore tells what a restore would do. log is nil if it can't be asked,
// and says why.
func PlanRestore(ctx context.Context, s *checkpoint.Store, log *Log, says string, dir string, w checkpoint.Want) (*Plan, error) {
	p := &Plan{Log: w.Log, Dir: state.PartitionDir(dir, w.Log.Topic, w.Log.Partition), LogSays: says}
	p.Now = stands(p.Dir)
	w.Scratch = p.Dir + ".restoring"
	if log != nil {
		w.Holds = func(ctx context.Context, offset int64, hash uint64) (bool, string, error) {
			return log.Holds(ctx, w.Log.Partition, offset, hash)
		}
		var err error
		if p.Start, p.End, err = log.Bounds(ctx, w.Log.Partition); err != nil {
			return nil, err
		}
	}
	p.want = w
	good, refused, err := s.Candidates(ctx, w)
	if err != nil {
		return nil, err
	}
	p.Refused = refused
	if len(good) == 0 {
		return p, nil
	}
	p.Checkpoint, p.Rate = good[0], good[0].Rate
	if log == nil {
		return p, nil
	}
	at := p.Checkpoint.Offset
	p.Replay = max(p.End-at, 0)
	if p.Lost = max(p.Start-at, 0); p.Lost == 0 {
		return p, nil
	}
	if n := p.Checkpoint.Newest; n != nil {
		p.LostFrom = schema.FromStd(*n)
	}
	to, ok, err := log.appended(ctx, w.Log.Partition, p.Start)
	if err != nil {
		return nil, err
	}
	if p.LostTo = to; !ok {
		p.LostTo = p.LostFrom
	}
	return p, nil
}

// stands says what is in a state's folder.
func stands(dir string) string {
	files, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(files) == 0 {
		return "nothing"
	}
	v, err := state.OpenView(state.Options{Dir: dir})
	switch {
	case errors.Is(err, state.ErrLocked):
		return "a state that a processor is using"
	case err != nil:
		return "a state that is damaged"
	}
	s := fmt.Sprintf("a state at %d", v.Position().Offset)
	if v.Close() != nil {
		return "a state that is damaged"
	}
	return s
}

// Restore does what the plan says. The old state stands aside in the folder
// that is given, until the next restore. Nobody else may use the folder.
func (p *Plan) Restore(ctx context.Context, s *checkpoint.Store, progress checkpoint.Progress) (m *checkpoint.Manifest, refused []checkpoint.Refusal, aside string, err error) {
	w := p.want
	w.Progress = progress
	m, refused, err = s.Restore(ctx, w)
	if err != nil {
		return nil, refused, "", err
	}
	if m == nil {
		return nil, refused, "", fmt.Errorf("partition %d: no checkpoint could be restored; the state is as it was", p.Log.Partition)
	}
	aside = p.Dir + ".aside"
	set, err := checkpoint.Place(w.Scratch, p.Dir, aside, vfs.Default)
	if !set {
		aside = ""
	}
	return m, refused, aside, err
}
