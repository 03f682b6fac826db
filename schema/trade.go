package schema

import (
	"errors"
	"fmt"
)

// Trade is one tick of a symbol: a single trade, or an aggregate that stands
// for the trades ID to Last at one price.
type Trade struct {
	ID   int64 // first trade id, from 0
	Last int64 // last trade id; equal to ID for a single trade
	Time Time  // trade time T, not the event time
	// Price is in the quote asset for one unit of the base asset, Qty in the
	// base asset. Both are positive.
	Price, Qty Decimal
	BuyerMaker bool // Binance's m: true if the taker sold
	// Void marks an id that the exchange used for no market trade (USD-M's
	// insurance fund). It takes up its id and counts in no figure.
	Void bool
}

// Count gives the number of trades that t stands for.
func (t *Trade) Count() int64 { return t.Last - t.ID + 1 }

// ErrTrade reports a trade whose fields contradict what a trade is.
var ErrTrade = errors.New("not a valid trade")

// Validate checks what no later step checks again: ids that fit a Version,
// a time that is a plausible one, positive price and quantity (those of a void
// id may be 0).
func (t *Trade) Validate() error {
	minMantissa := int64(1)
	if t.Void {
		minMantissa = 0
	}
	switch {
	case t.ID < 0 || t.Last < t.ID || t.Last > MaxVersionN:
		return fmt.Errorf("%w: ids %d to %d", ErrTrade, t.ID, t.Last)
	case t.Time <= 0 || t.Time > 1<<53:
		return fmt.Errorf("%w: time %d µs of trade %d", ErrTrade, int64(t.Time), t.ID)
	case t.Price.Mantissa < minMantissa || t.Price.Scale > MaxScale:
		return fmt.Errorf("%w: price %d × 10^-%d of trade %d", ErrTrade, t.Price.Mantissa, t.Price.Scale, t.ID)
	case t.Qty.Mantissa < minMantissa || t.Qty.Scale > MaxScale:
		return fmt.Errorf("%w: quantity %d × 10^-%d of trade %d", ErrTrade, t.Qty.Mantissa, t.Qty.Scale, t.ID)
	}
	return nil
}
