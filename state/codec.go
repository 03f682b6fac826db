package state

import (
	"encoding/binary"
	"errors"
	"fmt"

	"millrace/schema"
)

// errDamaged reports a row of the store that does not have its form.
var errDamaged = errors.New("damaged row")

// writer appends numbers to a row. All are varints; signed ones zigzag.
type writer []byte

func (w *writer) uint(v uint64)      { *w = binary.AppendUvarint(*w, v) }
func (w *writer) int(v int64)        { *w = binary.AppendVarint(*w, v) }
func (w *writer) time(t schema.Time) { w.int(int64(t)) }
func (w *writer) bytes(b string)     { w.uint(uint64(len(b))); *w = append(*w, b...) }
func (w *writer) bool(b bool) {
	if b {
		w.uint(1)
	} else {
		w.uint(0)
	}
}
func (w *writer) decimal(d schema.Decimal) { w.int(d.Mantissa); w.uint(uint64(d.Scale)) }

// sum writes the canonical form: the scale at which a sum stands in memory
// depends on how it was added up.
func (w *writer) sum(s schema.Sum) {
	s = s.Canonical()
	w.uint(s.Hi)
	w.uint(s.Lo)
	w.uint(uint64(s.Scale))
}

// reader takes them out again. After the first error all it gives is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 { // most are small
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v := r.uint()
	return int64(v>>1) ^ -int64(v&1)
}

func (r *reader) time() schema.Time { return schema.Time(r.int()) }
func (r *reader) bool() bool        { return r.uint() != 0 }

func (r *reader) bytes() string {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

// count reads the length of a list whose entries take at least one byte each.
func (r *reader) count() int {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(n)
}

func (r *reader) decimal() schema.Decimal {
	return schema.Decimal{Mantissa: r.int(), Scale: uint8(r.uint())}
}

func (r *reader) sum() schema.Sum {
	return schema.Sum{Hi: r.uint(), Lo: r.uint(), Scale: uint8(r.uint())}
}

// end checks that the row was read whole and nothing is left.
func (r *reader) end(what string) error {
	if r.bad || len(r.b) > 0 {
		return fmt.Errorf("%w: %s", errDamaged, what)
	}
	return nil
}

// rowVersion leads every row. A change of any row's form is a new number, a new
// golden file and a line in the CHANGELOG. Rows of the versions before are read:
// they lie in a store until something changes them.
//
// Version 2 has a window's top, the position's history and what tells of eras.
const (
	rowVersion   = 2
	firstVersion = 1
)

// version reads a row's own.
func (r *reader) version(what string) (v uint64, err error) {
	if v = r.uint(); v < firstVersion || v > rowVersion {
		return v, fmt.Errorf("%w: %s of version %d", errDamaged, what, v)
	}
	return v, nil
}

// Keys of the store, each led by one byte:
//
//	m                                     meta: position, settings, ingestors
//	p                                     version of the program that wrote the newest rows, as text in every format
//	s <id>                                symbol
//	w <id> 00 <period> <start, 8 B>       window; start big-endian, its sign bit flipped, so that keys sort by time
//
// The id is the symbol's name; of an id series that is not the first 01 and its
// era stand behind it, of a repair 02 and its era.
const (
	metaKey      = "m"
	programKey   = "p"
	symbolPrefix = 's'
	windowPrefix = 'w'
)

func appendSymbolKey(dst []byte, name string) []byte {
	return append(append(dst, symbolPrefix), name...)
}

func appendSeriesKey(dst []byte, name string, p schema.Period) []byte {
	dst = append(append(dst, windowPrefix), name...)
	return append(dst, 0, byte(p))
}

func appendWindowKey(dst []byte, name string, p schema.Period, start schema.Time) []byte {
	return binary.BigEndian.AppendUint64(appendSeriesKey(dst, name, p), uint64(start)^1<<63)
}

// windowStart takes the start out of a window's key.
func windowStart(key []byte) schema.Time {
	return schema.Time(binary.BigEndian.Uint64(key[len(key)-8:]) ^ 1<<63)
}

func (win *window) append(dst []byte) []byte {
	w := writer(dst)
	w.uint(rowVersion)
	w.bool(win.gone)
	w.int(win.changed)
	w.int(win.quiet)
	f := &win.fig
	w.int(f.First)
	w.int(f.Last - f.First)
	w.int(f.Trades)
	w.decimal(f.Open)
	w.decimal(f.High)
	w.decimal(f.Low)
	w.decimal(f.Close)
	w.sum(f.Volume)
	w.sum(f.Quote)
	w.sum(f.TakerVolume)
	w.sum(f.TakerQuote)
	top := win.top.id > f.Last
	w.bool(top)
	if top {
		w.int(win.top.id)
		w.decimal(win.top.price)
	}
	return w
}

func (win *window) decode(row []byte) error {
	r := reader{b: row}
	v, err := r.version("window")
	if err != nil {
		return err
	}
	win.gone = r.bool()
	win.changed, win.quiet = r.int(), r.int()
	f := &win.fig
	f.First = r.int()
	f.Last = f.First + r.int()
	f.Trades = r.int()
	f.Open, f.High, f.Low, f.Close = r.decimal(), r.decimal(), r.decimal(), r.decimal()
	f.Volume, f.Quote, f.TakerVolume, f.TakerQuote = r.sum(), r.sum(), r.sum(), r.sum()
	if v >= 2 && r.bool() {
		win.top = basis{r.int(), r.decimal()}
	}
	return r.end("window")
}

func (y *symbol) append(dst []byte) []byte {
	w := writer(dst)
	w.uint(rowVersion)
	w.uint(uint64(y.era))
	w.bool(y.stopped)
	w.int(y.count)
	w.time(y.newest)
	w.time(y.history)
	w.time(y.watermark)
	w.uint(uint64(y.status))
	w.int(y.opened)
	w.int(y.gapChanged)
	w.uint(uint64(len(y.applied)))
	for i := range y.applied {
		v := &y.applied[i]
		w.int(v.first)
		w.int(v.last - v.first)
		w.time(v.minT)
		w.time(v.maxT)
		w.time(v.firstT)
		w.time(v.lastT)
		w.time(v.found)
		w.bool(v.open)
	}
	w.uint(uint64(len(y.anchors)))
	for i := range y.anchors {
		a := &y.anchors[i]
		w.int(a.ID)
		w.time(a.Time)
		w.bool(a.HasPrice)
		w.decimal(a.Price)
	}
	w.uint(uint64(len(y.watches)))
	for i := range y.watches {
		x := &y.watches[i]
		w.bytes(x.ingestor.id)
		w.time(x.from)
		w.bool(x.excepted)
		w.time(x.held)
	}
	for _, spans := range [][]span{y.cover, y.breaks} {
		w.uint(uint64(len(spans)))
		for _, s := range spans {
			w.time(s.from)
			w.time(s.to)
		}
	}
	w.uint(uint64(len(y.filled)))
	for i := range y.filled {
		g := &y.filled[i]
		w.int(g.First)
		w.int(g.Last - g.First)
		w.time(g.After)
		w.time(g.Before)
		w.time(g.Found)
		w.time(g.Filled)
	}
	w.uint(uint64(len(y.series)))
	for _, s := range y.series {
		w.uint(uint64(s.period))
		w.int(s.tail)
		w.time(s.since)
		w.int(s.kept)
		w.int(s.first.id)
		w.decimal(s.first.price)
	}
	w.uint(uint64(y.granted))
	w.bool(y.former)
	w.time(y.begins)
	w.time(y.floor)
	w.int(y.before)
	w.time(y.sealed)
	w.bool(y.repair != nil)
	if q := y.repair; q != nil {
		w.time(q.from)
		w.time(q.to)
		w.int(q.first)
		w.int(q.last - q.first)
		w.int(q.shown)
	}
	return w
}

// decode reads a symbol's row. ingestor gives the ingestor of a name.
func (y *symbol) decode(row []byte, ingestor func(string) *ingestor) error {
	r := reader{b: row}
	version, err := r.version("symbol")
	if err != nil {
		return err
	}
	y.era = uint8(r.uint())
	y.stopped = r.bool()
	y.count = r.int()
	y.newest, y.history, y.watermark = r.time(), r.time(), r.time()
	y.status = schema.TradingStatus(r.uint())
	y.opened, y.gapChanged = r.int(), r.int()
	for range r.count() {
		first := r.int()
		y.applied = append(y.applied, interval{first, first + r.int(), r.time(), r.time(), r.time(), r.time(), r.time(), r.bool()})
	}
	for range r.count() {
		y.anchors = append(y.anchors, schema.Anchor{Symbol: y.name, ID: r.int(), Time: r.time(), HasPrice: r.bool(), Price: r.decimal()})
	}
	for range r.count() {
		id := r.bytes()
		x := watch{from: r.time(), excepted: r.bool(), held: r.time()}
		if r.bad {
			break
		}
		x.ingestor = ingestor(id)
		x.ingestor.watching++
		if x.excepted {
			x.ingestor.excepted = append(x.ingestor.excepted, y)
		}
		y.watches = append(y.watches, x)
	}
	for _, spans := range []*[]span{&y.cover, &y.breaks} {
		for range r.count() {
			*spans = append(*spans, span{r.time(), r.time()})
		}
	}
	for range r.count() {
		first := r.int()
		y.filled = append(y.filled, schema.Gap{First: first, Last: first + r.int(), After: r.time(), Before: r.time(), Found: r.time(), Filled: r.time(), Reason: schema.GapHole})
	}
	y.series = nil
	for range r.count() {
		y.series = append(y.series, &series{period: schema.Period(r.uint()), tail: r.int(), since: r.time(), kept: r.int(), first: basis{r.int(), r.decimal()}})
	}
	if version > firstVersion {
		y.granted, y.former = uint8(r.uint()), r.bool()
		y.begins, y.floor, y.before, y.sealed = r.time(), r.time(), r.int(), r.time()
		if r.bool() {
			y.repair = &repair{from: r.time(), to: r.time(), first: r.int()}
			y.repair.last, y.repair.shown = y.repair.first+r.int(), r.int()
		}
	}
	return r.end("symbol " + y.name)
}

func (p *Partition) appendMeta(dst []byte) ([]byte, error) {
	w := writer(dst)
	w.uint(rowVersion)
	w.bytes(string(p.pos.TopicID[:]))
	w.int(int64(p.pos.Partition))
	w.int(p.pos.Offset)
	w.int(int64(p.pos.Epoch))
	w.uint(p.pos.Hash)
	w.time(p.logTime)
	w.int(p.forgotten)
	var settings []byte
	if p.settings != nil {
		var err error
		if settings, err = schema.AppendControl(nil, *p.settings); err != nil {
			return nil, err
		}
	}
	w.bytes(string(settings))
	w.uint(uint64(len(p.symbols) + len(p.shelved)))
	w.uint(uint64(len(p.ingestors)))
	for _, id := range sortedKeys(p.ingestors) {
		w.bytes(id)
		w.time(p.ingestors[id].w)
	}
	w.uint(uint64(p.history.met))
	w.uint(uint64(len(p.history.skips)))
	for _, s := range p.history.skips {
		w.int(s.from)
		w.int(s.to)
		w.uint(s.hash)
	}
	return w, nil
}

func (p *Partition) decodeMeta(row []byte) error {
	r := reader{b: row}
	v := r.uint()
	if v > rowVersion {
		return fmt.Errorf("%w: its rows are of format %d, this program reads up to %d; use the millrace that wrote it, or a later one", ErrNewer, v, rowVersion)
	}
	if v < firstVersion {
		return fmt.Errorf("%w: meta of version %d", errDamaged, v)
	}
	if copy(p.pos.TopicID[:], r.bytes()) != len(p.pos.TopicID) {
		return fmt.Errorf("%w: meta without a topic id", errDamaged)
	}
	p.pos.Partition = int32(r.int())
	p.pos.Offset, p.pos.Epoch, p.pos.Hash = r.int(), int32(r.int()), r.uint()
	p.logTime = r.time()
	p.forgotten = r.int()
	settings := r.bytes()
	p.known = int(r.uint())
	for range r.count() {
		g := &ingestor{id: r.bytes(), w: r.time()}
		p.ingestors[g.id] = g
	}
	if v >= 2 {
		p.history.met = int(r.uint())
		for range r.count() {
			p.history.skips = append(p.history.skips, skip{r.int(), r.int(), r.uint()})
		}
		p.pos.History = p.history.hash()
	}
	if err := r.end("meta"); err != nil {
		return err
	}
	if settings == "" {
		return nil
	}
	var t schema.Tick
	if err := t.Decode([]byte(settings)); errors.Is(err, schema.ErrNewer) {
		return fmt.Errorf("%w: %w", ErrNewer, err)
	} else if err != nil {
		return fmt.Errorf("%w: settings: %w", errDamaged, err)
	}
	if t.Kind != schema.KindSettings {
		return fmt.Errorf("%w: another record in place of the settings", errDamaged)
	}
	p.force(&t.Settings)
	return nil
}
