package double

import (
	"archive/zip"
	"bufio"
	"compress/flate"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"millrace/schema"
)

// dumpsInMicros is the first day whose dumps have microseconds.
const dumpsInMicros = schema.Time(1735689600) * schema.Second // 2025-01-01

// dump is one day of a symbol's trades, or aggregates, as Binance publishes
// them: a zip of one CSV.
type dump struct {
	symbol, kind string // trades or aggTrades
	day          schema.Time
	tape         tape
	voids        int64
}

// name is that of the file, without its ending.
func (d *dump) name() string {
	return d.symbol + "-" + d.kind + "-" + d.day.Std().Format(time.DateOnly)
}

// serveDump serves /data/spot/daily/KIND/SYMBOL/FILE, where FILE is
// SYMBOL-KIND-YYYY-MM-DD.zip or that with .CHECKSUM: whole days of a synthetic
// market that are over and had trades. It is made anew for each request, always
// of the same bytes. No weight is counted: the real ones are elsewhere too.
func (d *Double) serveDump(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	name, sum := strings.CutSuffix(r.PathValue("file"), ".CHECKSUM")
	f := d.findDump(r.PathValue("kind"), r.PathValue("symbol"))
	if f != nil {
		day, err := time.Parse(time.DateOnly, strings.TrimSuffix(strings.TrimPrefix(name, f.symbol+"-"+f.kind+"-"), ".zip"))
		f.day = schema.FromStd(day)
		if err != nil || name != f.name()+".zip" || f.day < origin || f.day+schema.Day > d.market.now() || f.tape.find(f.day) == f.tape.find(f.day+schema.Day) {
			f = nil
		}
	}
	if f == nil {
		http.NotFound(w, r)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.Context(), cancel)()
	if !sum {
		w.Header().Set("Content-Type", "application/zip")
		if r.Method == http.MethodHead {
			return
		}
		hash := sha256.New()
		if f.write(ctx, io.MultiWriter(w, hash)) != nil {
			panic(http.ErrAbortHandler) // what came must not look whole
		}
		d.keepSum(name, hash.Sum(nil))
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	known := d.sumOf(name)
	if known == nil && r.Method != http.MethodHead {
		hash := sha256.New()
		if f.write(ctx, hash) != nil {
			panic(http.ErrAbortHandler)
		}
		known = hash.Sum(nil)
		d.keepSum(name, known)
	}
	_, _ = fmt.Fprintf(w, "%s  %s\n", hex.EncodeToString(known), name) // a client that left has nobody to be told
}

// maxSums bounds the checksums that are remembered.
const maxSums = 10_000

func (d *Double) sumOf(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sums[name]
}

// keepSum remembers a checksum: a day that is over does not change, and to make
// its dump once more only for that takes long.
func (d *Double) keepSum(name string, sum []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.sums) >= maxSums {
		clear(d.sums)
	}
	d.sums[name] = sum
}

func (d *Double) findDump(kind, symbol string) *dump {
	m, ok := d.market.(*synthetic)
	if !ok || kind != "trades" && kind != "aggTrades" {
		return nil
	}
	t := m.tape(symbol, kind == "aggTrades")
	if t == nil {
		return nil
	}
	return &dump{symbol: symbol, kind: kind, tape: t, voids: d.cfg.VoidAggs}
}

// write writes the zip.
func (d *dump) write(ctx context.Context, w io.Writer) error {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	entry, err := z.CreateHeader(&zip.FileHeader{Name: d.name() + ".csv", Method: zip.Deflate, Modified: (d.day + schema.Day).Std()})
	if err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	out := bufio.NewWriterSize(entry, 64<<10)
	from, to := d.tape.find(d.day), d.tape.find(d.day+schema.Day)
	var line []byte
	for from < to && ctx.Err() == nil {
		rows := d.tape.read(from, int(min(4096, to-from)))
		if len(rows) == 0 {
			break
		}
		for i := range rows {
			line = d.line(line[:0], &rows[i], from+int64(i))
			if _, err := out.Write(line); err != nil {
				return fmt.Errorf("dump: %w", err)
			}
		}
		from += int64(len(rows))
	}
	// A dump that was given up is left without its end.
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	return nil
}

// line writes a row, and the void aggregate behind it if there is one.
func (d *dump) line(dst []byte, t *schema.Trade, row int64) []byte {
	number := func(n int64) { dst = append(strconv.AppendInt(dst, n, 10), ',') }
	price := func(p schema.Decimal) { dst = append(appendDecimal(dst, p), ',') }
	end := func() {
		dst = appendTime(dst, t.Time, d.day >= dumpsInMicros)
		if t.BuyerMaker {
			dst = append(dst, ",True,True\n"...)
		} else {
			dst = append(dst, ",False,True\n"...)
		}
	}
	if d.kind == "trades" {
		quote, _ := schema.Product(t.Price, t.Qty)
		number(t.ID)
		price(t.Price)
		price(t.Qty)
		dst = append(appendSum(dst, quote), ',')
		end()
		return dst
	}
	number(aggIDOf(row, d.voids))
	price(t.Price)
	price(t.Qty)
	number(t.ID)
	number(t.Last)
	end()
	if voidBehind(row, d.voids) {
		number(aggIDOf(row, d.voids) + 1)
		dst = append(dst, "0.00000000,0.00000000,-1,-1,"...)
		end()
	}
	return dst
}
