package schema

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestPartitionIsKafkas(t *testing.T) {
	for _, c := range []struct {
		symbol    string
		four, six int32
	}{
		{"BTCUSDT", 2, 2}, {"ETHUSDT", 1, 5}, {"BNBBTC", 0, 4}, {"XRPETH", 1, 5}, {"A", 2, 4}, {"1000SATSFDUSD", 1, 5}, {"这是测试币456", 3, 1},
	} {
		if a, b := Partition(c.symbol, 4), Partition([]byte(c.symbol), 6); a != c.four || b != c.six {
			t.Errorf("%s: partition %d of 4 and %d of 6, want %d and %d", c.symbol, a, b, c.four, c.six)
		}
	}
	// Whatever the length, and so whatever rest behind the words of four bytes,
	// Kafka's own client must agree.
	r := random(t)
	kafka := kgo.StickyKeyPartitioner(nil).ForTopic("ticks")
	for n := range 2000 {
		key := make([]byte, 1+n%MaxSymbol)
		for i := range key {
			key[i] = byte(r.Uint32())
		}
		parts := 1 + r.Int32N(100)
		if got, want := Partition(key, parts), kafka.Partition(&kgo.Record{Key: key}, int(parts)); int(got) != want {
			t.Fatalf("%x: partition %d of %d, Kafka's client says %d", key, got, parts, want)
		}
	}
}

func TestValidateSymbol(t *testing.T) {
	for _, ok := range []string{"BTCUSDT", "btcusdt", "1INCHUSDT", "这是测试币456", "BTCUSD_240927", "BTC-USDT", "A.B", "a*b>c", `quo"te`, "é", strings.Repeat("x", MaxSymbol)} {
		if err := ValidateSymbol(ok); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", strings.Repeat("x", MaxSymbol+1), "BTC|USDT", "BTC USDT", "BTC\tUSDT", "BTC\n", "\x00", "\x7f", "BTC\u00a0USDT", "BTC\u2028", "BTC\u200b", "BTC\xff", "\ufeffBTC"} {
		if err := ValidateSymbol(bad); !errors.Is(err, ErrSymbol) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestPlainSymbol holds the short way of decode to the long one.
func TestPlainSymbol(t *testing.T) {
	r := random(t)
	plain := 0
	for range 8000 {
		s := make([]byte, r.IntN(MaxSymbol+4))
		for i := range s {
			s[i] = byte(0x20 + r.IntN(0x60))
		}
		if len(s) > 0 && r.IntN(2) == 0 {
			s[r.IntN(len(s))] = byte(r.Uint32())
		}
		if plainSymbol(s) {
			plain++
			if err := ValidateSymbol(string(s)); err != nil {
				t.Fatalf("taken for plain: %v", err)
			}
		}
	}
	if plain == 0 || !plainSymbol([]byte("BTCUSDT")) {
		t.Error("nothing is plain")
	}
}

func TestToken(t *testing.T) {
	for _, c := range []struct{ symbol, token string }{
		{"BTCUSDT", "BTCUSDT"},
		{"BTC-USD_T", "BTC-USD_T"},
		{"A.B", "A=2EB"},
		{"*", "=2A"},
		{">", "=3E"},
		{"=41", "=3D41"},
		{"币", "=E5=B8=81"},
	} {
		if got := Token(c.symbol); got != c.token {
			t.Errorf("Token(%q) = %q, want %q", c.symbol, got, c.token)
		}
	}
	for _, bad := range []string{"", "=", "=4", "=4G", "=+1", "=41", "=2e", "A.B", "*", ">", "币", "=00", "=20", "=7C", "=FF", "BTC USDT", strings.Repeat("A", MaxSymbol+1)} {
		if s, err := ParseToken(bad); !errors.Is(err, ErrSymbol) {
			t.Errorf("ParseToken(%q) = %q, %v", bad, s, err)
		}
	}
}

// checkToken checks both ways for any text.
func checkToken(t *testing.T, text string) {
	t.Helper()
	if ValidateSymbol(text) == nil {
		token := Token(text)
		if back, err := ParseToken(token); err != nil || back != text {
			t.Fatalf("%q has the token %q, which is read as %q, %v", text, token, back, err)
		}
		for i := range len(token) { // what NATS takes in a subject's token and in a key
			if c := token[i]; !strings.ContainsRune("-_=0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", rune(c)) {
				t.Fatalf("%q has the token %q", text, token)
			}
		}
	}
	if s, err := ParseToken(text); err == nil && (Token(s) != text || ValidateSymbol(s) != nil) {
		t.Fatalf("the token %q is read as %q, whose token is %q", text, s, Token(s))
	}
}

func FuzzToken(f *testing.F) {
	for _, s := range []string{"BTCUSDT", "这是测试币456", "=E5=B8=81", "=2e", "A.B", "a=b", "="} {
		f.Add(s)
	}
	f.Fuzz(checkToken)
}

func TestTokenRandom(t *testing.T) {
	r := random(t)
	letters := []rune("AZaz09-_=.*>|% é币\x00\u2028")
	for range 8000 {
		s := make([]rune, 1+r.IntN(20))
		for i := range s {
			s[i] = letters[r.IntN(len(letters))]
		}
		checkToken(t, string(s))
	}
}

func TestNames(t *testing.T) {
	start := at(t, "2024-08-08T23:55:00Z")
	for _, c := range []struct{ got, want string }{
		{Subject(P1m, "BTCUSDT"), "candles.1m.BTCUSDT"},
		{Subject(P1M, "A.B"), "candles.1M.A=2EB"},
		{FinalSubject(P1m, "BTCUSDT"), "candles.final.1m.BTCUSDT"},
		{SeriesKey(P1h, "币"), "1h.=E5=B8=81"},
		{string(AppendCandleKey(nil, "BTCUSDT", P5m, start)), "BTCUSDT|5m|1723161300000"},
		{string(AppendCandleKey([]byte("x"), "币", P1w, -3*Day)), "x币|1w|-259200000"},
		{DeadTopic("ticks"), "ticks.dead"}, {GapsTopic("ticks"), "gaps"},
		{DeadTopic("t2"), "t2.dead"}, {GapsTopic("t2"), "t2.gaps"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	// A subject of updates must never be one of final candles: final is no period.
	if _, err := ParsePeriod("final"); err == nil {
		t.Error("final is a period")
	}
	var part int32
	key := make([]byte, 0, 64)
	noAllocs(t, "AppendCandleKey", func() { key = AppendCandleKey(key[:0], "BTCUSDT", P5m, start) })
	noAllocs(t, "Partition", func() { part += Partition("BTCUSDT", 4) })
}
