package binance

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"regexp"
	"strings"

	"millrace/schema"
)

// The plain way to read what the decoders read: standard library, one step
// after the other, no thought of speed. The tests and the fuzzing hold the
// decoders against it.

// errSlowFrame is the plain decoders' ErrFrame.
var errSlowFrame = errors.New("no frame")

// slowBad is the plain decoders' TradeError.
type slowBad struct {
	symbol string
	id     int64
}

func (*slowBad) Error() string { return "a trade that cannot be used" }

// slowEvent is what a text frame says.
type slowEvent struct {
	kind           Kind
	stream, symbol string
	trade          schema.Trade
	agg            int64
	event          schema.Time
	id, message    string
	code           int64
}

// object is a JSON object's members. Unlike a struct's, the keys of a map are
// told apart by case.
type object map[string]json.RawMessage

func (o object) has(key string) bool { _, ok := o[key]; return ok }

func (o object) text(key string) (string, bool) {
	var s string
	ok := len(o[key]) > 0 && o[key][0] == '"' && json.Unmarshal(o[key], &s) == nil
	return s, ok
}

var integer = regexp.MustCompile(`^-?[0-9]+$`)

func (o object) int(key string) (int64, bool) {
	if !integer.Match(o[key]) {
		return 0, false
	}
	v, _ := new(big.Int).SetString(string(o[key]), 10)
	if !v.IsInt64() {
		return 0, false
	}
	return v.Int64(), true
}

func (o object) time(key string) (schema.Time, bool) {
	v, ok := o.int(key)
	return slowTime(v, ok)
}

// slowTime takes milliseconds and microseconds.
func slowTime(figure int64, ok bool) (schema.Time, bool) {
	v := big.NewInt(figure)
	if figure < 1e14 {
		v.Mul(v, big.NewInt(1000))
	}
	if !ok || v.Sign() < 0 || v.Cmp(big.NewInt(1<<53)) > 0 {
		return 0, false
	}
	return schema.Time(v.Int64()), true
}

func (o object) decimal(key string) (schema.Decimal, bool) {
	s, ok := o.text(key)
	return slowDecimal(s, ok)
}

var plainDecimal = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)

func slowDecimal(s string, ok bool) (schema.Decimal, bool) {
	if !ok || len(s) > 64 || !plainDecimal.MatchString(s) {
		return schema.Decimal{}, false
	}
	whole, fraction, _ := strings.Cut(s, ".")
	fraction = strings.TrimRight(fraction, "0")
	m, _ := new(big.Int).SetString(whole+fraction, 10)
	if !m.IsInt64() || len(fraction) > 12 {
		return schema.Decimal{}, false
	}
	return schema.Decimal{Mantissa: m.Int64(), Scale: uint8(len(fraction))}, true
}

// slowPlausible says of a trade what schema.Trade.Validate must say.
func slowPlausible(t schema.Trade) bool {
	some := t.Price.Mantissa > 0 && t.Qty.Mantissa > 0 || t.Void && t.Price.Mantissa >= 0 && t.Qty.Mantissa >= 0
	return t.ID >= 0 && t.Last >= t.ID && t.Last <= schema.MaxVersionN && t.Time > 0 && t.Time <= 1<<53 && some
}

func slowJSON(frame []byte) (slowEvent, error) {
	var ev slowEvent
	if !json.Valid(frame) {
		return ev, errSlowFrame
	}
	switch bytes.TrimLeft(frame, " \t\r\n")[0] {
	case '[':
		return ev, nil
	case '{':
	default:
		return ev, errSlowFrame
	}
	var outer object
	if err := json.Unmarshal(frame, &outer); err != nil {
		return ev, errSlowFrame
	}
	ev.stream, _ = outer.text("stream")
	f := outer
	if outer.has("data") {
		f = nil
		_ = json.Unmarshal(outer["data"], &f) // what is no object has no members
	}
	e, _ := f.text("e")
	switch e {
	case "trade", "aggTrade":
		return ev, ev.fill(f, e == "aggTrade")
	case "serverShutdown":
		ev.kind = Shutdown
	}
	ev.event, _ = f.time("E")
	if outer.has("data") || f.has("e") || f.has("stream") {
		return ev, nil
	}
	ev.id = string(f["id"])
	in := f
	if strings.HasPrefix(string(f["error"]), "{") {
		in = nil
		if err := json.Unmarshal(f["error"], &in); err != nil {
			return ev, errSlowFrame
		}
	}
	switch {
	case integer.Match(in["code"]):
		ev.kind = Refusal
		ev.code, _ = in.int("code")
		ev.message, _ = in.text("msg")
	case f.has("error"):
		ev.kind = Refusal
	case f.has("result") && f.has("id"):
		ev.kind = Answer
	}
	return ev, nil
}

func (ev *slowEvent) fill(f object, agg bool) error {
	t := &ev.trade
	var ok [9]bool
	ev.kind = Trade
	first := "t"
	t.ID, ok[0] = f.int("t")
	t.Last, ok[1], ok[2] = t.ID, true, true
	if agg {
		ev.kind, first = AggTrade, "f"
		t.ID, ok[0] = f.int("f")
		t.Last, ok[1] = f.int("l")
		ev.agg, ok[2] = f.int("a")
	} else if class, is := f.text("X"); is && class != "MARKET" {
		t.Void = true
	}
	t.Price, ok[3] = f.decimal("p")
	t.Qty, ok[4] = f.decimal("q")
	t.Time, ok[5] = f.time("T")
	ev.event, ok[6] = f.time("E")
	ok[7] = string(f["m"]) == "true" || string(f["m"]) == "false"
	t.BuyerMaker = string(f["m"]) == "true"
	ev.symbol, _ = f.text("s")
	ok[8] = schema.ValidateSymbol(ev.symbol) == nil
	all := true
	for _, one := range ok {
		all = all && one
	}
	if all && agg && t.ID == -1 && t.Last == -1 && t.Price.Mantissa == 0 && t.Qty.Mantissa == 0 {
		ev.kind = VoidAgg
		return nil
	}
	if all && slowPlausible(*t) {
		return nil
	}
	bad := &slowBad{id: -1}
	if ok[8] {
		bad.symbol = ev.symbol
	}
	if v, ok := f.int(first); ok && v >= 0 {
		bad.id = v
	}
	return bad
}

// slowSBEEvent is what a binary frame says.
type slowSBEEvent struct {
	kind   Kind
	symbol string
	event  schema.Time
	trades []schema.Trade
	bad    int
}

func slowSBE(frame []byte) (slowSBEEvent, error) {
	var ev slowSBEEvent
	r := bytes.NewReader(frame)
	var header struct{ Block, Template, Schema, Version uint16 }
	if binary.Read(r, binary.LittleEndian, &header) != nil || header.Schema != 1 {
		return ev, errSlowFrame
	}
	if header.Template != 10000 {
		return ev, nil
	}
	var block struct {
		Event, Transact    int64
		PriceExp, QuantExp int8
	}
	if !slowBlock(r, int(header.Block), &block) {
		return ev, errSlowFrame
	}
	var group struct {
		Block uint16
		Count uint32
	}
	if binary.Read(r, binary.LittleEndian, &group) != nil {
		return ev, errSlowFrame
	}
	type row struct {
		ID, Price, Qty int64
		Maker          uint8
	}
	var rows []row
	for range group.Count {
		var one row
		if !slowBlock(r, int(group.Block), &one) {
			return ev, errSlowFrame
		}
		rows = append(rows, one)
	}
	n, err := r.ReadByte()
	symbol := make([]byte, n)
	if _, short := io.ReadFull(r, symbol); err != nil || short != nil {
		return ev, errSlowFrame
	}
	ev.kind, ev.symbol = Trade, string(symbol)
	shared := schema.ValidateSymbol(ev.symbol) == nil
	bad := slowBad{symbol: ev.symbol, id: -1}
	if !shared {
		bad.symbol = ""
	}
	shared = shared && slowMicros(block.Event) && slowMicros(block.Transact)
	if shared {
		ev.event = schema.Time(block.Event)
	}
	for _, one := range rows {
		t := schema.Trade{ID: one.ID, Last: one.ID, Time: schema.Time(block.Transact), BuyerMaker: one.Maker == 1}
		var okP, okQ bool
		t.Price, okP = slowScaled(one.Price, block.PriceExp)
		t.Qty, okQ = slowScaled(one.Qty, block.QuantExp)
		if shared && okP && okQ && one.Maker < 2 && slowPlausible(t) {
			ev.trades = append(ev.trades, t)
			continue
		}
		if ev.bad++; ev.bad == 1 && one.ID >= 0 {
			bad.id = one.ID
		}
	}
	if !shared || ev.bad > 0 {
		return ev, &bad
	}
	return ev, nil
}

// slowBlock reads a block of n bytes into v, and passes over what v has no
// field for. v is too large where the block is too small.
func slowBlock(r io.Reader, n int, v any) bool {
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return err == nil && binary.Read(bytes.NewReader(b), binary.LittleEndian, v) == nil
}

func slowMicros(v int64) bool { return v >= 1e14 && v <= 1<<53 }

// slowScaled finds the least scale that writes m × 10^exp in whole units.
func slowScaled(m int64, exp int8) (schema.Decimal, bool) {
	ten := big.NewRat(10, 1)
	v := new(big.Rat).SetInt64(m)
	for range exp {
		v.Mul(v, ten)
	}
	for range -int(exp) {
		v.Quo(v, ten)
	}
	for scale := range uint8(13) {
		if v.IsInt() {
			return schema.Decimal{Mantissa: v.Num().Int64(), Scale: scale}, m > 0 && v.Num().IsInt64()
		}
		v.Mul(v, ten)
	}
	return schema.Decimal{}, false
}

// slowPage reads a REST answer of trades or of aggregates; what stands behind it
// is not its matter.
func slowPage(body []byte, agg bool, symbol string) (*Page, error) {
	var rows []object
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&rows); err != nil {
		return nil, errSlowFrame
	}
	p := &Page{FirstRow: -1, LastRow: -1}
	for _, o := range rows {
		t := schema.Trade{}
		names := [...]string{"id", "price", "qty", "time", "isBuyerMaker"}
		if agg {
			names = [...]string{"a", "p", "q", "T", "m"}
		}
		id, ok := o.int(names[0])
		t.ID, t.Last = id, id
		if agg {
			var okF, okL bool
			t.ID, okF = o.int("f")
			t.Last, okL = o.int("l")
			ok = ok && okF && okL
		}
		t.BuyerMaker = string(o[names[4]]) == "true"
		if !ok || !t.BuyerMaker && string(o[names[4]]) != "false" {
			return nil, errSlowFrame
		}
		if p.LastRow = id; p.FirstRow < 0 {
			p.FirstRow = id
		}
		if agg && t.ID == -1 && t.Last == -1 {
			p.Voids++
			continue
		}
		var okP, okQ, okT bool
		t.Price, okP = o.decimal(names[1])
		t.Qty, okQ = o.decimal(names[2])
		t.Time, okT = o.time(names[3])
		if !okP || !okQ || !okT || !slowPlausible(t) {
			p.Refused = append(p.Refused, &TradeError{Symbol: symbol, ID: t.ID})
			continue
		}
		p.Trades = append(p.Trades, t)
	}
	return p, nil
}
