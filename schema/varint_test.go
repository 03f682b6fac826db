package schema

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// TestNumber holds number to protobuf's own reader on numbers of every length,
// whole and cut short, with and without something behind them.
func TestNumber(t *testing.T) {
	r := random(t)
	check := func(in []byte, i int) {
		t.Helper()
		want, n := protowire.ConsumeVarint(in[i:])
		wantNext := i + n
		if n < 0 {
			want, wantNext = 0, cut
		}
		if v, next := number(in, i); v != want || next != wantNext {
			t.Fatalf("%x from %d: %d to %d, want %d to %d", in, i, v, next, want, wantNext)
		}
	}
	for range 20000 {
		i := r.IntN(3)
		in := protowire.AppendVarint(make([]byte, i), randomBits(r, 64))
		whole := len(in)
		for range r.IntN(10) {
			in = append(in, byte(r.Uint32()))
		}
		check(in, i)
		check(in[:i+1+r.IntN(whole-i)], i)
	}
	for n := range 12 { // up to too long, and longer than need be
		for _, last := range []byte{0, 1, 2, 0x7f, 0x80} {
			in := append(bytes.Repeat([]byte{0x80}, n), last)
			check(in, 0)
			check(append(in, 0, 0, 0, 0, 0, 0, 0, 0), 0)
			in = append(bytes.Repeat([]byte{0xff}, n), last)
			check(in, 0)
			check(append(in, 1, 2, 3, 4, 5, 6, 7, 8), 0)
		}
	}
	for v := int64(-1 << 63); ; v = v/2 + 1 {
		if got := unzigzag(zigzag(v)); got != v || zigzag(v) != protowire.EncodeZigZag(v) {
			t.Fatalf("zigzag of %d comes back as %d", v, got)
		}
		if v > 0 {
			break
		}
	}
}
