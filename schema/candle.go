package schema

import (
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"millrace/schema/schemapb"
)

// ErrCandle reports bytes on `candles` that are no candle of this format.
var ErrCandle = errors.New("not a candle record")

// Candle is what a window publishes. A window without trades has Trades 0,
// First and Last −1 and the previous close as all four prices.
type Candle struct {
	Symbol string
	Period Period
	Start  Time
	Figures
	Status  Status
	Missing int64
	Version Version
	// Received is when the newest of its ticks was received, Committed when the
	// processor committed it; 0 if not known. They are no part of its content.
	Received, Committed Time
}

// Empty gives the figures of a window without trades: price is the last close.
func Empty(price Decimal) Figures {
	return Figures{First: -1, Last: -1, Open: price, High: price, Low: price, Close: price}
}

// VWAP gives quote volume ÷ volume with MaxScale decimals, rounded half to
// even; ok is false without trades.
func (c *Candle) VWAP() (_ Sum, ok bool) { return c.Quote.Quo(c.Volume, MaxScale) }

// AppendCandle writes the value of a record on `candles`.
func AppendCandle(dst []byte, c *Candle) []byte {
	str := func(field protowire.Number, s string) {
		dst = protowire.AppendTag(dst, field, protowire.BytesType)
		dst = protowire.AppendString(dst, s)
	}
	var buf [64]byte
	dec := func(field protowire.Number, d Decimal) {
		dst = protowire.AppendTag(dst, field, protowire.BytesType)
		dst = protowire.AppendBytes(dst, d.Append(buf[:0]))
	}
	sum := func(field protowire.Number, s Sum) {
		dst = protowire.AppendTag(dst, field, protowire.BytesType)
		dst = protowire.AppendBytes(dst, s.Append(buf[:0]))
	}
	num := func(field int, v int64) { dst = appendVarint(dst, field, uint64(v)) }
	str(1, c.Symbol)
	str(2, c.Period.String())
	num(3, c.Start.Millis())
	dec(4, c.Open)
	dec(5, c.High)
	dec(6, c.Low)
	dec(7, c.Close)
	sum(8, c.Volume)
	sum(9, c.Quote)
	num(10, c.Trades)
	sum(11, c.TakerVolume)
	sum(12, c.TakerQuote)
	num(13, c.First)
	num(14, c.Last)
	num(15, int64(c.Status))
	num(16, c.Missing)
	num(17, int64(c.Version))
	num(18, int64(c.Received))
	num(19, int64(c.Committed))
	return dst
}

// DecodeCandle reads the value of a record on `candles`. Errors wrap ErrCandle.
func DecodeCandle(value []byte) (Candle, error) {
	var pb schemapb.Candle
	if err := proto.Unmarshal(value, &pb); err != nil {
		return Candle{}, fmt.Errorf("%w: %w", ErrCandle, err)
	}
	p, err := ParsePeriod(pb.Period)
	if err == nil {
		err = ValidateSymbol(pb.Symbol)
	}
	c := Candle{
		Symbol: pb.Symbol, Period: p, Start: FromMillis(pb.StartMs),
		Status: Status(pb.Status), Missing: pb.Missing, Version: Version(pb.Version),
		Received: Time(pb.Received), Committed: Time(pb.Committed),
	}
	c.Trades, c.First, c.Last = pb.Trades, pb.FirstTradeId, pb.LastTradeId
	for _, f := range []struct {
		text string
		to   *Decimal
	}{{pb.Open, &c.Open}, {pb.High, &c.High}, {pb.Low, &c.Low}, {pb.Close, &c.Close}} {
		if err == nil {
			*f.to, err = ParseDecimal([]byte(f.text))
		}
	}
	for _, f := range []struct {
		text string
		to   *Sum
	}{{pb.Volume, &c.Volume}, {pb.QuoteVolume, &c.Quote}, {pb.TakerBuyVolume, &c.TakerVolume}, {pb.TakerBuyQuoteVolume, &c.TakerQuote}} {
		if err == nil {
			*f.to, err = ParseSum([]byte(f.text))
		}
	}
	if err == nil && (pb.Status < 0 || pb.Status > 3) {
		err = fmt.Errorf("status %d", pb.Status)
	}
	if err == nil {
		err = c.validate()
	}
	if err != nil {
		return Candle{}, fmt.Errorf("%w: %w", ErrCandle, err)
	}
	return c, nil
}

// validate checks that the fields agree with one another, as those of every
// candle do that a window has published.
func (c *Candle) validate() error {
	v := c.Version
	switch {
	// Weeks and windows of 3d can start some days before the epoch.
	case c.Start < -7*Day || c.Start > 1<<53 || c.Period != P3d && Calendar{}.Start(c.Period, c.Start) != c.Start:
		return fmt.Errorf("start %d µs of a window of %v", int64(c.Start), c.Period)
	case v < 0 || v.Status() != c.Status || v.HasTrades() != (c.Trades > 0) || c.Trades > 0 && v.N() != c.Trades:
		return fmt.Errorf("version %d with %d trades and status %v", v, c.Trades, c.Status)
	case c.Trades == 0 && (c.First != -1 || c.Last != -1 || c.Missing != 0):
		return fmt.Errorf("ids %d to %d, %d missing, without trades", c.First, c.Last, c.Missing)
	case c.Trades < 0 || c.Trades > 0 && (c.First < 0 || c.Last > MaxVersionN):
		return fmt.Errorf("ids %d to %d with %d trades", c.First, c.Last, c.Trades)
	case c.Trades > 0 && (c.Missing < 0 || c.Missing > c.Last-c.First+1-c.Trades):
		return fmt.Errorf("%d missing of the ids %d to %d with %d trades", c.Missing, c.First, c.Last, c.Trades)
	case c.Low.Cmp(c.Open) > 0 || c.Low.Cmp(c.Close) > 0 || c.High.Cmp(c.Open) < 0 || c.High.Cmp(c.Close) < 0:
		return fmt.Errorf("open %v high %v low %v close %v", c.Open, c.High, c.Low, c.Close)
	case c.TakerVolume.Cmp(c.Volume) > 0 || c.TakerQuote.Cmp(c.Quote) > 0:
		return fmt.Errorf("taker-buy volume %v of %v, quote %v of %v", c.TakerVolume, c.Volume, c.TakerQuote, c.Quote)
	}
	return nil
}

// AppendJSON writes c as one JSON object whose fields carry the names of the
// SQL columns. Decimals and the version are strings: a version is beyond what
// a double holds exactly.
func (c *Candle) AppendJSON(dst []byte) []byte {
	text := func(name string) {
		dst = append(dst, ',', '"')
		dst = append(dst, name...)
		dst = append(dst, '"', ':', '"')
	}
	dec := func(name string, d Decimal) { text(name); dst = append(d.Append(dst), '"') }
	sum := func(name string, s Sum) { text(name); dst = append(s.Append(dst), '"') }
	num := func(name string, v int64) {
		dst = append(dst, ',', '"')
		dst = append(dst, name...)
		dst = append(dst, '"', ':')
		dst = strconv.AppendInt(dst, v, 10)
	}
	dst = append(dst, `{"symbol":"`...)
	dst = appendEscaped(dst, c.Symbol)
	dst = append(dst, `","period":"`...)
	dst = append(dst, c.Period.String()...)
	dst = append(dst, `","start_time":"`...)
	dst = c.Start.Std().AppendFormat(dst, "2006-01-02T15:04:05.999Z07:00")
	dst = append(dst, '"')
	dec("open", c.Open)
	dec("high", c.High)
	dec("low", c.Low)
	dec("close", c.Close)
	sum("volume", c.Volume)
	sum("quote_volume", c.Quote)
	num("trades", c.Trades)
	sum("taker_buy_volume", c.TakerVolume)
	sum("taker_buy_quote_volume", c.TakerQuote)
	num("first_trade_id", c.First)
	num("last_trade_id", c.Last)
	text("status")
	dst = append(dst, c.Status.String()...)
	dst = append(dst, '"')
	num("missing", c.Missing)
	text("version")
	dst = strconv.AppendInt(dst, int64(c.Version), 10)
	return append(dst, '"', '}')
}

// appendEscaped writes a valid symbol's bytes within a JSON string: only the
// quote and the backslash need care, control characters are refused before.
func appendEscaped(dst []byte, s string) []byte {
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return dst
}
