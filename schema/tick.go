package schema

import (
	"cmp"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"millrace/schema/schemapb"
)

// ErrTick reports bytes on `ticks` that are no record of this format.
var ErrTick = errors.New("not a tick record")

// Kind tells what a record on `ticks` is. Its number is the field's number in
// the .proto.
type Kind uint8

const (
	KindTrades Kind = iota + 1
	KindMark
	KindSettings
	KindAnchor
	KindWatch
	KindSeal
	KindNewSeries
	KindRepair
)

// Tick is one decoded record of `ticks`. Kind says which field is set.
type Tick struct {
	Kind      Kind
	Batch     Batch
	Mark      Mark
	Settings  Settings
	Anchor    Anchor
	Watch     Watch
	Seal      Seal
	NewSeries NewSeries
	Repair    Repair
}

// Mark promises: every tick of Ingestor for this partition with a trade time at
// or before W is before this record, but for those of the Excepted symbols.
type Mark struct {
	Ingestor string
	W        Time
	Excepted []string
}

// Anchor is the trade just before the boundary from which a symbol's history
// was fetched. Price is known if HasPrice.
type Anchor struct {
	Symbol   string
	ID       int64
	Time     Time
	Price    Decimal
	HasPrice bool
}

// TradingStatus is the exchange's status of a symbol.
type TradingStatus = schemapb.TradingStatus

// Watch tells that an ingestor sees every trade of a symbol from From on (or,
// with On false, that it no longer does), and the symbol's trading status.
type Watch struct {
	Symbol   string
	Ingestor string
	On       bool
	From     Time
	Status   TradingStatus
}

// Seal makes a symbol's windows that end at or before Before unchangeable.
type Seal struct {
	Symbol string
	Before Time
}

// NewSeries begins a symbol's trade ids anew, in a higher era.
type NewSeries struct {
	Symbol string
	Era    uint8
}

// Repair makes a symbol's windows in [From, To) anew, in a higher era, of the
// trades First to Last that follow.
type Repair struct {
	Symbol   string
	Era      uint8
	From, To Time
	// First is the id of a trade before From, or 0; Last that of one at or behind
	// To.
	First, Last int64
}

// Decode reads the value of a record on `ticks` into t, reusing t.Batch's
// memory. t.Batch.Symbol points into value. After an error t holds nothing of
// use. Errors wrap ErrTick.
func (t *Tick) Decode(value []byte) error {
	if len(value) == 0 {
		return fmt.Errorf("%w: empty", ErrTick)
	}
	tag, n := number(value, 0)
	num := tag >> 3
	if n >= len(value) || tag&7 != 2 || num < 1 || num > uint64(KindRepair) {
		return fmt.Errorf("%w: unknown body (field %d)", ErrTick, num)
	}
	size, n := number(value, n)
	if n > len(value) || size != uint64(len(value)-n) {
		return fmt.Errorf("%w: cut short or followed by something", ErrTick)
	}
	t.Kind = Kind(num)
	if t.Kind == KindTrades {
		return t.Batch.decode(value[n:])
	}
	return t.decodeControl(value)
}

func (t *Tick) decodeControl(value []byte) error {
	var pb schemapb.Tick
	if err := proto.Unmarshal(value, &pb); err != nil {
		return fmt.Errorf("%w: %w", ErrTick, err)
	}
	var err error
	switch b := pb.Body.(type) {
	case *schemapb.Tick_Mark:
		t.Mark = Mark{b.Mark.Ingestor, Time(b.Mark.W), b.Mark.Excepted}
		err = cmp.Or(checkIngestor(t.Mark.Ingestor), checkTime(t.Mark.W))
		for _, s := range t.Mark.Excepted {
			err = cmp.Or(err, ValidateSymbol(s))
		}
	case *schemapb.Tick_Settings:
		err = t.Settings.fromProto(b.Settings)
	case *schemapb.Tick_Anchor:
		a := b.Anchor
		t.Anchor = Anchor{a.Symbol, a.Id, Time(a.Time), Decimal{a.Price, uint8(a.PriceScale)}, a.HasPrice}
		if !a.HasPrice {
			t.Anchor.Price = Decimal{}
		}
		err = cmp.Or(checkAnchor(a), checkTime(t.Anchor.Time), ValidateSymbol(a.Symbol))
	case *schemapb.Tick_Watch:
		w := b.Watch
		t.Watch = Watch{w.Symbol, w.Ingestor, w.On, Time(w.From), w.Status}
		err = cmp.Or(checkIngestor(w.Ingestor), checkTime(t.Watch.From), ValidateSymbol(w.Symbol))
	case *schemapb.Tick_Seal:
		t.Seal = Seal{b.Seal.Symbol, Time(b.Seal.Before)}
		err = cmp.Or(checkTime(t.Seal.Before), ValidateSymbol(t.Seal.Symbol))
	case *schemapb.Tick_NewSeries:
		t.NewSeries = NewSeries{b.NewSeries.Symbol, uint8(b.NewSeries.Era)}
		err = cmp.Or(checkEra(b.NewSeries.Era), ValidateSymbol(t.NewSeries.Symbol))
	case *schemapb.Tick_Repair:
		r := b.Repair
		t.Repair = Repair{r.Symbol, uint8(r.Era), Time(r.From), Time(r.To), r.FirstId, r.LastId}
		err = cmp.Or(checkEra(r.Era), checkRepair(&t.Repair), checkTime(t.Repair.From), checkTime(t.Repair.To), ValidateSymbol(r.Symbol))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTick, err)
	}
	return nil
}

func checkIngestor(id string) error {
	if id == "" || len(id) > MaxSymbol {
		return fmt.Errorf("ingestor id of %d bytes", len(id))
	}
	return nil
}

func checkAnchor(a *schemapb.Anchor) error {
	if a.Id < -1 || a.Id > MaxVersionN || a.HasPrice && (a.PriceScale > MaxScale || a.Price <= 0) {
		return fmt.Errorf("anchor %d of %q is out of bounds", a.Id, a.Symbol)
	}
	return nil
}

func checkRepair(r *Repair) error {
	if r.From >= r.To || r.First < 0 || r.Last < r.First || r.Last > MaxVersionN {
		return fmt.Errorf("repair of %q from %v to %v of the ids %d to %d", r.Symbol, r.From, r.To, r.First, r.Last)
	}
	return nil
}

func checkTime(t Time) error {
	if !t.plausible() {
		return fmt.Errorf("time %d µs", int64(t))
	}
	return nil
}

func checkEra(era uint32) error {
	if era > MaxEra {
		return fmt.Errorf("era %d, the last is %d", era, MaxEra)
	}
	return nil
}

// AppendControl writes any record but a trade batch (those have
// AppendTrades): body is a Mark, Settings, Anchor, Watch, Seal, NewSeries or
// Repair.
func AppendControl(dst []byte, body any) ([]byte, error) {
	var pb schemapb.Tick
	switch b := body.(type) {
	case Mark:
		pb.Body = &schemapb.Tick_Mark{Mark: &schemapb.Mark{Ingestor: b.Ingestor, W: int64(b.W), Excepted: b.Excepted}}
	case Settings:
		pb.Body = &schemapb.Tick_Settings{Settings: b.toProto()}
	case Anchor:
		pb.Body = &schemapb.Tick_Anchor{Anchor: &schemapb.Anchor{Symbol: b.Symbol, Id: b.ID, Time: int64(b.Time),
			HasPrice: b.HasPrice, Price: b.Price.Mantissa, PriceScale: uint32(b.Price.Scale)}}
	case Watch:
		pb.Body = &schemapb.Tick_Watch{Watch: &schemapb.Watch{Symbol: b.Symbol, Ingestor: b.Ingestor, On: b.On, From: int64(b.From), Status: b.Status}}
	case Seal:
		pb.Body = &schemapb.Tick_Seal{Seal: &schemapb.Seal{Symbol: b.Symbol, Before: int64(b.Before)}}
	case NewSeries:
		pb.Body = &schemapb.Tick_NewSeries{NewSeries: &schemapb.NewSeries{Symbol: b.Symbol, Era: uint32(b.Era)}}
	case Repair:
		pb.Body = &schemapb.Tick_Repair{Repair: &schemapb.Repair{Symbol: b.Symbol, Era: uint32(b.Era), From: int64(b.From), To: int64(b.To), FirstId: b.First, LastId: b.Last}}
	default:
		return dst, fmt.Errorf("%w: cannot write a %T", ErrTick, body)
	}
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, &pb)
}
