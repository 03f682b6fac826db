package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millrace/internal/kafka"
	"millrace/internal/testenv"
	"millrace/schema"
)

const repaired = "BTCUSDT"

// repairBench is a log with ten minutes of trades, one a second, one of which is
// wrong, and a processor of it.
type repairBench struct {
	t      *testing.T
	begin  schema.Time
	trades []schema.Trade // as they should be
	log    []string
	table  string
	client *kgo.Client
}

func newRepairBench(t *testing.T) *repairBench {
	t.Helper()
	b := &repairBench{t: t, begin: schema.FromStd(time.Date(2026, 5, 2, 10, 0, 0, 0, time.UTC))}
	broker := testenv.StartFake(t).Brokers
	b.log = []string{"--kafka", broker}
	b.table = "sqlite:" + filepath.Join(t.TempDir(), "x.db")
	p := spawn(t, append([]string{"process", "--sql", b.table, "--data", t.TempDir(), "--partitions", "1", "--periods", "1s,1m,5m,1h"}, b.log...)...)
	p.await("partition assigned")
	client, err := kafka.Connect(t.Context(), defaulted(broker))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	b.client = client
	for i := range int64(601) {
		b.trades = append(b.trades, schema.Trade{ID: 1000 + i, Last: 1000 + i, Time: b.begin + schema.Time(i)*schema.Second + schema.Second/2,
			Price: schema.Decimal{Mantissa: 6_000_000 + i, Scale: 2}, Qty: schema.Decimal{Mantissa: 1 + i%7, Scale: 3}, BuyerMaker: i%3 == 0})
	}
	wrong := append([]schema.Trade(nil), b.trades...)
	wrong[150].Qty.Mantissa = 777_000
	b.write(wrong, 0)
	return b
}

// write writes trades into the log, those of a repair with its era.
func (b *repairBench) write(trades []schema.Trade, era uint8) {
	b.t.Helper()
	value, n := schema.AppendRepaired(nil, repaired, trades, 0, 0, era)
	if n != len(trades) {
		b.t.Fatalf("%d of %d trades written", n, len(trades))
	}
	b.record(value)
}

func (b *repairBench) record(value []byte) {
	b.t.Helper()
	if err := b.client.ProduceSync(b.t.Context(), &kgo.Record{Topic: schema.TicksTopic, Key: []byte(repaired), Value: value}).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
}

// dump writes trades as one of Binance's dumps.
func (b *repairBench) dump(trades []schema.Trade) string {
	b.t.Helper()
	var rows strings.Builder
	for i := range trades {
		x := &trades[i]
		price, qty := x.Price.String(), x.Qty.String()
		fmt.Fprintf(&rows, "%d,%s,%s,1,%d,%v,True\n", x.ID, price, qty, x.Time, map[bool]string{true: "True", false: "False"}[x.BuyerMaker])
	}
	path := filepath.Join(b.t.TempDir(), "trades.csv")
	write(b.t, path, rows.String())
	return path
}

// rows are the table's of a period, from a time on up to another.
func (b *repairBench) rows(table, period string, from, to schema.Time) string {
	b.t.Helper()
	var out strings.Builder
	for line := range strings.Lines(within(b.t, table, from, to)) {
		if strings.Fields(line)[1] == period {
			out.WriteString(line)
		}
	}
	return out.String()
}

func (b *repairBench) do(code int, args ...string) string {
	b.t.Helper()
	got, out, errs := runTest(b.t, nil, append(append([]string{"repair", "--symbol", repaired}, args...), b.log...)...)
	if got != code {
		b.t.Fatalf("repair %v: exit code %d\n%s%s", args, got, out, errs)
	}
	return out + errs
}

// A stretch in which a trade was counted wrong is made anew from a dump: the
// windows in it are those of the right trades, final and in the next era; those
// only partly in it, and all others, stay as they are to the last figure.
func TestRepair(t *testing.T) {
	b := newRepairBench(t)
	minute := func(n int) schema.Time { return b.begin + schema.Time(n)*schema.Minute }
	stamp := func(n int) string { return minute(n).Std().Format(time.RFC3339) }
	stretch := []string{"--from", stamp(1), "--to", stamp(5)}
	var before string
	every(t, func(ctx context.Context) (err error) {
		if before, err = dump(ctx, b.table); err == nil && (!strings.Contains(before, "777") || strings.Count(b.rows(before, "1s", minute(0), minute(11)), "final") < 599) {
			err = fmt.Errorf("the wrong trade has not come")
		}
		return err
	})
	right := b.dump(b.trades)

	// What would change is shown first; nothing is written without a yes.
	args := append(stretch[:len(stretch):len(stretch)], right, "--unchecked")
	out := b.do(exitOK, append(args, "--dry-run")...)
	for _, want := range []string{"trades 1059 to 1300", "2 candles would change, 0 of them not published now; 242 are the same",
		"1m  2026-05-02T10:02:00Z  volume 777.234 → 0.238", "5m  2026-05-02T10:00:00Z lies only partly", "1h  2026-05-02T10:00:00Z lies only partly"} {
		if !strings.Contains(out, want) {
			t.Errorf("the preview lacks %q:\n%s", want, out)
		}
	}
	if out := b.do(exitOK, append(args, "--dry-run", "--sql", b.table)...); !strings.Contains(out, "2 candles would change") {
		t.Errorf("from the database:\n%s", out)
	}
	b.do(exitUsage, args...)
	for _, c := range []struct {
		says string
		args []string
		code int
	}{
		{"the trades 1100 to 1109 are missing", append(stretch[:4:4], b.dump(append(b.trades[:100:100], b.trades[110:]...)), "--unchecked"), exitFailure},
		{"the trade before it, 1059, is missing", append(stretch[:4:4], b.dump(b.trades[60:]), "--unchecked"), exitFailure},
		{"the trade behind it, 1300, is missing", append(stretch[:4:4], b.dump(b.trades[:300]), "--unchecked"), exitFailure},
		{"CHECKSUM", append(stretch[:4:4], right), exitUsage},
		{"no trade in the stretch", []string{"--from", stamp(100), "--to", stamp(105), right, "--unchecked"}, exitFailure},
		{"windows, more than", []string{"--from", "2026-01-01", "--to", "2026-05-02"}, exitUsage},
		{"not behind", []string{"--from", stamp(5), "--to", stamp(5)}, exitUsage},
	} {
		if out := b.do(c.code, append(c.args, "--yes")...); !strings.Contains(out, c.says) {
			t.Errorf("wanted %q:\n%s", c.says, out)
		}
	}

	// Who repaired before was killed after some trades. Nobody saw anything of it.
	value, err := schema.AppendControl(nil, schema.Repair{Symbol: repaired, Era: 1, From: minute(1), To: minute(5), First: 1059, Last: 1300})
	if err != nil {
		t.Fatal(err)
	}
	b.record(value)
	b.write(b.trades[59:200], 1)
	every(t, func(context.Context) error {
		if out := b.do(exitOK, append(args, "--dry-run")...); !strings.Contains(out, "2 candles would change") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	every(t, func(context.Context) error { // until the processor has told of the one before, the era is taken
		code, out, errs := runTest(t, nil, append(append([]string{"repair", "--symbol", repaired, "--yes"}, args...), b.log...)...)
		if code == exitOK && !strings.Contains(out, "has the stretch anew, in the era 2") || code != exitOK && !strings.Contains(errs, "give the command again") {
			t.Fatalf("exit code %d\n%s%s", code, out, errs)
		} else if code != exitOK {
			return errors.New(errs)
		}
		return nil
	})
	var after string
	every(t, func(ctx context.Context) (err error) {
		if after, err = dump(ctx, b.table); err == nil && strings.Count(b.rows(after, "1s", minute(1), minute(5)), fmt.Sprint(schema.TradesVersion(2, 1, schema.Final))) != 240 {
			err = fmt.Errorf("the repair has not come")
		}
		return err
	})
	same(t, "before the stretch", within(t, after, minute(0), minute(1)), within(t, before, minute(0), minute(1)))
	same(t, "behind the stretch", within(t, after, minute(5), minute(11)), within(t, before, minute(5), minute(11)))
	same(t, "partly in it", b.rows(after, "5m", minute(0), minute(5)), b.rows(before, "5m", minute(0), minute(5)))
	same(t, "the hour", b.rows(after, "1h", minute(0), minute(60)), b.rows(before, "1h", minute(0), minute(60)))
	for line := range strings.Lines(b.rows(after, "1m", minute(2), minute(3))) {
		volume := schema.SumOf(schema.Decimal{})
		for _, x := range b.trades[120:180] {
			volume, _ = volume.Add(schema.SumOf(x.Qty))
		}
		if f := strings.Fields(line); f[7] != string(volume.Canonical().Append(nil)) || f[14] != "final" {
			t.Errorf("wanted a volume of %s: %s", volume.Canonical().Append(nil), line)
		}
	}

	// The log tells the wrong trade still, and so would a repair from it.
	out = b.do(exitOK, append(stretch[:4:4], "--dry-run")...)
	if !strings.Contains(out, "2 candles would change") || !strings.Contains(out, "of the log: trades 1059 to 1300") {
		t.Errorf("from the log:\n%s", out)
	}
	b.write(b.trades[150:151], 0) // a copy that tells otherwise
	if out := b.do(exitFailure, append(stretch[:4:4], "--dry-run")...); !strings.Contains(out, "told in two ways") {
		t.Errorf("two ways:\n%s", out)
	}
}
