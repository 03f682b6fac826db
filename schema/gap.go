package schema

import (
	"cmp"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"millrace/schema/schemapb"
)

// ErrGapSet reports bytes on `gaps` that are no gap set of this format.
var ErrGapSet = errors.New("not a gap set record")

// Gap is a stretch of trade ids, First to Last, that is known to be missing, or
// was until Filled (0 while it is open). After and Before are the times of the
// trades on either side. All times come from the log.
type Gap struct {
	First, Last   int64
	After, Before Time
	Found, Filled Time
	Reason        string
}

// Why a gap is one.
const (
	GapHole   = "hole"   // ids on both sides came, these did not
	GapSealed = "sealed" // nobody needs to look for them any more: they would be refused
)

// GapSet is all of a symbol's gaps. Of two sets the newer is the one with the
// higher Applied (how many ids the symbol has applied), then the higher Opened
// (it rises with every other change). Era is the one in which the id series
// began, Granted the highest that the symbol has, Repaired that of the newest
// repair that is complete. Sealed is the time before which no trade is taken any
// more, 0 if there is none; Changed the offset of the record that changed any of
// this last.
type GapSet struct {
	Symbol          string
	Applied, Opened int64
	Gaps            []Gap

	Era, Granted, Repaired uint8
	Sealed                 Time
	Changed                int64
}

// AppendGapSet writes the value of a record on `gaps`.
func AppendGapSet(dst []byte, g *GapSet) ([]byte, error) {
	pb := &schemapb.GapSet{Symbol: g.Symbol, Applied: g.Applied, Opened: g.Opened, Era: uint32(g.Era), Granted: uint32(g.Granted), Repaired: uint32(g.Repaired), Sealed: int64(g.Sealed), Changed: g.Changed}
	for _, x := range g.Gaps {
		pb.Gaps = append(pb.Gaps, &schemapb.Gap{FirstMissingId: x.First, LastMissingId: x.Last, AfterTime: int64(x.After),
			BeforeTime: int64(x.Before), FoundAt: int64(x.Found), FilledAt: int64(x.Filled), Reason: x.Reason})
	}
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, pb)
}

// DecodeGapSet reads the value of a record on `gaps`. Errors wrap ErrGapSet.
func DecodeGapSet(value []byte) (GapSet, error) {
	var pb schemapb.GapSet
	if err := proto.Unmarshal(value, &pb); err != nil {
		return GapSet{}, fmt.Errorf("%w: %w", ErrGapSet, err)
	}
	if err := ValidateSymbol(pb.Symbol); err != nil {
		return GapSet{}, fmt.Errorf("%w: %w", ErrGapSet, err)
	}
	if pb.Applied < 0 || pb.Opened < 0 || pb.Changed < 0 {
		return GapSet{}, fmt.Errorf("%w: %s has applied %d ids and opened %d gaps", ErrGapSet, pb.Symbol, pb.Applied, pb.Opened)
	}
	if err := cmp.Or(checkEra(pb.Era), checkEra(pb.Granted), checkEra(pb.Repaired), checkTime(Time(pb.Sealed))); err != nil {
		return GapSet{}, fmt.Errorf("%w: %s: %w", ErrGapSet, pb.Symbol, err)
	}
	g := GapSet{Symbol: pb.Symbol, Applied: pb.Applied, Opened: pb.Opened, Era: uint8(pb.Era), Granted: uint8(pb.Granted), Repaired: uint8(pb.Repaired), Sealed: Time(pb.Sealed), Changed: pb.Changed}
	for _, x := range pb.Gaps {
		if x.FirstMissingId < 0 || x.LastMissingId < x.FirstMissingId || x.LastMissingId > MaxVersionN {
			return GapSet{}, fmt.Errorf("%w: %s lacks ids %d to %d", ErrGapSet, pb.Symbol, x.FirstMissingId, x.LastMissingId)
		}
		for _, t := range [...]int64{x.AfterTime, x.BeforeTime, x.FoundAt, x.FilledAt} {
			if !Time(t).plausible() {
				return GapSet{}, fmt.Errorf("%w: time %d of %s", ErrGapSet, t, pb.Symbol)
			}
		}
		g.Gaps = append(g.Gaps, Gap{x.FirstMissingId, x.LastMissingId, Time(x.AfterTime), Time(x.BeforeTime), Time(x.FoundAt), Time(x.FilledAt), x.Reason})
	}
	return g, nil
}
