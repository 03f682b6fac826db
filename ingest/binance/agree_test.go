package binance

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"millrace/schema"
)

// agreeJSON fails unless a Decoder, on both its ways, and the plain way read the
// same in a frame.
// good is false where both refuse it.
func agreeJSON(t testing.TB, d *Decoder, frame []byte) (ev Event, good bool) {
	t.Helper()
	agreeFast(t, frame)
	err := d.Decode(frame, &ev)
	want, slow := slowJSON(frame)
	if !sameClass(err, slow) {
		t.Fatalf("Decode says %v, the plain way %v of %.400q", err, slow, frame)
	}
	if err != nil {
		return ev, false
	}
	got := slowEvent{ev.Kind, string(ev.Stream), string(ev.Symbol), ev.Trade, ev.AggID, ev.EventTime, string(ev.ID), string(ev.Message), ev.Code}
	if got != want {
		t.Fatalf("got  %+v\nwant %+v\nof %.400q", got, want, frame)
	}
	if (ev.Kind == Trade || ev.Kind == AggTrade) && ev.Trade.Validate() != nil {
		t.Fatalf("gave out %+v", ev.Trade)
	}
	return ev, true
}

// sameClass reports whether both errors say the same: all is well, no frame, or
// the same trade that cannot be used.
func sameClass(err, slow error) bool {
	var te *TradeError
	var bad *slowBad
	switch {
	case errors.As(slow, &bad):
		return errors.As(err, &te) && te.Symbol == bad.symbol && te.ID == bad.id
	case slow != nil:
		return errors.Is(err, ErrFrame)
	}
	return err == nil
}

// agreeSBE is agreeJSON for binary frames.
func agreeSBE(t testing.TB, d *SBEDecoder, frame []byte) SBEEvent {
	t.Helper()
	var ev SBEEvent
	err := d.Decode(frame, &ev)
	want, slow := slowSBE(frame)
	if !sameClass(err, slow) {
		t.Fatalf("Decode says %v, the plain way %v of %x", err, slow, frame)
	}
	if ev.Kind != want.kind || string(ev.Symbol) != want.symbol || ev.EventTime != want.event || ev.Bad != want.bad || !slices.Equal(ev.Trades, want.trades) {
		t.Fatalf("got  %+v\nwant %+v\nof %x", ev, want, frame)
	}
	for i := range ev.Trades {
		if err := ev.Trades[i].Validate(); err != nil {
			t.Fatal(err)
		}
	}
	return ev
}

func TestDecodersAgreeOnRecordedFrames(t *testing.T) {
	var d Decoder
	kinds := map[Kind]int{}
	recordedFrames(t, func(frame []byte) {
		ev, good := agreeJSON(t, &d, frame)
		if !good {
			t.Fatalf("refused %.400q", frame)
		}
		kinds[ev.Kind]++
	})
	if kinds[Trade] != 9757+14515 || kinds[AggTrade] != 2 || kinds[Other] < 90000 || len(kinds) != 3 {
		t.Fatalf("kinds %v", kinds)
	}
}

// What a Decoder keeps is as large as one frame makes it, not as all of them.
func TestDecoderKeepsLittle(t *testing.T) {
	var d Decoder
	frame := []byte(strings.Replace(goodTrade, "BNBBTC", strings.Repeat(`\u0042`, 20), 1))
	for range 1000 {
		if _, good := agreeJSON(t, &d, frame); !good {
			t.Fatal("refused")
		}
	}
	if cap(d.scratch) > 2*len(frame) {
		t.Errorf("%d bytes kept after frames of %d", cap(d.scratch), len(frame))
	}
}

// Trades that came as JSON are the same trades when they come as SBE: those of
// one moment in one frame, as the exchange sends them.
func TestSBEAgreesWithRecordedTrades(t *testing.T) {
	var d Decoder
	var s SBEDecoder
	var frame *sbeFrame
	var want []schema.Trade
	frames, trades := 0, 0
	send := func() {
		if len(want) == 0 {
			return
		}
		ev := agreeSBE(t, &s, frame.bytes())
		if !slices.Equal(ev.Trades, want) || string(ev.Symbol) != frame.symbol || ev.EventTime != schema.Time(frame.event) {
			t.Fatalf("%s: got %+v\nwant %+v", ev.Symbol, ev, want)
		}
		frames++
		trades += len(want)
		want = want[:0]
	}
	recordedFrames(t, func(b []byte) {
		var ev Event
		if err := d.Decode(b, &ev); err != nil || ev.Kind != Trade {
			return
		}
		if len(want) > 0 && (frame.symbol != string(ev.Symbol) || want[0].Time != ev.Trade.Time) {
			send()
		}
		if len(want) == 0 {
			frame = &sbeFrame{template: 10000, schema: 1, event: int64(ev.EventTime), transact: int64(ev.Trade.Time), priceExp: -2, qtyExp: -8, symbol: string(ev.Symbol)}
		}
		price, okP := ev.Trade.Price.Rescale(2)
		qty, okQ := ev.Trade.Qty.Rescale(8)
		if !okP || !okQ {
			t.Fatalf("%+v has more decimals than its market", ev.Trade)
		}
		maker := byte(0)
		if ev.Trade.BuyerMaker {
			maker = 1
		}
		frame.rows = append(frame.rows, sbeRow{ev.Trade.ID, price.Mantissa, qty.Mantissa, maker})
		want = append(want, ev.Trade)
	})
	send()
	if trades != 9757+14515 || frames < 1000 || frames == trades {
		t.Errorf("%d trades in %d frames", trades, frames)
	}
}

// answers gives every call the same body, without a network.
type answers []byte

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(a)), Request: r}, nil
}

// readPage reads a body as the client does.
func readPage(t testing.TB, body []byte, agg bool) (*Page, error) {
	t.Helper()
	c, err := NewClient("http://127.0.0.1", "")
	if err != nil {
		t.Fatal(err)
	}
	c.http.Transport = answers(body)
	if agg {
		return c.AggTrades(context.Background(), "AB", 0, MaxPage)
	}
	return c.HistoricalTrades(context.Background(), "AB", 0, MaxPage)
}

func agreePage(t testing.TB, body []byte, agg bool) *Page {
	t.Helper()
	got, err := readPage(t, body, agg)
	want, slow := slowPage(body, agg, "AB")
	if err != nil || slow != nil {
		if err == nil && plainRows(body, agg) {
			t.Fatalf("took what is no page: %+v of %.400q", got, body)
		}
		return nil
	}
	for i := range got.Trades {
		if err := got.Trades[i].Validate(); err != nil {
			t.Fatal(err)
		}
	}
	if !plainRows(body, agg) {
		return nil
	}
	same := slices.EqualFunc(got.Refused, want.Refused, func(a, b *TradeError) bool { return a.ID == b.ID && a.Symbol == b.Symbol && a.Err != nil })
	if !same || !slices.Equal(got.Trades, want.Trades) || got.FirstRow != want.FirstRow || got.LastRow != want.LastRow || got.Voids != want.Voids {
		t.Fatalf("got  %+v\nwant %+v\nof %.400q", got, want, body)
	}
	return got
}

func TestPagesAgreeOnRecordedAnswers(t *testing.T) {
	for path, agg := range map[string]bool{"rest/aggTrades_BTCUSDT_2020-01-02.json": true, "rest/trades_ETHBTC_2023-03-20.json": false} {
		if p := agreePage(t, []byte(recorded(t, path)), agg); p == nil || len(p.Trades) != 1000 {
			t.Errorf("%s: %+v", path, p)
		}
	}
}
