package binance

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// agreeFast fails where fast takes a frame that the scanner refuses or reads
// otherwise, and reports whether it took it.
func agreeFast(t testing.TB, frame []byte) bool {
	t.Helper()
	var got, want Event
	if !fast(frame, &got) {
		return false
	}
	var d Decoder
	if err := d.general(frame, &want); err != nil {
		t.Fatalf("fast took %+v, the scanner says %v of %.400q", got, err, frame)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("fast %+v\nthe scanner %+v\nof %.400q", got, want, frame)
	}
	if cap(got.Stream) != len(got.Stream) || cap(got.Symbol) != len(got.Symbol) {
		t.Fatal("who appends to a name writes into the frame")
	}
	return true
}

const (
	newTrade = `{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}`
	oldTrade = `{"stream":"btcusdt@trade","data":{"e":"trade","E":1633998523963,"s":"BTCUSDT","t":1084752341,"p":"56893.10","q":"0.00017000","b":7768316482,"a":7768316496,"T":1633998523962,"m":false,"M":true}}`
	newAgg   = `{"stream":"pepeusdt@aggTrade","data":{"e":"aggTrade","E":1735689600123456,"s":"PEPEUSDT","a":77,"p":"0.00002013","q":"23567890123.00","f":100,"l":105,"T":1735689600123000,"m":true,"M":true}}`
)

func TestFastTakesWhatIsSent(t *testing.T) {
	var d Decoder
	n := 0
	recordedFrames(t, func(frame []byte) {
		var ev Event
		if err := d.general(frame, &ev); err != nil {
			t.Fatal(err)
		}
		if taken := agreeFast(t, frame); taken != (ev.Kind == Trade || ev.Kind == AggTrade) {
			t.Fatalf("taken %v: %.400q", taken, frame)
		} else if taken {
			n++
		}
	})
	if n != 9757+14515+2 {
		t.Errorf("%d of the recorded trades were taken", n)
	}
}

// The forms that are taken, and what lies next to them and is not.
func TestFastForms(t *testing.T) {
	for _, c := range []struct {
		frame, from, to string
		taken           bool
	}{
		{newTrade, "", "", true},
		{oldTrade, "", "", true},
		{newAgg, "", "", true},
		{goodTrade, "", "", true},
		{newTrade, `,"M":true`, ``, true},
		{newTrade, `,"M":true`, `,"M":false`, true},
		{newTrade, `btcusdt@trade`, ``, true},
		{newTrade, `3735683259`, `0`, true},
		{newTrade, `3735683259`, `12345678`, true},
		{newTrade, `3735683259`, `123456789`, true},
		{newTrade, `3735683259`, `9007199254740992`, true},
		{newTrade, `1723161255342`, `1723161255342000`, true},
		{newTrade, `61837.63000000`, `61837`, true},
		{newTrade, `61837.63000000`, `0061837.5`, true},
		{newTrade, `61837.63000000`, `90000000000.00000001`, true},
		{newTrade, `61837.63000000`, `100000000`, true},
		{newTrade, `BTCUSDT`, strings.Repeat("B", 64), true},

		{newTrade, `BTCUSDT`, strings.Repeat("B", 65), false},
		{newTrade, `BTCUSDT`, ``, false},
		{newTrade, `BTCUSDT`, `BTC|USDT`, false},
		{newTrade, `BTCUSDT`, `BTC USDT`, false},
		{newTrade, `BTCUSDT`, "BTC\x7fUSDT", false},
		{newTrade, `BTCUSDT`, "BTC\tUSDT", false},
		{newTrade, `BTCUSDT`, `BTCUSD\u0054`, false},
		{newTrade, `BTCUSDT`, `这是测试币456`, false},
		{newTrade, `3735683259`, `03`, false},
		{newTrade, `3735683259`, `-3`, false},
		{newTrade, `3735683259`, ``, false},
		{newTrade, `3735683259`, `3.0`, false},
		{newTrade, `3735683259`, `12345678901234567`, false},
		{newTrade, `1723161255342`, `9007199254740993`, false},
		{newTrade, `1723161255343`, `9007199254740993`, false},
		{newTrade, `1723161255342`, `0`, false},
		{newTrade, `61837.63000000`, `0.00000000`, false},
		{newTrade, `61837.63000000`, `61837.`, false},
		{newTrade, `61837.63000000`, `.63`, false},
		{newTrade, `61837.63000000`, `1.2.3`, false},
		{newTrade, `61837.63000000`, `0.000000001`, false},
		{newTrade, `61837.63000000`, `90000000001.00000000`, false},
		{newTrade, `61837.63000000`, `12345678901234567.5`, false},
		{newTrade, `"m":true`, `"m":null`, false},
		{newTrade, `"M":true`, `"M":null`, false},
		{newTrade, `"M":true`, `"M":true,"X":"INSURANCE_FUND"`, false},
		{newTrade, `"M":true`, `"M":true,"t":5`, false},
		{newTrade, `"e":"trade"`, `"e":"aggTrade"`, false},
		{newTrade, `,"t":`, `, "t":`, false},
		{newTrade, `}}`, `}`, false},
		{newTrade, `}}`, `}}}`, false},
		{newTrade, `}}`, `}} `, false},
		{newAgg, `"f":100,"l":105`, `"f":-1,"l":-1`, false},
		{newAgg, `"f":100,"l":105`, `"f":105,"l":100`, false},
		{newAgg, `"f":100,"l":105`, `"l":105,"f":100`, false},
		{goodTrade, `"M":true}`, `"M":true}}`, false},
	} {
		frame := strings.Replace(c.frame, c.from, c.to, 1)
		if c.from != "" && frame == c.frame {
			t.Fatalf("%s is not there", c.from)
		}
		if agreeFast(t, []byte(frame)) != c.taken {
			t.Errorf("taken %v: %s", !c.taken, frame)
		}
		var d Decoder
		agreeJSON(t, &d, []byte(frame))
	}
}

// Each byte exchanged for each other, left out, doubled, and each beginning.
func TestFastAgreesAByteAside(t *testing.T) {
	for _, whole := range []string{newTrade, oldTrade, newAgg, goodTrade} {
		taken := 0
		count := func(frame []byte) {
			if agreeFast(t, frame) {
				taken++
			}
		}
		for i := range len(whole) {
			frame := []byte(whole)
			for c := range 256 {
				frame[i] = byte(c)
				count(frame)
			}
			count([]byte(whole[:i] + whole[i+1:]))
			count([]byte(whole[:i] + whole[i:i+1] + whole[i:]))
			if agreeFast(t, []byte(whole[:i])) {
				t.Errorf("took the first %d bytes of %s", i, whole)
			}
		}
		if taken < 1000 {
			t.Errorf("%d of the frames like %s were taken", taken, whole)
		}
	}
}

// The layout that is sent, with numbers of any length and odd values.
func TestFastAgreesOnOddValues(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	digits := func(upTo int) string {
		b := make([]byte, r.IntN(upTo+1))
		for i := range b {
			b[i] = "0000123456789999"[r.IntN(16)]
		}
		return string(b)
	}
	value := func(right string) string {
		switch r.IntN(12) {
		case 0:
			return oddValues[r.IntN(len(oddValues))]
		case 1:
			return digits(20)
		}
		return right
	}
	decimal := func() string {
		s := digits(12)
		if r.IntN(4) > 0 {
			s += "." + digits(9)
		}
		return value(`"` + s + `"`)
	}
	symbol := func() string {
		b := []byte("BTCUSDT" + strings.Repeat("X", r.IntN(20)))
		if r.IntN(3) == 0 {
			b[r.IntN(len(b))] = byte(' ' + r.IntN(0x60))
		}
		return value(`"` + string(b) + `"`)
	}
	var d Decoder
	taken, left := 0, 0
	for range 20_000 {
		var b bytes.Buffer
		b.WriteString(`{"stream":"btcusdt@trade","data":`[:33*r.IntN(2)])
		wrapped := b.Len() > 0
		agg := r.IntN(2) == 0
		if agg {
			fmt.Fprintf(&b, `{"e":"aggTrade","E":%s,"s":%s,"a":%s`, value("1723161255343"), symbol(), value("7"))
		} else {
			fmt.Fprintf(&b, `{"e":"trade","E":%s,"s":%s,"t":%s`, value("1723161255343000"), symbol(), value("1"+digits(16)))
		}
		fmt.Fprintf(&b, `,"p":%s,"q":%s`, decimal(), decimal())
		if agg {
			first := 1 + r.IntN(1e9)
			fmt.Fprintf(&b, `,"f":%d,"l":%s`, first, value(fmt.Sprint(first+r.IntN(10))))
		} else if r.IntN(2) == 0 {
			fmt.Fprintf(&b, `,"b":%s,"a":%s`, value("88"), value("50"))
		}
		fmt.Fprintf(&b, `,"T":%s,"m":%s`, value("1723161255342"), value("true"))
		if r.IntN(2) == 0 {
			b.WriteString(`,"M":` + value("false"))
		}
		b.WriteByte('}')
		if wrapped {
			b.WriteByte('}')
		}
		agreeJSON(t, &d, b.Bytes())
		if agreeFast(t, b.Bytes()) {
			taken++
		} else {
			left++
		}
	}
	if taken < 2000 || left < 2000 {
		t.Errorf("%d taken, %d left to the scanner", taken, left)
	}
}
