package double

import (
	"encoding/binary"
	"net/http"

	"millrace/schema"
)

// The numbers of the schema spot_stream 1:0 that a TradesStreamEvent has.
const (
	sbeTrades     = 10000 // template
	sbeSchema     = 1
	sbeVersion    = 0
	sbeBlock      = 18 // bytes of the fixed fields
	sbeTradeBlock = 25 // bytes of one trade
)

// appendSBE writes the fills of one order as one TradesStreamEvent, little
// endian:
//
//	0  u16 block length 18 · u16 template 10000 · u16 schema 1 · u16 version 0
//	8  i64 event time µs · i64 trade time µs · i8 price exponent · i8 qty exponent
//	26 u16 block length 25 · u32 trades
//	32 trades: i64 id · i64 price · i64 qty · u8 buyer is maker (is best match is
//	   constant and takes no byte)
//	…  u8 length · symbol
func appendSBE(dst []byte, symbol string, fills []schema.Trade, e schema.Time) []byte {
	price, qty := uint8(0), uint8(0)
	for i := range fills {
		price = max(price, fills[i].Price.Canonical().Scale)
		qty = max(qty, fills[i].Qty.Canonical().Scale)
	}
	le := binary.LittleEndian
	dst = le.AppendUint16(dst, sbeBlock)
	dst = le.AppendUint16(dst, sbeTrades)
	dst = le.AppendUint16(dst, sbeSchema)
	dst = le.AppendUint16(dst, sbeVersion)
	dst = le.AppendUint64(dst, uint64(e))
	dst = le.AppendUint64(dst, uint64(fills[0].Time))
	dst = append(dst, -price, -qty)
	dst = le.AppendUint16(dst, sbeTradeBlock)
	dst = le.AppendUint32(dst, uint32(len(fills)))
	for i := range fills {
		t := &fills[i]
		// Binance's own have at most eight decimals in 64 bits, so these fit.
		p, _ := t.Price.Canonical().Rescale(price)
		q, _ := t.Qty.Canonical().Rescale(qty)
		dst = le.AppendUint64(dst, uint64(t.ID))
		dst = le.AppendUint64(dst, uint64(p.Mantissa))
		dst = le.AppendUint64(dst, uint64(q.Mantissa))
		if t.BuyerMaker {
			dst = append(dst, 1)
		} else {
			dst = append(dst, 0)
		}
	}
	dst = append(dst, uint8(len(symbol)))
	return append(dst, symbol...)
}

// admitted checks the key that SBE streams need, and answers where it is none.
func (d *Double) admitted(w http.ResponseWriter, r *http.Request) bool {
	key := r.Header.Get("X-MBX-APIKEY")
	if key != "" && (d.cfg.APIKey == "" || key == d.cfg.APIKey) {
		return true
	}
	d.tally.refused.Add(1)
	body := `{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}`
	if key == "" {
		body = `{"code":-2014,"msg":"API-key format invalid."}`
	}
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write([]byte(body)) // a client that left has nobody to be told
	return false
}
