package double

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"millrace/schema"
)

// appendEvent writes an event as JSON, in the order of keys that Binance has.
func appendEvent(dst []byte, e *event, combined, micros bool) []byte {
	kind := "trade"
	if e.aggregate {
		kind = "aggTrade"
	}
	if combined {
		dst = append(dst, `{"stream":"`...)
		dst = appendText(dst, strings.ToLower(e.symbol))
		dst = append(dst, '@')
		dst = append(dst, kind...)
		dst = append(dst, `","data":`...)
	}
	t := &e.trade
	dst = append(dst, `{"e":"`...)
	dst = append(dst, kind...)
	dst = append(dst, `","E":`...)
	dst = appendTime(dst, e.e, micros)
	dst = append(dst, `,"s":"`...)
	dst = appendText(dst, e.symbol)
	if e.aggregate {
		dst = append(dst, `","a":`...)
		dst = strconv.AppendInt(dst, e.aggID, 10)
	} else {
		dst = append(dst, `","t":`...)
		dst = strconv.AppendInt(dst, t.ID, 10)
	}
	dst = append(dst, `,"p":"`...)
	dst = appendDecimal(dst, t.Price)
	dst = append(dst, `","q":"`...)
	dst = appendDecimal(dst, t.Qty)
	if e.aggregate {
		dst = append(dst, `","f":`...)
		dst = strconv.AppendInt(dst, t.ID, 10)
		dst = append(dst, `,"l":`...)
		dst = strconv.AppendInt(dst, t.Last, 10)
		dst = append(dst, `,"T":`...)
	} else {
		dst = append(dst, `","T":`...)
	}
	dst = appendTime(dst, t.Time, micros)
	dst = append(dst, `,"m":`...)
	dst = strconv.AppendBool(dst, t.BuyerMaker)
	dst = append(dst, `,"M":true}`...)
	if combined {
		dst = append(dst, '}')
	}
	return dst
}

func appendTime(dst []byte, t schema.Time, micros bool) []byte {
	if micros {
		return strconv.AppendInt(dst, int64(t), 10)
	}
	return strconv.AppendInt(dst, t.Millis(), 10)
}

// appendDecimal pads to 8 decimals, as Binance does.
func appendDecimal(dst []byte, d schema.Decimal) []byte {
	p, ok := d.Rescale(8)
	if !ok {
		return d.Append(dst)
	}
	var buf [24]byte
	i := len(buf)
	for n, m := 0, p.Mantissa; n < 9 || m > 0; n++ {
		if n == 8 {
			i--
			buf[i] = '.'
		}
		i--
		buf[i] = byte('0' + m%10)
		m /= 10
	}
	return append(dst, buf[i:]...)
}

// appendText writes a symbol within a JSON string; symbols hold no control
// characters.
func appendText(dst []byte, s string) []byte {
	for _, r := range s {
		if r == '"' || r == '\\' {
			dst = append(dst, '\\')
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}
