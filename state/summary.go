package state

import "millrace/schema"

// Summary is what a state holds, in numbers.
type Summary struct {
	Position  Position
	LogTime   schema.Time      // the newest append time; schema.MinTime before the first record
	Newest    schema.Time      // the newest applied trade time; schema.MinTime before the first
	Watermark schema.Time      // the lowest of the symbols that are watched; schema.MinTime if none is
	Settings  *schema.Settings // nil before the log has said any
	Symbols   []SymbolSummary  // by name; of one name the first id series, those after it, repairs
}

// SymbolSummary is what a state holds of a symbol.
type SymbolSummary struct {
	Name      string
	Newest    schema.Time
	Watermark schema.Time
	Applied   int64 // trade ids
	Intervals [][2]int64
	Gaps      []schema.Gap // open ones
	Windows   map[schema.Period]int64
	Watched   bool
	Stopped   bool // it met a new series of ids
	Era       uint8
	Former    bool           // its id series has ended; another row has the same name
	Repair    *RepairSummary // it is a repair
	Sealed    schema.Time    // no trade before it is taken; schema.MinTime if none was sealed
}

// RepairSummary is what a state holds of a repair.
type RepairSummary struct {
	From, To    schema.Time
	First, Last int64
	Whole       bool // all ids have come, so its windows are published
}

// Windows gives how many windows with trades there are.
func (s *Summary) Windows() (n int64) {
	for i := range s.Symbols {
		for _, k := range s.Symbols[i].Windows {
			n += k
		}
	}
	return n
}

// Gaps gives how many gaps are open.
func (s *Summary) Gaps() (n int) {
	for i := range s.Symbols {
		n += len(s.Symbols[i].Gaps)
	}
	return n
}

// Summary counts what the view holds. It reads no window.
func (v *View) Summary() *Summary {
	p := v.p
	s := &Summary{Position: p.pos, LogTime: p.logTime, Newest: p.newest, Watermark: schema.MaxTime, Settings: p.settings}
	_ = p.all(func(y *symbol) error {
		x := SymbolSummary{Name: y.name, Newest: y.newest, Watermark: y.watermark, Applied: y.count, Windows: map[schema.Period]int64{}, Watched: len(y.watches) > 0, Stopped: y.stopped, Era: y.era, Former: y.former, Sealed: y.sealed}
		if q := y.repair; q != nil {
			x.Repair = &RepairSummary{q.from, q.to, q.first, q.last, q.shown >= 0}
		}
		for _, a := range y.applied {
			x.Intervals = append(x.Intervals, [2]int64{a.first, a.last})
		}
		for _, g := range y.gaps().Gaps {
			if g.Filled == 0 && !y.former && y.repair == nil {
				x.Gaps = append(x.Gaps, g)
			}
		}
		for _, r := range y.series {
			x.Windows[r.period] = r.kept
		}
		if x.Watched {
			s.Watermark = min(s.Watermark, y.watermark)
		}
		s.Symbols = append(s.Symbols, x)
		return nil
	})
	if s.Watermark == schema.MaxTime {
		s.Watermark = noTime
	}
	return s
}
