package binance

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"millrace/schema"
)

// Frames put together from odd parts reach what changed bytes hardly do: a
// whole object with one key missing, doubled, of another type or at its edge.

var oddValues = []string{
	`null`, `true`, `false`, `0`, `-0`, `-1`, `1`, `7`, `1.0`, `1e3`, `9007199254740992`, `9007199254740993`, `18014398509481983`, `18014398509481984`,
	`9223372036854775807`, `9223372036854775808`, `-9223372036854775808`, `123456789012345678901234567890`, `99999999999999`, `100000000000000`,
	`1672515782135`, `1672515782135123`, `9007199254740`, `9007199254741`, `""`, `"0"`, `"1"`, `"-1"`, `"0.00000000"`, `"1.50"`, `"00.5"`, `".5"`, `"5."`, `"1.2.3"`, `"1e3"`,
	`"0.000000000001"`, `"0.0000000000001"`, `"0.0000000000010"`, `"9223372036854775807"`, `"9223372036854775808"`, `"9223372036854775807.000"`, `"922337203685477580.80"`,
	`"` + strings.Repeat("0", 64) + `"`, `"` + strings.Repeat("0", 65) + `"`, `"0\u002e5"`, `"trade"`, `"tr\u0061de"`, `"aggTrade"`, `"serverShutdown"`, `"kline"`, `"MARKET"`,
	`"INSURANCE_FUND"`, `"BTCUSDT"`, `"A|B"`, `"A B"`, `"这是测试币456"`, `"\ud83d\ude00"`, `"\ud800"`, `"\ud800\u0041"`, `"\"\\\/\b"`, `"` + strings.Repeat("S", 65) + `"`,
	`-5`, `"A\u007f"`, `{"code":2,"data":{"code":9}}`, `{}`, `[]`, `{"code":2,"msg":"no"}`, `{"code":"2"}`, `{"msg":"no","code":-1121,"m":true}`, `[{"e":"trade"}]`, ` { "E" : 5 } `,
}

// oddObject writes an object of some of the keys, most with the value that is
// right there.
func oddObject(r *rand.Rand, right [][2]string) string {
	var b strings.Builder
	b.WriteByte('{')
	n := 0
	member := func(key, value string) {
		if n++; n > 1 {
			b.WriteByte(',')
		}
		b.WriteString([]string{"", "", " ", "\n\t"}[r.IntN(4)] + strconv.Quote(key) + []string{":", " : "}[r.IntN(2)] + value)
	}
	for _, i := range r.Perm(len(right)) {
		key, value := right[i][0], right[i][1]
		switch r.IntN(40) {
		case 0:
			continue
		case 1, 2:
			value = oddValues[r.IntN(len(oddValues))]
		case 3:
			member(key, oddValues[r.IntN(len(oddValues))])
		case 4:
			key = right[r.IntN(len(right))][0]
		case 5:
			member("stream", oddValues[r.IntN(len(oddValues))])
		case 6:
			key = []string{strings.ToUpper(key), strings.ToLower(key), "z" + key, ""}[r.IntN(4)]
		}
		member(key, value)
	}
	b.WriteByte('}')
	return b.String()
}

func TestDecodersAgreeOnOddFrames(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	trade := [][2]string{{"e", `"trade"`}, {"E", "1672515782136"}, {"s", `"BNBBTC"`}, {"t", "12345"}, {"p", `"0.00100000"`}, {"q", `"100"`}, {"T", "1672515782135"}, {"m", "true"}, {"M", "true"}, {"X", `"MARKET"`}}
	agg := [][2]string{{"e", `"aggTrade"`}, {"E", "1672515782136123"}, {"s", `"BNBBTC"`}, {"a", "77"}, {"p", `"0.001"`}, {"q", `"100"`}, {"f", "100"}, {"l", "105"}, {"T", "1672515782135000"}, {"m", "false"}, {"M", "true"}}
	void := [][2]string{{"e", `"aggTrade"`}, {"E", "1672515782136"}, {"s", `"BNBBTC"`}, {"a", "77"}, {"p", `"0"`}, {"q", `"0.000"`}, {"f", "-1"}, {"l", "-1"}, {"T", "1672515782135"}, {"m", "true"}}
	answer := [][2]string{{"result", "null"}, {"id", "1"}}
	refusal := [][2]string{{"error", `{"code":2,"msg":"Invalid request"}`}, {"id", `"x"`}}
	flat := [][2]string{{"code", "1"}, {"msg", `"Invalid value type"`}, {"id", "1"}}
	shutdown := [][2]string{{"e", `"serverShutdown"`}, {"E", "1770123456789"}}
	var d Decoder
	kinds := map[Kind]int{}
	refused := 0
	for range 20_000 {
		frame := oddObject(r, [][][2]string{trade, trade, trade, agg, agg, void, answer, refusal, flat, shutdown}[r.IntN(10)])
		if r.IntN(2) == 0 {
			frame = oddObject(r, [][2]string{{"stream", `"bnbbtc@trade"`}, {"data", frame}})
		}
		if ev, good := agreeJSON(t, &d, []byte(frame)); good {
			kinds[ev.Kind]++
		} else {
			refused++
		}
		cut := frame[:r.IntN(len(frame))]
		agreeJSON(t, &d, []byte(cut))
	}
	for k := Other; k <= Refusal; k++ {
		if kinds[k] < 250 {
			t.Errorf("%d frames of kind %d", kinds[k], k)
		}
	}
	if refused < 1000 {
		t.Errorf("%d refused", refused)
	}
}

func TestPagesAgreeOnOddRows(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	trade := [][2]string{{"id", "12345"}, {"price", `"0.00100000"`}, {"qty", `"100"`}, {"quoteQty", `"0.1"`}, {"time", "1672515782135"}, {"isBuyerMaker", "true"}, {"isBestMatch", "true"}}
	agg := [][2]string{{"a", "77"}, {"p", `"0.001"`}, {"q", `"100"`}, {"f", "100"}, {"l", "105"}, {"T", "1672515782135"}, {"m", "false"}, {"M", "true"}}
	void := [][2]string{{"a", "77"}, {"p", `"0"`}, {"q", `"0"`}, {"f", "-1"}, {"l", "-1"}, {"T", "1672515782135"}, {"m", "false"}, {"M", "true"}}
	trades, refused, voids := 0, 0, 0
	for range 6000 {
		isAgg := r.IntN(2) == 0
		var rows []string
		for range r.IntN(4) {
			right := trade
			if isAgg {
				right = [][][2]string{agg, agg, void}[r.IntN(3)]
			}
			rows = append(rows, oddObject(r, right))
		}
		if p := agreePage(t, []byte("["+strings.Join(rows, ",")+"]"), isAgg); p != nil {
			trades += len(p.Trades)
			refused += len(p.Refused)
			voids += p.Voids
		}
	}
	if trades < 1000 || refused < 200 || voids < 200 {
		t.Errorf("%d trades, %d refused, %d voids", trades, refused, voids)
	}
}

func TestSBEAgreesOnOddFrames(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	numbers := []int64{0, 1, -1, 10, 1e12, 1e14 - 1, 1e14, 1e18, sbeMicros, 1 << 53, 1<<53 + 1, schema.MaxVersionN, schema.MaxVersionN + 1, math.MaxInt64, math.MinInt64, math.MaxInt64 / 10, math.MaxInt64/10 + 1}
	symbols := []string{"", "B", "BTC|USDT", "这是测试币456", "A\x00", "\xff\xfe", strings.Repeat("L", 64), strings.Repeat("L", 65), strings.Repeat("L", 255)}
	odd := func(v *int64, in int) {
		if r.IntN(in) == 0 {
			*v = numbers[r.IntN(len(numbers))]
		}
	}
	var d SBEDecoder
	good, bad, others := 0, 0, 0
	for range 20_000 {
		f := goodSBE(r.IntN(5))
		odd(&f.event, 40)
		odd(&f.transact, 40)
		if r.IntN(3) == 0 {
			f.priceExp, f.qtyExp = int8(r.IntN(256)-128)>>r.IntN(4), int8(r.IntN(256)-128)>>r.IntN(4)
		}
		if r.IntN(20) == 0 {
			f.symbol = symbols[r.IntN(len(symbols))]
		}
		f.version, f.blockTail, f.rowTail, f.tail = uint16(r.IntN(3)), r.IntN(3)*r.IntN(9), r.IntN(3)*r.IntN(9), r.IntN(3)*r.IntN(9)
		for i := range f.rows {
			odd(&f.rows[i].id, 30)
			odd(&f.rows[i].price, 20)
			odd(&f.rows[i].qty, 20)
			if r.IntN(30) == 0 {
				f.rows[i].maker = byte(r.IntN(256))
			}
		}
		frame := f.bytes()
		switch r.IntN(10) {
		case 0:
			frame = frame[:r.IntN(len(frame))]
		case 1: // a length or anything else in the headers
			frame[r.IntN(min(len(frame), 40))] = byte(r.IntN(256))
		}
		ev := agreeSBE(t, &d, frame)
		good += len(ev.Trades)
		bad += ev.Bad
		if ev.Kind == Other {
			others++
		}
	}
	if good < 10_000 || bad < 5000 || others < 1000 {
		t.Errorf("%d good trades, %d bad, %d frames of others", good, bad, others)
	}
}
