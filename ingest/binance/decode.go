package binance

import (
	"fmt"

	"millrace/schema"
)

// The keys that mean something, each with its place in fields.
const (
	kE = iota // "e", the event's type
	kETime
	kSymbol
	kTradeID
	kAggID
	kPrice
	kQty
	kFirst
	kLast
	kTime
	kMaker
	kClass // "X", USD-M: MARKET or who else traded
	kStream
	kResult
	kID
	kError
	kCode
	kMsg
	numKeys
)

var keyNames = [numKeys]string{"e", "E", "s", "t", "a", "p", "q", "f", "l", "T", "m", "X", "stream", "result", "id", "error", "code", "msg"}

// keyOf finds the place of a key; −1 for one that is passed over.
func keyOf(k []byte) int {
	if len(k) == 1 {
		switch k[0] {
		case 'e':
			return kE
		case 'E':
			return kETime
		case 's':
			return kSymbol
		case 't':
			return kTradeID
		case 'a':
			return kAggID
		case 'p':
			return kPrice
		case 'q':
			return kQty
		case 'f':
			return kFirst
		case 'l':
			return kLast
		case 'T':
			return kTime
		case 'm':
			return kMaker
		case 'X':
			return kClass
		}
		return -1
	}
	for i := kStream; i < numKeys; i++ {
		if string(k) == keyNames[i] {
			return i
		}
	}
	return -1
}

// fields are the values of one object, by key. What they have to be is judged
// when the event's type is known, since keys come in any order and mean other
// things in other events.
type fields [numKeys]token

// Decoder reads frames. One goroutine uses it; it keeps memory for strings
// with escapes and nothing else.
type Decoder struct {
	s            scanner
	outer, inner fields
	scratch      []byte
}

// Decode reads one text frame into ev. Errors are a *TradeError where the frame
// is a trade that cannot be used, else they wrap ErrFrame. After an error ev
// holds nothing of use.
func (d *Decoder) Decode(frame []byte, ev *Event) error {
	d.scratch = d.scratch[:0]
	if *ev = (Event{}); fast(frame, ev) {
		return nil
	}
	*ev = Event{}
	return d.general(frame, ev)
}

// general reads a frame of any layout into an empty event.
func (d *Decoder) general(frame []byte, ev *Event) error {
	d.s = scanner{b: frame}
	s := &d.s
	s.space()
	if s.i < len(frame) && frame[s.i] == '[' { // the !…@arr streams, raw
		if _, ok := s.value(0); !ok {
			return frameError(frame, s.i, s.fault)
		}
		return d.end()
	}
	wrapped, ok := d.object(&d.outer, true)
	if !ok {
		return frameError(frame, s.i, s.fault)
	}
	if err := d.end(); err != nil {
		return err
	}
	if d.outer[kStream].typ == tString {
		ev.Stream = d.text(d.outer[kStream])
	}
	f := &d.outer
	if wrapped {
		f = &d.inner
	}
	return d.event(f, ev)
}

// end checks that nothing but white space is left.
func (d *Decoder) end() error {
	d.s.space()
	if d.s.i < len(d.s.b) {
		return frameError(d.s.b, d.s.i, "more text behind the value")
	}
	return nil
}

// object reads an object's values into f. At the top, the object under "data"
// goes into d.inner, and wrapped is true.
func (d *Decoder) object(f *fields, top bool) (wrapped, ok bool) {
	s := &d.s
	*f = fields{}
	if !s.expect('{', "no object where one must be") {
		return false, false
	}
	if s.closes('}') {
		return false, true
	}
	for {
		kt, ok := s.key()
		if !ok {
			return false, false
		}
		k := d.text(kt)
		if top && string(k) == "data" {
			s.space()
			if wrapped = true; s.i < len(s.b) && s.b[s.i] == '{' {
				if _, ok = d.object(&d.inner, false); !ok {
					return false, false
				}
			} else {
				d.inner = fields{}
				if _, ok = s.value(1); !ok {
					return false, false
				}
			}
		} else {
			t, ok := s.value(1)
			if !ok {
				return false, false
			}
			if i := keyOf(k); i >= 0 {
				f[i] = t
			}
		}
		if more, ok := s.next('}'); !more {
			return wrapped, ok
		}
	}
}

// text gives a string's bytes, from the frame itself where it has no escapes.
func (d *Decoder) text(t token) []byte {
	raw := d.s.b[t.from:t.to:t.to]
	if !t.escaped {
		return raw
	}
	from := len(d.scratch)
	d.scratch = unescape(d.scratch, raw)
	return d.scratch[from:len(d.scratch):len(d.scratch)]
}

func (d *Decoder) event(f *fields, ev *Event) error {
	if f[kE].typ == tString {
		switch string(d.text(f[kE])) {
		case "trade":
			return d.trade(f, ev)
		case "aggTrade":
			return d.aggTrade(f, ev)
		case "serverShutdown":
			ev.Kind = Shutdown
		}
	}
	if t := f[kETime]; t.typ == tInt {
		if v, ok := parseInt(d.s.b[t.from:t.to]); ok {
			ev.EventTime, _ = ParseTime(v)
		}
	}
	if f != &d.outer || f[kE].typ != tNone || f[kStream].typ != tNone {
		return nil
	}
	return d.answer(f, ev)
}

// answer reads a control answer. Errors come flat or under "error".
func (d *Decoder) answer(f *fields, ev *Event) error {
	if t := f[kID]; t.typ != tNone {
		if ev.ID = d.s.b[t.from:t.to]; t.typ == tString {
			ev.ID = d.s.b[t.from-1 : t.to+1]
		}
	}
	e := f
	if t := f[kError]; t.typ == tObject {
		d.s.i = int(t.from)
		if _, ok := d.object(&d.inner, false); !ok {
			return frameError(d.s.b, d.s.i, d.s.fault)
		}
		e = &d.inner
	}
	switch {
	case e[kCode].typ == tInt:
		ev.Kind = Refusal
		ev.Code, _ = parseInt(d.s.b[e[kCode].from:e[kCode].to])
		if e[kMsg].typ == tString {
			ev.Message = d.text(e[kMsg])
		}
	case f[kError].typ != tNone:
		ev.Kind = Refusal
	case f[kResult].typ != tNone && f[kID].typ != tNone:
		ev.Kind = Answer
	}
	return nil
}

func (d *Decoder) trade(f *fields, ev *Event) error {
	ev.Kind = Trade
	var err error
	t := &ev.Trade
	t.ID = d.int(f, kTradeID, &err)
	t.Last = t.ID
	if c := f[kClass]; c.typ == tString && string(d.text(c)) != "MARKET" {
		t.Void = true
	}
	d.common(f, ev, &err)
	if err == nil {
		err = t.Validate()
	}
	return d.refuse(f, ev, kTradeID, err)
}

func (d *Decoder) aggTrade(f *fields, ev *Event) error {
	ev.Kind = AggTrade
	var err error
	t := &ev.Trade
	ev.AggID = d.int(f, kAggID, &err)
	t.ID = d.int(f, kFirst, &err)
	t.Last = d.int(f, kLast, &err)
	d.common(f, ev, &err)
	if err == nil && t.ID == -1 && t.Last == -1 && t.Price.Mantissa == 0 && t.Qty.Mantissa == 0 {
		ev.Kind = VoidAgg
		return nil
	}
	if err == nil {
		err = t.Validate()
	}
	return d.refuse(f, ev, kFirst, err)
}

// common reads what trades and aggregates share.
func (d *Decoder) common(f *fields, ev *Event, err *error) {
	t := &ev.Trade
	t.Price = d.decimal(f, kPrice, err)
	t.Qty = d.decimal(f, kQty, err)
	t.Time = d.time(f, kTime, err)
	ev.EventTime = d.time(f, kETime, err)
	switch f[kMaker].typ {
	case tTrue:
		t.BuyerMaker = true
	case tFalse:
	default:
		setField(err, kMaker, "no boolean")
	}
	if f[kSymbol].typ != tString {
		setField(err, kSymbol, "no string")
		return
	}
	ev.Symbol = d.text(f[kSymbol])
	if e := validSymbol(ev.Symbol); e != nil && *err == nil {
		*err = e
	}
}

// refuse makes a TradeError of err, filled as far as the event allows: even a
// price that does not fit must not hide whose trade it is.
func (d *Decoder) refuse(f *fields, ev *Event, id int, err error) error {
	if err == nil {
		return nil
	}
	e := &TradeError{ID: -1, Err: err}
	if validSymbol(ev.Symbol) == nil {
		e.Symbol = string(ev.Symbol)
	}
	var ignored error
	if v := d.int(f, id, &ignored); ignored == nil && v >= 0 {
		e.ID = v
	}
	return e
}

// The readers of one field keep the first error and go on, so that the rest of
// the event is known when it is reported.

func setField(err *error, key int, what string) {
	if *err == nil {
		*err = fmt.Errorf("%w: %q is %s", ErrField, keyNames[key], what)
	}
}

func (d *Decoder) int(f *fields, key int, err *error) int64 {
	if f[key].typ != tInt {
		setField(err, key, "no integer")
		return -1
	}
	v, ok := parseInt(d.s.b[f[key].from:f[key].to])
	if !ok {
		setField(err, key, "too large")
		return -1
	}
	return v
}

func (d *Decoder) time(f *fields, key int, err *error) schema.Time {
	v := d.int(f, key, err)
	t, ok := ParseTime(v)
	if !ok {
		setField(err, key, "no plausible time")
	}
	return t
}

func (d *Decoder) decimal(f *fields, key int, err *error) schema.Decimal {
	if f[key].typ != tString {
		setField(err, key, "no string")
		return schema.Decimal{}
	}
	v, e := schema.ParseDecimal(d.text(f[key]))
	if e != nil && *err == nil {
		*err = fmt.Errorf("%q: %w", keyNames[key], e)
	}
	return v
}
