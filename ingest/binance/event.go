package binance

import (
	"errors"
	"fmt"

	"millrace/schema"
)

// Kind tells what a frame holds.
type Kind uint8

const (
	// Other is well-formed JSON that is none of the kinds below: events of
	// streams that this package does not read.
	Other Kind = iota
	// Trade is an event of <symbol>@trade.
	Trade
	// AggTrade is an event of <symbol>@aggTrade.
	AggTrade
	// VoidAgg is an aggregate that stands for no trade: price, quantity 0 and
	// ids −1. Binance left such records where duplicates had been.
	VoidAgg
	// Shutdown says that the server will close the connection soon.
	Shutdown
	// Answer is the good answer to a control message; ID is set.
	Answer
	// Refusal is the error answer to a control message; ID, Code and Message
	// are set as far as they came.
	Refusal
)

// Event is what one frame says. Its slices point into the frame or into the
// decoder's memory and hold until the next call of Decode.
type Event struct {
	Kind   Kind
	Stream []byte // the name in the wrapper of combined streams, else empty
	Symbol []byte // as in the payload: upper case
	// Trade is set for Trade and AggTrade.
	Trade schema.Trade
	// AggID is the aggregate's own id, which numbers another series.
	AggID int64
	// EventTime is E, when the server sent the event; 0 if there was none.
	EventTime schema.Time

	ID      []byte // the control answer's id as it stands in the JSON
	Code    int64
	Message []byte
}

var (
	// ErrFrame reports a frame that is not the JSON, or the SBE, it should be.
	ErrFrame = errors.New("not a frame of binance's")
	// ErrField reports a field of an event that is missing or of a wrong type.
	ErrField = errors.New("bad field")
)

// TradeError reports an event that is a trade but cannot be used. Symbol is
// empty and ID −1 where the event did not even tell those.
type TradeError struct {
	Symbol string
	ID     int64
	Err    error
}

func (e *TradeError) Error() string {
	symbol := e.Symbol
	if symbol == "" {
		symbol = "an unknown symbol"
	}
	if e.ID < 0 {
		return fmt.Sprintf("a trade of %s without a usable id: %v", symbol, e.Err)
	}
	return fmt.Sprintf("trade %d of %s: %v", e.ID, symbol, e.Err)
}

func (e *TradeError) Unwrap() error { return e.Err }

// maxSnippet bounds how much of a frame an error shows.
const maxSnippet = 160

// frameError tells what is wrong, where, and shows the text around it.
func frameError(frame []byte, at int, what string) error {
	from := max(0, min(at-maxSnippet/2, len(frame)-maxSnippet))
	to := min(len(frame), from+maxSnippet)
	return fmt.Errorf("%w: %s at byte %d of %d: %.200q", ErrFrame, what, at, len(frame), frame[from:to])
}
