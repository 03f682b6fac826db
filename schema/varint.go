package schema

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// cut is where a number ends that is cut short or over 64 bits: behind every
// end, so that one comparison finds all that is wrong.
const cut = math.MaxInt

// number reads the varint at body[i:], which must not be empty, and gives the
// index behind it, or cut. It is
// just small enough to be inlined.
func number(body []byte, i int) (v uint64, next int) {
	if v, next = uint64(body[i]), i+1; v >= 0x80 { // rare in a delta-coded column
		v, next = longNumber(body, i)
	}
	return // bare: naming the results makes it too large to be inlined
}

// longNumber is number for two bytes and more. It takes eight at a time where
// there are as many: a batch of one trade is nearly all long numbers.
func longNumber(body []byte, i int) (v uint64, next int) {
	if i <= len(body)-8 {
		x := binary.LittleEndian.Uint64(body[i:])
		if stop := ^x & 0x8080808080808080; stop != 0 {
			next = i + bits.TrailingZeros64(stop)>>3 + 1
			x &= (stop ^ (stop - 1)) & 0x7f7f7f7f7f7f7f7f // up to the first byte without its high bit
			// Push the groups of seven bits together: pairs, fours, eight.
			x = x&0x007f007f007f007f | x>>1&0x3f803f803f803f80
			x = x&0x00003fff00003fff | x>>2&0x0fffc0000fffc000
			return x&0x000000000fffffff | x>>4&0x00fffffff0000000, next
		}
	}
	for shift := 0; i < len(body) && shift < 70; shift += 7 {
		c := body[i]
		if shift == 63 && c > 1 {
			break
		}
		v |= uint64(c&0x7f) << shift
		if i++; c < 0x80 {
			return v, i
		}
	}
	return 0, cut
}

func zigzag(v int64) uint64   { return uint64(v<<1) ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

func bit(set []byte, i int) bool { return i>>3 < len(set) && set[i>>3]>>(i&7)&1 == 1 }
