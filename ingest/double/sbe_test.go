package double

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"millrace/schema"
)

// readSBE reads a TradesStreamEvent by the offsets of the schema.
func readSBE(t testing.TB, b []byte) (symbol string, e schema.Time, trades []schema.Trade) {
	t.Helper()
	le := binary.LittleEndian
	if len(b) < 33 || le.Uint16(b) != 18 || le.Uint16(b[2:]) != 10000 || le.Uint16(b[4:]) != 1 || le.Uint16(b[6:]) != 0 || le.Uint16(b[26:]) != 25 {
		t.Fatalf("not an event of trades: %x", b)
	}
	at := schema.Time(le.Uint64(b[16:]))
	n := int(le.Uint32(b[28:]))
	for i := range n {
		r := b[32+25*i:]
		trades = append(trades, schema.Trade{
			ID: int64(le.Uint64(r)), Last: int64(le.Uint64(r)), Time: at,
			Price:      schema.Decimal{Mantissa: int64(le.Uint64(r[8:])), Scale: uint8(-int8(b[24]))},
			Qty:        schema.Decimal{Mantissa: int64(le.Uint64(r[16:])), Scale: uint8(-int8(b[25]))},
			BuyerMaker: r[24] == 1,
		})
	}
	rest := b[32+25*n:]
	if len(rest) != 1+int(rest[0]) {
		t.Fatalf("%d bytes of a symbol: %x", len(rest), b)
	}
	return string(rest[1:]), schema.Time(le.Uint64(b[8:])), trades
}

func TestSBEGolden(t *testing.T) {
	fills := []schema.Trade{
		{ID: 7, Last: 7, Time: 1735689600010866, Price: schema.Decimal{Mantissa: 6183763, Scale: 2}, Qty: schema.Decimal{Mantissa: 500, Scale: 3}, BuyerMaker: true},
		{ID: 8, Last: 8, Time: 1735689600010866, Price: schema.Decimal{Mantissa: 6183763, Scale: 2}, Qty: schema.Decimal{Mantissa: 25, Scale: 2}, BuyerMaker: true},
	}
	got := hex.EncodeToString(appendSBE(nil, "BTCUSDT", fills, 1735689600012000))
	const want = "1200102701000000" + "e08e0cba992a0600" + "728a0cba992a0600" + "fefe" + "190002000000" +
		"0700000000000000" + "535b5e0000000000" + "3200000000000000" + "01" +
		"0800000000000000" + "535b5e0000000000" + "1900000000000000" + "01" +
		"0742544355534454"
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func dialSBE(t testing.TB, d *Double, path, key string) (*websocket.Conn, *http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ws, resp, err := websocket.Dial(ctx, d.SBE()+path, &websocket.DialOptions{HTTPHeader: http.Header{"X-Mbx-Apikey": {key}}})
	if err == nil {
		t.Cleanup(func() { _ = ws.CloseNow() })
	}
	return ws, resp, err
}

func TestSBENeedsAKey(t *testing.T) {
	cfg := quiet(false)
	cfg.APIKey = "the key"
	d := start(t, cfg)
	for key, code := range map[string]string{"": `{"code":-2014,`, "another": `{"code":-2015,`} {
		_, resp, err := dialSBE(t, d, "/ws/btcusdt@trade", key)
		if err == nil || resp.StatusCode != http.StatusUnauthorized {
			t.Fatalf("%q: %v", key, err)
		}
		if body, _ := io.ReadAll(resp.Body); !strings.HasPrefix(string(body), code) {
			t.Errorf("%q: %s", key, body)
		}
	}
	if _, _, err := dialSBE(t, d, "/ws", "the key"); err != nil {
		t.Error(err)
	}
}

// What comes by SBE is every trade, each once, the fills of an order together.
func TestSBEOfBothMarkets(t *testing.T) {
	for name, cfg := range map[string]Config{
		"synthetic": {Synthetic: Synthetic{Seed: 4, Symbols: 2, Rate: 15_000}, WaitFor: []string{"BTCUSDT"}},
		"recorded":  {Files: []string{btc}},
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, cfg)
			ws, _, err := dialSBE(t, d, "/stream?streams=btcusdt@trade/btcusdt@aggTrade", "any")
			if err != nil {
				t.Fatal(err)
			}
			ws.SetReadLimit(1 << 20)
			if err := ws.Write(t.Context(), websocket.MessageText, []byte(`{"method":"LIST_SUBSCRIPTIONS","id":3}`)); err != nil {
				t.Fatal(err)
			}
			var all []schema.Trade
			answered, together := false, 0
			for len(all) < 5000 || !answered {
				kind, b, err := ws.Read(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if kind == websocket.MessageText {
					answered = bytes.Equal(b, []byte(`{"result":["btcusdt@trade","btcusdt@aggTrade"],"id":3}`))
					continue
				}
				symbol, e, trades := readSBE(t, b)
				if symbol != "BTCUSDT" || e < trades[0].Time || e > trades[0].Time+schema.Second || len(all) > 0 && trades[0].ID != all[len(all)-1].ID+1 {
					t.Fatalf("%s at %v: %+v", symbol, e, trades)
				}
				if len(trades) > 1 {
					together++
				}
				all = append(all, trades...)
			}
			truth := trim(d.Truth("BTCUSDT", all[0].Time, all[len(all)-1].Time+1), all[0].ID, all[len(all)-1].ID)
			same(t, "by SBE", all, truth)
			if together < 100 {
				t.Errorf("only %d events have several trades", together)
			}
		})
	}
}

func TestSBEShutdownIsText(t *testing.T) {
	d := start(t, faulty(Fault{Kind: faultShutdown, At: 50 * time.Millisecond, Delay: time.Minute}))
	ws, _, err := dialSBE(t, d, "/stream?streams=btcusdt@trade", "any")
	if err != nil {
		t.Fatal(err)
	}
	for {
		kind, b, err := ws.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if kind == websocket.MessageText {
			if !strings.HasPrefix(string(b), `{"e":"serverShutdown","E":`) {
				t.Errorf("%s", b)
			}
			return
		}
	}
}
