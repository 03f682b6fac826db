package state

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// history tells states of one log apart that have not seen the same of it:
// retention took a stretch before one of them had it. A state is f(what it saw),
// so whatever another one has brought somewhere is not the same up to any offset.
//
// Each stretch that was skipped changes a hash; without any it is 0. Offsets that
// hold no records of ours (a transaction's marks) are skipped by all alike.
type history struct {
	skips []skip // by offset, the newest ones
	met   int    // all that there were
}

// skip is a stretch of offsets that was skipped: [from, to), and the hash of
// what stands behind from.
type skip struct {
	from, to int64
	hash     uint64
}

// maxSkips bounds the stretches remembered. What stands before them is taken to
// be of another history.
const maxSkips = 64

// skip notes that the records of [from, to) were not seen.
func (h *history) skip(from, to int64) {
	var b [24]byte
	binary.LittleEndian.PutUint64(b[:], h.hash())
	binary.LittleEndian.PutUint64(b[8:], uint64(from))
	binary.LittleEndian.PutUint64(b[16:], uint64(to))
	h.skips = append(h.skips, skip{from, to, xxhash.Sum64(b[:])})
	h.met++
	if n := len(h.skips) - maxSkips; n > 0 {
		h.skips = append(h.skips[:0], h.skips[n:]...)
	}
}

func (h *history) hash() uint64 {
	if n := len(h.skips); n > 0 {
		return h.skips[n-1].hash
	}
	return 0
}

// at gives the hash as it was at an offset; ok is false if that is forgotten.
func (h *history) at(offset int64) (hash uint64, ok bool) {
	for i := len(h.skips) - 1; i >= 0; i-- {
		if h.skips[i].from < offset {
			return h.skips[i].hash, true
		}
	}
	return 0, h.met == len(h.skips)
}

// Shares reports whether what stands at pos was made of the same records as this
// state up to there. Of one that is farther than this state, it speaks of what
// this state has seen.
func (p *Partition) Shares(pos Position) bool {
	h, ok := p.history.at(pos.Offset)
	return ok && h == pos.History || pos.Offset == 0
}

// Shares is Partition.Shares as of the view.
func (v *View) Shares(pos Position) bool { return v.p.Shares(pos) }

// Skipped calls yield with the stretches of offsets that the state never saw,
// as far back as it knows.
func (v *View) Skipped(yield func(from, to int64) bool) {
	for _, s := range v.p.history.skips {
		if !yield(s.from, s.to) {
			return
		}
	}
}
