package sqlsink

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"millrace/schema"
)

func TestGuardOfVersions(t *testing.T) {
	on(t, func(t *testing.T, db *DB) {
		const updated = "SELECT updated_at FROM candles"
		put(t, db, candle("BTCUSDT", schema.P1m, aStart, 3, schema.Closed, 200))
		want, then := dump(t, db), text(t, db, updated)

		for name, c := range map[string]schema.Candle{
			"fewer trades":    candle("BTCUSDT", schema.P1m, aStart, 2, schema.Final, 999),
			"lower status":    candle("BTCUSDT", schema.P1m, aStart, 3, schema.Live, 999),
			"the same again":  candle("BTCUSDT", schema.P1m, aStart, 3, schema.Closed, 200),
			"equal, not same": candle("BTCUSDT", schema.P1m, aStart, 3, schema.Closed, 999),
		} {
			put(t, db, c)
			if got := dump(t, db); got != want {
				t.Errorf("%s changed the row:\n%swanted\n%s", name, got, want)
			}
			if got := text(t, db, updated); got != then {
				t.Errorf("%s moved updated_at from %s to %s", name, then, got)
			}
		}

		// Every column moves with the version: version is assigned last.
		higher := candle("BTCUSDT", schema.P1m, aStart, 5, schema.Final, 300)
		higher.Missing = 4
		put(t, db, higher)
		want = "BTCUSDT 1m 2024-08-08T23:55:00Z 3 3 3 3 7.5 22.5 5 4.5 13.5 100 104 final 4 " + higher.Version.String() + "\n"
		if got := dump(t, db); got != want {
			t.Errorf("after a higher version:\n%swanted\n%s", got, want)
		}
		if got := text(t, db, updated); got <= then {
			t.Errorf("updated_at was %s and is %s after a higher version", then, got)
		}
	})
}

func TestHighestOfABatchWins(t *testing.T) {
	on(t, func(t *testing.T, db *DB) {
		var all []schema.Candle
		for n := int64(1); n <= 5; n++ {
			for _, s := range []string{"B", "A"} {
				all = append(all, candle(s, schema.P1s, aStart, n, schema.Live, 100*n))
			}
		}
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		put(t, db, all...)
		got, err := db.Candles(soon(t), "A", schema.P1s, schema.MinTime, schema.MaxTime, 0)
		if err != nil || len(got) != 1 || got[0].Trades != 5 {
			t.Errorf("read %v, %v: wanted the one of 5 trades", got, err)
		}
	})
}

// Sent again, in other pieces and another order, it is the same table.
func TestIdempotentResend(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			db := open(t, Config{DSN: b.make(t), RowsPerStatement: 7})
			var all []schema.Candle
			for i := range 100 {
				for n := int64(1); n <= 3; n++ {
					all = append(all, candle(fmt.Sprintf("S%d", i%9), schema.P1m, aStart+schema.Time(i)*schema.Minute, n, schema.Status(n), 100+n))
				}
			}
			put(t, db, all...)
			want, then := dump(t, db), text(t, db, "SELECT MAX(updated_at) FROM candles")
			if strings.Count(want, "\n") != 100 {
				t.Fatalf("%d lines, wanted 100", strings.Count(want, "\n"))
			}
			rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			for len(all) > 0 {
				n := min(len(all), 13)
				put(t, db, all[:n]...)
				all = all[n:]
			}
			if got := dump(t, db); got != want {
				t.Errorf("sent again:\n%swanted\n%s", got, want)
			}
			if got := text(t, db, "SELECT MAX(updated_at) FROM candles"); got != then {
				t.Errorf("sending again moved updated_at from %s to %s", then, got)
			}
		})
	}
}

// The widest figures that schema knows come back as they went in.
func TestFiguresAreExact(t *testing.T) {
	digits := func(n, scale int) schema.Sum {
		s := strings.Repeat("9", n)
		if scale > 0 {
			s = "0" + s
			s = s[:len(s)-scale] + "." + s[len(s)-scale:]
		}
		sum, err := schema.ParseSum([]byte(s))
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	const maxMantissa = 1<<63 - 1
	all := []schema.Candle{
		{Symbol: "WIDE", Figures: schema.Figures{First: 0, Last: schema.MaxVersionN, Trades: schema.MaxVersionN,
			Open: schema.Decimal{Mantissa: maxMantissa}, High: schema.Decimal{Mantissa: maxMantissa, Scale: 12},
			Low: schema.Decimal{Mantissa: 1, Scale: 12}, Close: schema.Decimal{Mantissa: maxMantissa, Scale: 1},
			Volume: digits(36, 0), Quote: digits(36, 0), TakerVolume: digits(36, 12), TakerQuote: digits(36, 24)},
			Status: schema.Final, Missing: 1 << 62, Version: schema.TradesVersion(schema.MaxEra, schema.MaxVersionN, schema.Final)},
		{Symbol: "SMALL", Figures: schema.Figures{First: 5, Last: 5, Trades: 1,
			Open: schema.Decimal{Mantissa: 1, Scale: 12}, High: schema.Decimal{Mantissa: 1500, Scale: 3}, Low: schema.Decimal{Mantissa: 10, Scale: 12}, Close: schema.Decimal{Mantissa: 7},
			Volume: schema.Sum{Lo: 1, Scale: 12}, Quote: schema.Sum{Lo: 1, Scale: 24}, TakerVolume: schema.Sum{}, TakerQuote: schema.Sum{Lo: 10, Scale: 24}},
			Version: schema.TradesVersion(0, 1, schema.Live)},
		{Symbol: "EMPTY", Figures: schema.Empty(schema.Decimal{Mantissa: 42, Scale: 1}), Status: schema.Holed, Version: schema.EmptyVersion(0, 12345, schema.Holed)},
	}
	for i := range all {
		all[i].Period, all[i].Start = schema.P1s, aStart
	}
	on(t, func(t *testing.T, db *DB) {
		put(t, db, all...)
		for _, c := range all {
			got, err := db.Candles(soon(t), c.Symbol, c.Period, c.Start, c.Start+1000, 2)
			if err != nil || len(got) != 1 {
				t.Fatalf("%s: %v, %v", c.Symbol, got, err)
			}
			if a, b := string(appendLine(nil, &got[0])), string(appendLine(nil, &c)); a != b {
				t.Errorf("read\n%s\nwanted\n%s", a, b)
			}
		}
	})
}

func TestRefusesWhatNoColumnHolds(t *testing.T) {
	on(t, func(t *testing.T, db *DB) {
		for name, spoil := range map[string]func(*schema.Candle){
			"symbol":  func(c *schema.Candle) { c.Symbol = "A|B" },
			"period":  func(c *schema.Candle) { c.Period = 0 },
			"start":   func(c *schema.Candle) { c.Start = schema.MaxTime },
			"status":  func(c *schema.Candle) { c.Status = schema.Final },
			"price":   func(c *schema.Candle) { c.High.Scale = 13 },
			"volume":  func(c *schema.Candle) { c.Volume = schema.Sum{Lo: 1, Scale: 13} },
			"version": func(c *schema.Candle) { c.Version = -4 },
		} {
			c := candle("A", schema.P1s, aStart, 1, schema.Live, 100)
			spoil(&c)
			err := db.Write(soon(t), aKey, nil, Batch{Candles: []schema.Candle{candle("B", schema.P1s, aStart, 1, schema.Live, 1), c}})
			if err == nil || Retriable(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := dump(t, db); got != "" {
			t.Errorf("something was written:\n%s", got)
		}
	})
}

// Symbols compare byte for byte, whatever their letters; no symbol gets out of
// its quotes.
func TestSymbolsAndPeriodsAreBytes(t *testing.T) {
	symbols := []string{"BTCUSDT", "btcusdt", "这是测试币456", "É", "E", "e\u0301", "ß", "ss", `a'b`, `a\`, `a");DROP`, "😀", "%s?", "--", "ı", "I"}
	on(t, func(t *testing.T, db *DB) {
		var all []schema.Candle
		for i, s := range symbols {
			all = append(all, candle(s, schema.P1m, aStart, int64(i+1), schema.Live, 100), candle(s, schema.P1M, aStart, int64(i+50), schema.Live, 100))
		}
		put(t, db, all...)
		for i, s := range symbols {
			for p, want := range map[schema.Period]int64{schema.P1m: int64(i + 1), schema.P1M: int64(i + 50)} {
				got, err := db.Candles(soon(t), s, p, schema.MinTime, schema.MaxTime, 0)
				if err != nil || len(got) != 1 || got[0].Symbol != s || got[0].Period != p || got[0].Trades != want {
					t.Errorf("%q %v: %v, %v", s, p, got, err)
				}
			}
		}
		// The order of the dump is that of the bytes, on every store.
		lines := strings.Split(strings.TrimSpace(dump(t, db)), "\n")
		for i := 1; i < len(lines); i++ {
			a, b := strings.SplitN(lines[i-1], " ", 3), strings.SplitN(lines[i], " ", 3)
			if a[0]+" "+a[1] >= b[0]+" "+b[1] {
				t.Errorf("line %q comes before %q", lines[i-1], lines[i])
			}
		}
	})
}

// Times are UTC, whatever the server's zone and the session's.
func TestTimesAreUTC(t *testing.T) {
	on(t, func(t *testing.T, db *DB) {
		put(t, db, candle("A", schema.P1s, aStart, 1, schema.Live, 100))
		if got := text(t, db, "SELECT start_time FROM candles"); got != "2024-08-08 23:55:00.000" {
			t.Errorf("start_time is %s", got)
		}
		now := "UTC_TIMESTAMP(6)"
		age := "TIMESTAMPDIFF(SECOND, updated_at, " + now + ")"
		if db.to.file != "" {
			age = "unixepoch('now') - unixepoch(updated_at)"
		}
		if got := text(t, db, "SELECT ABS("+age+") < 60 FROM candles"); got != "1" {
			t.Errorf("updated_at is %s", text(t, db, "SELECT updated_at FROM candles"))
		}
		if db.to.file == "" {
			c, err := db.sql.Conn(soon(t))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			var got string
			if _, err := c.ExecContext(soon(t), "SET SESSION time_zone = '-08:00'"); err != nil {
				t.Fatal(err)
			}
			if err := c.QueryRowContext(soon(t), "SELECT start_time FROM candles").Scan(&got); err != nil || got != "2024-08-08 23:55:00.000" {
				t.Errorf("in another session start_time is %s, %v", got, err)
			}
			if _, err := c.ExecContext(soon(t), "SET SESSION time_zone = '+00:00'"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestReadsInPages(t *testing.T) {
	on(t, func(t *testing.T, db *DB) {
		var all []schema.Candle
		for i := range 25 {
			all = append(all, candle("A", schema.P1m, aStart+schema.Time(i)*schema.Minute, 1, schema.Live, 100))
		}
		put(t, db, append(all, candle("B", schema.P1m, aStart, 1, schema.Live, 100), candle("A", schema.P1s, aStart, 1, schema.Live, 100))...)
		var got []schema.Candle
		for from := aStart + schema.Minute; ; {
			page, err := db.Candles(soon(t), "A", schema.P1m, from, aStart+24*schema.Minute, 10)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			got = append(got, page...)
			from = page[len(page)-1].Start + 1000
		}
		if len(got) != 23 || got[0].Start != all[1].Start || got[22].Start != all[23].Start {
			t.Errorf("read %d candles, wanted those of minutes 1 to 23", len(got))
		}
	})
}

func TestViews(t *testing.T) {
	on(t, func(t *testing.T, db *DB) {
		var all []schema.Candle
		for p := schema.P1s; p <= schema.P1M; p++ {
			c := candle("A", p, aStart, 3, schema.Final, 333)
			c.Quote, c.Volume = schema.Sum{Lo: 10}, schema.Sum{Lo: uint64(3 + p)}
			empty := schema.Candle{Symbol: "EMPTY", Period: p, Start: aStart, Figures: schema.Empty(c.Close), Version: schema.EmptyVersion(0, 1, schema.Live)}
			all = append(all, c, empty)
		}
		put(t, db, all...)
		for p := schema.P1s; p <= schema.P1M; p++ {
			view := "candles_" + p.FileName()
			if got := text(t, db, "SELECT COUNT(*) FROM "+view); got != "2" {
				t.Errorf("%s has %s rows", view, got)
			}
			c := all[2*(p-1)]
			want, _ := c.VWAP()
			got := text(t, db, "SELECT vwap FROM "+view+" WHERE symbol = 'A'")
			if db.to.file != "" { // a float there: the same to 12 digits
				got = text(t, db, "SELECT abs(vwap - ?) < 1e-11 FROM "+view+" WHERE symbol = 'A'", want.String())
				if got != "1" {
					t.Errorf("%s: vwap is not about %v", view, want)
				}
			} else if v, err := schema.ParseSum([]byte(got)); err != nil || v.Cmp(want) != 0 {
				t.Errorf("%s: vwap %s, wanted %v", view, got, want)
			}
			if got := text(t, db, "SELECT vwap FROM "+view+" WHERE symbol = 'EMPTY'"); got != "NULL" {
				t.Errorf("%s: vwap without trades is %s", view, got)
			}
		}
	})
}

func TestKeptDaysAreNotWritten(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			db := open(t, Config{DSN: b.make(t), KeepDays: map[schema.Period]int{schema.P1s: 2}})
			newest := at("2024-08-08T12:00:00Z")
			first := at("2024-08-06T00:00:00Z")
			all := []schema.Candle{
				candle("A", schema.P1s, first-schema.Second, 1, schema.Live, 100),
				candle("A", schema.P1s, first, 1, schema.Live, 100),
				candle("A", schema.P1m, first-schema.Minute, 1, schema.Live, 100),
			}
			write(t, db, Batch{Candles: all, Newest: newest})
			var starts []schema.Time
			for _, p := range []schema.Period{schema.P1s, schema.P1m} {
				got, err := db.Candles(soon(t), "A", p, schema.MinTime, schema.MaxTime, 0)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range got {
					starts = append(starts, c.Start)
				}
			}
			if want := []schema.Time{first, first - schema.Minute}; !reflect.DeepEqual(starts, want) {
				t.Errorf("written %v, wanted %v", starts, want)
			}
			// Without a newest time nothing is known to be old.
			put(t, db, all...)
			if got := text(t, db, "SELECT COUNT(*) FROM candles"); got != "3" {
				t.Errorf("%s rows, wanted 3", got)
			}
		})
	}
}
