package double

import (
	"sort"

	"millrace/schema"
)

// Statuses that a symbol can have.
const (
	trading    = "TRADING"
	halted     = "HALT"        // market data goes on
	broken     = "BREAK"       // there is no market data
	cancelOnly = "CANCEL_ONLY" // market data goes on, without klines
)

// stretch is a span of market time, from ≤ T < to, in which a symbol has a
// status.
type stretch struct {
	from, to schema.Time
	status   string
}

// hours are a symbol's statuses. What is no stretch is TRADING.
//
// A synthetic symbol's trades are made on a clock of its own, which stands
// still in a BREAK, before the symbol is listed and after it is delisted:
//
//	market   ──────┤ BREAK ├──────▶
//	own      ──────┼──────▶           ids run on without a hole
type hours struct {
	listed, delisted schema.Time // the first moment it is there, and that it is gone
	stretches        []stretch   // in order, apart
	closed           []stretch   // without market data; in order, apart
}

func newHours() hours { return hours{delisted: schema.MaxTime} }

// settle makes closed of the rest. Of stretches that overlap, the later wins
// from its beginning on.
func (h *hours) settle() {
	sort.SliceStable(h.stretches, func(i, j int) bool { return h.stretches[i].from < h.stretches[j].from })
	kept := h.stretches[:0]
	for _, s := range h.stretches {
		if n := len(kept); n > 0 && kept[n-1].to > s.from {
			kept[n-1].to = s.from
			if kept[n-1].from == s.from {
				kept = kept[:n-1]
			}
		}
		kept = append(kept, s)
	}
	h.stretches = kept
	h.closed = nil
	shut := func(from, to schema.Time) {
		if from = max(from, origin); from >= to {
			return
		}
		if n := len(h.closed); n > 0 && h.closed[n-1].to >= from {
			h.closed[n-1].to = max(h.closed[n-1].to, to)
			return
		}
		h.closed = append(h.closed, stretch{from, to, broken})
	}
	shut(origin, h.listed)
	for _, s := range h.stretches {
		if s.status == broken {
			shut(s.from, min(s.to, h.delisted))
		}
	}
	shut(h.delisted, schema.MaxTime)
}

// status gives the status at a time, "" where the symbol is not listed.
func (h *hours) status(at schema.Time) string {
	if at < h.listed || at >= h.delisted {
		return ""
	}
	for _, s := range h.stretches {
		if at >= s.from && at < s.to {
			return s.status
		}
	}
	return trading
}

// toMarket turns a time of the symbol's own clock into the market's.
func (h *hours) toMarket(own schema.Time) schema.Time {
	t := own
	for _, c := range h.closed {
		if t < c.from {
			break
		}
		if c.to == schema.MaxTime {
			return c.to
		}
		t += c.to - c.from
	}
	return t
}

// toOwn turns a time of the market into the symbol's own: in a closed stretch,
// the moment at which its clock stands.
func (h *hours) toOwn(t schema.Time) schema.Time {
	shift := schema.Time(0)
	for _, c := range h.closed {
		if t < c.from {
			break
		}
		if t < c.to || c.to == schema.MaxTime {
			return c.from - shift
		}
		shift += c.to - c.from
	}
	return t - shift
}

// within reports whether a window lies wholly in stretches of the statuses, or
// where the symbol is not listed.
func (h *hours) within(from, to schema.Time, statuses ...string) bool {
	at := from
	for at < to {
		next := at
		switch {
		case at < h.listed:
			next = h.listed
		case at >= h.delisted:
			next = schema.MaxTime
		}
		for _, s := range h.stretches {
			if at >= s.from && at < s.to {
				for _, name := range statuses {
					if s.status == name {
						next = max(next, s.to)
					}
				}
			}
		}
		if next == at {
			return false
		}
		at = next
	}
	return true
}
