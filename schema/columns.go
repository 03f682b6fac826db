package schema

import "google.golang.org/protobuf/encoding/protowire"

// Shared finds how many of the leading trades can share one batch, and the
// scales they share. It is at least 1 where the first is valid.
func Shared(trades []Trade) (n int, priceScale, qtyScale uint8) {
	fits := func(k int, ps, qs uint8) bool {
		for i := range trades[:k] {
			if _, ok := trades[i].Price.Rescale(ps); !ok {
				return false
			}
			if _, ok := trades[i].Qty.Rescale(qs); !ok {
				return false
			}
		}
		return true
	}
	for n < len(trades) && n < MaxBatch && trades[n].Validate() == nil {
		ps, qs := max(priceScale, trades[n].Price.Scale), max(qtyScale, trades[n].Qty.Scale)
		if ps == priceScale && qs == qtyScale {
			if !fits1(&trades[n], ps, qs) {
				break
			}
		} else if !fits(n+1, ps, qs) {
			break
		}
		priceScale, qtyScale = ps, qs
		n++
	}
	return n, priceScale, qtyScale
}

func fits1(t *Trade, ps, qs uint8) bool {
	_, ok1 := t.Price.Rescale(ps)
	_, ok2 := t.Qty.Rescale(qs)
	return ok1 && ok2
}

// AppendTrades writes a record of trades, all of one symbol, and returns how
// many of the leading ones it holds: fewer than all where their scales cannot
// be shared or one is not valid, 0 only where trades is empty or the symbol or
// the first trade is not valid.
func AppendTrades(dst []byte, symbol string, trades []Trade, received Time, source Source) ([]byte, int) {
	return AppendRepaired(dst, symbol, trades, received, source, 0)
}

// AppendRepaired is AppendTrades for the trades of a repair, named by its era.
func AppendRepaired(dst []byte, symbol string, trades []Trade, received Time, source Source, repair uint8) ([]byte, int) {
	n, ps, qs := Shared(trades)
	if n == 0 || ValidateSymbol(symbol) != nil {
		return dst, 0
	}
	trades = trades[:n]
	var w columnWriter
	w.measure(trades, ps, qs)
	body := sizeBytes(fSymbol, len(symbol)) + sizeVarint(fPriceScale, uint64(ps)) + sizeVarint(fQtyScale, uint64(qs)) +
		sizeBytes(fID, w.size[fID]) + sizeBytes(fTime, w.size[fTime]) + sizeBytes(fPrice, w.size[fPrice]) + sizeBytes(fQty, w.size[fQty]) +
		sizeBytes(fBuyerMaker, w.size[fBuyerMaker]) + sizeBytes(fSpan, w.size[fSpan]) + sizeBytes(fVoid, w.size[fVoid]) +
		sizeVarint(fReceived, uint64(received)) + sizeVarint(fSource, uint64(source)) + sizeVarint(fRepair, uint64(repair))
	dst = protowire.AppendTag(dst, protowire.Number(KindTrades), protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(body))
	dst = protowire.AppendTag(dst, fSymbol, protowire.BytesType)
	dst = protowire.AppendString(dst, symbol)
	dst = appendVarint(dst, fPriceScale, uint64(ps))
	dst = appendVarint(dst, fQtyScale, uint64(qs))
	dst = w.append(dst, trades, ps, qs)
	dst = appendVarint(dst, fReceived, uint64(received))
	dst = appendVarint(dst, fSource, uint64(source))
	return appendVarint(dst, fRepair, uint64(repair)), n
}

// columnWriter writes the columns in two passes over the trades: a protobuf
// column is led by its length.
type columnWriter struct {
	size [fVoid + 1]int
}

// each calls put with every number of a column.
func each(field int, trades []Trade, ps, qs uint8, put func(uint64)) {
	var next, last, price int64
	for i := range trades {
		t := &trades[i]
		switch field {
		case fID:
			put(zigzag(t.ID - next))
			next = t.Last + 1
		case fTime:
			put(zigzag(int64(t.Time) - last))
			last = int64(t.Time)
		case fPrice:
			p, _ := t.Price.Rescale(ps)
			put(zigzag(p.Mantissa - price))
			price = p.Mantissa
		case fQty:
			q, _ := t.Qty.Rescale(qs)
			put(uint64(q.Mantissa))
		case fSpan:
			put(uint64(t.Last - t.ID))
		}
	}
}

func (w *columnWriter) measure(trades []Trade, ps, qs uint8) {
	for _, f := range [...]int{fID, fTime, fPrice, fQty, fSpan} {
		each(f, trades, ps, qs, func(v uint64) { w.size[f] += protowire.SizeVarint(v) })
	}
	single := true
	for i := range trades {
		t := &trades[i]
		single = single && t.Last == t.ID
		if t.BuyerMaker {
			w.size[fBuyerMaker] = i>>3 + 1
		}
		if t.Void {
			w.size[fVoid] = i>>3 + 1
		}
	}
	if single {
		w.size[fSpan] = 0
	}
}

func (w *columnWriter) append(dst []byte, trades []Trade, ps, qs uint8) []byte {
	for f := fID; f <= fVoid; f++ {
		if w.size[f] == 0 {
			continue
		}
		dst = protowire.AppendTag(dst, protowire.Number(f), protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(w.size[f]))
		if f != fBuyerMaker && f != fVoid {
			each(f, trades, ps, qs, func(v uint64) { dst = protowire.AppendVarint(dst, v) })
			continue
		}
		at := len(dst)
		for range w.size[f] {
			dst = append(dst, 0)
		}
		for i := range trades {
			if f == fBuyerMaker && trades[i].BuyerMaker || f == fVoid && trades[i].Void {
				dst[at+(i>>3)] |= 1 << (i & 7)
			}
		}
	}
	return dst
}

func sizeBytes(field, n int) int {
	if n == 0 {
		return 0
	}
	return protowire.SizeTag(protowire.Number(field)) + protowire.SizeBytes(n)
}

func sizeVarint(field int, v uint64) int {
	if v == 0 {
		return 0
	}
	return protowire.SizeTag(protowire.Number(field)) + protowire.SizeVarint(v)
}

func appendVarint(dst []byte, field int, v uint64) []byte {
	if v == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, protowire.Number(field), protowire.VarintType)
	return protowire.AppendVarint(dst, v)
}
